// What the strategies for groups of threads share.
#pragma once

#include <functional>
#include <vector>

#include "base/target.h"
#include "graph/integer.h"
#include "kernel/kernel.h"
#include "optimize/strategies/strategy.h"

namespace brisk {

/// Threads of a group that take one row, and what each of them may hold of it in registers, where
/// it is read several times.
constexpr std::int64_t most_team = 512;
constexpr std::int64_t resident_bytes = 256;

/// Whether group_rows takes the part.
bool has_rows_for_groups(const Part& part, Workshop& workshop);

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

/// A phase in which each thread takes one of the points, in groups of so many threads.
Node for_points(Workshop& workshop, const Size& points, std::int64_t threads,
                const std::function<Node(const Node& point)>& statement);
/// A loop of so many threads, each of which runs the statement for `each` elements of a block;
/// neighbouring threads have neighbouring ones.
Node for_block(Workshop& workshop, std::int64_t threads, std::int64_t each,
               const std::function<Node(const Node& element)>& statement);
/// Where element i of a block lies in shared memory, so that threads that take `each` of them in a
/// row find theirs in banks of their own; a block of n takes in_banks(n).
Node in_banks(const Node& i, std::int64_t each);

}  // namespace brisk
