#include "optimize/spread.h"

#include <algorithm>

#include "graph/integer.h"

namespace brisk {

namespace {
constexpr std::int64_t group = 128;  // threads: several groups fit a processor, few idle at the end
}

Node spread_over_threads(const Node& phase, Workshop& workshop) {
  if (threads_of(phase) > 1) return phase;
  if (!is_loop(phase, LoopKind::parallel)) {
    return loop(LoopKind::threads, workshop.range(1), phase);
  }
  const Node& task = phase.src(0);
  const Size tasks(task.src(0));
  const std::int64_t step = workshop.target().group_step;
  const std::int64_t threads = std::clamp((tasks.upper() + step - 1) / step * step, step, group);
  const Size groups = (tasks + (threads - 1)) / threads;
  const Node outer = workshop.range(groups);
  const Node thread = workshop.range(threads);
  const Node at = add(mul(outer, constant_int(threads)), thread);
  Substitution memo = {{task, at}};
  const Node body = branch(integer_less(at, tasks.node()), substitute(phase.src(1), memo));
  return loop(LoopKind::parallel, outer, loop(LoopKind::threads, thread, body));
}

}  // namespace brisk
