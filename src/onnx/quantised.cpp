// Quantisation: real values as integers with scales and zero points.
#include "onnx/build.h"
#include "tensor/build.h"

namespace brisk::onnx {

namespace {

struct Range {
  double least, greatest;
};
Range range_of(ElementType type) {
  switch (type) {
    case ElementType::uint4: return {0, 15};
    case ElementType::int4: return {-8, 7};
    case ElementType::uint2: return {0, 3};
    case ElementType::int2: return {-2, 1};
    default: break;
  }
  const DType dtype = stored_dtype(type);
  if (!is_integer(dtype)) user_error("values are not quantised to {}", element_name(type));
  return {static_cast<double>(min_value(dtype)), static_cast<double>(max_value(dtype))};
}

// A scale or zero point so that it broadcasts over x: one number, one for each element of an axis,
// or one for each block of `block` elements of it.
Tensor spread(const NodeCall& c, Tensor v, const Dims& shape, int axis, std::int64_t block) {
  const auto size = v.shape();
  if (product(size) == 1) return v.reshape(Dims());
  if (block > 0) {
    if (size.size() != shape.size())
      c.fail("a scale of rank {} for a tensor of rank {}", size.size(), shape.size());
    v = v.repeat_interleave(block, axis);
    return v.narrow(axis, 0, shape.at(static_cast<std::size_t>(axis)));
  }
  if (size.size() != 1) c.fail("a scale of rank {}", size.size());
  return along(v, axis, static_cast<int>(shape.size()));
}

int axis_of_scale(const NodeCall& c) {
  // Of no meaning where there is one scale, and then perhaps outside of the tensor.
  if (product(c.shape(1)) == 1) return 0;
  return c.axis("axis", 1, c.rank(0));
}

Values quantize(NodeCall& c) {
  const Dims shape = c.dims(0);
  const int axis = axis_of_scale(c);
  const std::int64_t block = c.integer("block_size", 0);
  ElementType type = ElementType::uint8;
  if (c.has(2))
    type = c.type(2);
  else if (c.integer("output_dtype", 0) != 0)
    type = element_attribute(c, "output_dtype", type);
  const Tensor scale = spread(c, c[1], shape, axis, block);
  const Tensor zero = c.has(2) ? spread(c, c[2], shape, axis, block) : Tensor();
  if (is_float(stored_dtype(type))) {
    return {converted(c[0].cast(DType::float32) / scale.cast(DType::float32), type,
                      c.integer("saturate", 1) != 0)};
  }
  return {quantised(c[0], scale, zero, type)};
}

Values dequantize(NodeCall& c) {
  const Dims shape = c.dims(0);
  const int axis = axis_of_scale(c);
  const std::int64_t block = c.integer("block_size", 0);
  const Tensor scale = spread(c, c[1], shape, axis, block);
  const Tensor zero = c.has(2) ? spread(c, c[2], shape, axis, block) : Tensor();
  const Tensor y = dequantised(c[0], scale, zero);
  const DType wanted =
      c.integer("output_dtype", 0) != 0
          ? stored_dtype(element_attribute(c, "output_dtype", ElementType::float32))
          : scale.dtype();
  return {y.cast(wanted)};
}

// Scale and zero point of uint8 from the values themselves.
Values dynamic_quantize(NodeCall& c) {
  const Tensor x = c[0];
  const Tensor least = minimum(min(x), 0.0);
  const Tensor greatest = maximum(max(x), 0.0);
  const Tensor scale = (greatest - least) / 255.0;
  const Tensor zero =
      clamp(round(-least.cast(DType::float64) / scale.cast(DType::float64)), 0.0, 255.0)
          .cast(DType::uint8);
  return {quantised(x, scale, zero, ElementType::uint8), scale, zero};
}

// a, scale, zero, b, scale, zero, scale, zero of the result.
Values matmul_quantised(NodeCall& c) {
  const auto row = [&](std::size_t i) {  // one value, or one for each row
    const Tensor v = c[i];
    return product(c.shape(i)) == 1 ? v.reshape(Dims()) : v.unsqueeze(-1);
  };
  const auto column = [&](std::size_t i) {
    return product(c.shape(i)) == 1 ? c[i].reshape(Dims()) : c[i];
  };
  const Tensor a = c[0].cast(DType::int32) - row(2).cast(DType::int32);
  const Tensor b = c[3].cast(DType::int32) - column(5).cast(DType::int32);
  const Tensor real = matmul(a, b).cast(DType::float32) * (row(1) * column(4)).cast(DType::float32);
  return {quantised(real, c[6].reshape(Dims()), c[7].reshape(Dims()), c.type(7))};
}

}  // namespace

// The quotient in float64 and rounded to float32, so that it is the correctly rounded one: at ties
// a last bit decides.
Value quantised(const Tensor& x, const Tensor& scale, const Tensor& zero, ElementType type) {
  const Range range = range_of(type);
  const Tensor quotient =
      (x.cast(DType::float64) / scale.cast(DType::float64)).cast(DType::float32);
  Tensor whole = round(quotient);
  if (zero.defined()) whole = whole + zero.cast(DType::float32);
  return {clamp(whole, range.least, range.greatest).cast(stored_dtype(type)), type};
}

Tensor dequantised(const Tensor& x, const Tensor& scale, const Tensor& zero) {
  const DType wide = scale.dtype() == DType::float64 ? DType::float64 : DType::float32;
  if (is_float(x.dtype())) return x.cast(wide) * scale.cast(wide);
  Tensor whole = x.cast(x.dtype() == DType::int32 ? DType::int64 : DType::int32);
  if (zero.defined()) whole = whole - zero.cast(whole.dtype());
  return whole.cast(wide) * scale.cast(wide);
}

void add_quantised(OperatorTable& t) {
  t.add("QuantizeLinear", quantize);
  t.add("DequantizeLinear", dequantize);
  t.add("DynamicQuantizeLinear", dynamic_quantize);
  t.add("QLinearMatMul", matmul_quantised);
  t.add_microsoft("QuantizeLinear", quantize);
  t.add_microsoft("DequantizeLinear", dequantize);
}

}  // namespace brisk::onnx
