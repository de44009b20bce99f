// The elementwise operations of graph/ops.def, and what works across the lanes of a vector
// (horizontal, shuffle). Semantics are ops.def's.
#include <llvm/Analysis/VectorUtils.h>

#include <numeric>

#include "base/error.h"
#include "codegen/llvm/values.h"
#include "graph/integer.h"

namespace brisk::ir {

namespace {

using llvm::Value;

// Which zero is the larger one is nobody's business; without that, x86 needs three instructions.
// The test for NaN is then of the first operand alone: the new value of max(accumulator, value), so
// that a chain of maxima waits for no comparison.
Value* float_max(Emitter& e, Value* a, Value* b) {
  Value* larger = e.b.CreateBinaryIntrinsic(llvm::Intrinsic::maximum, b, a);
  if (auto* call = llvm::dyn_cast<llvm::Instruction>(larger)) call->setHasNoSignedZeros(true);
  return larger;
}

Value* integer_constant(const Value* like, std::int64_t value) {
  return llvm::ConstantInt::get(like->getType(), static_cast<std::uint64_t>(value), true);
}

Value* divide(Emitter& e, const Node& node, Value* a, Value* d) {
  const bool quotient = node.is(Op::idiv_);
  const bool sign = is_signed(node.dtype());
  // Indices: no sign to mind, and in 32 bits where they fit (a vector's 64-bit quotient is slow).
  const Bounds n_bounds = bounds(node.src(0));
  const Bounds d_bounds = bounds(node.src(1));
  if (node.dtype() == DType::int64 && n_bounds.least >= 0 && d_bounds.least >= 1) {
    constexpr std::int64_t word = std::int64_t{1} << 32;
    const bool small = n_bounds.greatest < word && d_bounds.greatest < word;
    llvm::Type* type = small ? shaped_like(a, e.b.getInt32Ty()) : a->getType();
    Value* n = e.b.CreateTrunc(a, type);
    Value* m = e.b.CreateTrunc(d, type);
    return e.b.CreateZExt(quotient ? e.b.CreateUDiv(n, m) : e.b.CreateURem(n, m), a->getType());
  }
  Value* zero = e.b.CreateICmpEQ(d, integer_constant(d, 0));
  Value* unsafe = zero;
  if (sign) {
    Value* lowest = llvm::ConstantInt::get(
        a->getType(), llvm::APInt::getSignedMinValue(a->getType()->getScalarSizeInBits()));
    Value* wraps =
        e.b.CreateAnd(e.b.CreateICmpEQ(d, integer_constant(d, -1)), e.b.CreateICmpEQ(a, lowest));
    unsafe = e.b.CreateOr(zero, wraps);
  }
  // min / -1 wraps to min, as min / 1 does; its remainder is 0 both ways.
  Value* safe = e.b.CreateSelect(unsafe, integer_constant(d, 1), d);
  if (quotient) {
    Value* q = sign ? e.b.CreateSDiv(a, safe) : e.b.CreateUDiv(a, safe);
    return e.b.CreateSelect(zero, integer_constant(a, 0), q);
  }
  Value* r = sign ? e.b.CreateSRem(a, safe) : e.b.CreateURem(a, safe);
  return e.b.CreateSelect(zero, a, r);
}

// Bytes shifted right by constants that are the same within each word: the machines shift words,
// and the bits that come from a byte's neighbour are cut off. Null where they differ.
Value* shift_words(Emitter& e, Value* a, Value* count) {
  auto* amounts = llvm::dyn_cast<llvm::ConstantDataVector>(count);
  if (amounts == nullptr || amounts->getSplatValue() != nullptr) return nullptr;
  const unsigned lanes = amounts->getNumElements();
  if (lanes % 4 != 0) return nullptr;
  std::vector<std::uint32_t> words;
  std::vector<std::uint8_t> masks;
  for (unsigned i = 0; i < lanes; ++i) {
    const std::uint64_t amount = amounts->getElementAsInteger(i);
    if (amount != amounts->getElementAsInteger(i / 4 * 4) || amount > 7) return nullptr;
    masks.push_back(static_cast<std::uint8_t>(0xff >> amount));
    if (i % 4 == 0) words.push_back(static_cast<std::uint32_t>(amount));
  }
  auto& context = e.b.getContext();
  auto* type = llvm::FixedVectorType::get(e.b.getInt32Ty(), lanes / 4);
  Value* shifted =
      e.b.CreateLShr(e.b.CreateBitCast(a, type), llvm::ConstantDataVector::get(context, words));
  return e.b.CreateAnd(e.b.CreateBitCast(shifted, a->getType()),
                       llvm::ConstantDataVector::get(context, masks));
}

// Bytes as words of four, where the machine has no vectors of bytes; null for what is no such
// vector.
llvm::Type* type_of_words(Emitter& e, const Value* bytes) {
  auto* type = llvm::dyn_cast<llvm::FixedVectorType>(bytes->getType());
  if (e.target.isa != Isa::nvptx || type == nullptr || type->getScalarSizeInBits() != 8 ||
      type->getNumElements() % 4 != 0) {
    return nullptr;
  }
  return llvm::FixedVectorType::get(e.b.getInt32Ty(), type->getNumElements() / 4);
}

Value* bitwise(Emitter& e, Op op, Value* a, Value* b) {
  if (llvm::Type* words = type_of_words(e, a)) {
    Value* result = bitwise(e, op, e.b.CreateBitCast(a, words), e.b.CreateBitCast(b, words));
    return e.b.CreateBitCast(result, a->getType());
  }
  switch (op) {
    case Op::and_: return e.b.CreateAnd(a, b);
    case Op::or_: return e.b.CreateOr(a, b);
    default: return e.b.CreateXor(a, b);
  }
}

// Sums that carry nothing into the neighbour: of the low bits, then the highest.
Value* add_bytes(Emitter& e, Value* a, Value* b) {
  llvm::Type* words = type_of_words(e, a);
  if (words == nullptr) return e.b.CreateAdd(a, b);
  Value* x = e.b.CreateBitCast(a, words);
  Value* y = e.b.CreateBitCast(b, words);
  Value* low = llvm::ConstantInt::get(words, 0x7f7f7f7f);
  Value* sum = e.b.CreateAdd(e.b.CreateAnd(x, low), e.b.CreateAnd(y, low));
  Value* highest = e.b.CreateAnd(e.b.CreateXor(x, y), e.b.CreateNot(low));
  return e.b.CreateBitCast(e.b.CreateXor(sum, highest), a->getType());
}

// Unsigned bytes shifted by one amount, in words; what comes from a byte's neighbour is cut off.
Value* shift_bytes(Emitter& e, Op op, Value* a, Value* count) {
  llvm::Type* words = type_of_words(e, a);
  Value* amount = words == nullptr ? nullptr : llvm::getSplatValue(count);
  if (amount == nullptr) return nullptr;
  auto* word = e.b.getInt32Ty();
  amount = e.b.CreateZExt(amount, word);
  amount = e.b.CreateBinaryIntrinsic(llvm::Intrinsic::umin, amount, e.b.getInt32(8));
  const auto each = static_cast<unsigned>(lane_count(a) / 4);
  const auto moved = [&](Value* v) {
    Value* by = v->getType()->isVectorTy() ? e.b.CreateVectorSplat(each, amount) : amount;
    return op == Op::shl_ ? e.b.CreateShl(v, by) : e.b.CreateLShr(v, by);
  };
  Value* kept = e.b.CreateAnd(moved(e.b.getInt32(0xff)), e.b.getInt32(0xff));
  kept = e.b.CreateMul(kept, e.b.getInt32(0x01010101));
  Value* shifted =
      e.b.CreateAnd(moved(e.b.CreateBitCast(a, words)), e.b.CreateVectorSplat(each, kept));
  return e.b.CreateBitCast(shifted, a->getType());
}

Value* shift(Emitter& e, Op op, DType dtype, Value* a, Value* count) {
  if (op == Op::shl_ || dtype == DType::uint8) {
    if (Value* shifted = shift_bytes(e, op, a, count)) return shifted;
  }
  if (op == Op::shr_ && dtype == DType::uint8) {
    if (Value* words = shift_words(e, a, count)) return words;
  }
  const int bits = bit_size(dtype);
  Value* inside = e.b.CreateICmpULT(count, integer_constant(count, bits));
  if (op == Op::shr_ && is_signed(dtype)) {
    return e.b.CreateAShr(a, e.b.CreateSelect(inside, count, integer_constant(count, bits - 1)));
  }
  Value* shifted = op == Op::shl_ ? e.b.CreateShl(a, count) : e.b.CreateLShr(a, count);
  return e.b.CreateSelect(inside, shifted, integer_constant(a, 0));
}

Value* compare(Emitter& e, Op op, DType dtype, Value* a, Value* b) {
  if (is_float(dtype)) {
    return op == Op::cmplt_ ? e.b.CreateFCmpOLT(a, b) : e.b.CreateFCmpUNE(a, b);
  }
  if (op == Op::cmpne_) return e.b.CreateICmpNE(a, b);
  return is_signed(dtype) ? e.b.CreateICmpSLT(a, b) : e.b.CreateICmpULT(a, b);
}

Value* float_arithmetic(Emitter& e, Op op, Value* a, Value* b) {
  switch (op) {
    case Op::add_: return e.b.CreateFAdd(a, b);
    case Op::mul_: return e.b.CreateFMul(a, b);
    case Op::max_: return float_max(e, a, b);
    case Op::sqrt_: return e.b.CreateUnaryIntrinsic(llvm::Intrinsic::sqrt, a);
    case Op::recip_: return e.b.CreateFDiv(llvm::ConstantFP::get(a->getType(), 1.0), a);
    default: unreachable("an operation on floats");
  }
}

Value* arithmetic(Emitter& e, Op op, DType dtype, Value* a, Value* b) {
  if (is_narrow(dtype)) {
    Value* wide_a = widen(e, a, dtype);
    Value* wide_b = b == nullptr ? nullptr : widen(e, b, dtype);
    if (op == Op::max_) {  // one of the two, so nothing to round
      Value* first =
          e.b.CreateOr(e.b.CreateFCmpOGT(wide_a, wide_b), e.b.CreateFCmpUNO(wide_a, wide_a));
      return e.b.CreateSelect(first, a, b);
    }
    return narrow(e, float_arithmetic(e, op, wide_a, wide_b), dtype);
  }
  if (is_float(dtype)) return float_arithmetic(e, op, a, b);
  const bool logical = is_bool(dtype);
  switch (op) {
    case Op::add_: return logical ? e.b.CreateOr(a, b) : add_bytes(e, a, b);
    case Op::mul_: return logical ? e.b.CreateAnd(a, b) : e.b.CreateMul(a, b);
    case Op::max_:
      if (logical) return e.b.CreateOr(a, b);
      return e.b.CreateBinaryIntrinsic(
          is_signed(dtype) ? llvm::Intrinsic::smax : llvm::Intrinsic::umax, a, b);
    case Op::and_:
    case Op::or_:
    case Op::xor_: return bitwise(e, op, a, b);
    case Op::shl_:
    case Op::shr_: return shift(e, op, dtype, a, b);
    default: unreachable("an operation on integers");
  }
}

}  // namespace

Value* elementwise(Emitter& e, const Node& node, std::span<Value*> srcs) {
  const DType in = node.src(0).dtype();
  switch (node.op()) {
    case Op::cast_: return convert(e, srcs[0], in, node.dtype());
    case Op::bitcast_: return reinterpret(e, srcs[0], in, node.dtype());
    case Op::where_: return e.b.CreateSelect(srcs[0], srcs[1], srcs[2]);
    case Op::idiv_:
    case Op::mod_: return divide(e, node, srcs[0], srcs[1]);
    case Op::cmplt_:
    case Op::cmpne_:
      if (is_narrow(in)) {
        return compare(e, node.op(), in, widen(e, srcs[0], in), widen(e, srcs[1], in));
      }
      return compare(e, node.op(), in, srcs[0], srcs[1]);
    default: return arithmetic(e, node.op(), in, srcs[0], srcs.size() > 1 ? srcs[1] : nullptr);
  }
}

Value* combine(Emitter& e, ReduceOp op, DType dtype, Value* a, Value* b) {
  constexpr Op ops[] = {Op::add_, Op::mul_, Op::max_};
  return arithmetic(e, ops[static_cast<std::size_t>(op)], dtype, a, b);
}

Value* slice(Emitter& e, Value* vector, int start, int count) {
  const int lanes = lane_count(vector);
  if (start == 0 && count == lanes) return vector;
  std::vector<int> picked(static_cast<std::size_t>(count));
  for (int i = 0; i < count; ++i) picked[i] = start + i < lanes ? start + i : -1;
  return e.b.CreateShuffleVector(vector, picked);
}

Value* join(Emitter& e, Value* a, Value* b) {
  const int lanes_a = lane_count(a);
  const int lanes_b = lane_count(b);
  const int widest = std::max(lanes_a, lanes_b);
  std::vector<int> picked(static_cast<std::size_t>(lanes_a + lanes_b));
  std::iota(picked.begin(), picked.begin() + lanes_a, 0);
  std::iota(picked.begin() + lanes_a, picked.end(), widest);
  return e.b.CreateShuffleVector(slice(e, a, 0, widest), slice(e, b, 0, widest), picked);
}

// The upper half onto the lower one, an odd lane in the middle waiting, as kernel/interpret does.
Value* horizontal(Emitter& e, ReduceOp op, DType dtype, Value* vector) {
  if (!vector->getType()->isVectorTy()) return vector;
  for (int lanes = lane_count(vector); lanes > 1; lanes = (lanes + 1) / 2) {
    const int pairs = lanes / 2;
    const int half = lanes - pairs;
    Value* sums = combine(e, op, dtype, slice(e, vector, 0, pairs), slice(e, vector, half, pairs));
    vector = pairs == half ? sums : join(e, sums, slice(e, vector, pairs, 1));
  }
  return e.b.CreateExtractElement(vector, std::uint64_t{0});
}

Value* shuffle(Emitter& e, const Node& node, std::span<Value*> srcs) {
  std::vector<int> lanes(node.attr().ints.begin(), node.attr().ints.end());
  const int width = lane_count(srcs[0]);
  const auto as_vector = [&](Value* value) {
    if (value->getType()->isVectorTy()) return value;
    auto* type = llvm::FixedVectorType::get(value->getType(), 1);
    return e.b.CreateInsertElement(llvm::PoisonValue::get(type), value, std::uint64_t{0});
  };
  const auto result = [&](Value* vector) -> Value* {
    return lanes.size() == 1 ? e.b.CreateExtractElement(vector, std::uint64_t{0}) : vector;
  };
  // A whole small vector again and again: one broadcast of it as an integer.
  const int bits = width * static_cast<int>(srcs[0]->getType()->getScalarSizeInBits());
  bool repeats = srcs.size() == 1 && width > 1 && (bits == 16 || bits == 32 || bits == 64) &&
                 lanes.size() > static_cast<std::size_t>(width) && lanes.size() % width == 0 &&
                 !is_bool(node.dtype());
  for (std::size_t i = 0; repeats && i < lanes.size(); ++i) {
    repeats = lanes[i] == static_cast<int>(i) % width;
  }
  if (repeats) {
    Value* whole = e.b.CreateBitCast(srcs[0], e.b.getIntNTy(static_cast<unsigned>(bits)));
    Value* all = e.b.CreateVectorSplat(static_cast<unsigned>(lanes.size()) / width, whole);
    return e.b.CreateBitCast(
        all, register_type(e.b.getContext(), node.dtype(), static_cast<int>(lanes.size())));
  }
  Value* a = as_vector(srcs[0]);
  if (srcs.size() == 1) return result(e.b.CreateShuffleVector(a, lanes));
  return result(e.b.CreateShuffleVector(a, as_vector(srcs[1]), lanes));
}

}  // namespace brisk::ir
