// Versions of memory that in-place stores overwrite. Input: a graph and the versions (buffers and
// stores) that something reads after they are gone; output: the graph in which copies are read.
#pragma once

#include <span>
#include <vector>

#include "graph/node.h"

namespace brisk {

/// Every read of a version in `versions` becomes a read of its copy; what stores into it still
/// does.
std::vector<Node> read_copies(std::span<const Node> roots, std::span<const Node> versions);

}  // namespace brisk
