// Triangles, diagonals, grids, and images whose channels hold pixels.
#include <algorithm>
#include <numeric>

#include "brisk/create.h"
#include "tensor/build.h"

namespace brisk {

namespace {

// Where column - row <= diagonal.
Tensor up_to_diagonal(const Tensor& x, std::int64_t diagonal) {
  want_rank(x, "a tensor", 2, 100);
  const Tensor column = arange(x.size(-1));
  const Tensor row = arange(x.size(-2)).unsqueeze(1);
  return column < row + (diagonal + 1);
}

}  // namespace

Tensor tril(const Tensor& x, std::int64_t diagonal) {
  const Call call("tril");
  return where(up_to_diagonal(x, diagonal), x, constant_of(0, x));
}

Tensor triu(const Tensor& x, std::int64_t diagonal) {
  const Call call("triu");
  return where(up_to_diagonal(x, diagonal - 1), constant_of(0, x), x);
}

// A square matrix read in rows of n + 1 has its diagonal in the first column.
Tensor diagonal(const Tensor& x, std::int64_t offset, int axis0, int axis1) {
  const Call call("diagonal");
  want_rank(x, "a tensor", 2, 100);
  const int a = axis_of(axis0, x.rank());
  const int b = axis_of(axis1, x.rank());
  if (a == b) call_error("wants two different axes, got {} twice", a);
  std::vector<int> order;
  for (int i = 0; i < x.rank(); ++i) {
    if (i != a && i != b) order.push_back(i);
  }
  order.push_back(a);
  order.push_back(b);
  Node node = permute(node_of(x), std::move(order));
  const int last = node.rank() - 1;
  const std::int64_t rows = fixed(node.shape()[last - 1]);
  const std::int64_t columns = fixed(node.shape()[last]);
  const std::int64_t row = std::max<std::int64_t>(0, -offset);
  const std::int64_t column = std::max<std::int64_t>(0, offset);
  const std::int64_t n = std::max<std::int64_t>(0, std::min(rows - row, columns - column));
  Shape shape(node.shape().begin(), node.shape().end() - 2);
  if (n == 0) {
    node = cut(cut(node, last, 0, 0), last - 1, 0, std::min<std::int64_t>(rows, 1));
    shape.push_back(0);
    return tensor_of(reshape(node, std::move(shape)));
  }
  node = cut(cut(node, last - 1, row, row + n), last, column, column + n);
  shape.push_back(n * n);
  node = pad_axis(reshape(node, shape), last - 1, 0, n);
  shape.back() = n;
  shape.push_back(n + 1);
  return squeeze(tensor_of(cut(reshape(node, std::move(shape)), last, 0, 1)), last);
}

std::vector<Tensor> meshgrid(const std::vector<Tensor>& axes, const std::string& indexing) {
  const Call call("meshgrid");
  if (indexing != "ij" && indexing != "xy") {
    call_error("wants indexing 'ij' or 'xy', got '{}'", indexing);
  }
  const int rank = static_cast<int>(axes.size());
  std::vector<Tensor> grids;
  for (int i = 0; i < rank; ++i) {
    want_rank(axes[i], "vectors", 0, 1);
    Dims shape(rank, Dim(1));
    shape[i] = axes[i].numel();
    grids.push_back(axes[i].reshape(shape));
  }
  grids = broadcast_tensors(grids);
  if (indexing == "xy" && rank > 1) {
    for (Tensor& grid : grids) grid = transpose(grid, 0, 1);
  }
  return grids;
}

Tensor pixel_shuffle(const Tensor& x, std::int64_t factor) {
  const Call call("pixel_shuffle");
  want_rank(x, "an image", 3, 100);
  const Dims from = x.dims();
  const int rank = x.rank();
  const Dim square = factor * factor;
  if (factor < 1 || from[rank - 3] % square != Dim(0)) {
    call_error("wants channels that {} divides, got shape {}", factor * factor, to_string(from));
  }
  const Dim& height = from[rank - 2];
  const Dim& width = from[rank - 1];
  const Dims batch(from.begin(), from.end() - 3);
  Dims apart = batch;
  for (const Dim& size : {from[rank - 3] / square, Dim(factor), Dim(factor), height, width}) {
    apart.push_back(size);
  }
  std::vector<int> order(rank - 3);
  std::iota(order.begin(), order.end(), 0);
  const int b = rank - 3;  // channels, then [factor, factor, height, width]
  for (const int axis : {b, b + 3, b + 1, b + 4, b + 2}) order.push_back(axis);
  Dims result = batch;
  for (const Dim& size : {from[rank - 3] / square, height * factor, width * factor}) {
    result.push_back(size);
  }
  return x.reshape(apart).permute(Axes(order)).reshape(result);
}

Tensor pixel_unshuffle(const Tensor& x, std::int64_t factor) {
  const Call call("pixel_unshuffle");
  want_rank(x, "an image", 3, 100);
  const Dims from = x.dims();
  const int rank = x.rank();
  if (factor < 1 || from[rank - 2] % Dim(factor) != Dim(0) ||
      from[rank - 1] % Dim(factor) != Dim(0)) {
    call_error("wants height and width that {} divides, got shape {}", factor, to_string(from));
  }
  const Dim height = from[rank - 2] / Dim(factor);
  const Dim width = from[rank - 1] / Dim(factor);
  const Dims batch(from.begin(), from.end() - 3);
  Dims apart = batch;
  for (const Dim& size : {from[rank - 3], height, Dim(factor), width, Dim(factor)}) {
    apart.push_back(size);
  }
  std::vector<int> order(rank - 3);
  std::iota(order.begin(), order.end(), 0);
  const int b = rank - 3;
  for (const int axis : {b, b + 2, b + 4, b + 1, b + 3}) order.push_back(axis);
  Dims result = batch;
  for (const Dim& size : {from[rank - 3] * Dim(factor * factor), height, width}) {
    result.push_back(size);
  }
  return x.reshape(apart).permute(Axes(order)).reshape(result);
}

Tensor trace(const Tensor& x) {
  const Call call("trace");
  want_rank(x, "a matrix", 2, 2);
  return sum(diagonal(x));
}

Tensor diag(const Tensor& x) {
  const Call call("diag");
  want_rank(x, "a vector or a matrix", 1, 2);
  if (x.rank() == 2) return diagonal(x);
  const Tensor at = arange(x.size(0));
  return where(at == at.unsqueeze(1), x, constant_of(0, x));
}

}  // namespace brisk
