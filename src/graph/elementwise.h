// The arithmetic and integer operations of ops.def on host memory: the one definition of what they
// compute, used by the evaluator of graphs, the interpreter of kernels and constant folding.
// Input: an operation and its operands' elements; output: the result's elements.
#pragma once

#include <cstddef>
#include <cstdint>
#include <span>
#include <vector>

#include "graph/node.h"

namespace brisk {

/// Consecutive elements (step 1), or one that stands for all (step 0).
struct Operand {
  DType dtype = DType::none;
  const std::byte* bytes = nullptr;
  std::int64_t step = 1;
};

/// Writes `count` elements of `dtype`. Narrow floats are computed in float32, exp2, log2 and sin of
/// float32 in float64, and rounded once. Floats out of an integer's range are taken to the nearest
/// 64-bit integer (NaN: 0), then wrap. `result` may be an operand of step 1 and the same byte size.
void apply(Op op, DType dtype, std::span<const Operand> srcs, std::int64_t count,
           std::byte* result);

/// Elements of any dtype as float64.
std::vector<double> reals(DType dtype, std::span<const std::byte> bytes);

/// The smaller of a and b (NaN if either is), element by element; for StoreMode::min.
void apply_min(DType dtype, Operand a, Operand b, std::int64_t count, std::byte* result);

/// The one element of a constant node.
void write_constant(const Node& constant, std::byte* result);
/// The constant node (shape {}) that holds one element.
Node read_constant(DType dtype, const std::byte* element);

/// Running values of reductions: float64 for floats (sums in blocks of what one call takes), the
/// dtype itself (wrapping) for integers.
class Accumulators {
 public:
  Accumulators(ReduceOp op, DType dtype, std::size_t count = 1);
  /// Element i goes to the value `first + i * step`.
  void take(std::int64_t first, std::int64_t step, const std::byte* elements, std::int64_t count);
  /// Writes every value, rounded to the dtype.
  void finish(std::byte* result) const;

 private:
  ReduceOp op_;
  DType dtype_;
  std::vector<double> reals_;         // of floats
  std::vector<std::uint64_t> whole_;  // of integers and bool: the value extended to 64 bits
};

}  // namespace brisk
