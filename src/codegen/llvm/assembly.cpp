#include "codegen/llvm/assembly.h"

#include <llvm/IR/InlineAsm.h>

namespace brisk::ir {

using llvm::Value;

Value* assembly(Emitter& e, const Assembly& what, llvm::Type* result,
                const std::vector<Value*>& arguments) {
  std::vector<llvm::Type*> types;
  types.reserve(arguments.size());
  for (Value* argument : arguments) types.push_back(argument->getType());
  auto* type = llvm::FunctionType::get(result, types, false);
  std::string constraints = what.constraints;
  if (what.touches_memory) constraints += constraints.empty() ? "~{memory}" : ",~{memory}";
  auto* call = e.b.CreateCall(llvm::InlineAsm::get(type, what.text, constraints, true), arguments);
  call->setDoesNotThrow();
  if (what.convergent) call->setConvergent();
  return call;
}

void effect(Emitter& e, const Assembly& what, const std::vector<Value*>& arguments) {
  assembly(e, what, e.b.getVoidTy(), arguments);
}

}  // namespace brisk::ir
