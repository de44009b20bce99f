// The version, in the one place from which the build takes it too.
#pragma once

namespace brisk {

inline constexpr const char* version = "0.1.0";

}  // namespace brisk
