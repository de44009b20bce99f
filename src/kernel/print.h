// Kernels as text in both forms: loops indented, expressions as formulas, shared parts of a
// statement named first. Input: a kernel; output: the text, the same for equal kernels.
#pragma once

#include <string>

#include "kernel/kernel.h"

namespace brisk {

std::string print(const LoweredKernel& kernel);
std::string print(const Kernel& kernel);
std::string print_statement(const Node& statement, int indent = 0);
/// One expression in full: shared parts are written out each time.
std::string print_expression(const Node& expression);

}  // namespace brisk
