// Functions whose gradient is not that of the operations they are made of: because those are
// approximations, because the better form is known, or because PyTorch chooses another side where
// the derivative does not exist.
#pragma once

#include <algorithm>
#include <utility>
#include <vector>

#include "autograd/gradient.h"
#include "brisk/autograd.h"
#include "brisk/create.h"
#include "tensor/build.h"

namespace brisk {

/// value(), whose gradients with respect to the inputs are these.
template <typename F>
Tensor with_own_gradient(const std::vector<Tensor>& inputs, F value, GradientFunction gradients) {
  const bool wanted = grad_enabled() &&
                      std::any_of(inputs.begin(), inputs.end(),
                                  [](const Tensor& x) { return x.defined() && x.requires_grad(); });
  if (!wanted) return value();
  Tensor result;
  {
    const NoGrad guard;
    result = value();
  }
  return with_gradient(result, inputs, std::move(gradients));
}

/// `value`, which x's gradient passes as it does what `other` makes of x: the same values.
template <typename F>
Tensor with_gradient_of(const Tensor& value, const Tensor& x, F other) {
  if (!grad_enabled() || !x.requires_grad() || !is_float(value.dtype())) return value;
  return tensor_of(with_gradient_of(node_of(value), node_of(other())));
}

/// value(x), elementwise, with derivative(x, value).
template <typename F, typename D>
Tensor with_derivative(const Tensor& x, F value, D derivative) {
  return with_own_gradient(
      {x}, [&] { return value(x); },
      [derivative](const Tensor& y, const std::vector<Tensor>& in, const Tensor& g) {
        return std::vector<Tensor>{g * derivative(in[0], y)};
      });
}

/// value(x), elementwise and constant but for steps.
template <typename F>
Tensor with_no_slope(const Tensor& x, F value) {
  return with_own_gradient(
      {x}, [&] { return value(x); },
      [](const Tensor&, const std::vector<Tensor>& in, const Tensor&) {
        return std::vector<Tensor>{zeros_like(in[0])};
      });
}

/// sqrt(x), through which no gradient passes where it is 0.
inline Tensor sqrt_or_flat(const Tensor& x) {
  return with_own_gradient(
      {x}, [&] { return sqrt(x); },
      [](const Tensor& y, const std::vector<Tensor>&, const Tensor& g) {
        const Tensor flat = y == 0;
        return std::vector<Tensor>{where(flat, 0, g * 0.5 / where(flat, 1, y))};
      });
}

}  // namespace brisk
