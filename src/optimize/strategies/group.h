// What the strategies for groups of threads share.
#pragma once

#include <vector>

#include "base/target.h"
#include "graph/integer.h"
#include "kernel/kernel.h"

namespace brisk {

/// Elements along the range that a thread should take at once: what the widest access holds, in a
/// number that divides the range; 1 where the range's size is a variable or nothing is contiguous.
int lanes_along(const std::vector<Node>& expressions, const Node& range, const Target& target);

/// The counters of the ranges where the vector `p` of their points lies, in vectors of `lanes`
/// along the last; gives its first counter there.
Node place_vector(Substitution& values, const std::vector<Node>& ranges, const Node& p, int lanes);

/// Whether every store goes to a place of its own at each point of the ranges.
bool have_own_places(const std::vector<Node>& stores, const std::vector<Node>& ranges);

/// Asks memory for what the vector reads of the kernel's arguments, where that does not depend on
/// what the kernel before computes.
void ask_for(const Node& vector, std::vector<Node>& statements);

/// The largest power of two that is not above n, which is at least 1.
std::int64_t power_below(std::int64_t n);

/// The store for `lanes` counters of `range` from `base` on, along which it is contiguous.
Node store_vector(const Node& store, const Node& range, const Node& base, int lanes,
                  const Substitution& values);

}  // namespace brisk
