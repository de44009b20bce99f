// Operators that read and write at indices.
#include <algorithm>

#include "onnx/build.h"
#include "tensor/build.h"

namespace brisk::onnx {

namespace {

using Sizes = std::vector<std::int64_t>;

Tensor from_end(const Tensor& index, const Dim& size) {
  const Tensor at = index.cast(DType::int64);
  return where(at < 0, at + number(size), at);
}

void want_inside(const NodeCall& c, std::size_t i, const Dim& size) {
  if (c.value(i).known() == nullptr) return;
  for (const std::int64_t at : c.integers(i)) {
    if (at < -size.upper() || at >= size.upper())
      c.fail("index {} is outside an axis of size {}", at, to_string(size));
  }
}

Values gather_axis(NodeCall& c) {
  const Tensor x = c[0];
  if (x.rank() == 0) c.fail("wants a tensor with axes");
  const int axis = c.axis("axis", 0, x.rank());
  const Dim size = x.size(axis);
  want_inside(c, 1, size);
  if (c.value(1).known() != nullptr && c.rank(1) == 0)
    return {like(c, x.select(axis, c.integer(1)))};
  const Node index = node_of(from_end(c[1], size));
  return {like(c, tensor_of(take_axis(node_of(x), axis, index, true)))};
}

Values gather_elements(NodeCall& c) {
  const Tensor x = c[0];
  const int axis = c.axis("axis", 0, x.rank());
  const Dim size = x.size(axis);
  want_inside(c, 1, size);
  return {like(c, x.gather(axis, from_end(c[1], size)))};
}

// Positions in the flattened leading `sizes` for rows of coordinates [count, sizes.size()].
Tensor flat_rows(const Tensor& rows, const Dims& sizes) {
  Tensor flat;
  for (std::size_t i = 0; i < sizes.size(); ++i) {
    const Tensor at = from_end(rows.select(1, static_cast<std::int64_t>(i)), sizes[i]);
    flat = flat.defined() ? flat * number(sizes[i]) + at : at;
  }
  return flat;
}

Values gather_nd(NodeCall& c) {
  const Dims shape = c.dims(0);
  const Dims index = c.dims(1);
  const auto batch = static_cast<std::size_t>(c.integer("batch_dims", 0));
  if (index.empty() || batch >= index.size() || batch > shape.size())
    c.fail("wants indices with more axes than the {} of the batch", batch);
  const auto depth = static_cast<std::size_t>(index.back().value());
  if (depth < 1 || depth > shape.size() || batch + depth > shape.size())
    c.fail("indices of {} coordinates do not fit a tensor of rank {}", depth, shape.size());
  const Dim batches = product(shape, 0, batch);
  const Dim places = product(shape, batch, batch + depth);
  const Dim width = product(shape, batch + depth);
  const Dim count = product(index, batch, index.size() - 1);
  const Tensor rows = c[1].reshape({batches * count, Dim(depth)});
  const Dims inner(shape.begin() + static_cast<std::ptrdiff_t>(batch),
                   shape.begin() + static_cast<std::ptrdiff_t>(batch + depth));
  Tensor at = flat_rows(rows, inner).reshape({batches, count});
  if (batches != Dim(1)) at = at + (arange(batches) * number(places)).unsqueeze(1);
  const Tensor table = c[0].reshape({batches * places, width});
  const Node found = take_axis(node_of(table), 0, node_of(at.reshape({batches * count})), true);
  Dims result(index.begin(), index.end() - 1);
  result.insert(result.end(), shape.begin() + static_cast<std::ptrdiff_t>(batch + depth),
                shape.end());
  return {like(c, tensor_of(found).reshape(result))};
}

Tensor written(const NodeCall& c, const Tensor& x, int axis, const Tensor& index,
               const Tensor& updates) {
  const std::string reduction = c.text("reduction", "none");
  if (reduction == "none") return x.scatter(axis, index, updates);
  ScatterReduce how = ScatterReduce::sum;
  if (reduction == "mul")
    how = ScatterReduce::prod;
  else if (reduction == "max")
    how = ScatterReduce::amax;
  else if (reduction == "min")
    how = ScatterReduce::amin;
  else if (reduction != "add")
    c.fail("reduction '{}' is not known", reduction);
  return scatter_reduce(x, axis, index, updates, how);
}

Values scatter_elements(NodeCall& c) {
  const Tensor x = c[0];
  const int axis = c.axis("axis", 0, x.rank());
  const Dim size = x.size(axis);
  want_inside(c, 1, size);
  return {like(c, written(c, x, axis, from_end(c[1], size), c[2]))};
}

Values scatter_nd(NodeCall& c) {
  const Dims shape = c.dims(0);
  const Dims index = c.dims(1);
  if (index.empty()) c.fail("wants indices with axes");
  const auto depth = static_cast<std::size_t>(index.back().value());
  if (depth > shape.size())
    c.fail("indices of {} coordinates do not fit a tensor of rank {}", depth, shape.size());
  const Dim count = product(index, 0, index.size() - 1);
  const Dim width = product(shape, depth);
  if (count == Dim(0) || product(shape) == Dim(0)) return {like(c, c[0])};
  const Tensor updates = c[2].reshape({count, width});
  const Tensor rows = c[1].reshape({count, Dim(depth)});
  const Dims lead(shape.begin(), shape.begin() + static_cast<std::ptrdiff_t>(depth));
  const Tensor flat = depth == 0 ? zeros({count}, DType::int64) : flat_rows(rows, lead);
  const Tensor at = flat.unsqueeze(1).expand({count, width});
  const Tensor table = c[0].reshape({product(shape, 0, depth), width});
  return {like(c, written(c, table, 0, at, updates).reshape(shape))};
}

Values one_hot_of(NodeCall& c) {
  const std::int64_t depth = c.integer(1);
  element_count({depth}, "the depth");
  const std::int64_t rank = c.rank(0) + 1;
  const int axis = c.axis("axis", -1, rank);
  const Tensor index = c[0];
  const Tensor whole =
      is_float(index.dtype()) ? index.cast(DType::int64) : index.cast(DType::int64);
  const Tensor at = where(whole < 0, whole + depth, whole).unsqueeze(axis);
  const Tensor hit = at == along(arange(depth), axis, static_cast<int>(rank));
  return {where(hit, c[2].select(0, 1), c[2].select(0, 0))};
}

// Rows of a cache overwritten from write_indices on, along `axis`.
Values tensor_scatter(NodeCall& c) {
  const Tensor cache = c[0];
  const Tensor update = c[1];
  const int axis = c.axis("axis", -2, cache.rank());
  const std::int64_t size = cache.size(axis).value();
  const std::int64_t count = update.size(axis).value();
  Tensor at = along(arange(count), axis, cache.rank());
  if (c.has(2)) at = at + along(c[2].cast(DType::int64), 0, cache.rank());
  if (c.text("mode", "linear") == "circular") at = remainder(at, size);
  return {like(c, cache.scatter(axis, at.broadcast_to(update.dims()), update))};
}

}  // namespace

void add_indexing(OperatorTable& t) {
  t.add("Gather", gather_axis);
  t.add("GatherElements", gather_elements);
  t.add("GatherND", gather_nd);
  t.add("Scatter", scatter_elements);
  t.add("ScatterElements", scatter_elements);
  t.add("ScatterND", scatter_nd);
  t.add("OneHot", one_hot_of);
  t.add("TensorScatter", tensor_scatter);
}

}  // namespace brisk::onnx
