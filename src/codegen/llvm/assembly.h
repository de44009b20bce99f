// Inline assembly that has an effect, for instructions that LLVM has no intrinsic for.
#pragma once

#include <string>
#include <vector>

#include "codegen/llvm/values.h"

namespace brisk::ir {

/// Text and constraints as LLVM's inline assembly has them, without the clobber of memory.
struct Assembly {
  std::string text;
  std::string constraints;
  bool convergent = false;
  bool touches_memory = true;
};

llvm::Value* assembly(Emitter& e, const Assembly& what, llvm::Type* result,
                      const std::vector<llvm::Value*>& arguments);
/// Without a result.
void effect(Emitter& e, const Assembly& what, const std::vector<llvm::Value*>& arguments = {});

}  // namespace brisk::ir
