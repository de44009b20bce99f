// Signals: discrete Fourier transforms, their windows, the mel scale.
#include <cmath>
#include <numbers>

#include "onnx/build.h"

namespace brisk::onnx {

namespace {

using std::numbers::pi;

struct Complex {
  Tensor re, im;
};

Complex product_of(const Complex& a, const Complex& b) {
  return {a.re * b.re - a.im * b.im, a.re * b.im + a.im * b.re};
}

// exp(∓2πi·k·m / n) for k < rows, m < columns.
Complex roots(std::int64_t rows, std::int64_t columns, std::int64_t n, bool inverse, DType dtype) {
  if (rows > (1 << 24) / columns)
    user_error("a transform of {} elements, of which {} have no divisor, is too long", n, rows);
  std::vector<double> re, im;
  for (std::int64_t k = 0; k < rows; ++k) {
    for (std::int64_t m = 0; m < columns; ++m) {
      const double angle = 2 * pi * static_cast<double>(k * m % n) / static_cast<double>(n);
      re.push_back(std::cos(angle));
      im.push_back(inverse ? std::sin(angle) : -std::sin(angle));
    }
  }
  const Dims shape = {rows, columns};
  return {from_host(std::span<const double>(re), shape).cast(dtype),
          from_host(std::span<const double>(im), shape).cast(dtype)};
}

// The divisor nearest to the square root; 1 for primes.
std::int64_t middle_divisor(std::int64_t n) {
  for (auto d = static_cast<std::int64_t>(std::sqrt(static_cast<double>(n))); d > 1; --d) {
    if (n % d == 0) return d;
  }
  return 1;
}

// Over the last axis, without a factor. Small or prime lengths are a product with the matrix of
// roots; others n = a·b are transforms over a and over b with a factor between them (Cooley and
// Tukey, 1965).
Complex transform(const Complex& x, bool inverse) {
  const std::int64_t n = x.re.size(-1).value();
  const DType dtype = x.re.dtype();
  const std::int64_t a = n <= 32 ? 1 : middle_divisor(n);
  if (a == 1) {
    const Complex w = roots(n, n, n, inverse, dtype);
    if (!x.im.defined()) return {matmul(x.re, w.re), matmul(x.re, w.im)};
    return {matmul(x.re, w.re) - matmul(x.im, w.im), matmul(x.re, w.im) + matmul(x.im, w.re)};
  }
  const std::int64_t b = n / a;
  const auto columns = [&](const Tensor& part) {  // [..., b, a]: the axis over a is the last
    return part.defined() ? part.unflatten(-1, {a, b}).transpose(-1, -2) : part;
  };
  Complex y = transform({columns(x.re), columns(x.im)}, inverse);
  y = product_of(y, roots(b, a, n, inverse, dtype));
  y = transform({y.re.transpose(-1, -2), y.im.transpose(-1, -2)}, inverse);  // [..., a, b]
  return {y.re.transpose(-1, -2).flatten(-2), y.im.transpose(-1, -2).flatten(-2)};
}

// x [..., 1 or 2] as parts whose last axis is `axis`.
Complex parts_of(const Tensor& x, int axis) {
  const std::int64_t parts = x.size(-1).value();
  const auto part = [&](std::int64_t i) { return movedim(x.select(-1, i), axis, -1); };
  return {part(0), parts == 2 ? part(1) : Tensor()};
}

Tensor resized(const Tensor& x, std::int64_t length) {
  if (!x.defined()) return x;
  const std::int64_t have = x.size(-1).value();
  if (length <= have) return x.narrow(-1, 0, length);
  return brisk::pad(x, {0, length - have});
}

Values dft(NodeCall& c) {
  const Tensor x = c[0];
  const std::int64_t rank = x.rank();
  if (rank < 2) c.fail("wants [..., 1 or 2], got rank {}", rank);
  const std::int64_t parts = x.size(-1).value();
  if (parts != 1 && parts != 2) c.fail("wants a last axis of 1 or 2, got {}", parts);
  std::int64_t wanted = c.integer("axis", 1);
  if (c.version() >= 20) wanted = c.has(2) ? c.integer(std::size_t{2}) : -2;
  const int axis = c.axis(wanted, rank);
  if (axis == rank - 1) c.fail("axis {} is that of the parts", axis);
  const bool inverse = c.integer("inverse", 0) != 0;
  const bool one_sided = c.integer("onesided", 0) != 0;
  Complex signal = parts_of(x, axis);
  if (c.has(1)) {
    const std::int64_t length = c.integer(std::size_t{1});
    element_count({length}, "the length");
    signal = {resized(signal.re, length), resized(signal.im, length)};
  }
  std::int64_t n = signal.re.size(-1).value();
  if (n < 1) c.fail("a transform of no elements");
  if (inverse && one_sided) {  // the other half is the first one's conjugate, and the result real
    const std::int64_t have = parts_of(x, axis).re.size(-1).value();
    n = c.has(1) ? n : 2 * (have - 1);
    if (n < 1) c.fail("a transform of no elements");
    const Complex half = {resized(parts_of(x, axis).re, n / 2 + 1),
                          resized(parts_of(x, axis).im, n / 2 + 1)};
    const auto other = [&](const Tensor& part) { return part.narrow(-1, 1, (n - 1) / 2).flip(-1); };
    signal.re = cat({half.re, other(half.re)}, -1);
    signal.im = half.im.defined() ? cat({half.im, -other(half.im)}, -1) : Tensor();
    const Tensor real = transform(signal, true).re / static_cast<double>(n);
    return {movedim(real, -1, axis).unsqueeze(-1).cast(x.dtype())};
  }
  Complex y = transform(signal, inverse);
  if (inverse) y = {y.re / static_cast<double>(n), y.im / static_cast<double>(n)};
  if (one_sided) y = {y.re.narrow(-1, 0, n / 2 + 1), y.im.narrow(-1, 0, n / 2 + 1)};
  const auto back = [&](const Tensor& part) { return movedim(part, -1, axis); };
  return {stack({back(y.re), back(y.im)}, -1).cast(x.dtype())};
}

// signal [batch, length(, 1 or 2)], step, window, length of a frame.
Values stft(NodeCall& c) {
  Tensor x = c[0];
  const DType dtype = x.dtype();
  if (x.rank() == 2) x = x.unsqueeze(-1);
  if (x.rank() != 3) c.fail("wants [batch, length, 1 or 2], got rank {}", c.rank(0));
  const std::int64_t step = c.integer(std::size_t{1});
  const std::int64_t length = c.has(3)   ? c.integer(std::size_t{3})
                              : c.has(2) ? c.shape(2).at(0)
                                         : 0;
  if (step < 1 || length < 1 || length > x.size(1).value())
    c.fail("frames of {} every {} do not fit a signal of {}", length, step, x.size(1).value());
  Complex frames;
  const Complex whole = parts_of(x, 1);
  const auto cut = [&](const Tensor& part) {
    if (!part.defined()) return part;
    Tensor frame = part.unfold(-1, length, step);  // [batch, frames, length]
    if (!c.has(2)) return frame;
    const std::int64_t width = c.shape(2).at(0);
    Tensor window = c[2];
    if (width < length)
      window = brisk::pad(window, {(length - width) / 2, length - width - (length - width) / 2});
    return frame * window;
  };
  frames = {cut(whole.re), cut(whole.im)};
  Complex y = transform(frames, false);
  if (c.integer("onesided", 1) != 0)
    y = {y.re.narrow(-1, 0, length / 2 + 1), y.im.narrow(-1, 0, length / 2 + 1)};
  return {stack({y.re, y.im}, -1).cast(dtype)};
}

// Σ factors[k]·cos(2πk·i / n).
OperatorFunction window(std::vector<double> factors) {
  return [factors](NodeCall& c) -> Values {
    const std::int64_t size = c.integer(std::size_t{0});
    element_count({size}, "the size");
    if (size > (1 << 20)) c.fail("a window of {}", size);
    const bool periodic = c.integer("periodic", 1) != 0;
    const auto n = static_cast<double>(periodic ? size : size - 1);
    std::vector<double> values;
    for (std::int64_t i = 0; i < size; ++i) {
      double value = 0;
      for (std::size_t k = 0; k < factors.size(); ++k)
        value += factors[k] * std::cos(2 * pi * static_cast<double>(k) * static_cast<double>(i) /
                                       std::max(n, 1.0));
      values.push_back(value);
    }
    const Tensor made = from_host(std::span<const double>(values), {values.size()});
    return {converted(made, element_attribute(c, "output_datatype", ElementType::float32))};
  };
}

// Triangles of equal width on the mel scale, over the bins of a transform.
Values mel_weights(NodeCall& c) {
  const std::int64_t bins = c.integer(std::size_t{0});
  const std::int64_t length = c.integer(std::size_t{1});
  const std::int64_t rate = c.integer(std::size_t{2});
  const double low = c.number(std::size_t{3});
  const double high = c.number(std::size_t{4});
  if (bins < 1 || length < 1 || rate < 1 || bins > (1 << 12) || length > (1 << 16))
    c.fail("{} bins of a transform of {} at {} Hz", bins, length, rate);
  const std::int64_t rows = length / 2 + 1;
  const auto mel = [](double hertz) { return 2595 * std::log10(1 + hertz / 700); };
  const double step = (mel(high) - mel(low)) / static_cast<double>(bins + 2);
  std::vector<std::int64_t> at;
  for (std::int64_t i = 0; i < bins + 2; ++i) {
    const double hertz =
        700 * (std::pow(10, (static_cast<double>(i) * step + mel(low)) / 2595) - 1);
    at.push_back(static_cast<std::int64_t>(
        std::floor(static_cast<double>(length + 1) * hertz / static_cast<double>(rate))));
  }
  std::vector<double> weights(static_cast<std::size_t>(rows * bins));
  const auto put = [&](std::int64_t row, std::int64_t bin, double value) {
    if (row >= 0 && row < rows) weights[static_cast<std::size_t>(row * bins + bin)] = value;
  };
  for (std::int64_t i = 0; i < bins; ++i) {
    const auto k = static_cast<std::size_t>(i);
    const std::int64_t left = at[k], centre = at[k + 1], right = at[k + 2];
    if (centre == left)
      put(centre, i, 1);
    else
      for (std::int64_t j = left; j <= centre; ++j)
        put(j, i, static_cast<double>(j - left) / static_cast<double>(centre - left));
    for (std::int64_t j = centre; j < right; ++j)
      put(j, i, static_cast<double>(right - j) / static_cast<double>(right - centre));
  }
  const Tensor made = from_host(std::span<const double>(weights), {rows, bins});
  return {converted(made, element_attribute(c, "output_datatype", ElementType::float32))};
}

}  // namespace

void add_signal(OperatorTable& t) {
  t.add("DFT", dft);
  t.add("STFT", stft);
  t.add("HannWindow", window({0.5, -0.5}));
  t.add("HammingWindow", window({25.0 / 46, -21.0 / 46}));
  t.add("BlackmanWindow", window({0.42, -0.5, 0.08}));
  t.add("MelWeightMatrix", mel_weights);
}

}  // namespace brisk::onnx
