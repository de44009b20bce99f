// exp2, log2 and sin as other operations, for every back end (no machine has them right and fast).
// Input: an expression or statement; output: the same without these operations.
#pragma once

#include "graph/node.h"

namespace brisk {

/// At most 2 ulp from exact in float32 over the whole range, a few ulp in float64; narrow floats
/// are computed in float32. Lanes are kept.
Node decompose(const Node& root);

}  // namespace brisk
