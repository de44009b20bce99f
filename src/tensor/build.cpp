// Axes, broadcasting, promotion and constants on nodes.
#include "tensor/build.h"

#include <algorithm>
#include <limits>

#include "tensor/accumulator.h"

namespace brisk {

// ---- dtypes -------------------------------------------------------------------------------------

namespace {

int kind(DType dtype) { return is_float(dtype) ? 2 : is_bool(dtype) ? 0 : 1; }

DType combine(DType higher, DType lower) {
  if (higher == DType::none) return lower;
  if (lower == DType::none) return higher;
  return kind(lower) > kind(higher) ? promote(higher, lower) : higher;
}

}  // namespace

DType result_type(std::initializer_list<const Tensor*> tensors) {
  DType level[3] = {DType::none, DType::none, DType::none};  // with axes, without, numbers
  for (const Tensor* tensor : tensors) {
    if (!tensor->defined()) continue;
    DType& own = level[tensor->state()->number ? 2 : tensor->rank() == 0 ? 1 : 0];
    own = own == DType::none ? tensor->dtype() : promote(own, tensor->dtype());
  }
  return combine(combine(level[0], level[1]), level[2]);
}

Node to_dtype(const Node& node, DType dtype) {
  if (!node.is_constant()) return cast(node, dtype);
  if (is_float(node.dtype())) {
    const double value = node.float_value();
    if (is_bool(dtype)) return constant_int(value != 0, dtype);
    return is_float(dtype) || (value > -9.2e18 && value < 9.2e18) ? constant_like(value, dtype)
                                                                  : cast(node, dtype);
  }
  return is_float(dtype) ? constant_float(node.float_value(), dtype)
                         : constant_int(node.int_value(), dtype);
}

DType compute_dtype(DType dtype) {
  return dtype == DType::float64 ? DType::float64 : DType::float32;
}
DType float_result(DType dtype) { return is_float(dtype) ? dtype : DType::float32; }

Tensor widen(const Tensor& x) {
  const Node node = node_of(x);
  const DType dtype = compute_dtype(x.dtype());
  return node.dtype() == dtype ? x : tensor_of(to_dtype(node, dtype));
}

Tensor constant_of(double value, const Tensor& like) {
  return tensor_of(constant_like(value, like.dtype()));
}

// ---- shapes -------------------------------------------------------------------------------------

int axis_of(int axis, int rank) {
  const int span = std::max(rank, 1);
  if (axis < -span || axis >= span) {
    call_error("axis {} is outside a tensor of rank {}: wants {} to {}", axis, rank, -span,
               span - 1);
  }
  return axis < 0 ? axis + span : axis;
}

std::vector<int> axes_of(const Axes& axes, int rank) {
  std::vector<int> result;
  if (rank == 0) {
    for (const int axis : axes) axis_of(axis, rank);
    return result;
  }
  if (axes.empty()) {
    for (int i = 0; i < rank; ++i) result.push_back(i);
    return result;
  }
  for (const int axis : axes) result.push_back(axis_of(axis, rank));
  std::sort(result.begin(), result.end());
  const auto twice = std::adjacent_find(result.begin(), result.end());
  if (twice != result.end()) call_error("axis {} appears twice", *twice);
  return result;
}

std::int64_t fixed(const Size& size) {
  if (!size.is_constant()) {
    call_error("wants sizes known before run time, got {}", to_string(size));
  }
  return size.value();
}

std::vector<std::int64_t> fixed_shape(const Tensor& x) {
  std::vector<std::int64_t> shape;
  const Node node = node_of(x);
  for (const Size& size : node.shape()) shape.push_back(fixed(size));
  return shape;
}

Shape broadcast_shape(const Shape& a, const Shape& b) {
  const bool longer = a.size() >= b.size();
  Shape result = longer ? a : b;
  const Shape& other = longer ? b : a;
  const std::size_t offset = result.size() - other.size();
  for (std::size_t i = 0; i < other.size(); ++i) {
    Size& size = result[offset + i];
    if (size == other[i] || other[i] == Size(1)) continue;
    if (size != Size(1)) {
      call_error("shapes {} and {} do not broadcast: sizes {} and {} differ and neither is 1",
                 to_string(a), to_string(b), to_string(longer ? size : other[i]),
                 to_string(longer ? other[i] : size));
    }
    size = other[i];
  }
  return result;
}

Node lead(const Node& node, int rank) {
  if (node.rank() >= rank) return node;
  Shape shape(rank - node.rank(), Size(1));
  shape.insert(shape.end(), node.shape().begin(), node.shape().end());
  return reshape(node, std::move(shape));
}

Node expand_to(const Node& node, const Shape& shape) {
  return expand(lead(node, static_cast<int>(shape.size())), shape);
}

Node fit(const Node& node, const Shape& shape) {
  return node.rank() == 0 ? node : expand_to(node, shape);
}

void want_defined(const Tensor& x, const char* what) {
  if (!x.defined()) call_error("{} is undefined", what);
}

void want_rank(const Tensor& x, const char* what, int least, int greatest) {
  want_defined(x, what);
  if (x.rank() >= least && x.rank() <= greatest) return;
  const std::string wanted = least == greatest ? fmt::format("{}", least)
                             : greatest > 99   ? fmt::format("at least {}", least)
                                               : fmt::format("{} to {}", least, greatest);
  call_error("wants {} of rank {}, got shape {}", what, wanted, to_string(x.dims()));
}

void want_integers(const Tensor& x, const char* what) {
  want_defined(x, what);
  if (!is_integer(x.dtype())) call_error("wants integers as {}, got {}", what, name(x.dtype()));
}

Node positions(const Size& count, int axis, int rank) {
  Shape shape(rank, Size(1));
  shape[axis] = count;
  return reshape(iota(count), std::move(shape));
}

std::vector<std::int64_t> each_axis(const Spatial& values, int count, const char* what,
                                    std::int64_t least) {
  std::vector<std::int64_t> each = values;
  if (each.size() == 1) each.resize(count, each[0]);
  if (each.size() != static_cast<std::size_t>(count)) {
    call_error("wants one {} or {}, got {}", what, count, each.size());
  }
  for (const std::int64_t value : each) {
    if (value < least) call_error("wants a {} of at least {}, got {}", what, least, value);
  }
  return each;
}

// ---- pieces of several calls --------------------------------------------------------------------

Node reduce_axes(ReduceOp op, const Node& node, const std::vector<int>& axes, bool keepdim) {
  std::vector<int> real;
  for (const int axis : axes) {
    if (node.shape()[axis] != Size(1)) real.push_back(axis);
  }
  Node result = real.empty() ? node : reduce(op, node, real);
  if (keepdim) return result;
  Shape shape;
  for (int i = 0; i < node.rank(); ++i) {
    if (std::find(axes.begin(), axes.end(), i) == axes.end()) shape.push_back(node.shape()[i]);
  }
  return reshape(result, std::move(shape));
}

Node logical_not(const Node& condition) {
  return cmpne(condition, constant_int(1, DType::boolean));
}
Node equal(const Node& a, const Node& b) { return logical_not(cmpne(a, b)); }

// Of floats -max(-a, -b), of integers the same with the order-reversing bit complement, which has
// no overflow.
Node smaller(const Node& a, const Node& b) {
  const DType dtype = a.dtype();
  if (is_bool(dtype)) return mul(a, b);
  const Node minus = is_float(dtype) ? constant_like(-1, dtype) : constant_int(-1, dtype);
  const auto turn = [&](const Node& x) {
    if (x.is_constant()) {
      return is_float(dtype) ? constant_float(-x.float_value(), dtype)
                             : constant_int(~x.int_value(), dtype);
    }
    return is_float(dtype) ? mul(x, minus) : bit_xor(x, minus);
  };
  return turn(max(turn(a), turn(b)));
}

Node lowest(DType dtype) {
  if (dtype == DType::float8_e4m3) return constant_float(-448, dtype);
  if (is_float(dtype)) return constant_float(-std::numeric_limits<double>::infinity(), dtype);
  return constant_int(min_value(dtype), dtype);
}

Node highest(DType dtype) {
  if (dtype == DType::float8_e4m3) return constant_float(448, dtype);
  if (is_float(dtype)) return constant_float(std::numeric_limits<double>::infinity(), dtype);
  return constant_int(dtype == DType::uint64 ? -1 : max_value(dtype), dtype);
}

Node cut(const Node& node, int axis, const Size& begin, const Size& end) {
  Shape box;
  for (int i = 0; i < node.rank(); ++i) {
    box.push_back(i == axis ? begin : Size(0));
    box.push_back(i == axis ? end : node.shape()[i]);
  }
  return shrink(node, std::move(box));
}

Node pad_axis(const Node& node, int axis, const Size& before, const Size& after,
              const Node& value) {
  const Size& size = node.shape()[axis];
  const auto negative = [](const Size& s) { return s.is_constant() && s.value() < 0; };
  const Size cut_front = negative(before) ? Size(-before.value()) : Size(0);
  const Size cut_back = negative(after) ? Size(-after.value()) : Size(0);
  const Size front = negative(before) ? Size(0) : before;
  const Size back = negative(after) ? Size(0) : after;
  const Node inner = cut(node, axis, cut_front, size - cut_back);
  Shape box(2 * node.rank(), Size(0));
  box[2 * axis] = front;
  box[2 * axis + 1] = back;
  Node padded = pad(inner, std::move(box));
  if (!value || value.is_constant(0) || padded == inner) return padded;
  // Where the padding is: outside front … front + length - 1.
  const Size length = inner.shape()[axis];
  const Node at = positions(padded.shape()[axis], axis, node.rank());
  Node inside;
  if (front != Size(0)) inside = cmplt((front - Size(1)).node(), at);
  if (back != Size(0)) {
    const Node below = cmplt(at, (front + length).node());
    inside = inside ? bit_and(inside, below) : below;
  }
  return where(fit(inside, padded.shape()), padded, value);
}

namespace {

// The gradient of windows is a sum over their elements, each put where the windows read it. Of
// every `stride` places each is read by an element of its own: so many elements are put at once.
struct WindowsRule : GradientRule {
  int axis;
  std::int64_t stride;
  std::int64_t dilation;

