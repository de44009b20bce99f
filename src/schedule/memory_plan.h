// Where in one block of memory each intermediate value of a schedule lies, from the steps between
// which it is alive: values that are never alive at the same step may share bytes.
#pragma once

#include <cstdint>
#include <span>
#include <vector>

namespace brisk {

/// A value alive from step `first` to step `last`, both included.
struct Interval {
  std::int64_t first;
  std::int64_t last;
  std::int64_t bytes;
};

struct MemoryPlan {
  std::vector<std::int64_t> offsets;  // in bytes, one for each interval
  std::int64_t total = 0;             // bytes of the block
  std::int64_t lower_bound = 0;       // most bytes alive at one step: no plan needs less
};

/// Offsets are multiples of `alignment`; a value of no bytes takes no room. The same intervals give
/// the same plan.
MemoryPlan plan_memory(std::span<const Interval> intervals, std::int64_t alignment = 64);

}  // namespace brisk
