// Matrix products: operands expanded to […, M, N, K], multiplied, summed over the last axis.
#include <algorithm>

#include "brisk/functional.h"
#include "tensor/autocast.h"
#include "tensor/contract.h"

namespace brisk {

DType product_dtype(DType dtype) { return is_float(dtype) ? compute_dtype(dtype) : dtype; }

Node contract(const Node& a, const Node& b, const std::vector<int>& over) {
  const DType dtype = product_dtype(a.dtype());
  const Shape shape = broadcast_shape(a.shape(), b.shape());
  const Node product = mul(expand(to_dtype(a, dtype), shape), expand(to_dtype(b, dtype), shape));
  return reduce_axes(ReduceOp::add, product, over, false);
}

Node product_by_rows(const Node& a, const Node& b) {
  const int rank = std::max(a.rank(), b.rank());
  Shape left = lead(a, rank).shape();
  Shape right = lead(b, rank).shape();
  left.insert(left.end() - 1, Size(1));
  right.insert(right.end() - 2, Size(1));
  return contract(reshape(a, std::move(left)), reshape(b, std::move(right)), {rank});
}

namespace {

// Both in the dtype of the product.
struct Operands {
  Node a;
  Node b;
};
Operands operands(const Tensor& a, const Tensor& b, const char* first, const char* second) {
  want_rank(a, first, 1, 100);
  want_rank(b, second, 1, 100);
  const DType dtype = product_operands(promote(a.dtype(), b.dtype()));
  if (is_bool(dtype)) call_error("wants numbers, got bool");
  return {to_dtype(node_of(a), dtype), to_dtype(node_of(b), dtype)};
}

Node turned(const Node& matrix) {
  std::vector<int> order(matrix.rank());
  for (int i = 0; i < matrix.rank(); ++i) order[i] = i;
  std::swap(order[matrix.rank() - 1], order[matrix.rank() - 2]);
  return permute(matrix, std::move(order));
}

void want_inner(const Node& a, const Size& left, const Node& b, const Size& right) {
  if (left == right) return;
  call_error("shapes {} and {} do not multiply: inner sizes {} and {} differ", to_string(a.shape()),
             to_string(b.shape()), to_string(left), to_string(right));
}

}  // namespace

Tensor matmul(const Tensor& x, const Tensor& y) {
  const Call call("matmul");
  const auto [a, b] = operands(x, y, "a first operand", "a second operand");
  // Vectors become a row on the left, a column on the right, and lose that axis at the end.
  const Node left = lead(a, 2);
  const Node right = b.rank() == 1 ? lead(b, 2) : turned(b);
  want_inner(a, left.shape().back(), b, right.shape().back());
  Node result = product_by_rows(left, right);
  Shape shape = result.shape();
  if (b.rank() == 1) shape.pop_back();
  if (a.rank() == 1) shape.erase(shape.end() - (b.rank() == 1 ? 1 : 2));
  return tensor_of(cast(reshape(result, std::move(shape)), a.dtype()));
}

Tensor dot(const Tensor& a, const Tensor& b) {
  const Call call("dot");
  want_rank(a, "a first vector", 1, 1);
  want_rank(b, "a second vector", 1, 1);
  return matmul(a, b);
}

Tensor outer(const Tensor& a, const Tensor& b) {
  const Call call("outer");
  want_rank(a, "a first vector", 1, 1);
  want_rank(b, "a second vector", 1, 1);
  return unsqueeze(a, 1) * b;
}

Tensor linear(const Tensor& x, const Tensor& weight, const Tensor& bias) {
  const Call call("linear");
  want_rank(weight, "a weight", 1, 2);
  const auto [a, w] = operands(x, weight, "an input", "a weight");
  want_inner(a, a.shape().back(), w, w.shape().back());
  Node result = product_by_rows(lead(a, 2), lead(w, 2));
  Shape shape(a.shape().begin(), a.shape().end() - 1);
  if (w.rank() == 2) shape.push_back(w.shape()[0]);
  result = reshape(result, shape);
  if (bias.defined()) {
    const Node shift = to_dtype(node_of(bias), result.dtype());
    if (broadcast_shape(shape, shift.shape()) != shape) {
      call_error("wants a bias that broadcasts to {}, got shape {}", to_string(shape),
                 to_string(shift.shape()));
    }
    result = add(result, fit(shift, shape));
  }
  return tensor_of(cast(result, a.dtype()));
}

Tensor bmm(const Tensor& a, const Tensor& b) {
  const Call call("bmm");
  want_rank(a, "a first operand", 3, 3);
  want_rank(b, "a second operand", 3, 3);
  return matmul(a, b);
}

Tensor tensordot(const Tensor& a, const Tensor& b, int axes) {
  const Call call("tensordot");
  want_defined(a, "the first operand");
  want_defined(b, "the second operand");
  if (axes < 0 || axes > a.rank() || axes > b.rank()) {
    call_error("wants 0 to {} axes for shapes {} and {}, got {}", std::min(a.rank(), b.rank()),
               to_string(a.dims()), to_string(b.dims()), axes);
  }
  const Dims left = a.dims();
  const Dims right = b.dims();
  Dims rows(left.begin(), left.end() - axes);
  const Dims inner(left.end() - axes, left.end());
  if (!std::equal(inner.begin(), inner.end(), right.begin())) {
    call_error("shapes {} and {} do not multiply over {} axes", to_string(left), to_string(right),
               axes);
  }
  Dim count = 1;
  for (const Dim& size : inner) count = count * size;
  const Tensor product = matmul(a.reshape({-1, count}), b.reshape({count, -1}));
  rows.insert(rows.end(), right.begin() + axes, right.end());
  return product.reshape(rows);
}

}  // namespace brisk
