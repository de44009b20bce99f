// Tensor: a lazy array. A call only extends a graph; realize(), item() and to_vector() compute it,
// all that is needed of it at once. Names and meanings are PyTorch's (https://docs.pytorch.org)
// where it has the function, NumPy's otherwise.
//
// Shapes: operands broadcast as in NumPy. Dtypes: promotion is PyTorch's; a C++ number counts as a
// Python number, so `x + 1` and `x * 0.5` never widen a floating-point x. Functions of
// floating-point values take integers as float32, and compute float16, bfloat16 and float8 in
// float32, rounding once at the end. Errors: UserError that names the call, what it got and what it
// wants.
#pragma once

#include <cstddef>
#include <type_traits>
#include <variant>

#include "brisk/functions.h"

namespace brisk {

struct TensorState;
struct Index;

/// Handle on a lazy array: cheap to copy, and copies share the result once one of them is realized.
/// A default one is undefined, which stands for "not given" in optional arguments.
class Tensor {
 public:
  Tensor() = default;
  /// A number without axes that takes the dtype of what it meets (PyTorch's "wrapped number").
  template <typename T>
  requires std::is_arithmetic_v<T> Tensor(T value)  // NOLINT: implicit on purpose
      : Tensor(from_number(static_cast<double>(value),
                           std::is_floating_point_v<T> ? 0 : static_cast<std::int64_t>(value),
                           std::is_same_v<T, bool>       ? DType::boolean
                           : std::is_floating_point_v<T> ? DType::float32
                                                         : DType::int64)) {}
  explicit Tensor(std::shared_ptr<TensorState> state) : state_(std::move(state)) {}

  bool defined() const { return state_ != nullptr; }
  DType dtype() const;
  int rank() const;
  int dim() const { return rank(); }
  Dims dims() const;
  /// The shape as numbers; UserError where a size depends on variables.
  std::vector<std::int64_t> shape() const;
  Dim size(int axis) const;
  Dim numel() const;
  const std::shared_ptr<TensorState>& state() const { return state_; }

  // -- computing ----------------------------------------------------------------------------------

  /// Computes this tensor and keeps it stored; `bound` gives the values of the sizes' variables.
  const Tensor& realize(const Bound& bound = {}) const;
  bool is_realized() const;
  /// Overwrites the memory of this realized tensor; what reads it later sees the new values.
  void copy_from(std::span<const std::byte> bytes);
  /// The only element, converted.
  template <typename T>
  T item(const Bound& bound = {}) const;
  /// All elements in row-major order, converted to T: bool, char, the integers, float, double.
  template <typename T>
  std::vector<T> to_vector(const Bound& bound = {}) const;
  /// The elements' bytes in row-major order, in the tensor's dtype.
  std::vector<std::byte> to_bytes(const Bound& bound = {}) const;
  /// The same values in memory of their own, row-major.
  Tensor contiguous() const;
  /// The same values on another device ("cpu", "cuda:1"; `brisk devices` lists them). What reads
  /// them runs there.
  Tensor to(const std::string& device) const;
  Tensor to(DType dtype) const { return brisk::cast(*this, dtype); }

  // -- indexing -----------------------------------------------------------------------------------

  /// x[{1, Slice{0, 5, 2}, ellipsis, newaxis, rows}]: numbers take one position and drop the axis,
  /// int64 tensors select with broadcasting (side by side their axes come where the first was,
  /// apart first, as NumPy), a bool tensor selects by mask (and is computed at the call).
  Tensor operator[](const std::vector<Index>& index) const;
  Tensor operator[](const Index& index) const;

  // -- in place -----------------------------------------------------------------------------------

  /// x[index] = value, as a new value of this handle and of its copies; what was built from the old
  /// value keeps it. Of several tensors in the index see operator[]; equal positions: the last
  /// wins.
  void set(const std::vector<Index>& index, const Tensor& value);
  /// A tensor on the memory of this one (which must be realized, or the result of store) with the
  /// box from `begin` on replaced by `value`, for caches that are too large to copy. Use the result
  /// in place of this tensor: the memory changes when the result is realized, and what reads this
  /// tensor after that sees the new values.
  Tensor store(const Dims& begin, const Tensor& value) const;
  /// Writes `value` (broadcast and converted) into the memory of this realized tensor, with the
  /// next tensor that this thread realizes; a tensor that is not realized just takes the value
  /// over. For parameters.
  void assign(const Tensor& value);

