#include "engine/kernel_timing.h"

#include <algorithm>
#include <chrono>
#include <cmath>
#include <random>

#include "base/error.h"
#include "brisk/version.h"
#include "engine/backends.h"
#include "engine/pack.h"
#include "engine/prepared_launch.h"
#include "graph/elementwise.h"

namespace brisk {

namespace {

constexpr std::int64_t most_sets = 32;         // of arguments
constexpr std::int64_t most_bytes = 1L << 30;  // of all but one of them
constexpr std::int64_t sampled = 512;          // elements of a result
constexpr int least_runs = 5, most_runs = 40;
constexpr double enough_seconds = 0.1;
constexpr double run_seconds = 1e-3;
constexpr std::int64_t most_launches = 32;

// Numbers between -1 and 1. Bytes are below 64: where some of them are a wider number, that is
// below 2. Wider integers may be places or counts, and are 0 or 1.
std::vector<std::byte> random_block(DType dtype, std::int64_t bytes, std::mt19937_64& random) {
  constexpr std::int64_t most = 4 << 20;  // of which larger arrays are repetitions
  const std::int64_t count = std::min(bytes / byte_size(dtype), most);
  std::vector<std::byte> block(static_cast<std::size_t>(count * byte_size(dtype)));
  if (byte_size(dtype) == 1 && is_integer(dtype)) {
    for (std::byte& byte : block) byte = static_cast<std::byte>(random() % 64);
    return block;
  }
  std::vector<float> values(static_cast<std::size_t>(count));
  std::uniform_real_distribution<float> real(-1, 1);
  for (float& value : values)
    value = is_float(dtype) ? real(random) : static_cast<float>(random() % 2);
  const Operand source{DType::float32, reinterpret_cast<const std::byte*>(values.data()), 1};
  apply(Op::cast_, dtype, {&source, 1}, count, block.data());
  return block;
}

void fill(Device& device, Buffer& buffer, std::span<const std::byte> block, std::int64_t bytes) {
  for (std::int64_t at = 0; at < bytes && !block.empty();) {
    const std::int64_t part = std::min(bytes - at, static_cast<std::int64_t>(block.size()));
    device.copy_in(buffer, static_cast<std::size_t>(at),
                   block.first(static_cast<std::size_t>(part)));
    at += part;
  }
}

double now() {
  return std::chrono::duration<double>(std::chrono::steady_clock::now().time_since_epoch()).count();
}

}  // namespace

std::vector<std::byte> TimingTask::pack() const {
  Packer packer;
  packer.text(version);
  packer.text(device);
  packer.bytes(brisk::pack(kernel));
  packer.number(static_cast<std::int64_t>(arguments.size()));
  for (const Argument& argument : arguments) {
    packer.number(static_cast<std::int64_t>(argument.dtype));
    packer.number(argument.bytes);
    packer.number(argument.written ? 1 : 0);
  }
  packer.number(static_cast<std::int64_t>(variables.size()));
  for (const auto& [variable, value] : variables) {
    packer.size(Size(variable));
    packer.number(value);
  }
  packer.number(seed);
  return packer.take();
}

std::optional<TimingTask> TimingTask::unpack(std::span<const std::byte> data) {
  Unpacker unpacker(data);
  TimingTask task;
  if (unpacker.text() != version) return std::nullopt;
  task.device = unpacker.text();
  if (!brisk::unpack(unpacker.bytes(), task.kernel)) return std::nullopt;
  for (std::int64_t i = unpacker.number(); unpacker.ok() && i > 0; --i) {
    Argument argument;
    argument.dtype = static_cast<DType>(unpacker.number());
    argument.bytes = unpacker.number();
    argument.written = unpacker.number() != 0;
    task.arguments.push_back(argument);
  }
  for (std::int64_t i = unpacker.number(); unpacker.ok() && i > 0; --i) {
    const Node variable = unpacker.size().node();
    task.variables.emplace_back(variable, unpacker.number());
  }
  task.seed = unpacker.number();
  return unpacker.ok() ? std::optional(std::move(task)) : std::nullopt;
}

struct TimedKernel::Impl {
  // Arguments and working memory, so many times that the caches hold none of them when its turn
  // comes again.
  struct Set {
    std::vector<std::shared_ptr<Buffer>> memory;
    PreparedLaunch launch;
  };

  TimingTask task;
  OpenDevice open;
  std::unique_ptr<Program> program;
  std::vector<Set> sets;
  std::vector<Launch> launches;  // of a run: each set's in turn
  std::unique_ptr<Recording> recording;

  Device& device() { return *open.device; }

