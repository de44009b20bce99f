// The dot operation: the machine's instruction in pieces of its registers' widths, or the same
// value from multiplications that cannot overflow.
#include <llvm/IR/InlineAsm.h>
#include <llvm/IR/IntrinsicsAArch64.h>
#include <llvm/IR/IntrinsicsX86.h>

#include <algorithm>
#include <vector>

#include "base/error.h"
#include "codegen/llvm/values.h"
#include "graph/integer.h"

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
Value* int8_by_pairs(Emitter& e, Value* sum, Value* a, bool is_signed, Value* b, int lanes) {
  Value* a16 = bits_as(e, a, e.b.getInt16Ty(), 2 * lanes);
  Value* b16 = bits_as(e, b, e.b.getInt16Ty(), 2 * lanes);
  const auto low = [&](Value* v) {
    return e.b.CreateAShr(e.b.CreateShl(v, number(v, 8)), number(v, 8));
  };
  Value* a_low = is_signed ? low(a16) : e.b.CreateAnd(a16, number(a16, 0xff));
  Value* a_high =
      is_signed ? e.b.CreateAShr(a16, number(a16, 8)) : e.b.CreateLShr(a16, number(a16, 8));
  Value* even = pair_products(e, a_low, low(b16), lanes);
  Value* odd = pair_products(e, a_high, e.b.CreateAShr(b16, number(b16, 8)), lanes);
  return e.b.CreateAdd(e.b.CreateAdd(sum, even), odd);
}

// Unsigned values up to 127: no sum of two products overflows 16 bits. Several vectors of smaller
// ones may be summed before they are widened.
Value* int8_by_multiply_add(Emitter& e, Value* sum, std::span<Value* const> a,
                            std::span<Value* const> b, int lanes) {
  const auto id = lanes == 16  ? llvm::Intrinsic::x86_avx512_pmaddubs_w_512
                  : lanes == 8 ? llvm::Intrinsic::x86_avx2_pmadd_ub_sw
                               : llvm::Intrinsic::x86_ssse3_pmadd_ub_sw_128;
  Value* pairs = nullptr;
  for (std::size_t i = 0; i < a.size(); ++i) {
    Value* more = e.b.CreateIntrinsic(id, {}, {a[i], b[i]});
    pairs = pairs == nullptr ? more : e.b.CreateAdd(pairs, more);
  }
  return e.b.CreateAdd(sum, pair_products(e, pairs, number(pairs, 1), lanes));
}

Value* int8_by_words(Emitter& e, Value* sum, Value* a, bool is_signed, Value* b, int lanes) {
  Value* a32 = bits_as(e, a, e.b.getInt32Ty(), lanes);
  Value* b32 = bits_as(e, b, e.b.getInt32Ty(), lanes);
  for (unsigned byte = 0; byte < 4; ++byte) {
    const auto extended = [&](Value* v) {
      return e.b.CreateAShr(e.b.CreateShl(v, number(v, 24 - 8 * byte)), number(v, 24));
    };
    Value* x = is_signed
                   ? extended(a32)
                   : e.b.CreateAnd(e.b.CreateLShr(a32, number(a32, 8 * byte)), number(a32, 0xff));
    sum = e.b.CreateAdd(sum, e.b.CreateMul(x, extended(b32)));
  }
  return sum;
}

Value* sdot(Emitter& e, Value* sum, Value* a, Value* b) {
  return e.b.CreateIntrinsic(llvm::Intrinsic::aarch64_neon_sdot, {sum->getType(), a->getType()},
                             {sum, a, b});
}

Value* dpbusd(Emitter& e, Value* sum, Value* a, Value* b, int lanes) {
  const auto id = lanes == 16  ? llvm::Intrinsic::x86_avx512_vpdpbusd_512
                  : lanes == 8 ? llvm::Intrinsic::x86_avx512_vpdpbusd_256
                               : llvm::Intrinsic::x86_avx512_vpdpbusd_128;
  return e.b.CreateIntrinsic(
      id, {},
      {sum, bits_as(e, a, e.b.getInt32Ty(), lanes), bits_as(e, b, e.b.getInt32Ty(), lanes)});
}

// Words of four bytes, from sm_61 on.
Value* dp4a(Emitter& e, Value* sum, Value* a, bool is_signed, Value* b, int lanes) {
  auto* word = e.b.getInt32Ty();
  auto* type = llvm::FunctionType::get(word, {word, word, word}, false);
  auto* code = llvm::InlineAsm::get(
      type, is_signed ? "dp4a.s32.s32 $0, $1, $2, $3;" : "dp4a.u32.s32 $0, $1, $2, $3;", "=r,r,r,r",
      false);
  Value* a32 = bits_as(e, a, word, lanes);
  Value* b32 = bits_as(e, b, word, lanes);
  for (int i = 0; i < lanes; ++i) {
    const auto at = static_cast<std::uint64_t>(i);
    const auto of = [&](Value* v) { return e.b.CreateExtractElement(v, at); };
    sum = e.b.CreateInsertElement(sum, e.b.CreateCall(code, {of(a32), of(b32), of(sum)}), at);
  }
  return sum;
}

