#include "engine/engine.h"

#include <algorithm>
#include <atomic>
#include <exception>
#include <thread>

#include "base/error.h"
#include "base/options.h"
#include "engine/backends.h"
#include "engine/kernel_cache.h"
#include "engine/loaded.h"
#include "engine/tune.h"
#include "engine/winners.h"

namespace brisk {

namespace {
constexpr std::size_t most_plans = 1024;  // kept by a process; the cache has the others
}

bool Engine::Loaded::get(const PlanRecord& record, const std::vector<LoweredKernel>& lowered,
                         Engine& engine, std::vector<std::shared_ptr<LoadedKernel>>& result) {
  std::vector<std::size_t> missing;
  {
    const std::lock_guard lock(mutex);
    std::unordered_map<std::string, bool> listed;
    for (std::size_t i = 0; i < record.steps.size(); ++i) {
      const std::string& key = record.steps[i].key;
      if (kernels.count(key) == 0 && listed.emplace(key, true).second) missing.push_back(i);
    }
  }
  std::atomic<std::size_t> next{0};
  std::atomic<bool> complete{true};
  std::mutex failure_mutex;
  std::exception_ptr failure;
  const auto work = [&] {
    for (std::size_t m = next++; m < missing.size(); m = next++) {
      try {
        const std::string& key = record.steps[missing[m]].key;
        std::optional<KernelCode> code = find_compiled(key);
        if (!code && lowered.empty()) {
          complete = false;
          continue;
        }
        const bool fresh = !code;
        if (fresh) {
          Decisions decisions(winners_for(engine.target()));
          code = compile_kernel(lowered[missing[m]], engine.target(), decisions);
        }
        auto kernel = std::make_shared<LoadedKernel>();
        kernel->program = engine.device().load(code->code.object, code->code.symbol);
        if (fresh) {
          std::vector<std::byte> binary = kernel->program->binary();
          if (!binary.empty()) code->code.object = std::move(binary);
          keep_compiled(key, *code);
        }
        kernel->header = std::move(code->header);
        if (options().verify) {
          kernel->lowered = std::make_shared<const LoweredKernel>(lowered[missing[m]]);
        }
        const std::lock_guard lock(mutex);
        kernels.emplace(key, std::move(kernel));
      } catch (...) {
        const std::lock_guard lock(failure_mutex);
        if (!failure) failure = std::current_exception();
      }
    }
  };
  const std::size_t most = std::max(1U, std::thread::hardware_concurrency());
  std::vector<std::thread> threads;
  for (std::size_t i = 1; i < std::min(most, missing.size()); ++i) threads.emplace_back(work);
  work();
  for (std::thread& thread : threads) thread.join();
  if (failure) std::rethrow_exception(failure);
  if (!complete) return false;
  const std::lock_guard lock(mutex);
  for (const PlanRecord::Step& step : record.steps) result.push_back(kernels.at(step.key));
  return true;
}

std::shared_ptr<const PlanRecord> Engine::Loaded::known_plan(const std::string& key) {
  {
    const std::lock_guard lock(mutex);
    if (const auto found = plans.find(key); found != plans.end()) return found->second;
  }
  const auto stored = KernelCache::shared().find(key);
  std::optional<PlanRecord> record = stored ? PlanRecord::unpack(*stored) : std::nullopt;
  return record ? std::make_shared<const PlanRecord>(std::move(*record)) : nullptr;
}

std::shared_ptr<const PlanRecord> Engine::Loaded::plan(
    const std::string& key, std::span<const Node> roots, std::span<const Node> buffers,
    Engine& engine, std::int64_t memory, std::vector<std::shared_ptr<LoadedKernel>>& result) {
  // Verification and tuning need the kernels as they were lowered, which no cache has.
  const bool tune = Tuner::shared().wants(key);
  std::shared_ptr<const PlanRecord> record = options().verify || tune ? nullptr : known_plan(key);
  if (!record || !get(*record, {}, engine, result)) {
    std::vector<LoweredKernel> lowered;
    record = std::make_shared<const PlanRecord>(
        schedule_graph(roots, buffers, engine.target(), lowered, memory));
    if (tune) {
      const std::vector<std::string> tuned =
          Tuner::shared().tune(*record, lowered, buffers, engine);
      const std::lock_guard lock(mutex);
      for (const std::string& one : tuned) kernels.erase(one);
    }
    get(*record, lowered, engine, result);
    KernelCache::shared().insert(key, record->pack());
  }
  const std::lock_guard lock(mutex);
  if (plans.size() >= most_plans) plans.clear();
  plans.emplace(key, record);
  return record;
}

Engine::Engine(std::unique_ptr<Device> device, Target target)
    : device_(std::move(device)), target_(std::move(target)), loaded_(std::make_unique<Loaded>()) {}

Engine::~Engine() = default;

Engine& Engine::shared() {
  static Engine engine = [] {
    const std::string& id = options().device;
    OpenDevice opened = id.empty() ? open_default_device() : open_device(id);
    return Engine(std::move(opened.device), std::move(opened.target));
  }();
  return engine;
}

std::vector<Node> Engine::realize(std::span<const Node> roots, const VariableValues& values) {
  std::vector<Node> wanted;
  for (const Node& root : roots) {
    if (!root.is(Op::buffer_)) wanted.push_back(root);
  }
  std::vector<Node> computed;
  if (!wanted.empty()) {
    Plan plan(wanted, *this);
    plan.run(values);
    computed = plan.outputs();
  }
  device_->synchronize();
  std::vector<Node> result;
  std::size_t next = 0;
  for (const Node& root : roots) {
    if (root.is(Op::buffer_)) {
      result.push_back(root);
      continue;
    }
    Node node = computed[next++];
    if (!is_static(node.shape())) {
      Shape shape;
      for (const auto size : evaluate_shape(node.shape(), values)) shape.emplace_back(size);
      node = buffer(node.dtype(), std::move(shape), node.attr().storage);
    }
    result.push_back(std::move(node));
  }
  return result;
}

namespace {

std::size_t bytes_of(DType dtype, const Shape& shape) {
  std::size_t bytes = static_cast<std::size_t>(byte_size(dtype));
  for (const Size& size : shape) {
    const auto count = static_cast<std::size_t>(size.upper());
    if (count != 0 && bytes > (std::size_t{1} << 62) / count) {
      user_error("a tensor of shape {} and dtype {} is larger than any memory", to_string(shape),
                 name(dtype));
    }
    bytes *= count;
  }
  return bytes;
}

}  // namespace

Node Engine::upload(DType dtype, const Shape& shape, std::span<const std::byte> bytes,
                    std::shared_ptr<const void> owner) {
  check(bytes.size() == bytes_of(dtype, shape), "as many bytes as the shape needs");
  std::shared_ptr<Buffer> memory;
  if (owner) {
    memory = device_->wrap(bytes, std::const_pointer_cast<void>(std::move(owner)));
  } else {
    memory = device_->allocate(std::max<std::size_t>(bytes.size(), 1));
    device_->copy_in(*memory, 0, bytes);
  }
  return buffer(dtype, shape, std::move(memory));
}

Node Engine::allocate(DType dtype, const Shape& shape) {
  const std::size_t bytes = bytes_of(dtype, shape);
  return buffer(dtype, shape, device_->allocate_zeros(std::max<std::size_t>(bytes, 1)));
}

namespace {

Buffer& memory_of(const Node& node) {
  auto* memory = dynamic_cast<Buffer*>(node.attr().storage.get());
  check(memory != nullptr, "a buffer that lies on a device");
  return *memory;
}

}  // namespace

std::vector<std::byte> Engine::read(const Node& node) {
  std::vector<std::byte> bytes(bytes_of(node.dtype(), node.shape()));
  Buffer& memory = memory_of(node);
  memory.device().copy_out(bytes, memory, 0);
  return bytes;
}

void Engine::write(const Node& node, std::span<const std::byte> bytes, std::size_t offset) {
  const std::size_t whole = bytes_of(node.dtype(), node.shape());
  check(offset <= whole && bytes.size() <= whole - offset, "bytes that the buffer holds");
  Buffer& memory = memory_of(node);
  memory.device().copy_in(memory, offset, bytes);
}

}  // namespace brisk
