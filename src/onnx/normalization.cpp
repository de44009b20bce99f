// Normalisations.
#include "onnx/build.h"
#include "tensor/build.h"

namespace brisk::onnx {

namespace {

Axes from_axis(int axis, int rank) {
  Axes axes;
  for (int i = axis; i < rank; ++i) axes.push_back(i);
  return axes;
}

Values batch_normalization(NodeCall& c) {
  const Tensor x = c[0];
  const double eps = c.number("epsilon", 1e-5);
  if (x.rank() < 2 && c.rank(0) < 1) c.fail("wants [batch, channels, …]");
  const bool training = c.integer("training_mode", 0) != 0;
  if (!training) return {batch_norm(x, c[3], c[4], c[1], c[2], eps).cast(x.dtype())};
  const BatchNorm made = batch_norm_train(x, c[1], c[2], eps);
  const double keep = c.number("momentum", 0.9);
  const auto running = [&](std::size_t i, const Tensor& now) {
    return (c[i] * keep + now * (1 - keep)).cast(c[i].dtype());
  };
  return {made.output.cast(x.dtype()), running(3, made.mean), running(4, made.variance)};
}

Values layer_normalization(NodeCall& c) {
  const Tensor x = c[0];
  const int axis = c.axis("axis", -1, x.rank());
  const Normalized made =
      normalized(x, from_axis(axis, x.rank()), c[1], c.optional(2), c.number("epsilon", 1e-5));
  return {made.output, made.mean, made.inverse};
}

Values group_normalization(NodeCall& c) {
  const Tensor x = c[0];
  const std::int64_t groups = c.integer("num_groups", 0);
  const Dims shape = c.dims(0);
  if (shape.size() < 2 || groups < 1 || shape[1] % groups != Dim(0))
    c.fail("{} groups do not divide the channels", groups);
  Tensor scale = c[1];
  Tensor bias = c[2];
  if (c.version() < 21) {  // one a group
    const std::int64_t each = shape[1].value() / groups;
    if (product(c.shape(1)) == groups) scale = scale.repeat_interleave(each, 0);
    if (product(c.shape(2)) == groups) bias = bias.repeat_interleave(each, 0);
  }
  return {group_norm(x, groups, scale, bias, c.number("epsilon", 1e-5)).cast(x.dtype())};
}

Values mean_variance(NodeCall& c) {
  const Tensor x = c[0];
  const Axes axes = axes_of(c, c.integers("axes", {0, 2, 3}), x.rank());
  const Tensor centre = mean(x, axes, true);
  const Tensor far = x - centre;
  return {(far / (sqrt(mean(far * far, axes, true)) + 1e-9)).cast(x.dtype())};
}

Values lrn(NodeCall& c) {
  const Tensor x = c[0];
  const std::int64_t size = c.integer("size", 0);
  if (size < 1 || x.rank() < 2) c.fail("wants a size of at least 1 and [batch, channels, …]");
  const double alpha = c.number("alpha", 1e-4);
  const double beta = c.number("beta", 0.75);
  const double bias = c.number("bias", 1);
  std::vector<std::int64_t> pads(static_cast<std::size_t>(2 * x.rank()), 0);
  const auto place = 2 * static_cast<std::size_t>(x.rank() - 2);
  pads[place] = (size - 1) / 2;
  pads[place + 1] = size / 2;
  const Tensor squares = brisk::pad(square(widen(x)), pads);
  const Tensor near = sum(squares.unfold(1, size, 1), -1);
  return {
      (widen(x) / pow(near * (alpha / static_cast<double>(size)) + bias, beta)).cast(x.dtype())};
}

Values lp_normalization(NodeCall& c) {
  const Tensor x = c[0];
  const int axis = c.axis("axis", -1, x.rank());
  const auto p = static_cast<double>(c.integer("p", 2));
  const Tensor length = norm(widen(x), p, axis, true);
  return {where(length == 0, 0.0, widen(x) / length).cast(x.dtype())};
}

Values rms_normalization(NodeCall& c) {
  const Tensor x = c[0];
  const int axis = c.axis("axis", -1, x.rank());
  return {rms_normalized(x, from_axis(axis, x.rank()), c[1], c.number("epsilon", 1e-5))};
}

}  // namespace

Normalized normalized(const Tensor& x, const Axes& axes, const Tensor& scale, const Tensor& bias,
                      double eps) {
  const Tensor wide = widen(x);
  const Tensor centre = mean(wide, axes, true);
  const Tensor rest = wide - centre;
  const Tensor inverse = rsqrt(mean(square(rest), axes, true) + eps);
  Tensor y = rest * inverse;
  if (scale.defined()) y = y * scale.cast(y.dtype());
  if (bias.defined()) y = y + bias.cast(y.dtype());
  return {y.cast(x.dtype()), centre, inverse};
}

Tensor rms_normalized(const Tensor& x, const Axes& axes, const Tensor& scale, double eps) {
  const Tensor wide = widen(x);
  Tensor y = wide * rsqrt(mean(square(wide), axes, true) + eps);
  if (scale.defined()) y = y * scale.cast(y.dtype());
  return y.cast(x.dtype());
}

void add_normalization(OperatorTable& t) {
  t.add("BatchNormalization", batch_normalization);
  t.add("InstanceNormalization", [](NodeCall& c) -> Values {
    return {instance_norm(c[0], c[1], c[2], c.number("epsilon", 1e-5))};
  });
  t.add("LayerNormalization", layer_normalization);
  t.add("GroupNormalization", group_normalization);
  t.add("MeanVarianceNormalization", mean_variance);
  t.add("LRN", lrn);
  t.add("LpNormalization", lp_normalization);
  t.add("RMSNormalization", rms_normalization);
  t.add("SimplifiedLayerNormalization", rms_normalization);
}

}  // namespace brisk::onnx
