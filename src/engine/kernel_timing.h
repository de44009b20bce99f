// Timing one compiled kernel on fresh random data, in a process of its own (timing_process.h): a
// kernel that is tried out may hang or crash.
#pragma once

#include <optional>
#include <span>
#include <string>
#include <utility>
#include <vector>

#include "engine/compile.h"
#include "graph/evaluate.h"

namespace brisk {

struct TimingTask {
  struct Argument {
    DType dtype = DType::none;
    std::int64_t bytes = 0;
    bool written = false;
  };
  std::string device;  // its id
  KernelCode kernel;
  std::vector<Argument> arguments;
  std::vector<std::pair<Node, std::int64_t>> variables;  // in the kernel's order, with values
  std::int64_t seed = 1;

  std::vector<std::byte> pack() const;
  /// Nothing where the bytes are not what pack gave, or another version did.
  static std::optional<TimingTask> unpack(std::span<const std::byte> data);
};

struct KernelTiming {
  double seconds = 0;  // of one launch among many, whose data the caches do not hold
  /// Some elements of each argument that is written, after one launch.
  std::vector<std::vector<double>> results;
};

/// The kernel with its data on the device.
class TimedKernel {
 public:
  explicit TimedKernel(const TimingTask& task);
  ~TimedKernel();
  KernelTiming time();

 private:
  struct Impl;
  std::unique_ptr<Impl> impl_;
};

}  // namespace brisk
