// Activations, in float32. None overflows where its value does not: exponentials are of -|x|, or
// what overflows is divided by. So sigmoids that are no normal numbers any more are 0.
#include <cmath>
#include <numbers>

#include "brisk/functional.h"
#include "tensor/in_float.h"
#include "tensor/own_gradient.h"

namespace brisk {

namespace {
constexpr double log2e = std::numbers::log2e;
constexpr double pi = std::numbers::pi;

// f in x's compute dtype, with a derivative in terms of x and of f(x).
template <typename F, typename D>
Tensor smooth(const Tensor& x, F f, D derivative) {
  return in_float(x, [&](const Tensor& y) { return with_derivative(y, f, derivative); });
}
}  // namespace

Tensor sigmoid(const Tensor& x) {
  const Call call("sigmoid");
  return smooth(
      x, [](const Tensor& y) { return 1 / (1 + exp2_or_zero(y * -log2e)); },
      [](const Tensor&, const Tensor& f) { return f * (1 - f); });
}
Tensor logit(const Tensor& x) {
  const Call call("logit");
  return in_float(x, [](const Tensor& y) { return log(y / (1 - y)); });
}

Tensor silu(const Tensor& x) {
  const Call call("silu");
  return smooth(
      x, [](const Tensor& y) { return y / (1 + exp2_or_zero(y * -log2e)); },
      [](const Tensor& y, const Tensor&) {
        const Tensor s = sigmoid(y);
        return s * (1 + y * (1 - s));
      });
}
Tensor gelu(const Tensor& x, Gelu form) {
  const Call call("gelu");
  if (form == Gelu::erf) {
    return smooth(
        x, [](const Tensor& y) { return y * 0.5 * erfc(y * -std::sqrt(0.5)); },
        [](const Tensor& y, const Tensor&) {
          const Tensor density = exp2(y * y * (-0.5 * log2e)) * (1 / std::sqrt(2 * pi));
          return 0.5 * erfc(y * -std::sqrt(0.5)) + y * density;
        });
  }
  // (1 + tanh(u)) / 2 = sigmoid(2u)
  return smooth(
      x,
      [](const Tensor& y) {
        const double c = -2 * std::sqrt(2 / pi) * log2e;
        return y / (1 + exp2_or_zero(y * (c + c * 0.044715 * y * y)));
      },
      [](const Tensor& y, const Tensor&) {
        const double c = 2 * std::sqrt(2 / pi);
        const Tensor s = sigmoid(y * (c + c * 0.044715 * y * y));
        return s * (1 + y * (1 - s) * (c + 3 * c * 0.044715 * y * y));
      });
}
Tensor softplus(const Tensor& x, double beta, double threshold) {
  const Call call("softplus");
  return smooth(
      x,
      [=](const Tensor& y) {
        const Tensor z = y * beta;
        const Tensor curve = (relu(z) + log1p(exp2(z.abs() * -log2e))) * (1 / beta);
        return where(z > threshold, y, curve);
      },
      [=](const Tensor& y, const Tensor&) {
        const Tensor z = y * beta;
        return where(z > threshold, 1, sigmoid(z));
      });
}
Tensor logsigmoid(const Tensor& x) {
  const Call call("logsigmoid");
  return smooth(
      x, [](const Tensor& y) { return minimum(y, 0) - log1p(exp2(y.abs() * -log2e)); },
      [](const Tensor& y, const Tensor&) { return sigmoid(-y); });
}
Tensor elu(const Tensor& x, double alpha) {
  const Call call("elu");
  return in_float(
      x, [=](const Tensor& y) { return where(y > 0, y, expm1(where(y > 0, 0, y)) * alpha); });
}
Tensor selu(const Tensor& x) {
  const Call call("selu");
  return elu(x, 1.6732632423543772848170429916717) * 1.0507009873554804934193349852946;
}
Tensor celu(const Tensor& x, double alpha) {
  const Call call("celu");
  return in_float(x, [=](const Tensor& y) {
    return where(y > 0, y, expm1(where(y > 0, 0, y) * (1 / alpha)) * alpha);
  });
}
Tensor leaky_relu(const Tensor& x, double slope) {
  const Call call("leaky_relu");
  return in_float(x, [=](const Tensor& y) { return where(y > 0, y, y * slope); });
}
Tensor prelu(const Tensor& x, const Tensor& slope) {
  const Call call("prelu");
  want_rank(slope, "a slope", 0, 1);
  Tensor each = slope;
  if (slope.rank() == 1 && x.rank() > 2) {
    Dims shape(x.rank() - 1, Dim(1));
    shape[0] = slope.size(0);
    each = slope.reshape(shape);
  }
  return where(x > 0, x, x * each);
}
Tensor relu6(const Tensor& x) {
  const Call call("relu6");
  return hardtanh(x, 0, 6);
}
Tensor hardtanh(const Tensor& x, double least, double greatest) {
  const Call call("hardtanh");
  return with_derivative(
      x, [=](const Tensor& y) { return clamp(y, least, greatest); },
      [=](const Tensor&, const Tensor& f) {
        return ((f > least) & (f < greatest)).cast(f.dtype());
      });
}
Tensor hardsigmoid(const Tensor& x) {
  const Call call("hardsigmoid");
  return in_float(x, [](const Tensor& y) { return relu6(y + 3) * (1.0 / 6); });
}
Tensor hardswish(const Tensor& x) {
  const Call call("hardswish");
  return in_float(x, [](const Tensor& y) { return y * relu6(y + 3) * (1.0 / 6); });
}
// tanh(softplus(x)) = (u² - 1) / (u² + 1) with u = 1 + e^x, in terms of e^-|x| so that nothing
// overflows or cancels.
Tensor mish(const Tensor& x) {
  const Call call("mish");
  return in_float(x, [](const Tensor& y) {
    const Tensor e = exp2(y.abs() * -log2e);
    const Tensor down = e * (e + 2);
    const Tensor up = 1 + 2 * e;
    return y * where(y < 0, down / (down + 2), up / (up + 2 * e * e));
  });
}
Tensor softsign(const Tensor& x) {
  const Call call("softsign");
  return in_float(x, [](const Tensor& y) { return y / (1 + y.abs()); });
}
Tensor glu(const Tensor& x, int axis) {
  const Call call("glu");
  want_defined(x, "the tensor");
  if (x.size(axis).is_constant() && x.size(axis).value() % 2 != 0) {
    call_error("wants an even size of axis {}, got shape {}", axis, to_string(x.dims()));
  }
  const std::vector<Tensor> halves = x.chunk(2, axis);
  return halves[0] * sigmoid(halves[1]);
}

}  // namespace brisk
