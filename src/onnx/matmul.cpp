// Products of matrices.
#include "onnx/build.h"

namespace brisk::onnx {

namespace {

Values gemm(NodeCall& c) {
  Tensor a = c[0];
  Tensor b = c[1];
  if (a.rank() != 2 || b.rank() != 2)
    c.fail("wants matrices, got ranks {} and {}", a.rank(), b.rank());
  const DType dtype = a.dtype();
  if (c.integer("transA", 0) != 0) a = a.transpose(0, 1);
  if (c.integer("transB", 0) != 0) b = b.transpose(0, 1);
  Tensor y = matmul(a, b);
  const double alpha = c.number("alpha", 1);
  const double beta = c.number("beta", 1);
  if (alpha != 1) y = y * alpha;
  if (c.has(2) && beta != 0) y = y + (beta == 1 ? c[2] : c[2] * beta);
  return {y.cast(dtype)};
}

// The determinant of each matrix by elimination with pivots, as arithmetic on whole columns: n
// steps of rank-one updates.
Values determinant(NodeCall& c) {
  Tensor m = c[0];
  const DType dtype = m.dtype();
  if (m.rank() < 2) c.fail("wants matrices, got rank {}", m.rank());
  const std::int64_t n = m.size(-1).value();
  if (m.size(-2).value() != n || n > 256) c.fail("wants square matrices of at most 256 rows");
  Dims batch = m.dims();
  batch.resize(batch.size() - 2);
  Tensor result = ones(batch, dtype);
  for (std::int64_t left = n; left > 0; --left) {
    // The row whose first element is the greatest comes to the front; each exchange turns the sign.
    const Tensor first = m.select(-1, 0);               // [batch, left]
    const Tensor place = argmax(abs(first), -1, true);  // [batch, 1]
    const Tensor rows = arange(left);
    const Tensor from = where(rows == 0, place, where(rows == place, 0, rows));
    Dims index = m.dims();
    m = m.gather(m.rank() - 2, from.unsqueeze(-1).broadcast_to(index));
    result = where(place.squeeze(-1) == 0, result, -result);
    const Tensor pivot = m.select(-1, 0).select(-1, 0);
    result = result * pivot;
    if (left == 1) break;
    const Tensor top = m.narrow(-2, 0, 1).narrow(-1, 1, left - 1);
    const Tensor side = m.narrow(-1, 0, 1).narrow(-2, 1, left - 1);
    const Tensor whole = pivot.unsqueeze(-1).unsqueeze(-1);
    m = m.narrow(-2, 1, left - 1).narrow(-1, 1, left - 1) -
        where(whole == 0, 0.0, side / whole) * top;
  }
  return {result};
}

// Integers minus their zero points, multiplied in int32.
Tensor centred(const NodeCall& c, std::size_t x, std::size_t zero, bool by_row) {
  Tensor wide = c[x].cast(DType::int32);
  if (!c.has(zero)) return wide;
  Tensor point = c[zero].cast(DType::int32);
  if (point.rank() == 1 && point.size(0).value() > 1 && by_row) point = point.unsqueeze(-1);
  if (point.rank() == 1 && point.size(0).value() == 1) point = point.reshape(Dims());
  return wide - point;
}

Values matmul_integer(NodeCall& c) {
  return {matmul(centred(c, 0, 2, true), centred(c, 1, 3, false)).cast(DType::int32)};
}

}  // namespace

void add_matmul(OperatorTable& t) {
  t.add("MatMul", [](NodeCall& c) -> Values { return {matmul(c[0], c[1])}; });
  t.add("Gemm", gemm);
  t.add("MatMulInteger", matmul_integer);
  t.add("Einsum", [](NodeCall& c) -> Values {
    std::vector<Tensor> operands;
    for (std::size_t i = 0; i < c.inputs(); ++i) operands.push_back(c[i]);
    std::string equation;
    for (const char letter : c.text("equation", "")) {
      if (letter != ' ') equation += letter;
    }
    return {einsum(equation, operands)};
  });
  t.add("Det", determinant);
}

}  // namespace brisk::onnx
