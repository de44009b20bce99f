// Factors of sums. Input: a graph; output: the same values, but for rounding, in which what is the
// same all along a sum of products, such as the scale of a channel, is multiplied after the sum,
// and not at each of its terms: then sums that differ in such factors only are one sum. Products of
// matrices, whose factors repeat along the result, stay as they are.
#pragma once

#include <span>
#include <vector>

#include "graph/node.h"

namespace brisk {

std::vector<Node> with_factors_outside(std::span<const Node> roots);

}  // namespace brisk
