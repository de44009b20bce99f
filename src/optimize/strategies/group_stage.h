// Values that a whole group of threads needs before its work, and that are made of reductions
// perhaps (a normalised row, a row rounded to bytes under scales): computed by the group's threads
// into shared memory. Input: a value over ranges; output: statements of the group, and the load
// that stands for the value.
#pragma once

#include <vector>

#include "graph/integer.h"
#include "optimize/strategies/strategy.h"

namespace brisk {

class GroupStage {
 public:
  GroupStage(Workshop& workshop, std::int64_t threads) : workshop_(workshop), threads_(threads) {}

  /// Whether stage() takes the value: the ranges and what reductions inside sum over have constant
  /// sizes, and no reduction depends on what another one sums over.
  static bool takes(const Node& value, const std::vector<Node>& ranges);

  /// The value at every point of the ranges; whatever else it depends on is the same for all
  /// threads of the group. Gives its element at the ranges' counters; the same one for the same
  /// value.
  Node stage(const Node& value, const std::vector<Node>& ranges);

  /// The same in one pass for values of groups: each over the points, or over the points and the
  /// inner ranges, where what they reduce at a point has as many elements as the inner ranges. A
  /// few neighbouring threads have a point, so that nobody waits. stage() finds them then; nothing
  /// is done for values of another form.
  void stage_groups(const std::vector<Node>& values, const std::vector<Node>& points,
                    const std::vector<Node>& inner);

  const std::vector<Node>& statements() const { return statements_; }
  /// Of shared memory.
  std::int64_t bytes() const { return bytes_; }

 private:
  void reduce(const Node& reduction, const std::vector<Node>& ranges);
  Node room(DType dtype, std::int64_t elements);

  Workshop& workshop_;
  std::int64_t threads_;
  std::vector<Node> statements_;
  Substitution known_;
  std::int64_t bytes_ = 0;
};

}  // namespace brisk
