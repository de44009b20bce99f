// Compiling a graph once, for many runs: schedule, lower, compile, place in memory, then launch.
#include <algorithm>
#include <unordered_map>

#include "base/error.h"
#include "base/log.h"
#include "engine/engine.h"
#include "engine/loaded.h"
#include "graph/integer.h"
#include "graph/rules_simplify.h"
#include "kernel/lower.h"
#include "schedule/memory_plan.h"

namespace brisk {

namespace {

std::int64_t upper_bytes(const Node& node) {
  std::int64_t count = byte_size(node.dtype());
  for (const Size& size : node.shape()) count *= size.upper();
  return count;
}

}  // namespace

struct Plan::Impl {
  struct Step {
    std::shared_ptr<LoadedKernel> kernel;
    std::vector<void*> buffers;
    std::vector<Node> variables;
    bool fixed = true;  // no phase's number of tasks depends on variables
    std::vector<std::int64_t> tasks;
    KernelInfo info;
  };

  Engine* engine = nullptr;
  std::vector<Step> steps;
  std::vector<Node> outputs;
  std::vector<Node> kept;  // buffers whose memory the steps use
  std::shared_ptr<Buffer> arena;
  std::int64_t arena_bytes = 0;
  std::int64_t lower_bound = 0;
};

Plan::~Plan() = default;
Plan::Plan(Plan&&) noexcept = default;
Plan& Plan::operator=(Plan&&) noexcept = default;
const std::vector<Node>& Plan::outputs() const { return impl_->outputs; }
std::int64_t Plan::intermediate_bytes() const { return impl_->arena_bytes; }
std::int64_t Plan::intermediate_lower_bound() const { return impl_->lower_bound; }

std::vector<Plan::KernelInfo> Plan::kernels() const {
  std::vector<KernelInfo> list;
  for (const Impl::Step& step : impl_->steps) list.push_back(step.info);
  return list;
}

Plan::Plan(std::span<const Node> given, Engine& engine) : impl_(std::make_unique<Impl>()) {
  Impl& plan = *impl_;
  plan.engine = &engine;
  const std::vector<Node> roots = simplify(given);
  std::vector<Node> computed;
  for (const Node& root : roots) {
    if (!root.is(Op::buffer_)) computed.push_back(root);
  }
  const KernelList list = fuse(computed);

  // Lower and compile.
  std::vector<Lowering> lowerings;
  std::vector<LoweredKernel> kernels;
  std::vector<std::string> keys;
  for (const ScheduledKernel& kernel : list.kernels) {
    lowerings.push_back(lower(kernel.outputs, list.stored));
    kernels.push_back(lowerings.back().kernel);
    keys.push_back(kernel_key(kernels.back(), engine.target()));
  }
  const auto loaded = engine.loaded_->get(kernels, keys, engine);

  // Memory: roots get their own; everything else, working memory included, shares an arena. A buffer
  // without storage is memory that the graph needs only here (the target of a scatter, say).
  std::unordered_map<Node, std::shared_ptr<Buffer>, NodeHash> own;
  for (const Node& root : computed) {
    const Node& memory = memory_of(root);
    if (memory.attr().storage || own.count(memory) != 0) continue;
    own[memory] = engine.device_->allocate(
        static_cast<std::size_t>(std::max<std::int64_t>(upper_bytes(memory), 1)));
  }
  std::vector<Interval> intervals;
  std::unordered_map<Node, std::size_t, NodeHash> interval_of;
  std::vector<std::vector<std::size_t>> workspace_of(lowerings.size());
  for (std::size_t i = 0; i < lowerings.size(); ++i) {
    const auto step = static_cast<std::int64_t>(i);
    for (const Node& argument : lowerings[i].arguments) {
      if (argument.attr().storage || own.count(argument) != 0) continue;
      const auto [at, fresh] = interval_of.emplace(argument, intervals.size());
      if (fresh) intervals.push_back({step, step, std::max<std::int64_t>(upper_bytes(argument), 1)});
      intervals[at->second].last = step;
    }
    for (const auto& workspace : loaded[i]->header.workspace) {
      workspace_of[i].push_back(intervals.size());
      intervals.push_back({step, step, std::max<std::int64_t>(
                                           workspace.elements.upper() * byte_size(workspace.dtype), 1)});
    }
  }
  const MemoryPlan memory = plan_memory(intervals);
  plan.arena_bytes = memory.total;
  plan.lower_bound = memory.lower_bound;
  if (memory.total > 0) {
    plan.arena = engine.device_->allocate(static_cast<std::size_t>(memory.total));
  }
  const auto in_arena = [&](std::size_t interval) -> void* {
    return static_cast<std::byte*>(plan.arena->address()) + memory.offsets[interval];
  };
  const auto address = [&](const Node& node) -> void* {
    if (node.attr().storage) {
      const auto* buffer = dynamic_cast<const Buffer*>(node.attr().storage.get());
      check(buffer != nullptr && &buffer->device() == engine.device_.get(),
            "a buffer that lies on the engine's device");
      plan.kept.push_back(node);
      return buffer->address();
    }
    if (const auto at = own.find(node); at != own.end()) return at->second->address();
    return in_arena(interval_of.at(node));
  };

  for (std::size_t i = 0; i < lowerings.size(); ++i) {
    Impl::Step step;
    step.kernel = loaded[i];
    step.info = {loaded[i]->header.name, static_cast<int>(lowerings[i].arguments.size()), 0, 0};
    for (const Node& argument : lowerings[i].arguments) {
      step.buffers.push_back(address(argument));
      step.info.bytes += upper_bytes(argument);
    }
    for (const std::size_t interval : workspace_of[i]) step.buffers.push_back(in_arena(interval));
    step.variables = lowerings[i].kernel.variables;
    for (const Size& tasks : loaded[i]->header.phase_tasks) {
      step.fixed = step.fixed && tasks.is_constant();
      step.tasks.push_back(tasks.is_constant() ? tasks.value() : 0);
    }
    plan.steps.push_back(std::move(step));
  }

  for (const Node& root : roots) {
    if (root.is(Op::buffer_)) {
      plan.outputs.push_back(root);
      continue;
    }
    const Node& memory = memory_of(root);
    plan.outputs.push_back(memory.attr().storage
                               ? memory
                               : buffer(memory.dtype(), memory.shape(), own.at(memory)));
  }
}

void Plan::run(const VariableValues& values) {
  std::vector<std::int64_t> variables;
  for (Impl::Step& step : impl_->steps) {
    variables.clear();
    for (const Node& variable : step.variables) {
      variables.push_back(evaluate_size(Size(variable), values));
    }
    if (!step.fixed) {
      const auto& sizes = step.kernel->header.phase_tasks;
      for (std::size_t i = 0; i < sizes.size(); ++i) step.tasks[i] = evaluate_size(sizes[i], values);
    }
    Launch launch;
    launch.program = step.kernel->program.get();
    launch.buffers = step.buffers;
    launch.variables = variables;
    launch.phase_tasks = step.tasks;
    launch.scratch_bytes = static_cast<std::size_t>(step.kernel->header.scratch_bytes);
    impl_->engine->device_->launch(launch);
  }
}

}  // namespace brisk