  // -- gradients (brisk/autograd.h)
  // ----------------------------------------------------------------

  /// Makes this a leaf, whose gradient backward() adds up in grad(): a parameter. Its values stay;
  /// what they were computed from gets no gradient. Floating point only.
  Tensor requires_grad_(bool requires_grad = true) const;  // NOLINT: PyTorch's name
  /// Whether it is a leaf or was computed from one.
  bool requires_grad() const;
  /// Whether nothing before it gets a gradient through it.
  bool is_leaf() const;
  /// Adds the gradient of this tensor, which has one element unless `gradient` is given, to grad()
  /// of all leaves that it depends on. Unless the graph is retained the tensor keeps only its
  /// value.
  void backward(const Tensor& gradient = {}, bool retain_graph = false,
                bool create_graph = false) const;
  /// What backward() gave so far; undefined where it has not. Only of leaves, and after
  /// retain_grad().
  Tensor grad() const;
  void set_grad(const Tensor& gradient) const;
  /// Makes grad() undefined.
  void zero_grad() const;
  /// backward() keeps the gradient of this tensor too, though it is no leaf, as far as it passes
  /// through what is computed from it from now on.
  Tensor retain_grad() const;
  /// The same values, in the same memory, without what they were computed from.
  Tensor detach() const;

  // -- the functions of brisk/functions.h as methods ----------------------------------------------

  Tensor neg() const { return brisk::neg(*this); }
  Tensor abs() const { return brisk::abs(*this); }
  Tensor sign() const { return brisk::sign(*this); }
  Tensor square() const { return brisk::square(*this); }
  Tensor reciprocal() const { return brisk::reciprocal(*this); }
  Tensor sqrt() const { return brisk::sqrt(*this); }
  Tensor rsqrt() const { return brisk::rsqrt(*this); }
  Tensor exp() const { return brisk::exp(*this); }
  Tensor exp2() const { return brisk::exp2(*this); }
  Tensor expm1() const { return brisk::expm1(*this); }
  Tensor log() const { return brisk::log(*this); }
  Tensor log2() const { return brisk::log2(*this); }
  Tensor log10() const { return brisk::log10(*this); }
  Tensor log1p() const { return brisk::log1p(*this); }
  Tensor sin() const { return brisk::sin(*this); }
  Tensor cos() const { return brisk::cos(*this); }
  Tensor tan() const { return brisk::tan(*this); }
  Tensor asin() const { return brisk::asin(*this); }
  Tensor acos() const { return brisk::acos(*this); }
  Tensor atan() const { return brisk::atan(*this); }
  Tensor sinh() const { return brisk::sinh(*this); }
  Tensor cosh() const { return brisk::cosh(*this); }
  Tensor tanh() const { return brisk::tanh(*this); }
  Tensor asinh() const { return brisk::asinh(*this); }
  Tensor acosh() const { return brisk::acosh(*this); }
  Tensor atanh() const { return brisk::atanh(*this); }
  Tensor erf() const { return brisk::erf(*this); }
  Tensor floor() const { return brisk::floor(*this); }
  Tensor ceil() const { return brisk::ceil(*this); }
  Tensor round() const { return brisk::round(*this); }
  Tensor trunc() const { return brisk::trunc(*this); }
  Tensor isnan() const { return brisk::isnan(*this); }
  Tensor isinf() const { return brisk::isinf(*this); }
  Tensor isfinite() const { return brisk::isfinite(*this); }
  Tensor logical_not() const { return brisk::logical_not(*this); }
  Tensor sigmoid() const { return brisk::sigmoid(*this); }
  Tensor relu() const { return brisk::relu(*this); }
  Tensor cast(DType dtype) const { return brisk::cast(*this, dtype); }
  Tensor bitcast(DType dtype) const { return brisk::bitcast(*this, dtype); }

