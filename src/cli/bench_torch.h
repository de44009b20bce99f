// PyTorch beside brisk: runs bench_torch.py, which lies next to the program or in share/brisk, in
// python3. Input: works; output: seconds of each by name. UserError where python3, the script or
// PyTorch is not there.
#pragma once

#include "cli/device_bench.h"

#include <map>
#include <span>
#include <string>

namespace brisk {

struct TorchFigures {
  std::string version;
  std::map<std::string, double> seconds;       // by the work's name
  std::map<std::string, std::string> missing;  // why there are none
};

TorchFigures time_torch(std::span<const DeviceWork> works);

}  // namespace brisk
