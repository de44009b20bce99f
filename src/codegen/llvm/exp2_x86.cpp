// exp2 of float32 in the instructions that two generations of x86-64 have for it. How the
// polynomials were found: see codegen/decompose.cpp.
#include <llvm/IR/IntrinsicsX86.h>

#include <array>
#include <bit>
#include <cmath>
#include <span>

#include "base/error.h"
#include "codegen/llvm/values.h"

namespace brisk::ir {

namespace {

using llvm::Value;

Value* number(Value* like, float v) { return llvm::ConstantFP::get(like->getType(), v); }

Value* polynomial(Emitter& e, Value* x, std::span<const float> c) {  // lowest coefficient first
  Value* sum = number(x, c.back());
  for (std::size_t i = c.size() - 1; i-- > 0;)
    sum = e.b.CreateFAdd(e.b.CreateFMul(sum, x), number(x, c[i]));
  return sum;
}

// Eight instructions of AVX-512: x - floor(x), a polynomial, and the scaling by floor(x) that
// overflows, underflows and keeps infinities and NaN as it must.
Value* scaled(Emitter& e, Value* x) {
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
  constexpr std::array c = {0x1p+0F,        0x1.62e42cp-1F,  0x1.ebfd3ap-3F, 0x1.c68af6p-5F,
                            0x1.3cfd82p-7F, 0x1.47373ap-10F, 0x1.c4456ep-13F};  // 2^-28.8
  std::vector<Value*> scale = {polynomial(e, rest, c), x, none, all};
  if (lanes == 16) scale.push_back(current);
  return b.CreateIntrinsic(id(llvm::Intrinsic::x86_avx512_mask_scalef_ps_128,
                              llvm::Intrinsic::x86_avx512_mask_scalef_ps_256,
                              llvm::Intrinsic::x86_avx512_mask_scalef_ps_512),
                           {}, scale);
}

// With AVX2, where 0 will do for small results: 2^x = p(r) · 2^(m - 1) with m = x rounded to
// eighths and p(r) = 2 · 2^r for r in [-1/16, 1/16]. Adding the magic number leaves 8m in the low
// bits; the lowest three choose 2^(0/8) … 2^(7/8) from a register, the others are its exponent. The
// table's entries have taken off what the three add to the mantissa. 1.73 ulp with the roundings.
Value* looked_up(Emitter& e, Value* given) {
  auto& b = e.b;
  llvm::Type* bits = llvm::FixedVectorType::get(b.getInt32Ty(), 8);
  const auto clamp = [&](llvm::CmpInst::Predicate beyond, Value* x, float limit) {  // a NaN stays
    return b.CreateSelect(b.CreateFCmp(beyond, x, number(x, limit)), number(x, limit), x);
  };
  Value* x = clamp(llvm::CmpInst::FCMP_OLT, given, -126);  // exponent bits of 0
  x = clamp(llvm::CmpInst::FCMP_OGT, x, 128);              // 2 · 2^127: infinite
  constexpr float magic = 0x1.8p20F;
  Value* shifted = b.CreateFAdd(x, number(x, magic));
  Value* rest = b.CreateFSub(x, b.CreateFSub(shifted, number(x, magic)));              // exact
  constexpr std::array c = {0x1p+1F, 0x1.62e426p+0F, 0x1.ec0c62p-2F, 0x1.c6c2eap-4F};  // 2^-25.2
  std::array<std::uint32_t, 8> table{};
  for (std::uint32_t k = 0; k < 8; ++k) {
    const auto power = static_cast<float>(std::exp2(k / 8.0 - 1));
    table[k] = std::bit_cast<std::uint32_t>(power) - (k << 20);
  }
  Value* powers = llvm::ConstantDataVector::get(b.getContext(), table);
  Value* eighths = b.CreateBitCast(shifted, bits);
  Value* power = b.CreateIntrinsic(llvm::Intrinsic::x86_avx2_permd, {}, {powers, eighths});
  Value* scale = b.CreateAdd(power, b.CreateShl(eighths, 20));
  return b.CreateFMul(polynomial(e, rest, c), b.CreateBitCast(scale, x->getType()));
}

}  // namespace

bool has_native_exp2(const Target& target, const Node& node) {
  if (!node.is(Op::exp2_) || node.dtype() != DType::float32) return false;
  if (target.has_native_exp2) return true;
  if (target.isa != Isa::x86_64) return false;
  const int lanes = node.lanes();
  if (target.has_masks) return lanes == 4 || lanes == 8 || lanes % 16 == 0;
  return target.vector_bytes == 32 && target.has_fma && lanes % 8 == 0 && !node.attr().ints.empty();
}

Value* native_exp2(Emitter& e, Value* x) {
  const int widest = e.target.has_masks ? 16 : 8;
  const auto piece = e.target.has_masks ? scaled : looked_up;
  const int lanes = lane_count(x);
  if (lanes <= widest) return piece(e, x);
  Value* result = nullptr;
  for (int start = 0; start < lanes; start += widest) {
    Value* part = piece(e, slice(e, x, start, widest));
    result = result == nullptr ? part : join(e, result, part);
  }
  return result;
}

}  // namespace brisk::ir
