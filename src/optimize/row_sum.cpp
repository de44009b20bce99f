#include "optimize/row_sum.h"

#include <algorithm>

#include "optimize/analysis.h"

namespace brisk {

int independent_sums(const Node& term) {
  // Dear terms hide the sums' latency themselves, and need registers for their constants.
  return operation_count(term) < dear_term ? 4 : 2;
}

RowSumShape row_sum_shape(const std::vector<Node>& reductions, const Target& target) {
  const std::int64_t size = Size(reductions[0].srcs().back().src(0)).upper();
  int bytes = 4;
  for (const Node& reduction : reductions) bytes = std::max(bytes, byte_size(reduction.dtype()));
  RowSumShape shape;
  shape.lanes = std::max(1, target.lanes(bytes));
  while (shape.lanes > 1 && shape.lanes > size) shape.lanes /= 2;
  if (shape.lanes == 1 || size < 2L * shape.lanes) return shape;
  const std::int64_t most = independent_sums(reductions[0].src(0));
  shape.vectors = static_cast<int>(std::min<std::int64_t>(most, size / shape.lanes));
  return shape;
}

RowSum::RowSum(const Node& reduction, const RowSumShape& shape, int width, Workshop& workshop)
    : op_(op_of(reduction)), dtype_(reduction.dtype()), lanes_(shape.lanes), width_(width) {
  rest_ = workshop.registers(dtype_, width);
  for (int v = 0; lanes_ > 1 && v < shape.vectors; ++v)
    vectors_.push_back(workshop.registers(dtype_, lanes_));
}

void RowSum::clear(std::vector<Node>& statements) const {
  const Node identity = identity_of(op_, dtype_);
  statements.push_back(store_to(rest_, constant_int(0), splat(identity, width_)));
  for (const Node& vector : vectors_)
    statements.push_back(store_to(vector, constant_int(0), splat(identity, lanes_)));
}

Node RowSum::accumulate(const Node& into, int lanes, const Node& value) const {
  const Node old = load_from(into, constant_int(0), {}, lanes);
  return store_to(into, constant_int(0), combine(op_, old, splat(value, lanes)));
}

Node RowSum::add_vector(std::size_t i, const Node& value) const {
  return accumulate(vectors_.at(i), lanes_, value);
}

Node RowSum::add_rest(const Node& value) const { return accumulate(rest_, width_, value); }

void RowSum::finish(std::vector<Node>& statements) const {
  if (vectors_.empty()) return;
  std::vector<Node> parts;
  for (const Node& vector : vectors_)
    parts.push_back(load_from(vector, constant_int(0), {}, lanes_));
  while (parts.size() > 1) {  // a tree, so that the order is fixed and short
    for (std::size_t p = 0; p + 1 < parts.size(); ++p) {
      parts[p] = combine(op_, parts[p], parts[p + 1]);
      parts.erase(parts.begin() + static_cast<std::ptrdiff_t>(p) + 1);
    }
  }
  statements.push_back(accumulate(rest_, 1, horizontal(op_, parts[0])));
}

Node RowSum::result() const { return load_from(rest_, constant_int(0), {}, width_); }

}  // namespace brisk
