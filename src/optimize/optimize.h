// Lowered kernel × target → kernel: the strategies, in the order in which they are asked.
#pragma once

#include "base/target.h"
#include "kernel/kernel.h"
#include "optimize/decisions.h"

namespace brisk {

/// Chooses a strategy for each part and joins their phases: phase i of every part runs together.
/// What the strategies decide is in `decisions` afterwards, which may know better than their
/// models.
Kernel optimize(const LoweredKernel& lowered, const Target& target, Decisions& decisions);
/// By the models alone.
Kernel optimize(const LoweredKernel& lowered, const Target& target);

}  // namespace brisk
