// NVIDIA's GPUs as devices, through their driver alone. Input: the device's number; output: a
// Device that takes codegen's PTX, or the machine code that assemble() made of it.
#pragma once

#include <memory>
#include <string>

#include "device/device.h"

namespace brisk {

/// How many there are. Where there are none, `why_not` (if given) says why.
int cuda_device_count(std::string* why_not = nullptr);

/// DeviceError where there is no such device, or none that brisk can use. Launches return at once
/// and run in order; copies go through pinned memory, and copy_in returns before they are done.
/// What a launch does wrong shows at a later call, as a DeviceError; after an error that the driver
/// calls sticky all calls fail, and a device made anew starts afresh where the driver allows it.
/// Safe from several threads. Buffers and programs keep what they need of the device alive.
std::unique_ptr<Device> make_cuda_device(int number);

}  // namespace brisk