  Tensor add(const Tensor& b) const { return brisk::add(*this, b); }
  Tensor sub(const Tensor& b) const { return brisk::sub(*this, b); }
  Tensor mul(const Tensor& b) const { return brisk::mul(*this, b); }
  Tensor div(const Tensor& b) const { return brisk::div(*this, b); }
  Tensor pow(const Tensor& b) const { return brisk::pow(*this, b); }
  Tensor maximum(const Tensor& b) const { return brisk::maximum(*this, b); }
  Tensor minimum(const Tensor& b) const { return brisk::minimum(*this, b); }
  Tensor eq(const Tensor& b) const { return brisk::eq(*this, b); }
  Tensor ne(const Tensor& b) const { return brisk::ne(*this, b); }
  Tensor lt(const Tensor& b) const { return brisk::lt(*this, b); }
  Tensor le(const Tensor& b) const { return brisk::le(*this, b); }
  Tensor gt(const Tensor& b) const { return brisk::gt(*this, b); }
  Tensor ge(const Tensor& b) const { return brisk::ge(*this, b); }
  Tensor logical_and(const Tensor& b) const { return brisk::logical_and(*this, b); }
  Tensor logical_or(const Tensor& b) const { return brisk::logical_or(*this, b); }
  Tensor clamp(const Tensor& least, const Tensor& greatest) const {
    return brisk::clamp(*this, least, greatest);
  }
  Tensor lerp(const Tensor& end, const Tensor& weight) const {
    return brisk::lerp(*this, end, weight);
  }

  Tensor sum(const Axes& axes = {}, bool keepdim = false, DType dtype = DType::none) const {
    return brisk::sum(*this, axes, keepdim, dtype);
  }
  Tensor mean(const Axes& axes = {}, bool keepdim = false) const {
    return brisk::mean(*this, axes, keepdim);
  }
  Tensor prod(const Axes& axes = {}, bool keepdim = false) const {
    return brisk::prod(*this, axes, keepdim);
  }
  Tensor amax(const Axes& axes = {}, bool keepdim = false) const {
    return brisk::amax(*this, axes, keepdim);
  }
  Tensor amin(const Axes& axes = {}, bool keepdim = false) const {
    return brisk::amin(*this, axes, keepdim);
  }
  Tensor any(const Axes& axes = {}, bool keepdim = false) const {
    return brisk::any(*this, axes, keepdim);
  }
  Tensor all(const Axes& axes = {}, bool keepdim = false) const {
    return brisk::all(*this, axes, keepdim);
  }
  Tensor argmax() const { return brisk::argmax(*this); }
  Tensor argmax(int axis, bool keepdim = false) const {
    return brisk::argmax(*this, axis, keepdim);
  }
  Tensor argmin() const { return brisk::argmin(*this); }
  Tensor argmin(int axis, bool keepdim = false) const {
    return brisk::argmin(*this, axis, keepdim);
  }
  Tensor max() const { return brisk::max(*this); }
  Tensor min() const { return brisk::min(*this); }
  inline ValuesIndices max(int axis, bool keepdim = false) const;
  inline ValuesIndices min(int axis, bool keepdim = false) const;
  Tensor var(const Axes& axes = {}, int correction = 1, bool keepdim = false) const {
    return brisk::var(*this, axes, correction, keepdim);
  }
  Tensor std(const Axes& axes = {}, int correction = 1, bool keepdim = false) const {
    return brisk::std(*this, axes, correction, keepdim);
  }
  Tensor logsumexp(const Axes& axes = {}, bool keepdim = false) const {
    return brisk::logsumexp(*this, axes, keepdim);
  }
  Tensor norm(double p = 2, const Axes& axes = {}, bool keepdim = false) const {
    return brisk::norm(*this, p, axes, keepdim);
  }
  Tensor cumsum(int axis) const { return brisk::cumsum(*this, axis); }
  Tensor cumprod(int axis) const { return brisk::cumprod(*this, axis); }
  inline ValuesIndices cummax(int axis) const;
  inline ValuesIndices cummin(int axis) const;
  Tensor softmax(int axis) const { return brisk::softmax(*this, axis); }
  Tensor log_softmax(int axis) const { return brisk::log_softmax(*this, axis); }

