// What tensors and their nodes know about gradients.
#pragma once

#include <mutex>

#include "autograd/gradient.h"
#include "brisk/autograd.h"
#include "tensor/node_of.h"

namespace brisk {

/// Where backward() adds up the gradient of a tensor: the identity of a leaf's nodes, which change
/// with the tensor's memory, or the rule of a node that keeps its gradient and passes it on.
struct Accumulator : GradientRule {
  explicit Accumulator(bool is_leaf) : leaf(is_leaf) {}
  std::vector<Node> operator()(const Node&, const Node& g) const override { return {g}; }

  const bool leaf;
  std::mutex mutex;
  Tensor sum;  // undefined before the first backward()
};

inline bool is_leaf(const TensorState& state) { return state.gradient && state.gradient->leaf; }

/// UserError where a call changes a leaf in place while gradients are wanted.
void want_no_leaf(const Tensor& tensor);

/// The node whose value it is: below leaves and gradients of their own.
const Node& value_node(const Node& node);
/// The same value, through which no gradient passes.
Node untracked(const Node& node);
/// What the state's node is once its value lies in `place`, a buffer or a store.
Node placed(const TensorState& state, const Node& place);

/// The tensor's value lies there from now on.
void place(const Tensor& tensor, const Node& where);

/// Tensors that backward() was called on, gradients that it gave and tensors that were assigned to:
/// the next realize() of this thread computes them.
void compute_soon(const Tensor& tensor);
std::vector<Tensor> to_compute();

}  // namespace brisk
