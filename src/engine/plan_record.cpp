#include "engine/plan_record.h"

#include <algorithm>
#include <unordered_map>
#include <unordered_set>

#include "base/error.h"
#include "engine/compile.h"
#include "engine/pack.h"
#include "graph/rules_simplify.h"
#include "graph/verify.h"
#include "kernel/lower.h"
#include "kernel/verify.h"
#include "optimize/analysis.h"
#include "schedule/fuse.h"
#include "schedule/versions.h"

namespace brisk {

namespace {

void pack_place(Packer& packer, const PlanRecord::Place& place) {
  packer.number(place.temporary ? -1 - place.number : place.number);
}

PlanRecord::Place unpack_place(Unpacker& unpacker) {
  const std::int64_t value = unpacker.number();
  return {value < 0, static_cast<int>(value < 0 ? -1 - value : value)};
}

// Floating-point operations of a kernel, every range at its upper bound.
std::int64_t count_operations(const LoweredKernel& kernel) {
  double total = 0;
  int next_range = 1 << 20;  // beyond those of the kernel
  for (Part part : kernel.parts) {
    split_ranges(part, next_range);
    const std::vector<Node> nodes = topological_order(part.stages[0].stores);
    std::unordered_set<Node, NodeHash> carried;  // selections of running reductions: never computed
    for (const Node& node : nodes) {
      if (node.is(Op::reduce_) && running_range(node)) carried.insert(node.src(0));
    }
    for (const Node& node : nodes) {
      const bool adds = node.is(Op::reduce_);
      if (!is_float(node.dtype()) || (!adds && info(node.op()).group != OpGroup::arithmetic) ||
          carried.count(node) != 0) {
        continue;
      }
      double times = 1;
      const Node& term = adds ? node.src(0) : node;
      std::vector<Node> ranges = free_ranges(carried.count(term) != 0 ? term.src(2) : term);
      for (const Node& range : ranges) times *= static_cast<double>(Size(range.src(0)).upper());
      total += times;
    }
  }
  return static_cast<std::int64_t>(std::min(total, 9e18));
}

}  // namespace

std::vector<std::byte> PlanRecord::pack() const {
  Packer packer;
  packer.number(static_cast<std::int64_t>(temporaries.size()));
  for (const Temporary& temporary : temporaries) {
    packer.number(static_cast<std::int64_t>(temporary.dtype));
    packer.number(static_cast<std::int64_t>(temporary.shape.size()));
    for (const Size& size : temporary.shape) packer.size(size);
  }
  packer.number(static_cast<std::int64_t>(steps.size()));
  for (const Step& step : steps) {
    packer.text(step.key);
    packer.number(static_cast<std::int64_t>(step.arguments.size()));
    for (const Place& place : step.arguments) pack_place(packer, place);
    packer.number(static_cast<std::int64_t>(step.variables.size()));
    for (const Node& variable : step.variables) packer.size(Size(variable));
    packer.number(step.operations);
  }
  packer.number(static_cast<std::int64_t>(roots.size()));
  for (const Place& place : roots) pack_place(packer, place);
  return packer.take();
}

std::optional<PlanRecord> PlanRecord::unpack(std::span<const std::byte> data) {
  Unpacker unpacker(data);
  PlanRecord record;
  const auto each = [&](auto&& read) {
    for (std::int64_t i = unpacker.number(); unpacker.ok() && i > 0; --i) read();
  };
  each([&] {
    Temporary temporary{static_cast<DType>(unpacker.number()), {}};
    each([&] { temporary.shape.push_back(unpacker.size()); });
    record.temporaries.push_back(std::move(temporary));
  });
  each([&] {
    Step step;
    step.key = unpacker.text();
    each([&] { step.arguments.push_back(unpack_place(unpacker)); });
    each([&] { step.variables.push_back(unpacker.size().node()); });
    step.operations = unpacker.number();
    record.steps.push_back(std::move(step));
  });
  each([&] { record.roots.push_back(unpack_place(unpacker)); });
  if (!unpacker.ok()) return std::nullopt;
  return record;
}

PlanRecord schedule_graph(std::span<const Node> given, std::span<const Node> buffers,
                          const Target& target, std::vector<LoweredKernel>& kernels) {
  verify_graph(given, "tensor");
  std::vector<Node> roots = simplify(given);
  verify_graph(roots, "simplify");
  // Values get memory of their own, even those that are found to be what some memory holds.
  const auto is_memory = [](const Node& root) {
    return root.is(Op::buffer_) || root.is(Op::store_);
  };
  for (std::size_t i = 0; i < roots.size(); ++i) {
    if (is_memory(roots[i]) && !is_memory(given[i])) roots[i] = copy_to(roots[i], "");
  }
  const auto computed = [&] {
    std::vector<Node> nodes;
    for (const Node& root : roots) {
      if (!root.is(Op::buffer_)) nodes.push_back(root);
    }
    return nodes;
  };
  KernelList list = fuse(computed());
  while (!list.overwritten.empty()) {
    roots = read_copies(roots, list.overwritten);
    verify_graph(roots, "read_copies");
    list = fuse(computed());
  }
  PlanRecord record;
  std::unordered_map<Node, int, NodeHash> temporaries;
  const auto place = [&](const Node& node) -> PlanRecord::Place {
    const Node& memory = memory_of(node);
    if (memory.attr().storage) {
      const auto at = std::find(buffers.begin(), buffers.end(), memory);
      check(at != buffers.end(), "a buffer of the graph");
      return {false, static_cast<int>(at - buffers.begin())};
    }
    const auto [at, fresh] =
        temporaries.emplace(memory, static_cast<int>(record.temporaries.size()));
    if (fresh) record.temporaries.push_back({memory.dtype(), memory.shape()});
    return {true, at->second};
  };
  for (const ScheduledKernel& kernel : list.kernels) {
    Lowering lowering = lower(kernel.outputs, list.stored);
    verify_kernel(lowering.kernel, "lower");
    PlanRecord::Step step;
    step.key = kernel_key(lowering.kernel, target);
    for (const Node& argument : lowering.arguments) step.arguments.push_back(place(argument));
    step.variables = lowering.kernel.variables;
    step.operations = count_operations(lowering.kernel);
    record.steps.push_back(std::move(step));
    kernels.push_back(std::move(lowering.kernel));
  }
  for (const Node& root : roots) record.roots.push_back(place(root));
  return record;
}

}  // namespace brisk