  Tensor reshape(const Dims& shape) const { return brisk::reshape(*this, shape); }
  Tensor view(const Dims& shape) const { return brisk::reshape(*this, shape); }
  Tensor permute(const Axes& axes) const { return brisk::permute(*this, axes); }
  Tensor transpose(int a, int b) const { return brisk::transpose(*this, a, b); }
  Tensor squeeze(const Axes& axes = {}) const { return brisk::squeeze(*this, axes); }
  Tensor unsqueeze(int axis) const { return brisk::unsqueeze(*this, axis); }
  Tensor flatten(int first = 0, int last = -1) const { return brisk::flatten(*this, first, last); }
  Tensor unflatten(int axis, const Dims& sizes) const {
    return brisk::unflatten(*this, axis, sizes);
  }
  Tensor expand(const Dims& shape) const { return brisk::expand(*this, shape); }
  Tensor broadcast_to(const Dims& shape) const { return brisk::broadcast_to(*this, shape); }
  Tensor slice(int axis, const Slice& slice) const { return brisk::slice(*this, axis, slice); }
  Tensor narrow(int axis, const Dim& start, const Dim& length) const {
    return brisk::narrow(*this, axis, start, length);
  }
  Tensor select(int axis, const Dim& position) const {
    return brisk::select(*this, axis, position);
  }
  Tensor flip(const Axes& axes) const { return brisk::flip(*this, axes); }
  Tensor roll(const std::vector<std::int64_t>& shifts, const Axes& axes) const {
    return brisk::roll(*this, shifts, axes);
  }
  std::vector<Tensor> split(std::int64_t size, int axis = 0) const {
    return brisk::split(*this, size, axis);
  }
  std::vector<Tensor> split(const std::vector<std::int64_t>& sizes, int axis = 0) const {
    return brisk::split(*this, sizes, axis);
  }
  std::vector<Tensor> chunk(int count, int axis = 0) const {
    return brisk::chunk(*this, count, axis);
  }
  std::vector<Tensor> unbind(int axis = 0) const { return brisk::unbind(*this, axis); }
  Tensor pad(const std::vector<std::int64_t>& sizes, PadMode mode = PadMode::constant,
             double value = 0) const {
    return brisk::pad(*this, sizes, mode, value);
  }
  Tensor tile(const std::vector<std::int64_t>& repeats) const {
    return brisk::tile(*this, repeats);
  }
  Tensor repeat(const std::vector<std::int64_t>& repeats) const {
    return brisk::repeat(*this, repeats);
  }
  Tensor repeat_interleave(std::int64_t repeats, int axis) const {
    return brisk::repeat_interleave(*this, repeats, axis);
  }
  Tensor unfold(int axis, std::int64_t size, std::int64_t step) const {
    return brisk::unfold(*this, axis, size, step);
  }
  Tensor tril(std::int64_t diagonal = 0) const { return brisk::tril(*this, diagonal); }
  Tensor triu(std::int64_t diagonal = 0) const { return brisk::triu(*this, diagonal); }
  Tensor diagonal(std::int64_t offset = 0, int axis0 = 0, int axis1 = 1) const {
    return brisk::diagonal(*this, offset, axis0, axis1);
  }

  Tensor gather(int axis, const Tensor& index) const { return brisk::gather(*this, axis, index); }
  Tensor scatter(int axis, const Tensor& index, const Tensor& source) const {
    return brisk::scatter(*this, axis, index, source);
  }
  Tensor scatter_add(int axis, const Tensor& index, const Tensor& source) const {
    return brisk::scatter_add(*this, axis, index, source);
  }
  Tensor index_select(int axis, const Tensor& index) const {
    return brisk::index_select(*this, axis, index);
  }
  Tensor take(const Tensor& index) const { return brisk::take(*this, index); }
  Tensor masked_fill(const Tensor& mask, const Tensor& value) const {
    return brisk::masked_fill(*this, mask, value);
  }
  Tensor masked_select(const Tensor& mask) const { return brisk::masked_select(*this, mask); }
  Tensor nonzero() const { return brisk::nonzero(*this); }
  inline ValuesIndices sort(int axis = -1, bool descending = false) const;
  Tensor argsort(int axis = -1, bool descending = false) const {
    return brisk::argsort(*this, axis, descending);
  }
  inline ValuesIndices topk(std::int64_t k, int axis = -1, bool largest = true) const;
  Tensor matmul(const Tensor& b) const { return brisk::matmul(*this, b); }
  Tensor dot(const Tensor& b) const { return brisk::dot(*this, b); }

