// Compiling a graph once, for many runs: schedule, lower, compile, place in memory, then launch.
#include <algorithm>
#include <chrono>
#include <mutex>
#include <utility>

#include "base/error.h"
#include "base/log.h"
#include "base/options.h"
#include "engine/engine.h"
#include "engine/loaded.h"
#include "engine/plan_record.h"
#include "engine/prepared_launch.h"
#include "engine/structure.h"
#include "engine/verify.h"
#include "schedule/memory_plan.h"

namespace brisk {

struct Plan::Impl {
  struct Step {
    std::shared_ptr<LoadedKernel> kernel;
    PreparedLaunch launch;
    std::vector<ArgumentMemory> arguments;  // of the kernel, for BRISK_VERIFY
    Work work;
    std::vector<Shape> shapes;  // of the arguments
    std::vector<DType> dtypes;
  };
  using Timing = std::vector<double>;  // seconds of each step

  void run(const VariableValues& values, Timing* timing);
  bool replay(const VariableValues& values);
  KernelInfo info(const Step& step, const VariableValues* values) const;

  Engine* engine = nullptr;
  std::mutex mutex;  // one run at a time
  std::vector<Step> steps;
  std::vector<Node> outputs;
  std::vector<Node> kept;  // buffers whose memory the steps use
  std::shared_ptr<Buffer> arena;
  std::int64_t arena_bytes = 0;
  std::int64_t lower_bound = 0;
  bool ran = false;                      // a graph that runs once is not worth a recording
  bool recordable = true;                // unless the device has said otherwise
  std::unique_ptr<Recording> recording;  // of the steps as they were set last
};

Plan::~Plan() = default;
Plan::Plan(Plan&&) noexcept = default;
Plan& Plan::operator=(Plan&&) noexcept = default;
const std::vector<Node>& Plan::outputs() const { return impl_->outputs; }
std::int64_t Plan::intermediate_bytes() const { return impl_->arena_bytes; }
std::int64_t Plan::intermediate_lower_bound() const { return impl_->lower_bound; }

std::vector<Plan::KernelInfo> Plan::kernels(const VariableValues* values) const {
  std::vector<KernelInfo> list;
  for (const Impl::Step& step : impl_->steps) list.push_back(impl_->info(step, values));
  return list;
}

Plan::KernelInfo Plan::Impl::info(const Step& step, const VariableValues* values) const {
  const auto number = [&](const Size& size) {
    return values ? evaluate_size(size, *values) : size.upper();
  };
  KernelInfo info;
  info.name = step.kernel->header.name;
  info.arguments = static_cast<int>(step.shapes.size());
  info.operations = number(step.work.operations);
  for (std::size_t i = 0; i < step.shapes.size(); ++i) {
    std::int64_t all = 1;
    for (const Size& size : step.shapes[i]) all *= number(size);
    info.bytes += std::min(all, number(step.work.elements[i])) * byte_size(step.dtypes[i]);
  }
  return info;
}

namespace {

// A kernel reaches the memory of one device.
void want_no_copies(std::span<const Node> roots, Engine& engine) {
  for (const Node& node : topological_order(roots)) {
    if (node.is(Op::copy_)) {
      user_error("a plan runs on one device, {}, and cannot copy to \"{}\" on the way",
                 engine.device().info().id, node.attr().name);
    }
  }
}

}  // namespace

Plan::Plan(std::span<const Node> roots, Engine& engine, std::int64_t budget)
    : impl_(std::make_unique<Impl>()) {
  want_no_copies(roots, engine);
  if (budget == 0) budget = options().memory;
  Impl& plan = *impl_;
  plan.engine = &engine;
  std::string key = "plan " + compiler_identity() + fingerprint(engine.target()) + "\n";
  if (budget > 0) key += fmt::format("memory {}\n", budget);
  std::vector<Node> buffers;
  append_structure(key, roots, buffers);
  std::vector<std::shared_ptr<LoadedKernel>> kernels;
  const std::shared_ptr<const PlanRecord> found =
      engine.loaded_->plan(key, roots, buffers, engine, budget, kernels);
  const PlanRecord& record = *found;

  // Memory: roots get their own; everything else, working memory included, shares an arena.
  std::vector<std::shared_ptr<Buffer>> own(record.temporaries.size());
  for (const PlanRecord::Place& root : record.roots) {
    if (!root.temporary || own[static_cast<std::size_t>(root.number)]) continue;
    const auto& temporary = record.temporaries[static_cast<std::size_t>(root.number)];
    own[static_cast<std::size_t>(root.number)] = engine.device_->allocate(
        static_cast<std::size_t>(upper_bytes(temporary.dtype, temporary.shape)));
  }
  Workspaces workspaces;
  for (const auto& kernel : kernels) workspaces.push_back(kernel->header.workspace);
  const MemoryPlan memory = plan_memory(record, workspaces);
  if (budget > 0 && memory.total > budget) refuse_budget(budget, memory.total);
  plan.arena_bytes = memory.total;
  plan.lower_bound = memory.lower_bound;
  if (memory.total > 0) {
    plan.arena = engine.device_->allocate(static_cast<std::size_t>(memory.total));
  }
  const auto in_arena = [&](std::size_t interval) -> void* {
    return static_cast<std::byte*>(plan.arena->address()) + memory.offsets[interval];
  };
  const auto memory_at = [&](const PlanRecord::Place& place) -> ArgumentMemory {
    const auto number = static_cast<std::size_t>(place.number);
    const auto offset = static_cast<std::size_t>(place.offset);
    if (place.temporary) {
      const auto& temporary = record.temporaries[number];
      const auto bytes = static_cast<std::size_t>(upper_bytes(temporary.dtype, temporary.shape));
      if (own[number]) return {own[number], offset, bytes - std::min(offset, bytes)};
      const auto first = static_cast<std::size_t>(memory.offsets[number]);
      return {plan.arena, first + offset, bytes - std::min(offset, bytes)};
    }
    auto buffer = std::dynamic_pointer_cast<Buffer>(buffers[number].attr().storage);
    check(buffer != nullptr, "a buffer that lies on a device");
    if (&buffer->device() != engine.device_.get()) {
      user_error("a tensor of the graph lies on {}, the graph runs on {}; move it with to(\"{}\")",
                 buffer->device().info().id, engine.device_->info().id, engine.device_->info().id);
    }
    plan.kept.push_back(buffers[number]);
    const auto bytes =
        static_cast<std::size_t>(upper_bytes(buffers[number].dtype(), buffers[number].shape()));
    return {std::move(buffer), offset, bytes - std::min(offset, bytes)};
  };
  std::size_t workspace = record.temporaries.size();
  for (std::size_t i = 0; i < record.steps.size(); ++i) {
    std::vector<void*> addresses;
    std::vector<ArgumentMemory> arguments;
    std::vector<Shape> shapes;
    std::vector<DType> dtypes;
    for (const PlanRecord::Place& place : record.steps[i].arguments) {
      const auto number = static_cast<std::size_t>(place.number);
      const Shape& shape =
          place.temporary ? record.temporaries[number].shape : buffers[number].shape();
      shapes.push_back(shape);
      dtypes.push_back(place.temporary ? record.temporaries[number].dtype
                                       : buffers[number].dtype());
      ArgumentMemory argument = memory_at(place);
      addresses.push_back(static_cast<std::byte*>(argument.memory->address()) + argument.offset);
      if (kernels[i]->lowered) arguments.push_back(std::move(argument));
    }
    for (std::size_t w = 0; w < kernels[i]->header.workspace.size(); ++w)
      addresses.push_back(in_arena(workspace++));
    PreparedLaunch launch(kernels[i]->header, *kernels[i]->program, std::move(addresses),
                          record.steps[i].variables);
    plan.steps.push_back({kernels[i], std::move(launch), std::move(arguments), record.steps[i].work,
                          std::move(shapes), std::move(dtypes)});
  }
  for (const PlanRecord::Place& root : record.roots) {
    const auto number = static_cast<std::size_t>(root.number);
    plan.outputs.push_back(root.temporary ? buffer(record.temporaries[number].dtype,
                                                   record.temporaries[number].shape, own[number])
                                          : buffers[number]);
  }
}

namespace {

double seconds_of(Device& device, const Launch& launch) {
  device.synchronize();
  const auto start = std::chrono::steady_clock::now();
  device.launch(launch);
  device.synchronize();
  const std::chrono::duration<double> took = std::chrono::steady_clock::now() - start;
  return std::max(took.count(), 1e-9);
}

void log_launch(const Plan::KernelInfo& info, double seconds) {
  log_line(1, "{:<44} {:>10.1f} us {:>8.2f} GFLOP/s {:>8.2f} GB/s", info.name, seconds * 1e6,
           static_cast<double>(info.operations) / seconds / 1e9,
           static_cast<double>(info.bytes) / seconds / 1e9);
}

}  // namespace

void Plan::run(const VariableValues& values) { impl_->run(values, nullptr); }

std::vector<Plan::KernelInfo> Plan::timed_run(const VariableValues& values) {
  Impl::Timing timing;
  impl_->run(values, &timing);
  std::vector<KernelInfo> list = kernels(&values);
  for (std::size_t i = 0; i < list.size(); ++i) list[i].seconds = timing[i];
  return list;
}

// All steps at once, by the device's recording of them; false where there is none.
bool Plan::Impl::replay(const VariableValues& values) {
  if (!std::exchange(ran, true) || !recordable || steps.size() < 2) return false;
  std::unique_ptr<Recording> current = std::move(recording);  // lost where a value is missing
  if (current) {
    for (std::size_t i = 0; i < steps.size(); ++i) {
      if (!steps[i].launch.fixed() && steps[i].launch.set(values))
        current->update(i, steps[i].launch.launch());
    }
  } else {
    std::vector<Launch> launches;
    for (Step& step : steps) {
      if (!step.launch.fixed()) step.launch.set(values);
      launches.push_back(step.launch.launch());
    }
    current = engine->device().record(launches);
    recordable = current != nullptr;
    if (!recordable) return false;
  }
  current->replay();
  recording = std::move(current);
  return true;
}

void Plan::Impl::run(const VariableValues& values, Timing* timing) {
  const std::lock_guard lock(mutex);
  if (timing == nullptr && !options().verify && !log_enabled(1) && replay(values)) return;
  recording.reset();  // the steps are set to other values
  for (Step& step : steps) {
    if (!step.launch.fixed()) step.launch.set(values);
    const Launch launch = step.launch.launch();
    Device& device = engine->device();
    if (step.kernel->lowered) {
      launch_verified(device, launch, step.kernel->header.name, *step.kernel->lowered,
                      step.arguments);
      if (timing != nullptr) timing->push_back(0);  // the interpreter's time says nothing
    } else if (timing != nullptr) {
      timing->push_back(seconds_of(device, launch));
    } else if (log_enabled(1)) {
      const double seconds = seconds_of(device, launch);
      log_launch(info(step, &values), seconds);
    } else {
      device.launch(launch);
    }
  }
}

}  // namespace brisk
