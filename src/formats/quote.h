// Text from an untrusted file made fit for an error message: one line, printable, bounded.
#pragma once

#include <string>
#include <string_view>

namespace brisk {

/// `text` between single quotes; control characters, bytes that are not ASCII, quotes and
/// backslashes appear as \xNN, and text longer than 160 characters is cut to 160 and "…".
std::string quote(std::string_view text);
/// A message that may hold such text already: control characters appear as \xNN.
std::string one_line(std::string_view text);

}  // namespace brisk
