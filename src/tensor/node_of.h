// Between tensors and graph nodes: what is behind a Tensor's handle.
#pragma once

#include <mutex>

#include "brisk/tensor.h"
#include "graph/node.h"

namespace brisk {

struct Accumulator;  // tensor/accumulator.h

/// Shared by a tensor's copies; realize() replaces the node by a buffer, under the lock.
struct TensorState {
  mutable std::mutex mutex;
  Node node;
  bool number = false;                    // a C++ number: promotes like a Python number
  bool released = false;                  // by backward()
  const char* call = "";                  // the user's call that made it; static text
  std::shared_ptr<Accumulator> gradient;  // of a leaf, or where it is retained
};

/// The tensor's node now, without gradient while a NoGrad lives. UserError for an undefined tensor.
Node node_of(const Tensor& tensor);
/// A tensor of this node, made by the current call (tensor/call.h).
Tensor tensor_of(Node node);

/// The graph's form of a shape, and back.
Shape shape_of(const Dims& dims);
Dims dims_of(const Shape& shape);

}  // namespace brisk
