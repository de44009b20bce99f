// BRISK_VERIFY=1: each launch of a live run against the interpreter of the kernel as it was
// lowered. Input: a launch and the kernel; output: the launch's effect, or an InternalError that
// names the kernel with its text, the first element that differs and both values.
#pragma once

#include <memory>
#include <span>
#include <string_view>

#include "device/device.h"
#include "kernel/kernel.h"

namespace brisk {

/// Where one of a kernel's arguments lies.
struct ArgumentMemory {
  std::shared_ptr<Buffer> memory;
  std::size_t offset = 0;
  std::size_t bytes = 0;
};

/// Whether numbers of a kernel differ by no more than launch_verified allows.
bool nearly_equal(DType dtype, std::span<const double> want, std::span<const double> got);

/// Launches and waits. Floats may differ by what their dtype rounds, times a few hundred, relative
/// to the larger of the value and the mean magnitude that the kernel writes; everything else not at
/// all. Memory that the kernel does not write must stay as it was.
void launch_verified(Device& device, const Launch& launch, std::string_view name,
                     const LoweredKernel& kernel, std::span<const ArgumentMemory> arguments);

}  // namespace brisk
