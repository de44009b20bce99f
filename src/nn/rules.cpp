#include "nn/rules.h"

#include <cmath>
#include <limits>

#include "brisk/functional.h"
#include "tensor/build.h"

namespace brisk::nn {

namespace {

// p shrunk by lr·decay.
Tensor decayed(const Given& given, double decay) {
  return decay == 0 ? given.parameter : given.parameter * (1 - given.lr * decay);
}

Tensor gradient_with_decay(const Given& given, double decay) {
  return decay == 0 ? given.grad : given.grad + given.parameter * decay;
}

Tensor blend(const Tensor& before, const Tensor& now, double beta) {
  return before * beta + now * (1 - beta);
}

// 1 - beta^count, exact to a few ulp where beta^count is near 1.
Tensor bias_correction(const Given& given, double beta) {
  return -expm1(given.count * std::log(beta));
}

Tensor root_mean_square(const Tensor& x) { return sqrt(mean(square(x))); }

// ---- what each rule keeps -----------------------------------------------------------------------

std::vector<KeptShape> moments(const Dims& shape) {
  return {{"exp_avg", shape}, {"exp_avg_sq", shape}};
}

std::vector<KeptShape> kept(const Sgd& rule, const Dims& shape) {
  if (rule.nesterov && (rule.momentum <= 0 || rule.dampening != 0)) {
    call_error("Sgd with nesterov wants a momentum above 0 and no dampening, got {} and {}",
               rule.momentum, rule.dampening);
  }
  if (rule.momentum == 0) return {};
  return {{"momentum_buffer", shape}};
}
std::vector<KeptShape> kept(const Adam&, const Dims& shape) { return moments(shape); }
std::vector<KeptShape> kept(const AdamW&, const Dims& shape) { return moments(shape); }
std::vector<KeptShape> kept(const Lamb&, const Dims& shape) { return moments(shape); }
std::vector<KeptShape> kept(const Lion&, const Dims& shape) { return {{"exp_avg", shape}}; }
std::vector<KeptShape> kept(const Muon&, const Dims& shape) {
  if (shape.size() < 2) {
    call_error(
        "Muon wants parameters of two axes or more, got one of shape {}: another group "
        "with another rule takes vectors",
        to_string(shape));
  }
  return {{"momentum_buffer", shape}};
}
std::vector<KeptShape> kept(const Adafactor&, const Dims& shape) {
  if (shape.size() < 2) return {{"variance", shape}};
  Dims rows = shape;
  Dims columns = shape;
  rows[rows.size() - 1] = 1;
  columns[columns.size() - 2] = 1;
  return {{"row_var", rows}, {"col_var", columns}};
}

// ---- what each rule does ------------------------------------------------------------------------

Update update(const Sgd& rule, const Given& given) {
  Tensor step = gradient_with_decay(given, rule.weight_decay);
  std::vector<Tensor> next;
  if (rule.momentum != 0) {
    Tensor fresh = step;
    if (rule.dampening != 0) fresh = fresh * where(given.count == 1, 1, 1 - rule.dampening);
    next.push_back(given.kept[0] * rule.momentum + fresh);
    step = rule.nesterov ? step + next[0] * rule.momentum : next[0];
  }
  return {given.parameter - given.lr * step, next};
}

struct Moments {
  Tensor first;
  Tensor second;
  Tensor ratio;  // first / (sqrt(second) + eps), both without their bias towards 0
};
Moments moments_of(const Given& given, const Tensor& grad, double beta1, double beta2, double eps) {
  const Tensor first = blend(given.kept[0], grad, beta1);
  const Tensor second = blend(given.kept[1], square(grad), beta2);
  const Tensor scale = rsqrt(bias_correction(given, beta2));
  const Tensor ratio =
      first * reciprocal(bias_correction(given, beta1)) / (sqrt(second) * scale + eps);
  return {first, second, ratio};
}

Update update(const Adam& rule, const Given& given) {
  const Tensor grad = gradient_with_decay(given, rule.weight_decay);
  const Moments m = moments_of(given, grad, rule.beta1, rule.beta2, rule.eps);
  return {given.parameter - given.lr * m.ratio, {m.first, m.second}};
}

Update update(const AdamW& rule, const Given& given) {
  const Moments m = moments_of(given, given.grad, rule.beta1, rule.beta2, rule.eps);
  return {decayed(given, rule.weight_decay) - given.lr * m.ratio, {m.first, m.second}};
}

Update update(const Lion& rule, const Given& given) {
  const Tensor direction = sign(blend(given.kept[0], given.grad, rule.beta1));
  return {decayed(given, rule.weight_decay) - given.lr * direction,
          {blend(given.kept[0], given.grad, rule.beta2)}};
}

Update update(const Lamb& rule, const Given& given) {
  const Moments m = moments_of(given, given.grad, rule.beta1, rule.beta2, rule.eps);
  const Tensor step = m.ratio + given.parameter * rule.weight_decay;
  const Tensor size = norm(given.parameter);
  const Tensor length = norm(step);
  const Tensor trust = where((size > 0).logical_and(length > 0), size / length, 1);
  return {given.parameter - given.lr * trust * step, {m.first, m.second}};
}

// Near the orthogonal matrix next to x: a polynomial that brings singular values towards 1.
Tensor orthogonalised(const Tensor& x, int iterations) {
  constexpr double a = 3.4445;
  constexpr double b = -4.7750;
  constexpr double c = 2.0315;
  const bool tall = x.shape()[0] > x.shape()[1];
  Tensor y = tall ? x.transpose(0, 1) : x;
  y = y / (norm(y) + 1e-7);
  for (int i = 0; i < iterations; ++i) {
    const Tensor square = matmul(y, y.transpose(0, 1));
    y = a * y + matmul(b * square + c * matmul(square, square), y);
  }
  return tall ? y.transpose(0, 1) : y;
}

Update update(const Muon& rule, const Given& given) {
  const Tensor momentum = blend(given.kept[0], given.grad, rule.momentum);
  const Tensor step = rule.nesterov ? blend(given.grad, momentum, 1 - rule.momentum) : momentum;
  const Tensor matrix = step.flatten(1);
  const auto rows = static_cast<double>(matrix.shape()[0]);
  const auto columns = static_cast<double>(matrix.shape()[1]);
  const double scale = rule.scale == Muon::Scale::original
                           ? std::sqrt(std::max(1.0, rows / columns))
                           : 0.2 * std::sqrt(std::max(rows, columns));
  const Tensor direction = orthogonalised(matrix, rule.iterations).reshape(step.dims());
  return {decayed(given, rule.weight_decay) - given.lr * scale * direction, {momentum}};
}

Update update(const Adafactor& rule, const Given& given) {
  constexpr double eps = std::numeric_limits<float>::epsilon();
  const Tensor weight = exp(log(given.count) * rule.beta2_decay);
  const auto moved = [&](const Tensor& before, const Tensor& now) {
    return before + (now - before) * weight;
  };
  const Tensor squares = square(given.grad);
  std::vector<Tensor> next;
  Tensor variance;
  if (given.kept.size() == 2) {
    const int last = given.grad.rank() - 1;
    next = {moved(given.kept[0], mean(squares, last, true)),
            moved(given.kept[1], mean(squares, last - 1, true))};
    variance = next[0] * next[1] / clamp(mean(next[0], last - 1, true), eps, {});
  } else {
    next = {moved(given.kept[0], squares)};
    variance = next[0];
  }
  const Tensor step = given.grad * rsqrt(clamp(variance, eps * eps, {}));
  const Tensor relative = minimum(given.lr, rsqrt(given.count));
  const Tensor size = clamp(root_mean_square(given.parameter), rule.eps, {}) * relative;
  const Tensor shrink = clamp(root_mean_square(step) / rule.clip, 1, {});
  return {decayed(given, rule.weight_decay) - size / shrink * step, next};
}

}  // namespace

std::vector<KeptShape> kept_shapes(const Rule& rule, const Dims& parameter) {
  return std::visit([&](const auto& chosen) { return kept(chosen, parameter); }, rule);
}

Update updated(const Rule& rule, const Given& given) {
  return std::visit([&](const auto& chosen) { return update(chosen, given); }, rule);
}

}  // namespace brisk::nn
