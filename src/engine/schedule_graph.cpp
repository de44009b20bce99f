// Graph → plan record: simplified, scheduled and lowered, within a budget of memory where there is
// one.
#include <algorithm>
#include <limits>
#include <unordered_map>

#include "base/error.h"
#include "base/log.h"
#include "engine/compile.h"
#include "engine/offsets.h"
#include "engine/plan_record.h"
#include "engine/winners.h"
#include "graph/rules_simplify.h"
#include "graph/verify.h"
#include "kernel/lower.h"
#include "kernel/verify.h"
#include "optimize/optimize.h"
#include "schedule/channels_last.h"
#include "schedule/fuse.h"
#include "schedule/rematerialize.h"
#include "schedule/sum_factors.h"
#include "schedule/versions.h"

namespace brisk {

namespace {

// Where a store overwrites what is read later, the roots read copies.
KernelList scheduled(std::vector<Node>& roots, const Target& target,
                     std::vector<Node> sequence = {}) {
  for (;;) {
    std::vector<Node> computed;
    for (const Node& root : roots) {
      if (!root.is(Op::buffer_)) computed.push_back(root);
    }
    KernelList list = fuse(computed, target, sequence);
    if (list.overwritten.empty()) return list;
    sequence = read_copies(sequence, list.overwritten);
    roots = read_copies(roots, list.overwritten);
    verify_graph(roots, "read_copies");
  }
}

PlanRecord recorded(std::span<const Node> roots, const KernelList& list,
                    std::span<const Node> buffers, const Target& target,
                    std::vector<LoweredKernel>& kernels) {
  kernels.clear();
  PlanRecord record;
  std::unordered_map<Node, int, NodeHash> temporaries;
  const auto place = [&](const Node& node) -> PlanRecord::Place {
    const Node& memory = memory_of(node);
    if (memory.attr().storage) {
      const auto at = std::find(buffers.begin(), buffers.end(), memory);
      check(at != buffers.end(), "a buffer of the graph");
      return {false, static_cast<int>(at - buffers.begin()), 0};
    }
    const auto [at, fresh] =
        temporaries.emplace(memory, static_cast<int>(record.temporaries.size()));
    if (fresh) record.temporaries.push_back({memory.dtype(), memory.shape()});
    return {true, at->second, 0};
  };
  for (const ScheduledKernel& kernel : list.kernels) {
    Lowering lowering = lower(kernel.outputs, list.stored);
    verify_kernel(lowering.kernel, "lower");
    PlanRecord::Step step;
    const std::vector<std::int64_t> offsets = take_offsets(lowering.kernel);
    step.key = kernel_key(lowering.kernel, target);
    for (std::size_t i = 0; i < lowering.arguments.size(); ++i) {
      step.arguments.push_back(place(lowering.arguments[i]));
      step.arguments.back().offset = offsets[i];
    }
    step.variables = lowering.kernel.variables;
    step.work = count_work(lowering.kernel);
    record.steps.push_back(std::move(step));
    kernels.push_back(std::move(lowering.kernel));
  }
  for (const Node& root : roots) record.roots.push_back(place(root));
  return record;
}

// What kernels will work in once they are compiled.
class WorkspaceTable {
 public:
  explicit WorkspaceTable(const Target& target) : target_(target) {}

  Workspaces of(const PlanRecord& record, const std::vector<LoweredKernel>& kernels) {
    Workspaces result;
    for (std::size_t i = 0; i < kernels.size(); ++i) {
      const auto [known, fresh] = known_.try_emplace(record.steps[i].key);
      if (fresh) {
        Decisions decisions(winners_for(target_));
        known->second = optimize(kernels[i], target_, decisions).workspace;
      }
      result.push_back(known->second);
    }
    return result;
  }

 private:
  const Target& target_;
  std::unordered_map<std::string, std::vector<Kernel::Workspace>> known_;  // by key
};

// Makes the record of the list, and its kernels, one that takes no more memory than that, by values
// that are computed again.
void keep_within(std::int64_t memory, std::span<const Node> roots, KernelList list,
                 std::span<const Node> buffers, const Target& target, PlanRecord& record,
                 std::vector<LoweredKernel>& kernels) {
  WorkspaceTable table(target);
  const Workspaces workspaces = table.of(record, kernels);
  if (plan_memory(record, workspaces).total <= memory) return;
  for (std::size_t i = 0; i < workspaces.size(); ++i) {
    for (const Kernel::Workspace& workspace : workspaces[i])
      list.kernels[i].workspace += upper_bytes(workspace.dtype, {workspace.elements});
  }
  // What the copies take in fact is known once they are scheduled: where that is more, as a graph
  // of its own or in the order in which they were chosen, less is aimed at.
  constexpr int most_rounds = 8;
  std::int64_t aim = memory;
  for (int round = 1;; ++round) {
    const Rematerialized again = rematerialize(roots, list, target, aim);
    verify_graph(again.roots, "rematerialize");
    std::int64_t least = std::numeric_limits<std::int64_t>::max();
    for (const std::vector<Node>& sequence : {std::vector<Node>(), again.sequence}) {
      std::vector<Node> late = again.roots;
      const KernelList kept = scheduled(late, target, sequence);
      record = recorded(late, kept, buffers, target, kernels);
      const std::int64_t taken = plan_memory(record, table.of(record, kernels)).total;
      log_line(2, "rematerialize: {} bytes in {} kernels instead of {}", taken, kernels.size(),
               list.kernels.size());
      if (taken <= memory) return;
      least = std::min(least, taken);
    }
    if (!again.within) refuse_budget(memory, least);
    aim = round == most_rounds ? 0 : aim - std::max(least - memory, memory / 64);
  }
}

}  // namespace

void refuse_budget(std::int64_t bytes, std::int64_t least) {
  user_error(
      "intermediate values may take {} bytes, but take {} even where as much as can be is computed "
      "again: wants a larger budget (StepOptions::memory, BRISK_MEMORY) or a smaller batch",
      bytes, least);
}

PlanRecord schedule_graph(std::span<const Node> given, std::span<const Node> buffers,
                          const Target& target, std::vector<LoweredKernel>& kernels,
                          std::int64_t memory) {
  verify_graph(given, "tensor");
  std::vector<Node> roots = simplify(given);
  verify_graph(roots, "simplify");
  if (target.copying_threads > 0) {
    roots = simplify(with_channels_last(roots));
    verify_graph(roots, "channels_last");
  }
  roots = simplify(with_factors_outside(roots));
  verify_graph(roots, "sum_factors");
  // Values get memory of their own, even those that are found to be what some memory holds.
  const auto is_memory = [](const Node& root) {
    return root.is(Op::buffer_) || root.is(Op::store_);
  };
  for (std::size_t i = 0; i < roots.size(); ++i) {
    if (is_memory(roots[i]) && !is_memory(given[i])) roots[i] = copy_to(roots[i], "");
  }
  const KernelList list = scheduled(roots, target);
  PlanRecord record = recorded(roots, list, buffers, target, kernels);
  if (memory > 0) keep_within(memory, roots, list, buffers, target, record, kernels);
  return record;
}

}  // namespace brisk
