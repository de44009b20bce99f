// Reductions along a row, taken in vectors: some independent ones, so that none waits for the one
// before, then what is left over. The order depends on the row's length and on the target alone: a
// row gives the same bits whichever strategy takes it.
#pragma once

#include <vector>

#include "base/target.h"
#include "optimize/strategies/strategy.h"

namespace brisk {

/// Scalar operations that cost more than a store and a load.
constexpr std::int64_t dear_term = 12;

struct RowSumShape {
  int lanes = 1;    // 1: no vectors
  int vectors = 1;  // independent ones
};

/// For reductions over the same range, which are taken in one pass.
RowSumShape row_sum_shape(const std::vector<Node>& reductions, const Target& target);
/// The number of independent reductions of terms like these.
int independent_sums(const Node& term);

/// The registers of one reduction.
class RowSum {
 public:
  /// `width`: what it is the reduction of has as many lanes itself, side by side.
  RowSum(const Node& reduction, const RowSumShape& shape, int width, Workshop& workshop);

  void clear(std::vector<Node>& statements) const;
  /// One more vector, for the i-th of the independent reductions; one more of what is left over.
  Node add_vector(std::size_t i, const Node& value) const;
  Node add_rest(const Node& value) const;
  /// After the last one: all of them together.
  void finish(std::vector<Node>& statements) const;
  Node result() const;

 private:
  Node accumulate(const Node& into, int lanes, const Node& value) const;

  ReduceOp op_;
  DType dtype_;
  int lanes_;
  int width_;
  std::vector<Node> vectors_;
  Node rest_;
};

}  // namespace brisk
