// Devices with an OpenCL 1.2 driver. Code is OpenCL C as codegen/opencl_c writes it, or what the
// driver made of it; a phase of a launch is one enqueued kernel, a task one work item, or a group
// of them.
#pragma once

#include <memory>
#include <vector>

#include "base/target.h"
#include "device/device.h"

namespace brisk {

/// "opencl:0", …: none where there is no driver.
std::vector<DeviceInfo> opencl_devices();
/// The device at this place in the list. Safe from several threads. Buffers keep what they need of
/// the device alive; their addresses are names that only its launches understand.
std::unique_ptr<Device> make_opencl_device(int index);
/// What kernels for such a device may use.
Target opencl_target(Device& device);

}  // namespace brisk
