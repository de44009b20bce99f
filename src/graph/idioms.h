// Sums over all pairs that mean something cheaper: what a running reduction and a ranking add up.
// The same in graphs, whose counters are iotas, and in kernels, whose counters are ranges.
#pragma once

#include <optional>

#include "graph/node.h"

namespace brisk {

/// i < j ? start : value, which summed up over j is a running sum of the values.
struct RunningTerm {
  Node at;     // i
  Node other;  // j
  Node start;
  Node value;  // at j
};
std::optional<RunningTerm> running_term(const Node& term);

/// 1 where key j comes before key i, equal ones by position: summed up over j, the place of i in
/// order.
struct RankingTerm {
  Node at;     // i
  Node other;  // j
  Node key;    // at i
  Node other_key;
};
std::optional<RankingTerm> ranking_term(const Node& term);

}  // namespace brisk
