// How images lie in memory. Input: a graph; output: the same values, in which the results of
// convolutions of 16 bits, and what is made of them element by element, are stored with their
// channels last, as matrix units read them best.
#pragma once

#include <span>
#include <vector>

#include "graph/node.h"

namespace brisk {

/// Shapes stay as they are: what lies with its channels last is seen through a permutation.
std::vector<Node> with_channels_last(std::span<const Node> roots);

}  // namespace brisk
