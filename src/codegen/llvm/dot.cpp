// The dot operation: the machine's instruction in pieces of its registers' widths, or the same
// value from multiplications that cannot overflow.
#include <llvm/IR/IntrinsicsAArch64.h>
#include <llvm/IR/IntrinsicsX86.h>

#include <numeric>

#include "base/error.h"
#include "codegen/llvm/values.h"

namespace brisk::ir {

namespace {

using llvm::Value;

Value* bits_as(Emitter& e, Value* value, llvm::Type* element, int lanes) {
  return e.b.CreateBitCast(value,
                           llvm::FixedVectorType::get(element, static_cast<unsigned>(lanes)));
}

Value* pair_products(Emitter& e, Value* a, Value* b, int lanes) {  // i16 × i16 in pairs into i32
  const auto id = lanes == 16  ? llvm::Intrinsic::x86_avx512_pmaddw_d_512
                  : lanes == 8 ? llvm::Intrinsic::x86_avx2_pmadd_wd
                               : llvm::Intrinsic::x86_sse2_pmadd_wd;
  return e.b.CreateIntrinsic(id, {}, {a, b});
}

Value* number(const Value* like, std::uint64_t v) {
  return llvm::ConstantInt::get(like->getType(), v);
}

// Bytes 0 and 2 of each word as 16-bit numbers, then bytes 1 and 3: two multiply-adds of pairs.
Value* int8_by_pairs(Emitter& e, Value* sum, Value* a, Value* b, int lanes) {
  Value* a16 = bits_as(e, a, e.b.getInt16Ty(), 2 * lanes);
  Value* b16 = bits_as(e, b, e.b.getInt16Ty(), 2 * lanes);
  Value* even =
      pair_products(e, e.b.CreateAnd(a16, number(a16, 0xff)),
                    e.b.CreateAShr(e.b.CreateShl(b16, number(b16, 8)), number(b16, 8)), lanes);
  Value* odd = pair_products(e, e.b.CreateLShr(a16, number(a16, 8)),
                             e.b.CreateAShr(b16, number(b16, 8)), lanes);
  return e.b.CreateAdd(e.b.CreateAdd(sum, even), odd);
}

Value* int8_by_words(Emitter& e, Value* sum, Value* a, Value* b, int lanes) {
  Value* a32 = bits_as(e, a, e.b.getInt32Ty(), lanes);
  Value* b32 = bits_as(e, b, e.b.getInt32Ty(), lanes);
  for (unsigned byte = 0; byte < 4; ++byte) {
    Value* x = e.b.CreateAnd(e.b.CreateLShr(a32, number(a32, 8 * byte)), number(a32, 0xff));
    Value* y = e.b.CreateAShr(e.b.CreateShl(b32, number(b32, 24 - 8 * byte)), number(b32, 24));
    sum = e.b.CreateAdd(sum, e.b.CreateMul(x, y));
  }
  return sum;
}

// u8 = s8 + 128: sdot(a - 128, b) + 128 · Σb, and 128 · Σb is twice sdot(64, b).
Value* int8_neon(Emitter& e, Value* sum, Value* a, Value* b) {
  const auto sdot = [&](Value* to, Value* x, Value* y) {
    return e.b.CreateIntrinsic(llvm::Intrinsic::aarch64_neon_sdot, {to->getType(), x->getType()},
                               {to, x, y});
  };
  Value* shifted = e.b.CreateXor(a, number(a, 0x80));
  Value* bias = number(b, 64);
  return sdot(sdot(sdot(sum, shifted, b), bias, b), bias, b);
}

Value* int8_piece(Emitter& e, Value* sum, Value* a, Value* b, int lanes) {
  if (e.target.isa == Isa::aarch64) {
    return e.target.has_int8_dot ? int8_neon(e, sum, a, b) : int8_by_words(e, sum, a, b, lanes);
  }
  if (!e.target.has_int8_dot) return int8_by_pairs(e, sum, a, b, lanes);
  const auto id = lanes == 16  ? llvm::Intrinsic::x86_avx512_vpdpbusd_512
                  : lanes == 8 ? llvm::Intrinsic::x86_avx512_vpdpbusd_256
                               : llvm::Intrinsic::x86_avx512_vpdpbusd_128;
  return e.b.CreateIntrinsic(
      id, {},
      {sum, bits_as(e, a, e.b.getInt32Ty(), lanes), bits_as(e, b, e.b.getInt32Ty(), lanes)});
}

Value* bfloat_piece(Emitter& e, Value* sum, Value* a, Value* b, int lanes) {
  if (e.target.has_bfloat16_dot) {
    Value* x = bits_as(e, a, e.b.getBFloatTy(), 2 * lanes);
    Value* y = bits_as(e, b, e.b.getBFloatTy(), 2 * lanes);
    if (e.target.isa == Isa::aarch64) {
      return e.b.CreateIntrinsic(llvm::Intrinsic::aarch64_neon_bfdot,
                                 {sum->getType(), x->getType()}, {sum, x, y});
    }
    const auto id = lanes == 16  ? llvm::Intrinsic::x86_avx512bf16_dpbf16ps_512
                    : lanes == 8 ? llvm::Intrinsic::x86_avx512bf16_dpbf16ps_256
                                 : llvm::Intrinsic::x86_avx512bf16_dpbf16ps_128;
    return e.b.CreateIntrinsic(id, {}, {sum, x, y});
  }
  Value* a32 = bits_as(e, a, e.b.getInt32Ty(), lanes);
  Value* b32 = bits_as(e, b, e.b.getInt32Ty(), lanes);
  const auto as_float = [&](Value* v) { return bits_as(e, v, e.b.getFloatTy(), lanes); };
  Value* low = e.b.CreateFMul(as_float(e.b.CreateShl(a32, number(a32, 16))),
                              as_float(e.b.CreateShl(b32, number(b32, 16))));
  Value* high = e.b.CreateFMul(as_float(e.b.CreateAnd(a32, number(a32, 0xffff0000))),
                               as_float(e.b.CreateAnd(b32, number(b32, 0xffff0000))));
  return e.b.CreateFAdd(e.b.CreateFAdd(sum, low), high);
}

}  // namespace

Value* dot(Emitter& e, const Node& node, Value* sum, Value* a, Value* b) {
  const bool bytes = node.dtype() == DType::int32;
  const int group = bytes ? 4 : 2;
  check(bytes ? node.src(1).dtype() == DType::uint8 && node.src(2).dtype() == DType::int8
              : node.dtype() == DType::float32 && node.src(1).dtype() == DType::bfloat16 &&
                    node.src(2).dtype() == DType::bfloat16,
        "dot takes uint8 × int8 into int32 or bfloat16 × bfloat16 into float32");
  const int lanes = lane_count(sum);
  check(lane_count(a) == group * lanes && lane_count(b) == group * lanes, "dot's lanes");
  const bool scalar = lanes == 1;
  if (scalar)
    sum = e.b.CreateInsertElement(slice(e, bits_as(e, sum, sum->getType(), 1), 0, 1), sum,
                                  std::uint64_t{0});
  const int widest = e.target.isa == Isa::aarch64 ? 4 : e.target.vector_bytes / 4;
  Value* result = nullptr;
  for (int start = 0; start < lanes;) {
    int piece = widest;
    while (piece > 4 && piece / 2 >= lanes - start) piece /= 2;
    Value* s = slice(e, sum, start, piece);
    Value* x = slice(e, a, group * start, group * piece);
    Value* y = slice(e, b, group * start, group * piece);
    Value* part = bytes ? int8_piece(e, s, x, y, piece) : bfloat_piece(e, s, x, y, piece);
    result = result == nullptr ? part : join(e, result, part);
    start += piece;
  }
  if (scalar) return e.b.CreateExtractElement(result, std::uint64_t{0});
  return slice(e, result, 0, lanes);
}

}  // namespace brisk::ir
