// Lowered kernel × target → kernel: the strategies, in the order in which they are asked.
#pragma once

#include "base/target.h"
#include "kernel/kernel.h"

namespace brisk {

/// Chooses a strategy for each part and joins their phases: phase i of every part runs together.
Kernel optimize(const LoweredKernel& lowered, const Target& target);

}  // namespace brisk
