// exp2, log2 and sin as other operations, for every back end (no machine has them right and fast).
// Input: an expression or statement; output: the same without these operations.
#pragma once

#include <functional>

#include "graph/node.h"

namespace brisk {

/// At most 2 ulp from exact in float32 over the whole range, a few ulp in float64; narrow floats
/// are computed in float32. Lanes are kept. Nodes that `keep` asks for stay, with decomposed
/// sources: a back end may do better.
Node decompose(const Node& root, const std::function<bool(const Node&)>& keep = {});

/// sin for a back end that can branch: `near` is right where `is_near` holds, which is everywhere
/// but at large arguments, and a fifth of the work; `anywhere` always.
struct SplitSin {
  Node is_near;
  Node near;
  Node anywhere;
};
SplitSin split_sin(const Node& x);

}  // namespace brisk
