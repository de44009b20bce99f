// Initial values of parameters.
#include <cmath>
#include <numbers>

#include "brisk/autograd.h"
#include "brisk/nn.h"
#include "tensor/build.h"

namespace brisk::nn {

double gain(std::string_view nonlinearity, double slope) {
  const Call call("gain");
  if (nonlinearity == "linear" || nonlinearity == "conv" || nonlinearity == "sigmoid") return 1;
  if (nonlinearity == "tanh") return 5.0 / 3;
  if (nonlinearity == "relu") return std::sqrt(2.0);
  if (nonlinearity == "selu") return 0.75;
  if (nonlinearity == "leaky_relu") return std::sqrt(2 / (1 + slope * slope));
  call_error("wants linear, conv, sigmoid, tanh, relu, selu or leaky_relu, got {}", nonlinearity);
}

namespace {

struct Fans {
  double in;
  double out;
};

Fans fans(const Dims& shape) {
  if (shape.size() < 2) {
    call_error("wants a weight of two axes or more, got shape {}", to_string(shape));
  }
  double kernel = 1;
  for (std::size_t i = 2; i < shape.size(); ++i) kernel *= static_cast<double>(shape[i].value());
  return {static_cast<double>(shape[1].value()) * kernel,
          static_cast<double>(shape[0].value()) * kernel};
}

double kaiming(const Dims& shape, Fan fan, double gain) {
  const Fans both = fans(shape);
  return gain / std::sqrt(fan == Fan::in ? both.in : both.out);
}

double xavier(const Dims& shape, double gain) {
  const Fans both = fans(shape);
  return gain * std::sqrt(2 / (both.in + both.out));
}

}  // namespace

Tensor uniform(const Dims& shape, double bound, Generator& generator) {
  return brisk::uniform(shape, -bound, bound, DType::float32, generator);
}

Tensor normal(const Dims& shape, double mean, double deviation, Generator& generator) {
  return randn(shape, DType::float32, generator) * deviation + mean;
}

// The inverse of the normal distribution's integral at uniform values: Newton's method on erf from
// a uniform start would need its tails, so bisection, 40 halvings of the interval.
Tensor trunc_normal(const Dims& shape, double mean, double deviation, double least, double greatest,
                    Generator& generator) {
  const Call call("trunc_normal");
  if (!(least < greatest && deviation > 0)) {
    call_error("wants least < greatest and a deviation above 0, got {}, {} and {}", least, greatest,
               deviation);
  }
  const double low = (least - mean) / deviation;
  const double high = (greatest - mean) / deviation;
  std::vector<float> values = rand(shape, DType::float32, generator).to_vector<float>();
  const auto below = [](double x) { return 0.5 * std::erfc(-x / std::numbers::sqrt2); };
  for (float& value : values) {
    const double wanted = below(low) + value * (below(high) - below(low));
    double left = low;
    double right = high;
    for (int i = 0; i < 40; ++i) {
      const double middle = (left + right) / 2;
      (below(middle) < wanted ? left : right) = middle;
    }
    value = static_cast<float>(mean + deviation * (left + right) / 2);
  }
  return from_host(std::span<const float>(values), shape);
}

Tensor xavier_uniform(const Dims& shape, double gain, Generator& generator) {
  const Call call("xavier_uniform");
  return uniform(shape, std::sqrt(3.0) * xavier(shape, gain), generator);
}

Tensor xavier_normal(const Dims& shape, double gain, Generator& generator) {
  const Call call("xavier_normal");
  return normal(shape, 0, xavier(shape, gain), generator);
}

Tensor kaiming_uniform(const Dims& shape, Fan fan, double gain, Generator& generator) {
  const Call call("kaiming_uniform");
  return uniform(shape, std::sqrt(3.0) * kaiming(shape, fan, gain), generator);
}

Tensor kaiming_normal(const Dims& shape, Fan fan, double gain, Generator& generator) {
  const Call call("kaiming_normal");
  return normal(shape, 0, kaiming(shape, fan, gain), generator);
}

// Gram and Schmidt, twice for each vector, in float64; the vectors are the shorter side.
Tensor orthogonal(const Dims& shape, double gain, Generator& generator) {
  const Call call("orthogonal");
  fans(shape);
  const auto rows = static_cast<std::size_t>(shape[0].value());
  std::size_t columns = 1;
  for (std::size_t i = 1; i < shape.size(); ++i) {
    columns *= static_cast<std::size_t>(shape[i].value());
  }
  const bool tall = rows > columns;
  const std::size_t count = std::min(rows, columns);
  const std::size_t length = std::max(rows, columns);
  std::vector<double> v = randn({count, length}, DType::float32, generator).to_vector<double>();
  const auto dot = [&](std::size_t a, std::size_t b) {
    double sum = 0;
    for (std::size_t i = 0; i < length; ++i) sum += v[a * length + i] * v[b * length + i];
    return sum;
  };
  for (std::size_t at = 0; at < count; ++at) {
    for (std::size_t other = 0; other < 2 * at; ++other) {
      const double share = dot(at, other % at);
      for (std::size_t i = 0; i < length; ++i)
        v[at * length + i] -= share * v[other % at * length + i];
    }
    const double size = std::sqrt(dot(at, at));
    for (std::size_t i = 0; i < length; ++i) v[at * length + i] /= size;
  }
  std::vector<float> values(rows * columns);
  for (std::size_t r = 0; r < rows; ++r) {
    for (std::size_t c = 0; c < columns; ++c) {
      values[r * columns + c] =
          static_cast<float>(gain * (tall ? v[c * length + r] : v[r * length + c]));
    }
  }
  return from_host(std::span<const float>(values), shape);
}

Tensor parameter(const Tensor& value) {
  const Call call("parameter");
  Tensor leaf = value.contiguous();
  leaf.realize();
  return leaf.requires_grad_();
}

}  // namespace brisk::nn
