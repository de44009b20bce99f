// How the gradient of a node's value becomes gradients of its sources: one rule an operation.
// Gradients are ordinary nodes, so they have gradients themselves. Where a derivative is not
// defined the rules take PyTorch's side: equal operands of max share, the lowest dtype rounds last.
#pragma once

#include <span>
#include <vector>

#include "graph/node.h"

namespace brisk {

/// What a node adds to the gradient of one that it depends on: of its shape and dtype.
struct Contribution {
  Node to;
  Node gradient;
};

struct GradientOf {
  Op op;
  /// `g` is the gradient of the node's value. Null: no gradient passes the operation.
  std::vector<Contribution> (*rule)(const Node& node, const Node& g);
};

/// One line for each operation of graph/ops.def that graphs are made of, in its order.
std::span<const GradientOf> gradient_rules();

/// By the node's rule, or, where it has a gradient of its own (with_gradient), by that.
std::vector<Contribution> contributions(const Node& node, const Node& g);

}  // namespace brisk
