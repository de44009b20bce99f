// Which stores should go past the caches. Input: a phase of a kernel; output: the params that it
// fills with more than caches hold. A usual store reads the cache line first, a third to a half of
// all traffic of a kernel that only maps its input.
#pragma once

#include <unordered_set>

#include "graph/node.h"

namespace brisk::ir {

/// Params of at least `least_bytes` stored by the phase, in full vectors, that `kernel` never
/// loads.
std::unordered_set<Node, NodeHash> streamed_params(const Node& phase, const Node& kernel,
                                                   std::int64_t least_bytes = 32 << 20);

}  // namespace brisk::ir
