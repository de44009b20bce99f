// Placing intervals in memory is dynamic storage allocation, which is NP-hard. One pass places the
// values in some order, each into the smallest gap that the values placed before leave it; then
// again with the values that stuck out over the lower bound placed earlier ("squeaky wheel"
// optimisation, Joslin and Clements 1999). A few orders to start from are tried, until the plan is
// near the bound.
#include "schedule/memory_plan.h"

#include <algorithm>
#include <array>
#include <cstddef>
#include <limits>
#include <tuple>
#include <utility>

#include "base/error.h"

namespace brisk {

namespace {

using Order = std::vector<std::size_t>;

// Most bytes alive at one step.
std::int64_t peak(std::span<const Interval> intervals) {
  // Step, whether a life ends, bytes: at one step the beginnings come before the ends.
  std::vector<std::tuple<std::int64_t, bool, std::int64_t>> changes;
  for (const auto& [first, last, bytes] : intervals) {
    changes.emplace_back(first, false, bytes);
    changes.emplace_back(last, true, -bytes);
  }
  std::sort(changes.begin(), changes.end());
  std::int64_t alive = 0;
  std::int64_t most = 0;
  for (const auto& [step, ends, bytes] : changes) most = std::max(most, alive += bytes);
  return most;
}

MemoryPlan place(std::span<const Interval> intervals, const Order& order) {
  struct Life {
    std::int64_t first, last;
  };
  struct Room {
    std::int64_t offset, end;
  };
  MemoryPlan plan;
  plan.offsets.resize(intervals.size());
  // Of the values placed, by offset.
  std::vector<Life> lives;
  std::vector<Room> rooms;
  std::vector<std::uint32_t> together(order.size());  // those alive at the same time
  for (const std::size_t index : order) {
    const auto [first, last, bytes] = intervals[index];
    std::size_t count = 0;
    for (std::size_t i = 0; i < lives.size(); ++i) {
      // Without a branch, for which of them overlap cannot be predicted.
      together[count] = static_cast<std::uint32_t>(i);
      count += (lives[i].first <= last) & (lives[i].last >= first);
    }
    std::int64_t smallest = std::numeric_limits<std::int64_t>::max();
    std::int64_t offset = -1;
    std::int64_t free = 0;  // end of the rooms so far
    for (std::size_t i = 0; i < count; ++i) {
      const Room& room = rooms[together[i]];
      const std::int64_t gap = room.offset - free;
      if (gap >= bytes && gap < smallest) {
        smallest = gap;
        offset = free;
      }
      free = std::max(free, room.end);
    }
    if (offset < 0) offset = free;
    plan.offsets[index] = offset;
    plan.total = std::max(plan.total, offset + bytes);
    const auto above =
        std::upper_bound(rooms.begin(), rooms.end(), offset,
                         [](std::int64_t at, const Room& room) { return at < room.offset; }) -
        rooms.begin();
    rooms.insert(rooms.begin() + above, {offset, offset + bytes});
    lives.insert(lives.begin() + above, {first, last});
  }
  return plan;
}

// So many that planning costs little beside compiling: a pass compares every pair of values.
int most_passes(std::size_t values) {
  constexpr double pairs = 5e7;
  return static_cast<int>(std::clamp(pairs / (0.5 * values * values + 1), 1.0, 64.0));
}

}  // namespace

MemoryPlan plan_memory(std::span<const Interval> intervals, std::int64_t alignment) {
  check(alignment > 0, "memory is aligned to at least one byte");
  std::vector<Interval> rounded(intervals.begin(), intervals.end());
  Order order;
  for (std::size_t i = 0; i < rounded.size(); ++i) {
    Interval& interval = rounded[i];
    check(interval.first <= interval.last && interval.bytes >= 0, "a value has a life and a size");
    interval.bytes = (interval.bytes + alignment - 1) / alignment * alignment;
    if (interval.bytes > 0) order.push_back(i);
  }
  // The values in decreasing order of these; each order is improved before the next is tried.
  using Weight = double (*)(const Interval&);
  constexpr std::array<Weight, 3> weights = {
      [](const Interval& i) { return 1.0 * i.bytes; },
      [](const Interval& i) { return i.bytes * (1.0 + i.last - i.first); },
      [](const Interval& i) { return 1.0 + i.last - i.first; }};
  const std::int64_t bound = peak(rounded);
  const int passes = most_passes(order.size());
  MemoryPlan best;
  std::vector<double> weight(rounded.size());
  for (int pass = 0; pass < passes; ++pass) {
    if (pass * std::ssize(weights) % passes < std::ssize(weights)) {
      const Weight start = weights[pass * std::ssize(weights) / passes];
      std::transform(rounded.begin(), rounded.end(), weight.begin(), start);
    }
    std::sort(order.begin(), order.end(), [&](std::size_t a, std::size_t b) {
      return std::tuple(weight[b], rounded[a].first, a) <
             std::tuple(weight[a], rounded[b].first, b);
    });
    MemoryPlan plan = place(rounded, order);
    for (const std::size_t i : order) {
      if (plan.offsets[i] + rounded[i].bytes > bound) weight[i] *= 1.5;
    }
    if (pass == 0 || plan.total < best.total) best = std::move(plan);
    if (best.total <= bound + bound / 100) break;
  }
  best.lower_bound = peak(intervals);
  return best;
}

}  // namespace brisk
