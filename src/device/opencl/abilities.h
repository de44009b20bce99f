// How a device with an OpenCL driver runs brisk's kernels, and what they may use of it: local
// memory and groups of work items on GPUs, sub-groups, products of bytes. Input: what the driver
// says, and where that is not enough, what a kernel finds out; output: build options and a Target.
#pragma once

#include <cstdint>
#include <string>

#include "base/target.h"
#include "device/device.h"
#include "device/opencl/driver.h"

namespace brisk::opencl {

struct Way {
  bool groups = false;              // a task is a group of work items; otherwise one of them, and
  std::int64_t tasks_together = 1;  // so many make a group
  std::string build_options;
};

/// Groups on devices with local memory of their own and room for groups that are large enough, or
/// as BRISK_OPENCL_GROUPS says.
Way way_of(const Driver& driver, DeviceId id, const DeviceInfo& info);

/// `device` is the one that `id` names; a kernel may run on it.
Target target_of(const Driver& driver, DeviceId id, const Way& way, Device& device);

}  // namespace brisk::opencl
