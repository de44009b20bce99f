// exp2 in eight instructions: x - floor(x), a polynomial, and the scaling by floor(x) that
// overflows, underflows and keeps infinities and NaN as it must.
#include <llvm/IR/IntrinsicsX86.h>

#include "base/error.h"
#include "codegen/llvm/values.h"

namespace brisk::ir {

namespace {

using llvm::Value;

Value* piece(Emitter& e, Value* x) {
  const int lanes = lane_count(x);
  auto& b = e.b;
  const auto id = [&](llvm::Intrinsic::ID of4, llvm::Intrinsic::ID of8, llvm::Intrinsic::ID of16) {
    return lanes == 16 ? of16 : lanes == 8 ? of8 : of4;
  };
  Value* none = llvm::PoisonValue::get(x->getType());
  Value* all = llvm::Constant::getAllOnesValue(b.getIntNTy(lanes == 16 ? 16 : 8));
  Value* current = b.getInt32(4);  // the current rounding mode
  constexpr unsigned down = 1;     // vreduceps: x - floor(x)
  std::vector<Value*> split = {x, b.getInt32(down), none, all};
  if (lanes == 16) split.push_back(current);
  Value* rest = b.CreateIntrinsic(id(llvm::Intrinsic::x86_avx512_mask_reduce_ps_128,
                                     llvm::Intrinsic::x86_avx512_mask_reduce_ps_256,
                                     llvm::Intrinsic::x86_avx512_mask_reduce_ps_512),
                                  {}, split);
  // On [0, 1], 2^-28.8; see codegen/decompose.cpp for how it was found.
  constexpr float c[] = {0x1p+0F,        0x1.62e42cp-1F,  0x1.ebfd3ap-3F, 0x1.c68af6p-5F,
                         0x1.3cfd82p-7F, 0x1.47373ap-10F, 0x1.c4456ep-13F};
  const auto number = [&](float v) { return llvm::ConstantFP::get(x->getType(), v); };
  Value* sum = number(c[6]);
  for (int i = 5; i >= 0; --i) sum = b.CreateFAdd(b.CreateFMul(sum, rest), number(c[i]));
  std::vector<Value*> scale = {sum, x, none, all};
  if (lanes == 16) scale.push_back(current);
  return b.CreateIntrinsic(id(llvm::Intrinsic::x86_avx512_mask_scalef_ps_128,
                              llvm::Intrinsic::x86_avx512_mask_scalef_ps_256,
                              llvm::Intrinsic::x86_avx512_mask_scalef_ps_512),
                           {}, scale);
}

}  // namespace

bool has_native_exp2(const Target& target, const Node& node) {
  const int lanes = node.lanes();
  if (target.has_native_exp2) return node.is(Op::exp2_) && node.dtype() == DType::float32;
  return target.isa == Isa::x86_64 && target.has_masks && node.is(Op::exp2_) &&
         node.dtype() == DType::float32 && (lanes == 4 || lanes == 8 || lanes % 16 == 0);
}

Value* native_exp2(Emitter& e, Value* x) {
  const int lanes = lane_count(x);
  if (lanes <= 16) return piece(e, x);
  Value* result = nullptr;
  for (int start = 0; start < lanes; start += 16) {
    Value* part = piece(e, slice(e, x, start, 16));
    result = result == nullptr ? part : join(e, result, part);
  }
  return result;
}

}  // namespace brisk::ir
