#include "optimize/optimize.h"

#include <algorithm>
#include <array>

#include "base/error.h"
#include "graph/integer.h"
#include "optimize/analysis.h"
#include "optimize/strategies/strategy.h"

namespace brisk {

Workshop::Workshop(const LoweredKernel& lowered, const Target& target)
    : target_(target), params_(lowered.params) {
  for (const Part& part : lowered.parts) {
    for (const Node& node : topological_order(part.stages[0].stores)) {
      if (node.is(Op::range_)) next_range_ = std::max(next_range_, static_cast<int>(node.ints(0)) + 1);
    }
    for (const Node& range : part.outer) {
      next_range_ = std::max(next_range_, static_cast<int>(range.ints(0)) + 1);
    }
  }
}

Node Workshop::workspace(DType dtype, const Size& elements) {
  workspaces_.push_back({dtype, elements});
  return make_param(static_cast<int>(params_.size() + workspaces_.size()) - 1, dtype);
}

namespace {

constexpr std::array<Strategy, 1> strategies = {loops};

bool is_parallel(const Node& phase) {
  return phase.is(Op::loop_) && phase.ints(0) == static_cast<std::int64_t>(LoopKind::parallel);
}

// Phases of independent parts side by side: the tasks of one after those of the other.
Node beside(const Node& a, const Node& b, Workshop& workshop) {
  const Size first = is_parallel(a) ? Size(a.src(0).src(0)) : Size(1);
  const Size second = is_parallel(b) ? Size(b.src(0).src(0)) : Size(1);
  const Node task = workshop.range(first + second);
  const auto body = [](const Node& phase, const Node& counter) {
    if (!is_parallel(phase)) return phase;
    Substitution memo = {{phase.src(0), counter}};
    return substitute(phase.src(1), memo);
  };
  const Node one = branch(integer_less(task, first.node()), body(a, task));
  const Node other = branch(integer_less((first - 1).node(), task),
                            body(b, integer_sub(task, first.node())));
  return loop(LoopKind::parallel, task, block({one, other}));
}

}  // namespace

Kernel optimize(const LoweredKernel& lowered, const Target& target) {
  Workshop workshop(lowered, target);
  Kernel kernel;
  std::vector<Node> phases;
  int next_range = 1 << 20;  // of merged ranges
  for (Part part : lowered.parts) {
    merge_ranges(part, next_range);
    std::optional<Schedule> schedule;
    for (const Strategy strategy : strategies) {
      schedule = strategy(part, workshop);
      if (schedule) break;
    }
    check(schedule.has_value(), "the strategy for every part");
    if (!kernel.name.empty()) kernel.name += "_and_";
    kernel.name += schedule->name;
    for (std::size_t i = 0; i < schedule->phases.size(); ++i) {
      if (i == phases.size()) {
        phases.push_back(schedule->phases[i]);
      } else {
        phases[i] = beside(phases[i], schedule->phases[i], workshop);
      }
    }
  }
  kernel.params = lowered.params;
  kernel.variables = lowered.variables;
  kernel.workspace = workshop.workspaces();
  // A serial phase is a block's source of its own, so it must not be flattened into the list.
  if (phases.size() == 1 && !phases[0].is(Op::block_)) {
    kernel.body = phases[0];
  } else {
    for (Node& phase : phases) {
      if (!phase.is(Op::block_)) continue;
      const Node once = workshop.range(1);
      phase = loop(LoopKind::serial, once, phase);
    }
    kernel.body = phases.size() == 1 ? phases[0] : block(phases);
  }
  return kernel;
}

}  // namespace brisk
