// The documentation of the instruction set, docs/ops.md, as ops.def says it.
#pragma once

#include <string>

namespace brisk {

std::string op_documentation();

}  // namespace brisk
