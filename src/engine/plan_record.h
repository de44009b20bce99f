// What scheduling a graph gives, free of the process that made it: kernels by their cache keys,
// their arguments by number, sizes over variables. The kernel cache holds it, so that a graph that
// was seen before is neither scheduled nor lowered again.
#pragma once

#include <optional>
#include <span>
#include <string>
#include <vector>

#include "base/target.h"
#include "engine/work.h"
#include "graph/node.h"
#include "kernel/kernel.h"
#include "schedule/memory_plan.h"

namespace brisk {

struct PlanRecord {
  /// A buffer of the graph (numbered as append_structure lists them) or a temporary of the plan.
  struct Place {
    bool temporary = false;
    int number = 0;
    std::int64_t offset = 0;  // bytes, of a kernel's argument (engine/offsets.h)
  };
  struct Temporary {
    DType dtype;
    Shape shape;
  };
  struct Step {
    std::string key;  // kernel_key
    std::vector<Place> arguments;
    std::vector<Node> variables;
    Work work;
  };

  std::vector<Temporary> temporaries;
  std::vector<Step> steps;
  std::vector<Place> roots;

  std::vector<std::byte> pack() const;
  static std::optional<PlanRecord> unpack(std::span<const std::byte> data);
};

/// Bytes of an array where its sizes are at their upper bounds; at least 1.
std::int64_t upper_bytes(DType dtype, const Shape& shape);

/// Simplifies, schedules and lowers; `kernels` receives one lowered kernel per step. Intermediate
/// values take at most `memory` bytes, unless that is 0 (engine.h, Plan).
PlanRecord schedule_graph(std::span<const Node> roots, std::span<const Node> buffers,
                          const Target& target, std::vector<LoweredKernel>& kernels,
                          std::int64_t memory = 0);

using Workspaces = std::vector<std::vector<Kernel::Workspace>>;  // of the kernels, step by step

/// Where in one block the temporaries lie, then the workspaces. Roots, which have memory of their
/// own, are of no bytes.
MemoryPlan plan_memory(const PlanRecord& record, const Workspaces& workspaces);

/// UserError: the budget is less than the least that was found to do.
[[noreturn]] void refuse_budget(std::int64_t bytes, std::int64_t least);

}  // namespace brisk