  std::vector<Node> operator()(const Node& node, const Node& g) const override {
    const std::int64_t have = fixed(node.src(1).shape()[axis]);
    // Elements that lie further apart than windows begin: those read at one place differ.
    const bool apart = stride > 1 && dilation > 1;
    const Node windows = apart ? spread(g, axis, stride) : g;
    const std::int64_t phases = apart ? 1 : stride;
    const std::int64_t places = (have + phases - 1) / phases;
    const int last = g.rank() - 1;
    const std::int64_t size = fixed(g.shape()[last]);
    const std::int64_t count = fixed(windows.shape()[axis]);
    Node sum;
    for (std::int64_t k = 0; k < size; k += phases) {
      const Node own = pad_axis(cut(windows, last, k, std::min(size, k + phases)), last, 0,
                                std::max<std::int64_t>(k + phases - size, 0));
      const std::int64_t shift = k / phases * dilation;
      const Node part = pad_axis(own, axis, shift, places - shift - count);
      sum = sum ? add(sum, part) : part;
    }
    std::vector<int> order;
    for (int i = 0; i < last; ++i) {
      order.push_back(i);
      if (i == axis) order.push_back(last);
    }
    Shape joint(sum.shape().begin(), sum.shape().end() - 1);
    joint[axis] = places * phases;
    return {cut(reshape(permute(sum, std::move(order)), std::move(joint)), axis, 0, have)};
  }
};

// Windows up to this size have the gradient above; that of larger ones is their views'.
constexpr std::int64_t largest_sum = 16;

Node views_of_windows(const Node& node, int axis, const Size& count, std::int64_t size,
                      std::int64_t stride, std::int64_t dilation);

}  // namespace

Node windows(const Node& node, int axis, const Size& count, std::int64_t size, std::int64_t stride,
             std::int64_t dilation) {
  Node view = views_of_windows(untracked(node), axis, count, size, stride, dilation);
  if (!node.requires_grad()) return view;
  const bool overlap = dilation > 1 || size > stride;
  if (count.lower() < 1 || !overlap || size > largest_sum) {
    return views_of_windows(node, axis, count, size, stride, dilation);
  }
  auto rule = std::make_shared<WindowsRule>();
  rule->axis = axis;
  rule->stride = stride;
  rule->dilation = dilation;
  return with_gradient(view, {node}, std::move(rule));
}

namespace {

Node views_of_windows(const Node& node, int axis, const Size& count, std::int64_t size,
                      std::int64_t stride, std::int64_t dilation) {
  const Size length = node.shape()[axis];
  // The shape with this axis replaced by others, and a last axis moved behind all.
  const auto replaced = [&](std::initializer_list<Size> sizes) {
    Shape shape(node.shape().begin(), node.shape().begin() + axis);
    shape.insert(shape.end(), sizes.begin(), sizes.end());
    shape.insert(shape.end(), node.shape().begin() + axis + 1, node.shape().end());
    return shape;
  };
  const auto to_last = [](const Node& x, int from) {
    std::vector<int> order;
    for (int i = 0; i < x.rank(); ++i) {
      if (i != from) order.push_back(i);
    }
    order.push_back(from);
    return permute(x, std::move(order));
  };
  if (size == 1 && stride == 1) {
    return to_last(reshape(cut(node, axis, 0, count), replaced({count, 1})), axis + 1);
  }
  if (dilation == 1 && size <= stride) {  // windows that do not overlap
    // Behind the last window there may be too few elements for its stride.
    const Size wanted = count * stride;
    const bool inside = wanted.is_constant() ? wanted.value() <= length.lower() : size == stride;
    const Node whole = inside ? cut(node, axis, 0, wanted)
                       : wanted.is_constant()
                           ? pad_axis(node, axis, 0, wanted - length)
                           : cut(pad_axis(node, axis, 0, stride - size), axis, 0, wanted);
    return to_last(cut(reshape(whole, replaced({count, stride})), axis + 1, 0, size), axis + 1);
  }
  // Row k of the repeated axis, cut into rows of length f·L + dilation, starts at k·dilation (mod
  // L); f is such that a row holds count·stride elements.
  const Size span = count * stride;
  std::int64_t fold = 1;
  if (span.is_constant()) {
    const std::int64_t have = fixed(length);
    fold = std::max<std::int64_t>(1, (span.value() - dilation + have - 1) / have);
  } else if (stride > dilation * size) {
    call_error("wants strides of at most {} where sizes depend on variables, got {}",
               dilation * size, stride);
  }
  const Size row = length * fold + dilation;
  const std::int64_t least = std::max<std::int64_t>(length.lower(), 1);
  const std::int64_t repeats = size * fold + (size * dilation + least - 1) / least;
  Node x = expand(reshape(node, replaced({1, length})), replaced({repeats, length}));
  x = cut(reshape(x, replaced({length * repeats})), axis, 0, row * size);
  x = cut(reshape(x, replaced({size, row})), axis + 1, 0, span);
  if (stride > 1) {
    x = cut(reshape(x, replaced({size, count, stride})), axis + 2, 0, 1);
    x = reshape(x, replaced({size, count}));
  }
  return to_last(x, axis);
}

}  // namespace

Node cyclic(const Node& node, int axis, std::int64_t start, std::int64_t count) {
  const std::int64_t have = fixed(node.shape()[axis]);
  const std::int64_t repeats = (start + count + have - 1) / have;
  Shape shape = node.shape();
  shape.insert(shape.begin() + axis, Size(1));
  Node x = reshape(node, shape);
  shape[axis] = repeats;
  x = expand(x, shape);
  shape.erase(shape.begin() + axis);
  shape[axis] = repeats * have;
  return cut(reshape(x, std::move(shape)), axis, start, start + count);
}

Node take_axis(const Node& node, int axis, const Node& index, bool gate) {
  const Shape& from = node.shape();
  Shape shape(from.begin(), from.begin() + axis);
  shape.insert(shape.end(), index.shape().begin(), index.shape().end());
  shape.insert(shape.end(), from.begin() + axis + 1, from.end());
  Size inner = 1;
  for (int i = axis + 1; i < node.rank(); ++i) inner = inner * from[i];
  Size outer = 1;
  for (int i = 0; i < axis; ++i) outer = outer * from[i];
  const Node at = to_dtype(index, DType::int64);
  // [outer, index…, inner] as three axes.
  const Size count = element_count(index.shape());
  const Node flat_at = reshape(at, {1, count, 1});
  const Shape cube = {outer, count, inner};
  Node flat = expand(inner == Size(1) ? flat_at : mul(flat_at, inner.node()), cube);
  if (inner != Size(1)) flat = add(flat, expand(positions(inner, 2, 3), cube));
  if (outer != Size(1)) {
    const Size stride = from[axis] * inner;
    flat = add(flat, expand(mul(positions(outer, 0, 3), stride.node()), cube));
  }
  Node inside;
  if (gate) {  // as unsigned, negative positions are large
    inside = cmplt(cast(flat_at, DType::uint64), to_dtype(from[axis].node(), DType::uint64));
    inside = expand(inside, cube);
  }
  return reshape(load(node, flat, inside), std::move(shape));
}

Node spread(const Node& node, int axis, std::int64_t stride) {
  if (stride == 1) return node;
  Shape apart = node.shape();
  apart.insert(apart.begin() + axis + 1, Size(1));
  Shape joint = node.shape();
  joint[axis] = joint[axis] * Size(stride);
  const Node padded = pad_axis(reshape(node, std::move(apart)), axis + 1, 0, stride - 1);
  return cut(reshape(padded, joint), axis, 0, joint[axis] - Size(stride - 1));
}

Node stored(const Node& node) { return store(buffer(node.dtype(), node.shape(), nullptr), node); }

}  // namespace brisk
