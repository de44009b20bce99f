#include "cli/limits.h"

#include <algorithm>

#include "brisk/brisk.h"
#include "engine/engine.h"
#include "tensor/node_of.h"

namespace brisk {

namespace {

double best_seconds(const Tensor& result, int runs) {
  const Node root = node_of(result);
  Plan plan({&root, 1}, Engine::shared());
  double best = 1e9;
  for (int i = 0; i < runs; ++i) {
    double all = 0;
    for (const Plan::KernelInfo& kernel : plan.timed_run()) all += kernel.seconds;
    best = std::min(best, all);
  }
  return best;
}

// A sum of more than any cache holds; of a GPU's memory so much that a launch's time does not
// count.
double read_rate() {
  constexpr std::int64_t least = std::int64_t{64} << 20;
  const Device& device = Engine::shared().device();
  const bool is_gpu = Engine::shared().target().group_threads > 0;
  const auto share = static_cast<std::int64_t>(device.info().memory_bytes / sizeof(float) / 32);
  const std::int64_t count = is_gpu ? std::clamp(share, least, 8 * least) : least;
  Tensor x = rand({count});
  x.realize();
  return count * sizeof(float) / best_seconds(x.sum(), 8);
}

// A polynomial of numbers that stay in the first cache; its chains are independent of each other.
double multiply_add_rate() {
  constexpr std::int64_t rows = 4096;
  constexpr std::int64_t columns = 2048;
  constexpr int degree = 24;
  Tensor x = rand({1, columns});
  Tensor y = rand({rows, 1});
  x.realize();
  y.realize();
  Tensor sum = x * 0.5 + y;
  for (int i = 0; i < degree; ++i) sum = sum * x + y;
  return 2.0 * rows * columns * (degree + 2) / best_seconds(sum.amax(1), 8);
}

}  // namespace

DeviceLimits measure_limits() { return {read_rate(), multiply_add_rate()}; }

}  // namespace brisk
