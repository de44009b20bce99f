// Numbers as operands in memory. Input: a function after its passes; output: the same with the
// vector constants of its dense blocks loaded from arrays instead.
#pragma once

#include <llvm/IR/Module.h>

#include "base/target.h"

namespace brisk::ir {

/// LLVM broadcasts a constant into a register of its own, and where there are more of them than
/// registers, moves them about. An instruction of x86 takes a whole vector from memory for nothing;
/// so blocks with many constants get theirs from there. No change for other targets, nor for
/// AVX-512, whose instructions broadcast their operand.
void constants_in_memory(llvm::Module& module, const Target& target);

}  // namespace brisk::ir
