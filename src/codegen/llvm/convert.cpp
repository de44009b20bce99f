// Types, constants and conversions between dtypes; the narrow floats by integer arithmetic where
// the machine has no instruction that rounds them exactly.
#include <llvm/IR/IntrinsicsNVPTX.h>

#include <bit>

#include "base/error.h"
#include "codegen/llvm/values.h"
#include "codegen/narrow_format.h"

namespace brisk::ir {

namespace {

llvm::Type* float_type(Emitter& e, llvm::Value* like) {
  return shaped_like(like, e.b.getFloatTy());
}
llvm::Type* word_type(Emitter& e, llvm::Value* like) { return shaped_like(like, e.b.getInt32Ty()); }

// The magnitude's bits, shifted to float32's place, are the value times a power of two that depends
// on the two biases only; subnormals come out right because float32 has those too.
llvm::Value* widen_by_bits(Emitter& e, llvm::Value* bits, const NarrowFormat& f) {
  llvm::Type* word = word_type(e, bits);
  const auto number = [&](std::uint32_t v) { return llvm::ConstantInt::get(word, v); };
  const int total = f.total();
  const std::uint32_t magnitude_mask = (1U << (total - 1)) - 1;
  llvm::Value* wide = e.b.CreateZExt(bits, word);
  llvm::Value* magnitude = e.b.CreateAnd(wide, number(magnitude_mask));
  llvm::Value* placed = e.b.CreateShl(magnitude, number(23 - f.mantissa_bits));
  const auto scale = std::bit_cast<float>(static_cast<std::uint32_t>(254 - f.bias()) << 23);
  llvm::Value* value = e.b.CreateFMul(e.b.CreateBitCast(placed, float_type(e, bits)),
                                      llvm::ConstantFP::get(float_type(e, bits), scale));
  value = e.b.CreateBitCast(value, word);
  if (f.has_infinity) {
    const std::uint32_t top = f.overflow;
    llvm::Value* special = e.b.CreateOr(placed, number(0x7f800000));
    value = e.b.CreateSelect(e.b.CreateICmpUGE(magnitude, number(top)), special, value);
  } else {
    value = e.b.CreateSelect(e.b.CreateICmpEQ(magnitude, number(f.nan)), number(0x7fc00000), value);
  }
  llvm::Value* sign = e.b.CreateShl(e.b.CreateXor(wide, magnitude), number(32 - total));
  return e.b.CreateBitCast(e.b.CreateOr(value, sign), float_type(e, bits));
}

// Normal results round in integers; subnormal ones by adding a float whose unit is the format's.
llvm::Value* narrow_by_bits(Emitter& e, llvm::Value* value, const NarrowFormat& f) {
  llvm::Type* word = word_type(e, value);
  const auto number = [&](std::uint32_t v) { return llvm::ConstantInt::get(word, v); };
  const int total = f.total();
  const int dropped = 23 - f.mantissa_bits;
  llvm::Value* bits = e.b.CreateBitCast(value, word);
  llvm::Value* magnitude = e.b.CreateAnd(bits, number(0x7fffffff));

  llvm::Value* odd = e.b.CreateAnd(e.b.CreateLShr(magnitude, number(dropped)), number(1));
  const std::uint32_t rebias = static_cast<std::uint32_t>(127 - f.bias()) << 23;
  llvm::Value* normal =
      e.b.CreateAdd(e.b.CreateAdd(magnitude, number((1U << (dropped - 1)) - 1 - rebias)), odd);
  normal = e.b.CreateLShr(normal, number(dropped));

  const auto magic = std::bit_cast<float>(
      static_cast<std::uint32_t>(127 + 1 - f.bias() - f.mantissa_bits + 23) << 23);
  llvm::Value* small = e.b.CreateFAdd(e.b.CreateBitCast(magnitude, float_type(e, value)),
                                      llvm::ConstantFP::get(float_type(e, value), magic));
  small =
      e.b.CreateSub(e.b.CreateBitCast(small, word), number(std::bit_cast<std::uint32_t>(magic)));

  const std::uint32_t least_normal = static_cast<std::uint32_t>(128 - f.bias()) << 23;
  llvm::Value* result =
      e.b.CreateSelect(e.b.CreateICmpULT(magnitude, number(least_normal)), small, normal);
  // Everything from the midpoint above the largest value on; that midpoint's tie goes up, since the
  // largest mantissa is odd (e4m3: even, the tie stays).
  const std::uint32_t largest32 = (f.largest << dropped) + rebias;
  const std::uint32_t bound = largest32 + (1U << (dropped - 1)) + (f.largest & 1 ? 0 : 1);
  result =
      e.b.CreateSelect(e.b.CreateICmpUGE(magnitude, number(bound)), number(f.overflow), result);
  result =
      e.b.CreateSelect(e.b.CreateICmpUGT(magnitude, number(0x7f800000)), number(f.nan), result);
  llvm::Value* sign =
      e.b.CreateAnd(e.b.CreateLShr(bits, number(32 - total)), number(1U << (total - 1)));
  return e.b.CreateTrunc(e.b.CreateOr(result, sign), shaped_like(value, e.b.getIntNTy(total)));
}

llvm::Value* narrow_bfloat(Emitter& e, llvm::Value* value) {
  // vcvtneps2bf16 would flush subnormals, so this stays in integers.
  llvm::Type* word = word_type(e, value);
  const auto number = [&](std::uint32_t v) { return llvm::ConstantInt::get(word, v); };
  llvm::Value* bits = e.b.CreateBitCast(value, word);
  llvm::Value* odd = e.b.CreateAnd(e.b.CreateLShr(bits, number(16)), number(1));
  llvm::Value* rounded = e.b.CreateAdd(e.b.CreateAdd(bits, number(0x7fff)), odd);
  llvm::Value* quiet = e.b.CreateOr(bits, number(0x400000));
  llvm::Value* result = e.b.CreateSelect(e.b.CreateFCmpUNO(value, value), quiet, rounded);
  return e.b.CreateTrunc(e.b.CreateLShr(result, number(16)), shaped_like(value, e.b.getInt16Ty()));
}

// Neighbours in one word, by the GPU's instruction; an odd lane with a zero.
llvm::Value* narrow_pairs(Emitter& e, llvm::Value* value, DType dtype) {
  const auto id = dtype == DType::bfloat16 ? llvm::Intrinsic::nvvm_ff2bf16x2_rn
                                           : llvm::Intrinsic::nvvm_ff2f16x2_rn;
  const int lanes = lane_count(value);
  const auto one = [&](int i) -> llvm::Value* {
    if (i >= lanes) return llvm::ConstantFP::get(e.b.getFloatTy(), 0);
    return value->getType()->isVectorTy() ? e.b.CreateExtractElement(value, std::uint64_t(i))
                                          : value;
  };
  const int words = (lanes + 1) / 2;
  auto* type = llvm::FixedVectorType::get(e.b.getInt32Ty(), static_cast<unsigned>(words));
  llvm::Value* result = llvm::PoisonValue::get(type);
  for (int i = 0; i < words; ++i) {
    llvm::Value* pair = e.b.CreateIntrinsic(id, {}, {one(2 * i + 1), one(2 * i)});
    result = e.b.CreateInsertElement(result, e.b.CreateBitCast(pair, e.b.getInt32Ty()),
                                     std::uint64_t(i));
  }
  auto* halves = llvm::FixedVectorType::get(e.b.getInt16Ty(), static_cast<unsigned>(2 * words));
  result = e.b.CreateBitCast(result, halves);
  return value->getType()->isVectorTy() ? slice(e, result, 0, lanes)  // of one lane, too
                                        : e.b.CreateExtractElement(result, std::uint64_t{0});
}

// Two bfloat16 of a word: one shift, one mask.
llvm::Value* widen_pairs(Emitter& e, llvm::Value* bits) {
  const int lanes = lane_count(bits);
  auto* words = llvm::FixedVectorType::get(e.b.getInt32Ty(), static_cast<unsigned>(lanes / 2));
  auto* floats = llvm::FixedVectorType::get(e.b.getFloatTy(), static_cast<unsigned>(lanes / 2));
  llvm::Value* pairs = e.b.CreateBitCast(bits, words);
  llvm::Value* low = e.b.CreateBitCast(e.b.CreateShl(pairs, 16), floats);
  llvm::Value* high = e.b.CreateBitCast(e.b.CreateAnd(pairs, 0xffff0000), floats);
  std::vector<int> order;
  for (int i = 0; i < lanes / 2; ++i) {
    order.push_back(i);
    order.push_back(lanes / 2 + i);
  }
  return e.b.CreateShuffleVector(low, high, order);
}

}  // namespace

llvm::Type* register_type(llvm::LLVMContext& context, DType dtype, int lanes) {
  llvm::Type* type = nullptr;
  switch (dtype) {
    case DType::boolean: type = llvm::Type::getInt1Ty(context); break;
    case DType::float32: type = llvm::Type::getFloatTy(context); break;
    case DType::float64: type = llvm::Type::getDoubleTy(context); break;
    case DType::none: unreachable("a value has a dtype");
    default: type = llvm::IntegerType::get(context, static_cast<unsigned>(bit_size(dtype)));
  }
  return lanes == 1 ? type : llvm::FixedVectorType::get(type, static_cast<unsigned>(lanes));
}

llvm::Type* memory_type(llvm::LLVMContext& context, DType dtype, int lanes) {
  return register_type(context, is_bool(dtype) ? DType::uint8 : dtype, lanes);
}

int lane_count(const llvm::Value* value) {
  const auto* vector = llvm::dyn_cast<llvm::FixedVectorType>(value->getType());
  return vector == nullptr ? 1 : static_cast<int>(vector->getNumElements());
}

llvm::Type* shaped_like(const llvm::Value* value, llvm::Type* type) {
  const int lanes = lane_count(value);
  return value->getType()->isVectorTy()
             ? llvm::FixedVectorType::get(type, static_cast<unsigned>(lanes))
             : type;
}

llvm::Value* broadcast(Emitter& e, llvm::Value* value, int lanes) {
  if (lanes == lane_count(value)) return value;
  check(lane_count(value) == 1, "only a scalar goes with every number of lanes");
  return e.b.CreateVectorSplat(static_cast<unsigned>(lanes), value);
}

llvm::Value* widen(Emitter& e, llvm::Value* bits, DType dtype) {
  switch (dtype) {
    case DType::bfloat16: {
      if (e.target.isa == Isa::nvptx && bits->getType()->isVectorTy() && lane_count(bits) % 2 == 0)
        return widen_pairs(e, bits);
      llvm::Value* wide = e.b.CreateZExt(bits, word_type(e, bits));
      return e.b.CreateBitCast(e.b.CreateShl(wide, 16), float_type(e, bits));
    }
    case DType::float8_e5m2:
      if (e.target.has_half_convert) {  // the upper byte of a half
        llvm::Value* half = e.b.CreateZExt(bits, shaped_like(bits, e.b.getInt16Ty()));
        return widen(e, e.b.CreateShl(half, 8), DType::float16);
      }
      return widen_by_bits(e, bits, narrow_format(dtype));
    case DType::float16:
      if (e.target.has_half_convert) {
        return e.b.CreateFPExt(e.b.CreateBitCast(bits, shaped_like(bits, e.b.getHalfTy())),
                               float_type(e, bits));
      }
      return widen_by_bits(e, bits, narrow_format(dtype));
    default: return widen_by_bits(e, bits, narrow_format(dtype));
  }
}

llvm::Value* narrow(Emitter& e, llvm::Value* value, DType dtype) {
  if (e.target.has_pair_convert && (dtype == DType::bfloat16 || dtype == DType::float16))
    return narrow_pairs(e, value, dtype);
  if (dtype == DType::bfloat16) return narrow_bfloat(e, value);
  if (dtype == DType::float16 && e.target.has_half_convert) {
    llvm::Value* half = e.b.CreateFPTrunc(value, shaped_like(value, e.b.getHalfTy()));
    return e.b.CreateBitCast(half, shaped_like(value, e.b.getInt16Ty()));
  }
  return narrow_by_bits(e, value, narrow_format(dtype));
}

llvm::Value* convert(Emitter& e, llvm::Value* value, DType from, DType to) {
  if (from == to) return value;
  auto& b = e.b;
  if (is_narrow(from)) return convert(e, widen(e, value, from), DType::float32, to);
  if (is_bool(to)) {
    llvm::Value* zero = llvm::Constant::getNullValue(value->getType());
    return is_float(from) ? b.CreateFCmpUNE(value, zero) : b.CreateICmpNE(value, zero);
  }
  if (is_narrow(to)) return narrow(e, convert(e, value, from, DType::float32), to);
  llvm::Type* type = shaped_like(value, register_type(b.getContext(), to));
  if (is_float(from)) {
    if (is_float(to)) return b.CreateFPCast(value, type);
    // Out of range is unspecified, not undefined: freeze. Small integers go through int32.
    if (bit_size(to) < 32) {
      llvm::Value* word = b.CreateFreeze(b.CreateFPToSI(value, shaped_like(value, b.getInt32Ty())));
      return b.CreateTrunc(word, type);
    }
    return b.CreateFreeze(is_signed(to) ? b.CreateFPToSI(value, type)
                                        : b.CreateFPToUI(value, type));
  }
  const bool sign = is_signed(from);  // bool is unsigned
  if (is_float(to)) {
    if (sign) return b.CreateSIToFP(value, type);
    if (bit_size(from) < 32) {
      return b.CreateSIToFP(b.CreateZExt(value, shaped_like(value, b.getInt32Ty())), type);
    }
    return b.CreateUIToFP(value, type);
  }
  return b.CreateIntCast(value, type, sign);
}

llvm::Value* reinterpret(Emitter& e, llvm::Value* value, DType from, DType to) {
  if (is_bool(from)) value = e.b.CreateZExt(value, shaped_like(value, e.b.getInt8Ty()));
  if (is_bool(to)) {
    return e.b.CreateICmpNE(value, llvm::Constant::getNullValue(value->getType()));
  }
  return e.b.CreateBitCast(value, shaped_like(value, register_type(e.b.getContext(), to)));
}

llvm::Value* constant(llvm::LLVMContext& context, const Node& node) {
  const DType dtype = node.dtype();
  llvm::Type* type = register_type(context, dtype);
  if (!is_float(dtype)) {
    return llvm::ConstantInt::get(type, static_cast<std::uint64_t>(node.int_value()));
  }
  const double value = node.float_value();
  const auto f = static_cast<float>(value);
  switch (dtype) {
    case DType::float16: return llvm::ConstantInt::get(type, float_to_half(f));
    case DType::bfloat16: return llvm::ConstantInt::get(type, float_to_bfloat16(f));
    case DType::float8_e4m3: return llvm::ConstantInt::get(type, float_to_e4m3(f));
    case DType::float8_e5m2: return llvm::ConstantInt::get(type, float_to_e5m2(f));
    default: return llvm::ConstantFP::get(type, value);
  }
}

}  // namespace brisk::ir
