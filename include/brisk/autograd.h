// Gradients, under PyTorch's names (https://docs.pytorch.org/docs/stable/autograd.html). They are
// lazy tensors like all others: a step's forward pass, backward pass and update are one graph, and
// the compiler fuses across them.
//
//   w.requires_grad_();
//   Tensor loss = mse_loss(matmul(x, w), y);
//   loss.backward();                       // w.grad() is d loss / d w, not yet computed
//   w.assign(w - 0.1 * w.grad());          // an assignment passes no gradient
//   w.zero_grad();
//   realize({w, loss});
//
// Values in memory are read when something is computed, not when the graph is built. So that a
// training loop sees what it would see elsewhere, what backward() was called on and the gradients
// it gave, if they still exist, are computed with the next tensor that this thread realizes: before
// a parameter is overwritten.
//
// Where a derivative does not exist: abs, relu and sign have 0 at 0, clamp passes at its bounds,
// maximum and minimum give halves where both are equal, amax and amin share among equals,
// max(x, axis), sort, topk and pooling give all to the element that they chose, and where() lets
// nothing through the side that it did not choose.
#pragma once

#include <functional>
#include <vector>

#include "brisk/tensor.h"

namespace brisk {

struct GradOptions {
  bool create_graph = false;  // gradients have gradients themselves
  bool allow_unused = false;  // an undefined tensor for an input that no output depends on
};

/// Σ outputs · grad_outputs differentiated by each of the inputs, which require gradients: leaves
/// or anything between. Without grad_outputs each output has one element. What the tensors
/// accumulate stays as it is.
std::vector<Tensor> grad(const std::vector<Tensor>& outputs, const std::vector<Tensor>& inputs,
                         const std::vector<Tensor>& grad_outputs = {},
                         const GradOptions& options = {});

/// Tensor::backward of several tensors at once.
void backward(const std::vector<Tensor>& tensors, const std::vector<Tensor>& grad_tensors = {},
              bool retain_graph = false, bool create_graph = false);

/// Whether operations of this thread are differentiated: true unless a NoGrad lives.
bool grad_enabled();

/// While it lives, results of this thread's operations require no gradient.
class NoGrad {
 public:
  NoGrad();
  ~NoGrad();
  NoGrad(const NoGrad&) = delete;
  NoGrad& operator=(const NoGrad&) = delete;

 private:
  bool before_;
};

/// Undoes a NoGrad around it.
class EnableGrad {
 public:
  EnableGrad();
  ~EnableGrad();
  EnableGrad(const EnableGrad&) = delete;
  EnableGrad& operator=(const EnableGrad&) = delete;

 private:
  bool before_;
};

/// The output of the function, which keeps nothing of its insides for the backward pass: they are
/// computed again, from the inputs, once the output's gradient is there. The function is called
/// once; random numbers that it draws are the same both times. Other tensors that it uses get their
/// gradients too.
Tensor checkpoint(const std::function<Tensor(const std::vector<Tensor>&)>& function,
                  const std::vector<Tensor>& inputs);

/// From value, inputs and the gradient of the value, one gradient for each input; an undefined one
/// where nothing passes. It uses nothing but its arguments and numbers.
using GradientFunction = std::function<std::vector<Tensor>(
    const Tensor& value, const std::vector<Tensor>& inputs, const Tensor& grad)>;

/// `value` (however it was computed) as a function of the inputs whose gradients are these.
Tensor with_gradient(const Tensor& value, const std::vector<Tensor>& inputs,
                     GradientFunction gradients);

}  // namespace brisk