 private:
  static Tensor from_number(double value, std::int64_t integer, DType dtype);
  std::shared_ptr<TensorState> state_;
};

/// Values found along an axis, with their positions on it (int64).
struct ValuesIndices {
  Tensor values;
  Tensor indices;
};

inline ValuesIndices Tensor::max(int axis, bool keepdim) const {
  return brisk::max(*this, axis, keepdim);
}
inline ValuesIndices Tensor::min(int axis, bool keepdim) const {
  return brisk::min(*this, axis, keepdim);
}
inline ValuesIndices Tensor::cummax(int axis) const { return brisk::cummax(*this, axis); }
inline ValuesIndices Tensor::cummin(int axis) const { return brisk::cummin(*this, axis); }
inline ValuesIndices Tensor::sort(int axis, bool descending) const {
  return brisk::sort(*this, axis, descending);
}
inline ValuesIndices Tensor::topk(std::int64_t k, int axis, bool largest) const {
  return brisk::topk(*this, k, axis, largest);
}

struct Ellipsis {};
struct NewAxis {};
inline constexpr Ellipsis ellipsis;
inline constexpr NewAxis newaxis;

/// One part of x[{…}].
struct Index : std::variant<Dim, Slice, Ellipsis, NewAxis, Tensor> {
  using Base = std::variant<Dim, Slice, Ellipsis, NewAxis, Tensor>;
  Index(int position) : Base(Dim(position)) {}           // NOLINT: implicit on purpose
  Index(std::int64_t position) : Base(Dim(position)) {}  // NOLINT
  Index(const Dim& position) : Base(position) {}         // NOLINT
  Index(const Slice& slice) : Base(slice) {}             // NOLINT
  Index(Ellipsis all) : Base(all) {}                     // NOLINT
  Index(NewAxis axis) : Base(axis) {}                    // NOLINT
  Index(const Tensor& positions) : Base(positions) {}    // NOLINT
};

inline Tensor operator+(const Tensor& a, const Tensor& b) { return add(a, b); }
inline Tensor operator-(const Tensor& a, const Tensor& b) { return sub(a, b); }
inline Tensor operator*(const Tensor& a, const Tensor& b) { return mul(a, b); }
inline Tensor operator/(const Tensor& a, const Tensor& b) { return div(a, b); }
inline Tensor operator%(const Tensor& a, const Tensor& b) { return remainder(a, b); }
inline Tensor operator-(const Tensor& x) { return neg(x); }
inline Tensor operator==(const Tensor& a, const Tensor& b) { return eq(a, b); }
inline Tensor operator!=(const Tensor& a, const Tensor& b) { return ne(a, b); }
inline Tensor operator<(const Tensor& a, const Tensor& b) { return lt(a, b); }
inline Tensor operator<=(const Tensor& a, const Tensor& b) { return le(a, b); }
inline Tensor operator>(const Tensor& a, const Tensor& b) { return gt(a, b); }
inline Tensor operator>=(const Tensor& a, const Tensor& b) { return ge(a, b); }
inline Tensor operator&(const Tensor& a, const Tensor& b) { return bitwise_and(a, b); }
inline Tensor operator|(const Tensor& a, const Tensor& b) { return bitwise_or(a, b); }
inline Tensor operator^(const Tensor& a, const Tensor& b) { return bitwise_xor(a, b); }
inline Tensor operator~(const Tensor& x) { return bitwise_not(x); }
inline Tensor operator<<(const Tensor& a, const Tensor& b) { return bitwise_left_shift(a, b); }
inline Tensor operator>>(const Tensor& a, const Tensor& b) { return bitwise_right_shift(a, b); }
inline Tensor& operator+=(Tensor& a, const Tensor& b) { return a = add(a, b); }
inline Tensor& operator-=(Tensor& a, const Tensor& b) { return a = sub(a, b); }
inline Tensor& operator*=(Tensor& a, const Tensor& b) { return a = mul(a, b); }
inline Tensor& operator/=(Tensor& a, const Tensor& b) { return a = div(a, b); }

/// Computes several tensors at once, sharing what they have in common.
void realize(const std::vector<Tensor>& tensors, const Bound& bound = {});
/// Computes them and leaves the handles as they are: for a graph that runs again and again over
/// inputs that copy_from() and `bound` change.
std::vector<Tensor> compute(const std::vector<Tensor>& tensors, const Bound& bound = {});

}  // namespace brisk
