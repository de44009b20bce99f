// Sorting along an axis in a handful of kernels. Every element becomes an integer key that orders
// as PyTorch does (NaN above all, -0 equal to 0) with its position below, so that no two are equal
// and the order is stable. Short rows count for each element how many are smaller. Long ones are
// cut into blocks that are sorted so; to sort, runs are merged by looking each element up in the
// other runs, to pick the first k, each block keeps its k and the winners meet again.
#include <algorithm>

#include "brisk/create.h"
#include "tensor/build.h"

namespace brisk {

namespace {

constexpr std::int64_t counting_limit = 512;
constexpr std::int64_t block = 256;  // elements of a first run; a power of two
constexpr std::int64_t fan = 16;     // runs that are merged at once

// Keys along the last axis: one array where key and position fit 64 bits, else two, compared in
// order.
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

// The last axis padded to `length` with keys that sort behind all others: no element's key is above
// the greatest, and its position is lower.
Keys keys_of(Node x, bool descending, std::int64_t length) {
  const int axis = x.rank() - 1;
  if (is_float(x.dtype()) && x.dtype() != DType::float64) x = cast(x, DType::float32);
  const bool wide = byte_size(x.dtype()) == 8;
  Node key = is_float(x.dtype()) ? float_key(x) : x;
  if (x.dtype() == DType::uint64) {
    key = bit_xor(bitcast(x, DType::int64), constant_int(min_value(DType::int64)));
  }
  key = cast(key, DType::int64);
  if (x.dtype() == DType::uint32) key = add(key, constant_int(min_value(DType::int32)));
  if (descending) key = bit_xor(key, constant_int(-1));
  const Node last = constant_int(max_value(wide ? DType::int64 : DType::int32));
  key = pad_axis(key, axis, 0, Size(length) - x.shape()[axis], last);
  const Node at = expand(positions(length, axis, x.rank()), key.shape());
  if (wide) return {key, at};
  return {add(shl(key, constant_int(32)), at), {}};
}

// a before b.
Node before(const Keys& a, const Keys& b) {
  Node less = cmplt(a.key, b.key);
  if (!a.position) return less;
  return bit_or(less, bit_and(equal(a.key, b.key), cmplt(a.position, b.position)));
}

template <typename F>
Keys each(const Keys& keys, F f) {
  return {f(keys.key), keys.position ? f(keys.position) : Node()};
}

Keys reshaped(const Keys& keys, const Shape& shape) {
  return each(keys, [&](const Node& x) { return reshape(x, shape); });
}

Shape with_axes(const Node& x, std::initializer_list<Size> last) {
  Shape shape(x.shape().begin(), x.shape().end() - 1);
  shape.insert(shape.end(), last.begin(), last.end());
  return shape;
}

// The first `count` of each row of n, in order: n² comparisons, count·n selections.
Keys by_counting(const Keys& keys, std::int64_t count) {
  const int rank = keys.key.rank();
  const Size n = keys.key.shape().back();
  const auto spread = [&](const Node& x, std::initializer_list<Size> axes, const Shape& shape) {
    return expand(reshape(x, with_axes(x, axes)), shape);
  };
  const Shape square = with_axes(keys.key, {n, n});
  const Keys rows = each(keys, [&](const Node& x) { return spread(x, {n, 1}, square); });
  const Keys columns = each(keys, [&](const Node& x) { return spread(x, {1, n}, square); });
  const Node place =
      reduce_axes(ReduceOp::add, cast(before(columns, rows), DType::int32), {rank}, false);
  const Shape table = with_axes(keys.key, {count, n});
  const Node wanted = cast(positions(count, rank - 1, rank + 1), DType::int32);
  const Node hit = equal(spread(place, {1, n}, table), expand(wanted, table));
  return each(keys, [&](const Node& x) {
    const Node chosen = where(hit, spread(x, {1, n}, table), lowest(DType::int64));
    return reduce_axes(ReduceOp::max, chosen, {rank}, false);
  });
}

// Sorted runs [rows, runs, length] to sorted rows. An element's place is how many elements of each
// run are before it, found by bisection (`length` is a power of two).
Keys merged(const Keys& keys) {
  const Shape& shape = keys.key.shape();
  const Size rows = shape[0];
  const Size runs = shape[1];
  const std::int64_t length = shape[2].value();
  const Shape table = {rows, runs, length, runs};  // element × run to look it up in
  const Keys own = each(keys, [&](const Node& x) {
    return expand(reshape(x, {rows, runs, length, 1}), table);
  });
  Node begin = mul(positions(runs, 3, 4), constant_int(length));
  begin = add(expand(begin, {rows, 1, 1, runs}),
              expand(mul(positions(rows, 0, 4), (runs * Size(length)).node()), {rows, 1, 1, runs}));
  begin = expand(begin, table);
  const auto is_before = [&](const Node& at) {
    return before(each(keys, [&](const Node& x) { return load(x, at); }), own);
  };
  Node found = begin;
  for (std::int64_t half = length / 2; half > 0; half /= 2) {
    const Node next = add(found, constant_int(half));
    found = where(is_before(add(found, constant_int(half - 1))), next, found);
  }
  found = add(found, cast(is_before(found), DType::int64));
  const Node count = add(found, mul(begin, constant_int(-1)));
  const Node place = reduce_axes(ReduceOp::add, count, {3}, false);
  const Size row = runs * Size(length);
  const Node to = add(place, expand(mul(positions(rows, 0, 3), row.node()), shape));
  return each(keys, [&](const Node& x) {
    const Node target = buffer(DType::int64, {rows, row}, nullptr);  // every place is written once
    return scatter(target, to, x, StoreMode::replace);
  });
}

// At least `runs`, such that groups of `most` (fewer at the last level) come out whole at every
// level.
std::int64_t whole_groups(std::int64_t runs, std::int64_t most) {
  std::int64_t whole = 1;
  for (; runs > 1; runs = (runs + most - 1) / most) whole *= std::min(runs, most);
  return whole;
}

// Positions out of keys.
Node positions_of(const Keys& keys) {
  return keys.position ? keys.position : bit_and(keys.key, constant_int(0xffffffff));
}

Node by_merging(const Node& x, bool descending) {
  const std::int64_t length = fixed(x.shape().back());
  std::int64_t runs = whole_groups((length + block - 1) / block, fan);
  const std::int64_t padded = runs * block;
  Keys keys = keys_of(x, descending, padded);
  Size rows = 1;
  for (int i = 0; i + 1 < x.rank(); ++i) rows = rows * x.shape()[i];
  keys = by_counting(reshaped(keys, {rows, runs, block}), block);
  for (std::int64_t run = block; runs > 1;) {
    const std::int64_t together = std::min(runs, fan);
    runs /= together;
    keys = merged(reshaped(keys, {rows * Size(runs), together, run}));
    run *= together;
  }
  const Node sorted = reshape(positions_of(keys), with_axes(x, {padded}));
  return cut(sorted, x.rank() - 1, 0, length);
}

// Each block keeps its first `count`, which meet in new blocks until there is one.
Node by_tournament(const Node& x, std::int64_t count, bool descending) {
  const std::int64_t length = fixed(x.shape().back());
  const std::int64_t ratio = std::max<std::int64_t>(4, (block + count - 1) / count);
  const std::int64_t wide = ratio * count;
  std::int64_t blocks = whole_groups((length + wide - 1) / wide, ratio);
  Keys keys = keys_of(x, descending, blocks * wide);
  keys = by_counting(reshaped(keys, with_axes(x, {blocks, wide})), count);
  while (blocks > 1) {
    const std::int64_t together = std::min(blocks, ratio);
    blocks /= together;
    keys = by_counting(reshaped(keys, with_axes(x, {blocks, together * count})), count);
  }
  return reshape(positions_of(keys), with_axes(x, {count}));
}

// Positions of the first `count` elements in order, along an axis.
Tensor ordered(const Tensor& x, int axis, std::int64_t count, bool descending) {
  const Node node = node_of(transpose(x, axis, -1));
  const std::int64_t length = fixed(node.shape().back());
  if (length == 0 || count == 0) {
    return transpose(zeros(dims_of(with_axes(node, {count})), DType::int64), axis, -1);
  }
  Node found;
  if (length <= counting_limit) {
    found = positions_of(by_counting(keys_of(node, descending, length), count));
  } else if (count <= block / 2) {
    found = by_tournament(node, count, descending);
  } else {
    found = cut(by_merging(node, descending), node.rank() - 1, 0, count);
  }
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
