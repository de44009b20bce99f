// Sorting along an axis. Every element becomes an integer key that orders as PyTorch does (NaN above
// all, -0 equal to 0) with its position below, so that no two are equal and the order is stable. Short
// rows count for each element how many are smaller; long ones go through a bitonic network whose
// stages are views and one selection each (K. Batcher, "Sorting networks and their applications",
// 1968; in the form whose first step of a merge mirrors, so that all comparisons point one way).

#include "brisk/create.h"
#include "tensor/build.h"

namespace brisk {

namespace {

constexpr std::int64_t counting_limit = 512;

// Keys along the last axis: one array where key and position fit 64 bits, else two, compared in order.
struct Keys {
  Node key;
  Node position;  // empty: in the low 32 bits of the key
};

// Integers that order as the floats do, of the floats' size.
Node float_key(const Node& x) {
  const bool wide = x.dtype() == DType::float64;
  const DType integer = wide ? DType::int64 : DType::int32;
  const Node least = constant_int(min_value(integer), integer);
  const Node bits = bitcast(x, integer);
  const Node negative = cmplt(bits, constant_int(0, integer));
  const Node turned = add(least, mul(bits, constant_int(-1, integer)));
  const Node key = where(negative, turned, bits);
  return where(cmpne(x, x), constant_int(max_value(integer), integer), key);
}

Keys keys_of(Node x, bool descending) {
  const Size length = x.shape().back();
  if (is_float(x.dtype()) && x.dtype() != DType::float64) x = cast(x, DType::float32);
  const bool wide = byte_size(x.dtype()) == 8;
  Node key = is_float(x.dtype()) ? float_key(x) : x;
  if (x.dtype() == DType::uint64) {
    key = bit_xor(bitcast(x, DType::int64), constant_int(min_value(DType::int64)));
  }
  key = cast(key, DType::int64);
  if (x.dtype() == DType::uint32) key = add(key, constant_int(min_value(DType::int32)));
  if (descending) key = bit_xor(key, constant_int(-1));
  const Node at = expand(positions(length, x.rank() - 1, x.rank()), x.shape());
  if (wide) return {key, at};
  return {add(shl(key, constant_int(32)), at), {}};
}

// a before b.
Node before(const Keys& a, const Keys& b) {
  const Node less = cmplt(a.key, b.key);
  if (!a.position) return less;
  return bit_or(less, bit_and(equal(a.key, b.key), cmplt(a.position, b.position)));
}

template <typename F>
Keys each(const Keys& keys, F f) {
  return {f(keys.key), keys.position ? f(keys.position) : Node()};
}

Shape with_axes(const Node& x, std::initializer_list<Size> last) {
  Shape shape(x.shape().begin(), x.shape().end() - 1);
  shape.insert(shape.end(), last.begin(), last.end());
  return shape;
}

// The first `count` positions in order, for n elements: n² comparisons, count·n selections.
Node by_counting(const Keys& keys, std::int64_t count) {
  const int rank = keys.key.rank();
  const Size n = keys.key.shape().back();
  const Shape square = with_axes(keys.key, {n, n});
  const Keys rows = each(keys, [&](const Node& x) {
    return expand(reshape(x, with_axes(x, {n, 1})), square);
  });
  const Keys columns = each(keys, [&](const Node& x) {
    return expand(reshape(x, with_axes(x, {1, n})), square);
  });
  const Node smaller_ones = cast(before(columns, rows), DType::int32);
  const Node place = reduce_axes(ReduceOp::add, smaller_ones, {rank}, false);
  const Shape table = with_axes(keys.key, {count, n});
  const Node wanted = cast(positions(count, rank - 1, rank + 1), DType::int32);
  const Node hit = equal(expand(reshape(place, with_axes(place, {1, n})), table),
                         expand(wanted, table));
  const Node at = cast(positions(n, rank, rank + 1), DType::int32);
  const Node found = where(hit, expand(at, table), constant_int(0, DType::int32));
  return cast(reduce_axes(ReduceOp::max, found, {rank}, false), DType::int64);
}

// One stage: each element is compared with its partner, which lies mirrored in the block of 2·half
// (first step of a merge) or `half` further; the earlier half keeps the smaller one.
Keys stage(const Keys& keys, std::int64_t n, std::int64_t half, bool mirror) {
  const Shape flat = keys.key.shape();
  const int rank = keys.key.rank();
  const Shape blocks = with_axes(keys.key, {n / (2 * half), 2, half});
  const std::vector<int> turned = mirror ? std::vector<int>{rank, rank + 1} : std::vector<int>{rank};
  const Keys own = each(keys, [&](const Node& x) { return reshape(x, blocks); });
  const Keys other = each(own, [&](const Node& x) { return flip(x, turned); });
  const Node first = cmplt(positions(2, rank, rank + 2), constant_int(1));
  const Node swap = cmpne(before(own, other), expand(first, blocks));
  return {reshape(where(swap, other.key, own.key), flat),
          own.position ? reshape(where(swap, other.position, own.position), flat) : Node()};
}

Node by_network(Keys keys, std::int64_t length, std::int64_t count) {
  std::int64_t n = 1;
  while (n < length) n *= 2;
  const int axis = keys.key.rank() - 1;
  // Padding sorts last.
  keys = each(keys, [&](const Node& x) {
    return pad_axis(x, axis, 0, n - length, constant_int(max_value(DType::int64)));
  });
  for (std::int64_t half = 1; half < n; half *= 2) {
    keys = stage(keys, n, half, true);
    for (std::int64_t step = half / 2; step > 0; step /= 2) keys = stage(keys, n, step, false);
  }
  const Node sorted = cut(keys.position ? keys.position : keys.key, axis, 0, count);
  return keys.position ? sorted : bit_and(sorted, constant_int(0xffffffff));
}

// Positions of the first `count` elements in order, along an axis.
Tensor ordered(const Tensor& x, int axis, std::int64_t count, bool descending) {
  const Node node = node_of(transpose(x, axis, -1));
  const std::int64_t length = fixed(node.shape().back());
  if (length == 0 || count == 0) {
    return transpose(zeros(dims_of(with_axes(node, {count})), DType::int64), axis, -1);
  }
  const Keys keys = keys_of(node, descending);
  const Node found = length <= counting_limit ? by_counting(keys, count)
                                              : by_network(keys, length, count);
  return transpose(tensor_of(found), axis, -1);
}

// The values at those positions, which are in range.
Tensor values_at(const Tensor& x, int axis, const Tensor& found) { return gather(x, axis, found); }

}  // namespace

ValuesIndices sort(const Tensor& x, int axis, bool descending) {
  const Call call("sort");
  const int at = axis_of(axis, x.rank());
  if (x.rank() == 0) return {x, zeros({}, DType::int64)};
  const Tensor found = ordered(x, at, fixed(node_of(x).shape()[at]), descending);
  return {values_at(x, at, found), found};
}

Tensor argsort(const Tensor& x, int axis, bool descending) {
  const Call call("argsort");
  return sort(x, axis, descending).indices;
}

ValuesIndices topk(const Tensor& x, std::int64_t k, int axis, bool largest) {
  const Call call("topk");
  const int at = axis_of(axis, x.rank());
  if (x.rank() == 0) {
    if (k != 1) call_error("wants k = 1 for a tensor of rank 0, got {}", k);
    return {x, zeros({}, DType::int64)};
  }
  const std::int64_t length = fixed(node_of(x).shape()[at]);
  if (k < 0 || k > length) {
    call_error("wants k of 0 to {}, the size of axis {}, got {}", length, axis, k);
  }
  const Tensor found = ordered(x, at, k, largest);
  return {values_at(x, at, found), found};
}

}  // namespace brisk
