// Sorting along an axis: an element's place is how many elements come before it, and every element
// is stored at its place. Elements are compared by integer keys that order as PyTorch does (NaN
// above all, -0 equal to 0), equal ones by position, so that the order is stable. Short rows are
// counted out like that; for long ones the strategy `ranking` finds the same places by sorting.
#include "brisk/create.h"
#include "tensor/build.h"

namespace brisk {

namespace {

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

Shape with_last(Shape shape, std::int64_t size) {
  shape.back() = size;
  return shape;
}

// Of 32 bits, or of 64 where the elements have as many.
Node key_of(Node x, bool descending) {
  if (is_float(x.dtype()) && x.dtype() != DType::float64) x = cast(x, DType::float32);
  const DType integer = byte_size(x.dtype()) == 8 ? DType::int64 : DType::int32;
  Node key = is_float(x.dtype()) ? float_key(x) : x;
  if (x.dtype() == DType::uint64 || x.dtype() == DType::uint32) {
    key = bit_xor(bitcast(x, integer), constant_int(min_value(integer), integer));
  }
  key = cast(key, integer);
  return descending ? bit_xor(key, constant_int(-1, integer)) : key;
}

// How many elements of its row come before each one.
Node places(const Node& key) {
  const int axis = key.rank() - 1;
  const Size length = key.shape()[axis];
  const auto with = [&](const Size& own, const Size& other) {
    Shape shape(key.shape().begin(), key.shape().end() - 1);
    shape.push_back(own);
    shape.push_back(other);
    return shape;
  };
  const Shape square = with(length, length);
  const Node own = expand(reshape(key, with(length, 1)), square);
  const Node other = expand(reshape(key, with(1, length)), square);
  const Node earlier = cmplt(expand(positions(length, axis + 1, axis + 2), square),
                             expand(positions(length, axis, axis + 2), square));
  const Node before = bit_or(cmplt(other, own), bit_and(earlier, logical_not(cmplt(own, other))));
  return reduce_axes(ReduceOp::add, cast(before, DType::int32), {axis + 1}, false);
}

// Positions of the first `count` elements in order, along an axis.
Tensor ordered(const Tensor& x, int axis, std::int64_t count, bool descending) {
  const Node node = node_of(transpose(x, axis, -1));
  const std::int64_t length = fixed(node.shape().back());
  if (length == 0 || count == 0) {
    return transpose(zeros(dims_of(with_last(node.shape(), count)), DType::int64), axis, -1);
  }
  Size rows = 1;
  for (int i = 0; i + 1 < node.rank(); ++i) rows = rows * node.shape()[i];
  const Shape matrix = {rows, length};
  const Node place = cast(places(reshape(key_of(node, descending), matrix)), DType::int64);
  Node to = add(place, expand(mul(positions(rows, 0, 2), constant_int(count)), matrix));
  if (count < length) to = where(cmplt(place, constant_int(count)), to, constant_int(-1));
  const Node target = buffer(DType::int64, {rows, count}, nullptr);  // each place is written once
  const Node from = expand(positions(length, 1, 2), matrix);
  const Node found =
      reshape(scatter(target, to, from, StoreMode::replace), with_last(node.shape(), count));
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
