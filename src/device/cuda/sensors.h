// What NVIDIA's management library (libnvidia-ml.so.1, NVML) measures on a GPU. It is opened at run
// time, and where it is missing, or a GPU does not measure something, there is simply no figure.
#pragma once

#include <string>

#include "device/device.h"

namespace brisk::cuda {

/// Of the GPU at this place of the PCI bus, as the driver writes it ("0000:1B:00.0").
Sensors read_sensors(const std::string& pci_bus_id);

}  // namespace brisk::cuda
