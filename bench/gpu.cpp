// A GPU at the works of bench/gpu_cases.h, on data at random: seconds, rate, share of the data
// sheet's limit. Arguments: parts of the names of works to measure (none: all). Lines "gpu\tNAME\t
// SECONDS\tRATE\tKERNELS" follow the table. bench/gpu_peer.py measures the same beside PyTorch.
#include "gpu_cases.h"

#include "base/error.h"

namespace {

using namespace bench;

constexpr double burst_seconds = 0.1;

Tensor random_input(const GpuInput& input) {
  if (input.dtype == DType::int8)
    return brisk::randint(-127, 128, input.shape, DType::int8).realize();
  return brisk::randn(input.shape).cast(input.dtype).realize();
}

// The median of several bursts after one that warms up.
double seconds_of(GpuWork& work) {
  const double once = std::max(work.burst(2), 1e-7);
  const int count = std::clamp(static_cast<int>(burst_seconds / once), 1, 2000);
  std::vector<double> times;
  for (int i = 0; i < 5; ++i) times.push_back(work.burst(count));
  return median(times);
}

bool wanted(const GpuCase& work, int argc, char** argv) {
  if (argc < 2) return true;
  return std::any_of(argv + 1, argv + argc,
                     [&](const char* part) { return work.name.find(part) != std::string::npos; });
}

std::string rate_text(const GpuCase& work, double rate) {
  return work.bound == Bound::memory ? fmt::format("{:.0f} GB/s", rate / 1e9)
                                     : fmt::format("{:.1f} TFLOP/s", rate / 1e12);
}

}  // namespace

int main(int argc, char** argv) {
  const std::string device = brisk::Engine::shared().device().info().name;
  fmt::print("\n== gpu: {}\n", device);
  Table table({"work                        ", "µs", "rate          ", "share", "kernels"});
  std::string lines;
  for (const GpuCase& work : gpu_cases()) {
    if (!wanted(work, argc, argv)) continue;
    try {
      GpuWork compiled(work, [&](std::size_t i) { return random_input(work.inputs[i]); });
      const double seconds = seconds_of(compiled);
      const double rate = work.work / seconds;
      const double limit = gpu_limit(device, work.bound);
      table.add({work.name, fmt::format("{:.1f}", seconds * 1e6), rate_text(work, rate),
                 limit == 0 ? "-" : fmt::format("{:.2f}", rate / limit),
                 fmt::format("{}", compiled.kernels())});
      lines += fmt::format("gpu\t{}\t{:.9f}\t{:.6g}\t{}\n", work.name, seconds, rate,
                           compiled.kernels());
    } catch (const brisk::DeviceError& error) {
      table.add({work.name, "-", error.what(), "-", "-"});
    }
  }
  fmt::print("{}", lines);
  return 0;
}
