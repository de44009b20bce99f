// What the functions of tensors are made of: axes, broadcasting, promotion and constants on nodes.
#pragma once

#include <initializer_list>
#include <span>

#include "tensor/call.h"
#include "tensor/node_of.h"

namespace brisk {

// ---- dtypes -------------------------------------------------------------------------------------

/// torch.result_type: tensors with axes decide over those without, those over C++ numbers, unless
/// the lower ones are of a higher kind (bool < integer < floating point).
DType result_type(std::initializer_list<const Tensor*> tensors);
/// The node converted; constants fold.
Node to_dtype(const Node& node, DType dtype);
/// The dtype that functions of floating-point values compute `dtype` in, and the one they return.
DType compute_dtype(DType dtype);  // float32, or float64 for it
DType float_result(DType dtype);   // itself where floating point, else float32
/// x in its compute_dtype (numbers: float32).
Tensor widen(const Tensor& x);
/// 2^x where what is below twice the least normal number makes no difference to what is computed
/// from it.
Tensor exp2_or_zero(const Tensor& x);
/// A constant of the tensor's dtype.
Tensor constant_of(double value, const Tensor& like);

// ---- shapes -------------------------------------------------------------------------------------

/// 0 <= axis < rank for an axis that may be negative; rank 0 takes 0 and -1.
int axis_of(int axis, int rank);
/// The same for a list: ascending, without repetition; empty: all.
std::vector<int> axes_of(const Axes& axes, int rank);
/// Sizes that are fixed before run time; the call wants them.
std::int64_t fixed(const Size& size);
std::vector<std::int64_t> fixed_shape(const Tensor& x);
Shape broadcast_shape(const Shape& a, const Shape& b);
/// The node under the broadcast shape.
Node expand_to(const Node& node, const Shape& shape);
/// As expand_to, but scalars stay scalars, which elementwise operations take as they are.
Node fit(const Node& node, const Shape& shape);
/// Fails unless the tensor has this rank (or one of a range), naming what it is: "weight".
void want_rank(const Tensor& x, const char* what, int least, int greatest);
void want_defined(const Tensor& x, const char* what);
void want_integers(const Tensor& x, const char* what);
/// Adds axes of size 1 in front until the rank is `rank`.
Node lead(const Node& node, int rank);
/// 0, 1, … along `axis` of a shape whose other axes have size 1, int64.
Node positions(const Size& count, int axis, int rank);
/// One kernel size, stride, … for each of `count` axes; each at least `least`.
std::vector<std::int64_t> each_axis(const Spatial& values, int count, const char* what,
                                    std::int64_t least);

// ---- pieces of several calls --------------------------------------------------------------------

/// Reduces axes and drops them unless `keepdim`; axes of size 1 cost nothing.
Node reduce_axes(ReduceOp op, const Node& node, const std::vector<int>& axes, bool keepdim);
Node logical_not(const Node& condition);
Node equal(const Node& a, const Node& b);
Node smaller(const Node& a, const Node& b);  // minimum; NaN where either is
/// The lowest value of a dtype as a constant: -inf for floating point.
Node lowest(DType dtype);
Node highest(DType dtype);
/// node with `before` and `after` elements of `value` along an axis; negative ones cut.
Node pad_axis(const Node& node, int axis, const Size& before, const Size& after,
              const Node& value = {});
/// begin … end - 1 of an axis.
Node cut(const Node& node, int axis, const Size& begin, const Size& end);
/// `count` windows of `size` elements that are `dilation` apart, one every `stride`: the axis
/// counts windows and a new last axis runs inside them. Views only.
Node windows(const Node& node, int axis, const Size& count, std::int64_t size, std::int64_t stride,
             std::int64_t dilation);
/// The axis with stride - 1 zeros between its elements.
Node spread(const Node& node, int axis, std::int64_t stride);
/// `count` elements of an endlessly repeated axis, from `start` >= 0 on.
Node cyclic(const Node& node, int axis, std::int64_t start, std::int64_t count);
/// Elements of `node` at positions along an axis: `index` is a vector (any shape: replaces the axis
/// by its axes). With `gate` positions outside give 0.
Node take_axis(const Node& node, int axis, const Node& index, bool gate);
/// A buffer of its own with the node's values, to store into.
Node stored(const Node& node);

}  // namespace brisk
