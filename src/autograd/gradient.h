// Gradients of graphs: graph → graph, by the reverse sweep over the rules of autograd/rules.h.
#pragma once

#include <functional>
#include <memory>
#include <span>
#include <vector>

#include "graph/node.h"

namespace brisk {

/// The rule of a node with a gradient of its own (Op::with_gradient_).
struct GradientRule : Storage {
  /// From the gradient `g` of the node's value, one for each source after the first: of its shape
  /// and dtype, or empty where nothing passes.
  virtual std::vector<Node> operator()(const Node& node, const Node& g) const = 0;
};

/// Value of a, gradient of b.
Node with_gradient_of(const Node& a, const Node& b);

/// Σ over roots of seed · d root / d target, for each target: a node of its shape and dtype, or an
/// empty one where no root depends on it. A seed has its root's shape and dtype. What several users
/// of a node add to its gradient is summed in one order, which follows from the graph alone.
std::vector<Node> gradient(std::span<const Node> roots, std::span<const Node> seeds,
                           std::span<const Node> targets);

/// The nodes that gradients of the roots may pass, sources first: without integers, and without
/// what only gives nodes with gradients of their own their values.
std::vector<Node> gradient_order(std::span<const Node> roots);

/// The graph that is computed: nodes with gradients of their own are their values, and a node that
/// `known` gives another for is that. Both may be asked for a node and everything below it.
std::vector<Node> values_of(std::span<const Node> roots,
                            const std::function<Node(const Node&)>& known = {});

/// The value of an output whose insides are not kept for the backward pass but computed again, from
/// the inputs, once the output's gradient is there. `inputs` are leaves that `output` was made of.
Node recomputed(const Node& output, const std::vector<Node>& inputs);

}  // namespace brisk
