#include "cli/device_bench.h"

#include <fmt/core.h>

#include <algorithm>
#include <bit>
#include <chrono>

#include "base/error.h"
#include "brisk/brisk.h"
#include "engine/backends.h"
#include "engine/engine.h"
#include "tensor/node_of.h"
#include "tensor/realize.h"

namespace brisk {

namespace {

using Kind = DeviceWork::Kind;

constexpr double burst_seconds = 0.05;  // runs that follow each other without a wait
constexpr std::size_t bursts = 5;       // at least
constexpr double counted_seconds = 2;   // in all, where joules are counted
constexpr double longest_product = 3;   // seconds

Tensor random_tensor(const Dims& shape, DType dtype) {
  if (dtype == DType::int8) return randint(-127, 128, shape, dtype).realize();
  return randn(shape).cast(dtype).realize();
}

// A times the transpose of B, as layers multiply, in the type that sums of them are kept in.
Tensor product_of(DType dtype, std::int64_t size) {
  const Tensor a = random_tensor({size, size}, dtype);
  const Tensor b = random_tensor({size, size}, dtype).transpose(0, 1);
  switch (dtype) {
    case DType::int8: return matmul(a.cast(DType::int32), b.cast(DType::int32));
    case DType::float8_e4m3:
      return matmul(a.cast(DType::float32), b.cast(DType::float32)).cast(DType::bfloat16);
    default: return matmul(a, b);
  }
}

Tensor result_of(const DeviceWork& work) {
  switch (work.kind) {
    case Kind::copy: return -random_tensor({work.size}, work.dtype);
    case Kind::read: return random_tensor({work.size}, work.dtype).sum();
    case Kind::product: return product_of(work.dtype, work.size);
  }
  unreachable("every kind of work has a result");
}

double now() {
  return std::chrono::duration<double>(std::chrono::steady_clock::now().time_since_epoch()).count();
}

std::optional<double> joules() { return read_sensors(Engine::shared().device().info().id).joules; }

// Seconds of one of `count` runs in a row.
double burst(Plan& plan, int count) {
  Device& device = Engine::shared().device();
  device.synchronize();
  const double start = now();
  for (int i = 0; i < count; ++i) plan.run();
  device.synchronize();
  return (now() - start) / count;
}

Plan plan_of(const DeviceWork& work) {
  const Node root = node_of(result_of(work));
  return {std::span(&root, 1), Engine::shared()};
}

void time_work(DeviceFigure& figure) {
  Plan plan = plan_of(figure.work);
  plan.run();
  const int count = std::clamp(static_cast<int>(burst_seconds / burst(plan, 1)), 1, 5000);
  std::vector<double> times;
  const std::optional<double> before = joules();
  const double start = now();
  while (times.size() < bursts || (before && now() - start < counted_seconds))
    times.push_back(burst(plan, count));
  const double elapsed = now() - start;
  const std::optional<double> after = joules();
  if (before && after) figure.watts = (*after - *before) / elapsed;
  std::nth_element(times.begin(), times.begin() + static_cast<std::ptrdiff_t>(times.size() / 2),
                   times.end());
  figure.seconds = times[times.size() / 2];
}

// By a product of a quarter of the size, whose operations are a sixty-fourth.
double expected_seconds(DeviceWork work) {
  if (work.kind != Kind::product) return 0;
  const double whole = work.amount();
  work.size /= 4;
  Plan plan = plan_of(work);
  plan.run();
  return burst(plan, 1) * whole / work.amount();
}

// Beyond what any cache holds, and little of the memory.
std::int64_t streamed_elements() {
  const DeviceInfo& info = Engine::shared().device().info();
  const std::size_t most = std::clamp<std::size_t>(info.memory_bytes / 16, 1, std::size_t{1} << 30);
  const std::size_t bytes = std::clamp<std::size_t>(16 * info.cache_bytes, 256 << 20, 1 << 30);
  return static_cast<std::int64_t>(std::bit_floor(std::min(bytes, most)) / sizeof(float));
}

}  // namespace

std::string DeviceWork::name() const {
  switch (kind) {
    case Kind::copy: return "copy";
    case Kind::read: return "read";
    case Kind::product: return fmt::format("matmul {}", brisk::name(dtype));
  }
  unreachable("every kind of work has a name");
}

double DeviceWork::amount() const {
  const auto n = static_cast<double>(size);
  switch (kind) {
    case Kind::copy: return 2 * n * byte_size(dtype);
    case Kind::read: return n * byte_size(dtype);
    case Kind::product: return 2 * n * n * n;
  }
  unreachable("every kind of work has an amount");
}

DeviceWork device_product(DType dtype) {
  return {Kind::product, dtype, executor().runs_groups() ? 4096 : 2048};
}

std::vector<DeviceWork> device_works() {
  std::vector<DeviceWork> works;
  for (const Kind kind : {Kind::copy, Kind::read})
    works.push_back({kind, DType::float32, streamed_elements()});
  for (const DType dtype :
       {DType::float32, DType::bfloat16, DType::float16, DType::float8_e4m3, DType::int8}) {
    works.push_back(device_product(dtype));
  }
  return works;
}

DeviceFigure measure(const DeviceWork& work) {
  DeviceFigure figure{.work = work};
  try {
    const double expected = expected_seconds(work);
    if (expected > longest_product) {
      figure.missing = fmt::format("one takes about {:.0f} s", expected);
    } else {
      time_work(figure);
    }
  } catch (const InternalError&) {
    throw;
  } catch (const Error& error) {
    figure.missing = error.what();
  }
  return figure;
}

std::optional<double> joules_of(const std::function<void()>& run, double seconds) {
  const std::optional<double> before = joules();
  if (!before) return std::nullopt;
  const int runs = std::max(1, static_cast<int>(counted_seconds / seconds));
  for (int i = 0; i < runs; ++i) run();
  const std::optional<double> after = joules();
  if (!after) return std::nullopt;
  return (*after - *before) / runs;
}

}  // namespace brisk
