// How much a lowered kernel does, counted from its indices: the prediction that measured times are
// held against.
#pragma once

#include <vector>

#include "kernel/kernel.h"

namespace brisk {

/// Sizes over the kernel's variables.
struct Work {
  /// Floating-point operations, and the products and sums of integer contractions.
  Size operations;
  /// Of each param, elements read plus elements written. What is read at computed places counts as
  /// often as it is read, so that more may be counted than there are.
  std::vector<Size> elements;
};

Work count_work(const LoweredKernel& kernel);

}  // namespace brisk
