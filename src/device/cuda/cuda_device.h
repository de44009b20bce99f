// NVIDIA's GPUs as devices, through their driver alone. Code is PTX as codegen writes it, or the
// machine code that the driver made of it.
#pragma once

#include <memory>
#include <string>
#include <vector>

#include "device/device.h"

namespace brisk {

/// "cuda:0", …: none where there is no driver, or none of them. Free memory is not known before one
/// is opened.
std::vector<DeviceInfo> cuda_devices();
/// Of the device at this place in that list.
Sensors cuda_sensors(int index);
/// Why there are none; empty where there are some.
const std::string& why_no_cuda_devices();

/// DeviceError where there is no such device, or none that brisk can use. Launches return at once
/// and run in order; copies go through pinned memory, and copy_in returns before they are done.
/// What a launch does wrong shows at a later call, as a DeviceError; after an error that the driver
/// calls sticky all calls fail, and a device made anew starts afresh where the driver allows it.
/// Safe from several threads. Buffers and programs keep what they need of the device alive.
std::unique_ptr<Device> make_cuda_device(int index);

}  // namespace brisk
