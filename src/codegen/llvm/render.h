// A kernel as LLVM IR: one function a phase, whose pointers are noalias parameters, and the entry
// point that chooses between them (see codegen.h). Not optimised yet.
#pragma once

#include <llvm/IR/Module.h>

#include <memory>

#include "base/target.h"
#include "kernel/kernel.h"

namespace brisk::ir {

std::string symbol_of(const Kernel& kernel);
std::unique_ptr<llvm::Module> render(const Kernel& kernel, const Target& target,
                                     const llvm::DataLayout& layout, llvm::LLVMContext& context);

}  // namespace brisk::ir
