// Which intermediate values are computed again where they are read late, so that a schedule keeps
// no more bytes than it may. Input: a graph and its kernels in order; output: the graph in which
// late readers read late copies.
#pragma once

#include <cstdint>
#include <span>
#include <vector>

#include "base/target.h"
#include "schedule/fuse.h"

namespace brisk {

struct Rematerialized {
  /// In order; the same values but for last bits, where kernels are cut otherwise.
  std::vector<Node> roots;
  std::vector<Node> sequence;  // in which fuse() keeps to the bytes
  bool within = false;         // the bytes that were asked for
};

/// With as little computed again as so many bytes allow; where none allow it, with the least that
/// was found. What the copies take in fact is known once they are scheduled, a little more or less.
Rematerialized rematerialize(std::span<const Node> roots, const KernelList& list,
                             const Target& target, std::int64_t bytes);

}  // namespace brisk
