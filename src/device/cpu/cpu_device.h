// The processor this program runs on, as a device. Needs no LLVM: it loads objects that codegen
// made, now or in an earlier process.
#pragma once

#include <memory>

#include "device/device.h"

namespace brisk {

/// `threads` that run kernels, the caller's included; launch() returns when the kernel is done.
/// Safe from several threads. Buffers keep what they need of the device alive.
std::unique_ptr<Device> make_cpu_device(int threads);
/// Its info(), without starting its threads.
DeviceInfo cpu_device_info(int threads);

}  // namespace brisk
