// Where in their memory a kernel's arguments begin. Kernels that differ only in that (the steps of
// a recurrent layer, slices of one array) are one once it is taken out of their indices.
#pragma once

#include <cstdint>
#include <vector>

#include "kernel/kernel.h"

namespace brisk {

/// Takes from the indices of each param as much as is in all of them; gives it, in bytes. A
/// multiple of 64, so that memory stays aligned as it was.
std::vector<std::int64_t> take_offsets(LoweredKernel& kernel);

}  // namespace brisk
