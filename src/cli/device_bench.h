// What a device does at best, by works of ours on data at random: a copy, a read and a product of
// matrices of each type. Output: seconds of one, and the watts that the device took meanwhile.
#pragma once

#include "base/dtype.h"

#include <cstdint>
#include <functional>
#include <optional>
#include <string>
#include <vector>

namespace brisk {

/// One of the works; peers know it by its name.
struct DeviceWork {
  enum class Kind : std::uint8_t { copy, read, product };
  Kind kind = Kind::copy;
  DType dtype = DType::float32;
  std::int64_t size = 0;  // elements read, or rows and columns of every matrix

  std::string name() const;  // "copy", "read", "matmul bfloat16"
  /// Bytes read and written, or operations: a multiply-add is two.
  double amount() const;
};

struct DeviceFigure {
  DeviceWork work;
  double seconds = 0;           // of one, the median of bursts of them
  std::optional<double> watts;  // where the device counts joules
  std::string missing;          // why there are no seconds
  double rate() const { return work.amount() / seconds; }
};

/// The works that this process's device is measured with, of sizes that suit it.
std::vector<DeviceWork> device_works();
/// Its product of matrices of this type.
DeviceWork device_product(DType dtype);
/// Never throws for what the device cannot do, or not in reasonable time: `missing` tells.
DeviceFigure measure(const DeviceWork& work);

/// Joules that the process's device takes for one run, where it counts them: of runs that last two
/// seconds in all, since the counter goes on some ten times a second.
std::optional<double> joules_of(const std::function<void()>& run, double seconds);

}  // namespace brisk
