// What the device can do at most, measured in passing (a second or so) by kernels of our own: what
// shares of the limit are shares of. bench/machine measures the same without brisk.
#pragma once

namespace brisk {

struct DeviceLimits {
  double bytes = 0;       // read from memory a second
  double operations = 0;  // float32 multiply-adds a second, each two operations
};
DeviceLimits measure_limits();

}  // namespace brisk