  double run() {
    const double start = now();
    if (recording) {
      recording->replay();
    } else {
      for (const Launch& launch : launches) device().launch(launch);
    }
    device().synchronize();
    return now() - start;
  }
};

TimedKernel::TimedKernel(const TimingTask& task) : impl_(std::make_unique<Impl>()) {
  Impl& my = *impl_;
  my.task = task;
  my.open = open_device(task.device);
  const KernelCode& kernel = my.task.kernel;
  my.program = my.device().load(kernel.code.object, kernel.code.symbol);
  Variables values;
  std::vector<Node> variables;
  for (const auto& [variable, value] : task.variables) {
    variables.push_back(variable);
    values[variable.attr().name] = value;
  }
  std::vector<std::int64_t> working;
  std::int64_t bytes = 0;
  for (const TimingTask::Argument& argument : task.arguments) bytes += argument.bytes;
  for (const Kernel::Workspace& workspace : kernel.header.workspace) {
    working.push_back(std::max<std::int64_t>(
        1, evaluate_size(workspace.elements, values) * byte_size(workspace.dtype)));
    bytes += working.back();
  }
  const auto cache = static_cast<std::int64_t>(my.device().info().cache_bytes);
  const std::int64_t wanted = std::clamp<std::int64_t>(3 * cache, 0, most_bytes);
  const std::int64_t count =
      std::clamp<std::int64_t>(wanted / std::max<std::int64_t>(bytes, 1) + 1, 1, most_sets);
  std::mt19937_64 random(static_cast<std::uint64_t>(task.seed));
  std::vector<std::vector<std::byte>> blocks;
  for (const TimingTask::Argument& argument : task.arguments)
    blocks.push_back(random_block(argument.dtype, argument.bytes, random));
  for (std::int64_t i = 0; i < count; ++i) {
    std::vector<std::shared_ptr<Buffer>> memory;
    for (std::size_t a = 0; a < task.arguments.size(); ++a) {
      memory.push_back(my.device().allocate(static_cast<std::size_t>(task.arguments[a].bytes)));
      fill(my.device(), *memory.back(), blocks[a], task.arguments[a].bytes);
    }
    for (const std::int64_t size : working)
      memory.push_back(my.device().allocate_zeros(static_cast<std::size_t>(size)));
    std::vector<void*> addresses;
    for (const auto& buffer : memory) addresses.push_back(buffer->address());
    PreparedLaunch launch(kernel.header, *my.program, std::move(addresses), variables);
    launch.set(values);
    my.sets.push_back({std::move(memory), std::move(launch)});
  }
  my.device().synchronize();
}

TimedKernel::~TimedKernel() = default;

KernelTiming TimedKernel::time() {
  Impl& my = *impl_;
  KernelTiming timing;
  my.launches = {my.sets[0].launch.launch()};
  my.run();
  for (std::size_t a = 0; a < my.task.arguments.size(); ++a) {
    const TimingTask::Argument& argument = my.task.arguments[a];
    if (!argument.written) continue;
    const std::int64_t size = byte_size(argument.dtype);
    const std::int64_t all = argument.bytes / size;
    std::vector<double> values;
    // As many from the beginning as from all over it.
    for (std::int64_t i = 0; i < std::min(all, sampled); ++i) {
      const std::int64_t at = i < sampled / 2 ? i : i * (all / std::min(all, sampled));
      std::vector<std::byte> element(static_cast<std::size_t>(size));
      my.device().copy_out(element, *my.sets[0].memory[a], static_cast<std::size_t>(at * size));
      values.push_back(reals(argument.dtype, element)[0]);
    }
    timing.results.push_back(std::move(values));
  }
  // Launches enough that waiting for them counts for nothing.
  const double one = my.run();
  const auto rounds =
      std::clamp<std::int64_t>(std::llround(run_seconds / std::max(one, 1e-6)), 1, most_launches);
  my.launches.clear();
  while (my.launches.empty() || static_cast<std::int64_t>(my.launches.size()) < rounds) {
    for (const Impl::Set& set : my.sets) my.launches.push_back(set.launch.launch());
  }
  if (my.launches.size() > 1) my.recording = my.device().record(my.launches);
  my.run();
  std::vector<double> runs;
  const double begin = now();
  while (static_cast<int>(runs.size()) < least_runs ||
         (static_cast<int>(runs.size()) < most_runs && now() - begin < enough_seconds)) {
    runs.push_back(my.run());
  }
  std::nth_element(runs.begin(), runs.begin() + static_cast<std::ptrdiff_t>(runs.size() / 2),
                   runs.end());
  timing.seconds = runs[runs.size() / 2] / static_cast<double>(my.launches.size());
  return timing;
}

}  // namespace brisk
