#include "codegen/llvm/constants.h"

#include <llvm/ADT/MapVector.h>
#include <llvm/IR/Constants.h>
#include <llvm/IR/IRBuilder.h>
#include <llvm/IR/InlineAsm.h>
#include <llvm/IR/PatternMatch.h>

#include <set>

namespace brisk::ir {

namespace {

using llvm::Constant;

constexpr llvm::Align alignment = llvm::Align::Constant<64>();

// The operand is one that an instruction can read from memory, and no number that LLVM has a
// shorter way for.
bool wants_memory(const llvm::Instruction& user, const Constant* constant) {
  using namespace llvm::PatternMatch;
  if (!constant->getType()->isVectorTy() || constant->getSplatValue() == nullptr) return false;
  switch (user.getOpcode()) {
    case llvm::Instruction::FMul:
      return !match(constant, m_FPOne()) && !match(constant, m_SpecificFP(-1));
    case llvm::Instruction::FAdd:
    case llvm::Instruction::FSub: return !match(constant, m_AnyZeroFP());
    default: return false;
  }
}

std::vector<llvm::Use*> operands_of(llvm::BasicBlock& block) {
  std::vector<llvm::Use*> found;
  for (llvm::Instruction& user : block) {
    for (llvm::Use& operand : user.operands()) {
      const auto* constant = llvm::dyn_cast<Constant>(operand.get());
      if (constant != nullptr && wants_memory(user, constant)) found.push_back(&operand);
    }
  }
  return found;
}

// The address of all of a function's constants, which LLVM must not see through: it would take
// loads of known memory out of loops, into registers that there are not.
llvm::Value* hidden_address(llvm::Function& function, llvm::Value* array) {
  llvm::IRBuilder<> builder(&function.getEntryBlock(), function.getEntryBlock().begin());
  auto* type = llvm::FunctionType::get(builder.getPtrTy(), {builder.getPtrTy()}, false);
  return builder.CreateCall(llvm::InlineAsm::get(type, "", "=r,0", /*hasSideEffects=*/false),
                            {array});
}

std::vector<llvm::Use*> operands_of_dense_blocks(llvm::Function& function, std::size_t many) {
  std::vector<llvm::Use*> found;
  for (llvm::BasicBlock& block : function) {
    const std::vector<llvm::Use*> operands = operands_of(block);
    std::set<llvm::Value*> distinct;
    for (const llvm::Use* use : operands) distinct.insert(use->get());
    if (distinct.size() >= many) found.insert(found.end(), operands.begin(), operands.end());
  }
  return found;
}

void move_to_memory(llvm::Function& function, const std::vector<llvm::Use*>& operands) {
  llvm::Module& module = *function.getParent();
  llvm::MapVector<llvm::Constant*, unsigned> places;
  std::vector<Constant*> fields;
  for (const llvm::Use* use : operands) {
    auto* constant = llvm::cast<Constant>(use->get());
    if (places.insert({constant, fields.size()}).second) fields.push_back(constant);
  }
  Constant* all = llvm::ConstantStruct::getAnon(fields);
  auto* array = new llvm::GlobalVariable(module, all->getType(), /*isConstant=*/true,
                                         llvm::GlobalValue::PrivateLinkage, all);
  array->setAlignment(alignment);
  llvm::Value* address = hidden_address(function, array);
  for (llvm::Use* use : operands) {
    auto* constant = llvm::cast<Constant>(use->get());
    llvm::IRBuilder<> builder(llvm::cast<llvm::Instruction>(use->getUser()));
    llvm::Value* place = builder.CreateStructGEP(all->getType(), address, places[constant]);
    use->set(builder.CreateLoad(constant->getType(), place));
  }
}

}  // namespace

void constants_in_memory(llvm::Module& module, const Target& target) {
  if (target.isa != Isa::x86_64 || target.has_masks) return;
  const auto many = static_cast<std::size_t>(target.vector_registers) / 2;
  for (llvm::Function& function : module) {
    const std::vector<llvm::Use*> operands = operands_of_dense_blocks(function, many);
    if (!operands.empty()) move_to_memory(function, operands);
  }
}

}  // namespace brisk::ir
