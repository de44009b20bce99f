// What strategies share: the part they schedule, the phases they give, and names for new ranges,
// locals and working memory.
#pragma once

#include <cmath>
#include <optional>
#include <string>
#include <vector>

#include "base/target.h"
#include "kernel/kernel.h"
#include "optimize/decisions.h"

namespace brisk {

/// Hands out what a kernel may have only once.
class Workshop {
 public:
  Workshop(const LoweredKernel& lowered, const Target& target, Decisions& decisions);

  const Target& target() const { return target_; }
  Decisions& decisions() { return decisions_; }
  /// Of the target's threads or processors those that are the present part's, which shares them
  /// with others beside it.
  std::int64_t threads() const { return threads_; }
  void share_threads(double share) {
    threads_ = std::max<std::int64_t>(1, std::llround(share * target_.threads));
  }
  const std::vector<Param>& params() const { return params_; }
  Node range(const Size& size) { return make_range(next_range_++, size); }
  /// The first of `count` ids for ranges that somebody else makes.
  int reserve_ranges(int count) {
    next_range_ += count;
    return next_range_ - count;
  }
  Node registers(DType dtype, std::int64_t elements) {
    return make_local(next_local_++, dtype, elements, Memory::registers);
  }
  Node scratch(DType dtype, std::int64_t elements) {
    return make_local(next_local_++, dtype, elements, Memory::scratch);
  }
  Node shared(DType dtype, std::int64_t elements) {
    return make_local(next_local_++, dtype, elements, Memory::shared);
  }
  /// Working memory that all tasks share, as a pointer.
  Node workspace(DType dtype, const Size& elements);
  bool is_workspace(const Node& param) const;
  /// Takes back workspaces for which others stand in. False, and nothing done, where any two differ
  /// in size.
  bool replace(const std::vector<Node>& workspaces, const std::vector<Node>& others);
  const std::vector<Kernel::Workspace>& workspaces() const { return workspaces_; }

 private:
  const Target& target_;
  Decisions& decisions_;
  std::int64_t threads_;
  std::vector<Param> params_;
  std::vector<Kernel::Workspace> workspaces_;
  int next_range_ = 0;
  int next_local_ = 0;
};

/// Statements that run one after another; a parallel loop, or one task.
struct Schedule {
  std::string name;
  std::vector<Node> phases;
};

/// Computes `value` over `ranges` into working memory, in phases appended to the schedule; gives
/// the load of its element at the ranges' counters. Rows of it, over the last `inner` of the
/// ranges, are `padding` elements longer than they need be.
struct Apart {
  Node memory;
  Node element;
};
Apart compute_apart(const Node& value, const std::vector<Node>& ranges, Workshop& workshop,
                    Schedule& schedule, std::size_t inner = 0, std::int64_t padding = 0);

/// A strategy gives nothing where it does not recognise the part.
using Strategy = std::optional<Schedule> (*)(const Part&, Workshop&);

/// Softmax of a contraction, contracted with a third operand.
std::optional<Schedule> attention(const Part& part, Workshop& workshop);
/// The same on matrix units that multiply tiles of shared memory.
std::optional<Schedule> tile_attention(const Part& part, Workshop& workshop);
/// Products of a function of other products with a third operand, on the same units: gradients of
/// attention.
std::optional<Schedule> tile_chain(const Part& part, Workshop& workshop);
/// Products of few rows with a matrix that lies along the summed ranges, quantised or not.
std::optional<Schedule> matrix_vector(const Part& part, Workshop& workshop);
/// The same for some vectors at once and a quantised matrix: rows of it side by side in lanes.
std::optional<Schedule> interleaved_rows(const Part& part, Workshop& workshop);
/// Contractions: sums over products of two operands, with everything fused around them.
std::optional<Schedule> contraction(const Part& part, Workshop& workshop);
/// The same on matrix units that multiply tiles of shared memory.
std::optional<Schedule> tile_contraction(const Part& part, Workshop& workshop);
/// Windows that slide along the results: depthwise convolutions, pooling.
std::optional<Schedule> windows(const Part& part, Workshop& workshop);
/// Elementwise work that reads memory across the direction in which it writes.
std::optional<Schedule> transposition(const Part& part, Workshop& workshop);
/// Reductions of rows, and what is made of them, where memory is the limit.
std::optional<Schedule> row_pipeline(const Part& part, Workshop& workshop);
/// Places in the order of a row's keys (graph/idioms.h), and what is stored there: a sort.
std::optional<Schedule> ranking(const Part& part, Workshop& workshop);
/// For groups of threads: attention.
std::optional<Schedule> group_attention(const Part& part, Workshop& workshop);
/// For groups of threads: the same as matrix_vector, with what the vectors are made of.
std::optional<Schedule> group_matrix_vector(const Part& part, Workshop& workshop);
/// For groups of threads: the same as contraction, without matrix units.
std::optional<Schedule> group_contraction(const Part& part, Workshop& workshop);
/// For groups of threads: the same as ranking.
std::optional<Schedule> group_ranking(const Part& part, Workshop& workshop);
/// For groups of threads: running sums, products and maxima of rows.
std::optional<Schedule> group_running(const Part& part, Workshop& workshop);
/// For groups of threads, of compute_apart: rows of `value` over `row`, stored at multiples of
/// `pitch`; what is behind them there is zero.
std::optional<Schedule> group_packing(const Node& value, const std::vector<Node>& rows,
                                      const std::vector<Node>& row, const Node& memory,
                                      const Size& pitch, Workshop& workshop);
/// For groups of threads: stores to places that are read from memory.
std::optional<Schedule> group_scatter(const Part& part, Workshop& workshop);
/// For groups of threads: sums of columns; elementwise work; reductions and what is computed from
/// them.
std::optional<Schedule> group_columns(const Part& part, Workshop& workshop);
std::optional<Schedule> group_map(const Part& part, Workshop& workshop);
/// The same where reads and stores lie along different ranges: turned in shared memory.
std::optional<Schedule> group_transposition(const Part& part, Workshop& workshop);
std::optional<Schedule> group_rows(const Part& part, Workshop& workshop);
/// Everything: elementwise chains, row and column reductions and what follows them, gathers,
/// scatters.
std::optional<Schedule> loops(const Part& part, Workshop& workshop);

}  // namespace brisk
