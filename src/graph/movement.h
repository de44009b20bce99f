// Movement operations as index arithmetic: the element of a view is an element of its source.
#pragma once

#include <vector>

#include "graph/node.h"

namespace brisk {

/// One int64 scalar per axis.
using Index = std::vector<Node>;

/// Row-major position of `index` in a tensor of this shape, and back: of a position that is not
/// negative, but where a gate keeps the result from being used.
Node flatten(const Index& index, const Shape& shape);
Index unflatten(const Node& position, const Shape& shape);

/// Where element `index` of the movement node `view` comes from in view.src(0). For pad, `gate` is
/// joined with the condition that the element lies inside (outside it is zero).
Index source_index(const Node& view, const Index& index, Node& gate);

/// The permutation of axes that undoes this one.
std::vector<int> inverse_order(const std::vector<int>& order);

}  // namespace brisk
