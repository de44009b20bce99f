// The factors of a sum of products in a graph.
#pragma once

#include "graph/node.h"

namespace brisk {

/// Without its conversions.
inline const Node& unconverted(const Node& factor) {
  const Node* at = &factor;
  while (at->is(Op::cast_)) at = &at->src(0);
  return *at;
}

/// False where the factor is the same all along the axis.
inline bool moves(const Node& factor, std::size_t axis) {
  const Node& at = unconverted(factor);
  return !at.is(Op::expand_) || !(at.src(0).shape()[axis] == Size(1));
}

}  // namespace brisk
