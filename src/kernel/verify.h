// What is legal in a kernel, in both its forms (kernel/kernel.h). Input: a kernel and the name of
// the pass that made it; output: nothing, or an InternalError that names the pass and the node.
#pragma once

#include <string_view>

#include "kernel/kernel.h"

namespace brisk {

void verify_kernel(const LoweredKernel& kernel, std::string_view pass);
void verify_kernel(const Kernel& kernel, std::string_view pass);

}  // namespace brisk
