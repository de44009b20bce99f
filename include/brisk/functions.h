// Functions of tensors, under PyTorch's names (NumPy's where PyTorch has none). The ones whose
// first argument is "the tensor" are methods too. brisk/functional.h has the functions of neural
// networks, brisk/create.h those that make tensors.
#pragma once

#include <span>
#include <string>
#include <vector>

#include "brisk/dim.h"
#include "brisk/dtype.h"

namespace brisk {

class Tensor;
struct ValuesIndices;

// ---- elementwise, one operand -------------------------------------------------------------------

// Floating-point results: integers and bool count as float32. Accuracy in float32, against the
// exact value: a few ulp, also near the zeros of log1p, expm1, asinh, atanh, erf, tan; exp and what
// is made of it lose |x| / 2 ulp more, since x·log2(e) is rounded; cos is within 3e-7 absolute.

Tensor neg(const Tensor& x);  // bool: UserError
Tensor abs(const Tensor& x);
Tensor sign(const Tensor& x);  // of NaN: 0, as PyTorch
Tensor square(const Tensor& x);
Tensor reciprocal(const Tensor& x);
Tensor sqrt(const Tensor& x);
Tensor rsqrt(const Tensor& x);
Tensor exp(const Tensor& x);
Tensor exp2(const Tensor& x);
Tensor expm1(const Tensor& x);
Tensor log(const Tensor& x);
Tensor log2(const Tensor& x);
Tensor log10(const Tensor& x);
Tensor log1p(const Tensor& x);
Tensor sin(const Tensor& x);
Tensor cos(const Tensor& x);
Tensor tan(const Tensor& x);
Tensor asin(const Tensor& x);
Tensor acos(const Tensor& x);
Tensor atan(const Tensor& x);
Tensor sinh(const Tensor& x);
Tensor cosh(const Tensor& x);
Tensor tanh(const Tensor& x);
Tensor asinh(const Tensor& x);
Tensor acosh(const Tensor& x);
Tensor atanh(const Tensor& x);
Tensor erf(const Tensor& x);
Tensor erfc(const Tensor& x);
Tensor floor(const Tensor& x);  // integers: x
Tensor ceil(const Tensor& x);
Tensor round(const Tensor& x);  // half to even
Tensor trunc(const Tensor& x);
Tensor frac(const Tensor& x);  // x - trunc(x)
Tensor isnan(const Tensor& x);
Tensor isinf(const Tensor& x);
Tensor isfinite(const Tensor& x);
Tensor logical_not(const Tensor& x);
Tensor bitwise_not(const Tensor& x);
Tensor sigmoid(const Tensor& x);
Tensor logit(const Tensor& x);
Tensor relu(const Tensor& x);
Tensor cast(const Tensor& x, DType dtype);
/// The same bits under a dtype of the same size.
Tensor bitcast(const Tensor& x, DType dtype);

// ---- elementwise, several operands (broadcast, promoted) ----------------------------------------

Tensor add(const Tensor& a, const Tensor& b);
Tensor sub(const Tensor& a, const Tensor& b);
Tensor mul(const Tensor& a, const Tensor& b);
Tensor div(const Tensor& a, const Tensor& b);           // true division: integers give float32
Tensor floor_divide(const Tensor& a, const Tensor& b);  // toward minus infinity; integer x / 0 = 0
Tensor fmod(const Tensor& a, const Tensor& b);          // sign of the dividend
Tensor remainder(const Tensor& a, const Tensor& b);     // sign of the divisor
Tensor pow(const Tensor& a, const Tensor& b);
Tensor maximum(const Tensor& a, const Tensor& b);  // NaN where either is
Tensor minimum(const Tensor& a, const Tensor& b);
Tensor fmax(const Tensor& a, const Tensor& b);  // the other where one is NaN
Tensor fmin(const Tensor& a, const Tensor& b);
Tensor atan2(const Tensor& y, const Tensor& x);
Tensor hypot(const Tensor& a, const Tensor& b);
Tensor logaddexp(const Tensor& a, const Tensor& b);
Tensor eq(const Tensor& a, const Tensor& b);  // comparisons give bool
Tensor ne(const Tensor& a, const Tensor& b);
Tensor lt(const Tensor& a, const Tensor& b);
Tensor le(const Tensor& a, const Tensor& b);
Tensor gt(const Tensor& a, const Tensor& b);
Tensor ge(const Tensor& a, const Tensor& b);
Tensor logical_and(const Tensor& a, const Tensor& b);  // any dtype: 0 is false
Tensor logical_or(const Tensor& a, const Tensor& b);
Tensor logical_xor(const Tensor& a, const Tensor& b);
Tensor bitwise_and(const Tensor& a, const Tensor& b);  // integers and bool
Tensor bitwise_or(const Tensor& a, const Tensor& b);
Tensor bitwise_xor(const Tensor& a, const Tensor& b);
Tensor bitwise_left_shift(const Tensor& a, const Tensor& b);
Tensor bitwise_right_shift(const Tensor& a, const Tensor& b);
Tensor where(const Tensor& condition, const Tensor& a, const Tensor& b);
Tensor clamp(const Tensor& x, const Tensor& least, const Tensor& greatest);  // undefined: no bound
Tensor lerp(const Tensor& start, const Tensor& end, const Tensor& weight);
Tensor nan_to_num(const Tensor& x, double nan = 0);  // infinities: the dtype's finite ends
Tensor isclose(const Tensor& a, const Tensor& b, double rtol = 1e-5, double atol = 1e-8);
/// True where both have one shape and every element is close; computes.
bool allclose(const Tensor& a, const Tensor& b, double rtol = 1e-5, double atol = 1e-8);

// ---- reductions; no axes: over all --------------------------------------------------------------

/// Integers: in int64. With a dtype, x is converted to it first and summed in it.
Tensor sum(const Tensor& x, const Axes& axes = {}, bool keepdim = false, DType dtype = DType::none);
Tensor mean(const Tensor& x, const Axes& axes = {}, bool keepdim = false);  // floating point
Tensor prod(const Tensor& x, const Axes& axes = {}, bool keepdim = false);  // integers: in int64
Tensor amax(const Tensor& x, const Axes& axes = {}, bool keepdim = false);  // NaN wins
Tensor amin(const Tensor& x, const Axes& axes = {}, bool keepdim = false);
Tensor any(const Tensor& x, const Axes& axes = {}, bool keepdim = false);
Tensor all(const Tensor& x, const Axes& axes = {}, bool keepdim = false);
/// Of the greatest value (the first NaN, if any; the first of equals), int64. Without an axis: of
/// the flattened tensor.
Tensor argmax(const Tensor& x);
Tensor argmax(const Tensor& x, int axis, bool keepdim = false);
Tensor argmin(const Tensor& x);
Tensor argmin(const Tensor& x, int axis, bool keepdim = false);
Tensor max(const Tensor& x);
Tensor min(const Tensor& x);
ValuesIndices max(const Tensor& x, int axis, bool keepdim = false);
ValuesIndices min(const Tensor& x, int axis, bool keepdim = false);
/// Sum of squared deviations over (count - correction).
Tensor var(const Tensor& x, const Axes& axes = {}, int correction = 1, bool keepdim = false);
Tensor std(const Tensor& x, const Axes& axes = {}, int correction = 1, bool keepdim = false);
Tensor logsumexp(const Tensor& x, const Axes& axes = {}, bool keepdim = false);
/// (sum |x|^p)^(1/p); p may be infinity, 0 counts the elements that are not zero.
Tensor norm(const Tensor& x, double p = 2, const Axes& axes = {}, bool keepdim = false);
Tensor count_nonzero(const Tensor& x, const Axes& axes = {});
Tensor cumsum(const Tensor& x, int axis);  // integers: in int64
Tensor cumprod(const Tensor& x, int axis);
ValuesIndices cummax(const Tensor& x, int axis);  // of equals the last, as PyTorch
ValuesIndices cummin(const Tensor& x, int axis);
Tensor logcumsumexp(const Tensor& x, int axis);
Tensor nansum(const Tensor& x, const Axes& axes = {}, bool keepdim = false);  // without the NaN
Tensor nanmean(const Tensor& x, const Axes& axes = {}, bool keepdim = false);
/// The middle value, the lower one of two; NaN where there is one. Along an axis.
ValuesIndices median(const Tensor& x, int axis, bool keepdim = false);
/// Differences of neighbours along an axis.
Tensor diff(const Tensor& x, int axis = -1);
Tensor cosine_similarity(const Tensor& a, const Tensor& b, int axis = 1, double eps = 1e-8);
Tensor softmax(const Tensor& x, int axis);
Tensor log_softmax(const Tensor& x, int axis);

// ---- movement -----------------------------------------------------------------------------------

Tensor reshape(const Tensor& x, const Dims& shape);  // one -1: what is left
Tensor permute(const Tensor& x, const Axes& axes);
Tensor transpose(const Tensor& x, int a, int b);
Tensor movedim(const Tensor& x, int from, int to);
Tensor squeeze(const Tensor& x, const Axes& axes = {});  // axes of another size stay
Tensor unsqueeze(const Tensor& x, int axis);
Tensor flatten(const Tensor& x, int first = 0, int last = -1);
Tensor unflatten(const Tensor& x, int axis, const Dims& sizes);
Tensor expand(const Tensor& x, const Dims& shape);  // -1: as it is
Tensor broadcast_to(const Tensor& x, const Dims& shape);
std::vector<Tensor> broadcast_tensors(const std::vector<Tensor>& tensors);
Tensor slice(const Tensor& x, int axis, const Slice& slice);
/// `length` elements from `start` on, along one axis.
Tensor narrow(const Tensor& x, int axis, const Dim& start, const Dim& length);
Tensor select(const Tensor& x, int axis, const Dim& position);  // negative: from the end
Tensor flip(const Tensor& x, const Axes& axes);
Tensor roll(const Tensor& x, const std::vector<std::int64_t>& shifts, const Axes& axes);
Tensor cat(const std::vector<Tensor>& tensors, int axis = 0);
Tensor stack(const std::vector<Tensor>& tensors, int axis = 0);
std::vector<Tensor> split(const Tensor& x, std::int64_t size, int axis = 0);
std::vector<Tensor> split(const Tensor& x, const std::vector<std::int64_t>& sizes, int axis = 0);
std::vector<Tensor> chunk(const Tensor& x, int count, int axis = 0);
std::vector<Tensor> unbind(const Tensor& x, int axis = 0);
enum class PadMode { constant, reflect, replicate, circular };
/// `sizes` = before and after of the last axis, then of the one before it, … (PyTorch's order);
/// negative ones cut. `value` is for PadMode::constant.
Tensor pad(const Tensor& x, const std::vector<std::int64_t>& sizes,
           PadMode mode = PadMode::constant, double value = 0);
Tensor tile(const Tensor& x, const std::vector<std::int64_t>& repeats);
Tensor repeat(const Tensor& x,
              const std::vector<std::int64_t>& repeats);  // tile, rank at least x's
Tensor repeat_interleave(const Tensor& x, std::int64_t repeats, int axis);
/// Windows of `size` every `step`: that axis counts windows, a new last axis runs inside one.
Tensor unfold(const Tensor& x, int axis, std::int64_t size, std::int64_t step);
Tensor tril(const Tensor& x, std::int64_t diagonal = 0);
Tensor triu(const Tensor& x, std::int64_t diagonal = 0);
Tensor trace(const Tensor& x);  // of a matrix
Tensor diag(const Tensor& x);   // a vector on a diagonal; a matrix's diagonal
Tensor diagonal(const Tensor& x, std::int64_t offset = 0, int axis0 = 0, int axis1 = 1);
std::vector<Tensor> meshgrid(const std::vector<Tensor>& axes, const std::string& indexing = "ij");
Tensor pixel_shuffle(const Tensor& x, std::int64_t factor);
Tensor pixel_unshuffle(const Tensor& x, std::int64_t factor);

// ---- indexing. Indices are integers; negative ones count from the end where PyTorch's do --------

Tensor gather(const Tensor& x, int axis, const Tensor& index);
Tensor scatter(const Tensor& x, int axis, const Tensor& index, const Tensor& source);
Tensor scatter_add(const Tensor& x, int axis, const Tensor& index, const Tensor& source);
enum class ScatterReduce { sum, prod, mean, amax, amin };
Tensor scatter_reduce(const Tensor& x, int axis, const Tensor& index, const Tensor& source,
                      ScatterReduce reduce, bool include_self = true);
Tensor index_select(const Tensor& x, int axis, const Tensor& index);
Tensor index_add(const Tensor& x, int axis, const Tensor& index, const Tensor& source);
Tensor take(const Tensor& x, const Tensor& index);                       // of the flattened tensor
Tensor take_along_axis(const Tensor& x, const Tensor& index, int axis);  // gather, broadcast
Tensor masked_fill(const Tensor& x, const Tensor& mask, const Tensor& value);
/// The elements where the mask holds, in row-major order. The result's size depends on the data:
/// the mask is computed at the call.
Tensor masked_select(const Tensor& x, const Tensor& mask);
/// Positions of the elements that are not zero, one row each: [count, rank], int64. Computes x at
/// the call, since the result's size depends on the data.
Tensor nonzero(const Tensor& x);
Tensor one_hot(const Tensor& index, std::int64_t classes);  // int64
Tensor embedding(const Tensor& index, const Tensor& table);

// ---- order. NaN counts as the greatest value, as in PyTorch -------------------------------------

/// Stable: equal values keep their order.
ValuesIndices sort(const Tensor& x, int axis = -1, bool descending = false);
Tensor argsort(const Tensor& x, int axis = -1, bool descending = false);
/// In order of value; of equals the first ones.
ValuesIndices topk(const Tensor& x, std::int64_t k, int axis = -1, bool largest = true);

// ---- products -----------------------------------------------------------------------------------

// Narrow floats are multiplied and summed in float32, integers in their own dtype.

Tensor matmul(const Tensor& a, const Tensor& b);  // every pair of ranks that torch.matmul takes
Tensor dot(const Tensor& a, const Tensor& b);
Tensor bmm(const Tensor& a, const Tensor& b);                  // rank 3
Tensor tensordot(const Tensor& a, const Tensor& b, int axes);  // a's last axes with b's first
Tensor outer(const Tensor& a, const Tensor& b);
/// Any number of operands, implicit or explicit output, repeated letters, "...".
Tensor einsum(const std::string& equation, const std::vector<Tensor>& operands);

}  // namespace brisk