// One register of bytes. The machine's product may want the other signedness: a + k for a, and
// k · Σb off the sum, which is the same for every a that meets this b.
Value* int8_piece(Emitter& e, const Node& node, Value* sum, Value* a, Value* b, int lanes) {
  const bool is_signed = node.src(1).dtype() == DType::int8;
  const Bounds known{node.ints(0), node.ints(1)};
  const auto shifted = [&](std::int64_t by) {
    return e.b.CreateAdd(a, number(a, static_cast<std::uint64_t>(by) & 0xff));
  };
  Value* zero = llvm::Constant::getNullValue(sum->getType());
  if (e.target.isa == Isa::nvptx) return dp4a(e, sum, a, is_signed, b, lanes);
  if (e.target.isa == Isa::aarch64) {
    if (!e.target.has_int8_dot) return int8_by_words(e, sum, a, is_signed, b, lanes);
    if (is_signed || known.greatest <= 127) return sdot(e, sum, a, b);
    // 128 · Σb is twice 64 · Σb, which fits.
    Value* bias = number(b, 64);
    return sdot(e, sdot(e, sdot(e, sum, shifted(128), b), bias, b), bias, b);
  }
  const std::int64_t bias = std::max<std::int64_t>(0, -known.least);
  const auto unsigned_dot = [&](Value* to, Value* x) {
    return e.target.has_int8_dot ? dpbusd(e, to, x, b, lanes)
                                 : int8_by_multiply_add(e, to, {&x, 1}, {&b, 1}, lanes);
  };
  if (!e.target.has_int8_dot && known.greatest + bias > 127) {
    return int8_by_pairs(e, sum, a, is_signed, b, lanes);
  }
  if (bias == 0) return unsigned_dot(sum, a);
  if (!e.target.has_int8_dot && bias > 127) return int8_by_pairs(e, sum, a, is_signed, b, lanes);
  Value* extra = unsigned_dot(zero, number(a, static_cast<std::uint64_t>(bias)));
  return unsigned_dot(e.b.CreateSub(sum, extra), shifted(bias));
}

Value* int16_piece(Emitter& e, Value* sum, Value* a, Value* b, int lanes) {
  if (e.target.isa != Isa::aarch64) return e.b.CreateAdd(sum, pair_products(e, a, b, lanes));
  auto* wide = llvm::FixedVectorType::get(e.b.getInt32Ty(), static_cast<unsigned>(2 * lanes));
  Value* products = e.b.CreateMul(e.b.CreateSExt(a, wide), e.b.CreateSExt(b, wide));
  std::vector<int> even(static_cast<std::size_t>(lanes));
  for (int i = 0; i < lanes; ++i) even[static_cast<std::size_t>(i)] = 2 * i;
  std::vector<int> odd = even;
  for (int& i : odd) ++i;
  return e.b.CreateAdd(sum, e.b.CreateAdd(e.b.CreateShuffleVector(products, even),
                                          e.b.CreateShuffleVector(products, odd)));
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

namespace {

// Small unsigned values: sums of several products stay within 16 bits, and are widened once.
bool sums_in_words(const Target& target, const Node& node) {
  return target.isa == Isa::x86_64 && !target.has_int8_dot && byte_size(node.src(1).dtype()) == 1 &&
         node.ints(0) >= 0 && node.ints(1) <= 127;
}

}  // namespace

std::vector<Node> dot_operands(const Target& target, const Node& node) {
  std::vector<Node> operands = node.srcs();
  if (!sums_in_words(target, node)) return operands;
  const std::int64_t most = 32767 / (2 * 128 * std::max<std::int64_t>(1, node.ints(1)));
  for (std::int64_t count = 1; count < most; ++count) {
    const Node inner = operands[0];
    if (!inner.is(Op::dot_) || !(inner.attr() == node.attr()) ||
        inner.src(1).dtype() != node.src(1).dtype()) {
      break;
    }
    operands[0] = inner.src(0);
    operands.insert(operands.begin() + 1, {inner.src(1), inner.src(2)});
  }
  return operands;
}

Value* dot(Emitter& e, const Node& node, std::span<Value* const> operands) {
  Value* sum = operands[0];
  const DType element = node.src(1).dtype();
  const int group = byte_size(element) == 1 ? 4 : 2;
  const int lanes = lane_count(sum);
  for (Value* factor : operands.subspan(1))
    check(lane_count(factor) == group * lanes, "dot's lanes");
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
    std::vector<Value*> x;
    std::vector<Value*> y;
    for (std::size_t i = 1; i < operands.size(); i += 2) {
      x.push_back(slice(e, operands[i], group * start, group * piece));
      y.push_back(slice(e, operands[i + 1], group * start, group * piece));
    }
    Value* part = x.size() > 1                 ? int8_by_multiply_add(e, s, x, y, piece)
                  : element == DType::bfloat16 ? bfloat_piece(e, s, x[0], y[0], piece)
                  : element == DType::int16    ? int16_piece(e, s, x[0], y[0], piece)
                                               : int8_piece(e, node, s, x[0], y[0], piece);
    result = result == nullptr ? part : join(e, result, part);
    start += piece;
  }
  if (scalar) return e.b.CreateExtractElement(result, std::uint64_t{0});
  return slice(e, result, 0, lanes);
}

}  // namespace brisk::ir
