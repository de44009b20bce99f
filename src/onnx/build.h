// What files of operators share.
#pragma once

#include <vector>

#include "brisk/functional.h"
#include "onnx/operators.h"

namespace brisk::onnx {

/// An operator of one tensor that is a function of it.
template <typename F>
OperatorFunction unary(F function) {
  return [function](NodeCall& c) -> Values { return {function(c[0])}; };
}

/// A view of input i: of the type it has, which may be one that brisk stores as another.
inline Value like(const NodeCall& c, Tensor view, std::size_t i = 0) {
  return {std::move(view), c.type(i)};
}

/// As Cast does it; `saturate` is for float8.
Value converted(const Tensor& x, ElementType to, bool saturate = true);
/// The element type an attribute names by number.
ElementType element_attribute(const NodeCall& c, std::string_view name, ElementType otherwise);
/// Axes as numbers of this rank; empty: none.
Axes axes_of(const NodeCall& c, const std::vector<std::int64_t>& axes, std::int64_t rank);
/// 0 … rank - 1.
std::vector<int> all_axes(std::int64_t rank);
/// A vector along one axis of a tensor of this rank.
Tensor along(const Tensor& vector, int axis, int rank);
/// Operands under one shape by NumPy's rules.
Dims broadcast(const NodeCall& c, const Dims& a, const Dims& b);
/// A size, or a position on an axis, as a tensor without axes.
Tensor number(const Dim& value);
Dim smaller(const Dim& a, const Dim& b);
Dim greater(const Dim& a, const Dim& b);
Dim product(const Dims& shape, std::size_t begin = 0, std::size_t end = SIZE_MAX);
std::int64_t product(const std::vector<std::int64_t>& shape, std::size_t begin = 0,
                     std::size_t end = SIZE_MAX);
/// x quotient y of integers, toward zero.
Tensor integer_quotient(const Tensor& x, const Tensor& y);

// Operators that several others are made of.
Tensor softmax_of(const Tensor& x, int axis);
/// (x - mean) / sqrt(variance + eps) over `axes`, scaled and shifted; in float32 at least.
struct Normalized {
  Tensor output, mean, inverse;  // inverse: 1 / sqrt(variance + eps); axes kept
};
Normalized normalized(const Tensor& x, const Axes& axes, const Tensor& scale, const Tensor& bias,
                      double eps);
Tensor rms_normalized(const Tensor& x, const Axes& axes, const Tensor& scale, double eps);
Tensor convolution(NodeCall& c, Tensor x, const Tensor& weight, const Tensor& bias);
Tensor average_pool(NodeCall& c, const Tensor& x);
/// Rounds half to even, adds the zero point and saturates.
Value quantised(const Tensor& x, const Tensor& scale, const Tensor& zero, ElementType type);
Tensor dequantised(const Tensor& x, const Tensor& scale, const Tensor& zero);
/// x [..., sequence, head width], rotated by cos and sin of [sequence, width / 2].
Tensor rotated(const Tensor& x, const Tensor& cos, const Tensor& sin, bool interleaved);
/// Activations of com.microsoft's fused operators, by name.
Tensor activation(const NodeCall& c, const std::string& name, const Tensor& x);

}  // namespace brisk::onnx
