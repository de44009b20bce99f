// Normalisations: (x - mean) / sqrt(variance + eps) over some axes, in float32, then scale and
// shift.
#include "brisk/functional.h"
#include "tensor/build.h"
#include "tensor/own_gradient.h"

namespace brisk {

namespace {

std::vector<int> last_axes(int rank, int count) {
  std::vector<int> axes;
  for (int i = rank - count; i < rank; ++i) axes.push_back(i);
  return axes;
}

struct Moments {
  Tensor centred;
  Tensor mean;      // axes kept
  Tensor variance;  // without correction, axes kept
};
Moments moments(const Tensor& x, const std::vector<int>& axes) {
  const Tensor average = mean(x, axes, true);
  const Tensor centred = x - average;
  return {centred, average, mean(square(centred), axes, true)};
}

Tensor unit(const Tensor& x, const std::vector<int>& axes, double eps) {
  const Moments m = moments(x, axes);
  return m.centred * rsqrt(m.variance + eps);
}

// The gradient of y, what is normal, needs two sums, of g and of g·y: those that a shift and a
// scale behind it need too.
Tensor normal(const Tensor& x, const std::vector<int>& axes, double eps) {
  return with_own_gradient(
      {x}, [&] { return unit(x, axes, eps); },
      [=](const Tensor& y, const std::vector<Tensor>& in, const Tensor& g) {
        const Tensor scale = rsqrt(moments(in[0], axes).variance + eps);
        const Tensor along = mean(g, axes, true) + y * mean(g * y, axes, true);
        return std::vector<Tensor>{(g - along) * scale};
      });
}

// x / sqrt(mean square + eps) over the axes.
Tensor of_unit_square(const Tensor& x, const std::vector<int>& axes, double eps) {
  const auto scale = [=](const Tensor& of) { return rsqrt(mean(square(of), axes, true) + eps); };
  return with_own_gradient(
      {x}, [&] { return x * scale(x); },
      [=](const Tensor& y, const std::vector<Tensor>& in, const Tensor& g) {
        return std::vector<Tensor>{(g - y * mean(g * y, axes, true)) * scale(in[0])};
      });
}

Tensor scaled(Tensor x, const Tensor& weight, const Tensor& bias, DType dtype) {
  if (weight.defined()) x = x * weight.cast(x.dtype());
  if (bias.defined()) x = x + bias.cast(x.dtype());
  return x.cast(dtype);
}

// Weight or bias of one value a channel, for an x with channels on axis 1.
Tensor by_channel(const Tensor& each, const Tensor& x, const char* what) {
  if (!each.defined()) return each;
  if (each.rank() != 1 || each.size(0) != x.size(1)) {
    call_error("wants a {} of shape [{}], got {}", what, to_string(x.size(1)),
               to_string(each.dims()));
  }
  Dims shape(x.rank() - 1, Dim(1));
  shape[0] = each.size(0);
  return each.reshape(shape);
}

void want_last(const Tensor& x, const Dims& shape, const char* what) {
  const Dims own = x.defined() ? x.dims() : Dims();
  const bool fits = x.defined() && own.size() >= shape.size() && !shape.empty() &&
                    std::equal(shape.begin(), shape.end(), own.end() - shape.size());
  if (!fits) {
    call_error("wants a {} of the last axes' shape, got {} for an input of shape {}", what,
               to_string(shape), to_string(own));
  }
}

Tensor normed(const Tensor& x, int axes, const Tensor& weight, const Tensor& bias, double eps) {
  const Tensor wide = widen(x);
  const std::vector<int> over = last_axes(x.rank(), axes);
  return scaled(normal(wide, over, eps), weight, bias, float_result(x.dtype()));
}

}  // namespace

Tensor layer_norm(const Tensor& x, const Tensor& weight, const Tensor& bias, double eps) {
  const Call call("layer_norm");
  want_defined(weight, "the weight");
  want_last(x, weight.dims(), "weight");
  if (bias.defined()) want_last(x, bias.dims(), "bias");
  return normed(x, weight.rank(), weight, bias, eps);
}

Tensor layer_norm(const Tensor& x, const Dims& shape, double eps) {
  const Call call("layer_norm");
  want_last(x, shape, "shape");
  return normed(x, static_cast<int>(shape.size()), {}, {}, eps);
}

Tensor rms_norm(const Tensor& x, const Tensor& weight, double eps) {
  const Call call("rms_norm");
  want_rank(x, "an input", 1, 100);
  if (weight.defined()) want_last(x, weight.dims(), "weight");
  const Tensor wide = widen(x);
  const std::vector<int> axes = last_axes(x.rank(), weight.defined() ? weight.rank() : 1);
  return scaled(of_unit_square(wide, axes, eps), weight, {}, float_result(x.dtype()));
}

Tensor group_norm(const Tensor& x, std::int64_t groups, const Tensor& weight, const Tensor& bias,
                  double eps) {
  const Call call("group_norm");
  want_rank(x, "an input", 2, 100);
  if (groups < 1 || x.size(1) % Dim(groups) != Dim(0)) {
    call_error("wants groups that divide the channels, got {} for shape {}", groups,
               to_string(x.dims()));
  }
  const Tensor wide = widen(x);
  const Tensor rows = wide.reshape({x.size(0), groups, -1});
  return scaled(normal(rows, {2}, eps).reshape(x.dims()), by_channel(weight, x, "weight"),
                by_channel(bias, x, "bias"), float_result(x.dtype()));
}

Tensor instance_norm(const Tensor& x, const Tensor& weight, const Tensor& bias, double eps) {
  const Call call("instance_norm");
  want_rank(x, "an input", 3, 100);
  return scaled(normal(widen(x), last_axes(x.rank(), x.rank() - 2), eps),
                by_channel(weight, x, "weight"), by_channel(bias, x, "bias"),
                float_result(x.dtype()));
}

Tensor batch_norm(const Tensor& x, const Tensor& mean, const Tensor& variance, const Tensor& weight,
                  const Tensor& bias, double eps) {
  const Call call("batch_norm");
  want_rank(x, "an input", 2, 100);
  want_defined(mean, "the mean");
  want_defined(variance, "the variance");
  const Tensor wide = widen(x);
  const Tensor centre = by_channel(mean, x, "mean").cast(wide.dtype());
  const Tensor spread = by_channel(variance, x, "variance").cast(wide.dtype());
  return scaled((wide - centre) * rsqrt(spread + eps), by_channel(weight, x, "weight"),
                by_channel(bias, x, "bias"), float_result(x.dtype()));
}

BatchNorm batch_norm_train(const Tensor& x, const Tensor& weight, const Tensor& bias, double eps) {
  const Call call("batch_norm_train");
  want_rank(x, "an input", 2, 100);
  std::vector<int> axes = {0};
  for (int i = 2; i < x.rank(); ++i) axes.push_back(i);
  const Tensor wide = widen(x);
  const Moments m = moments(wide, axes);
  return {scaled(normal(wide, axes, eps), by_channel(weight, x, "weight"),
                 by_channel(bias, x, "bias"), float_result(x.dtype())),
          flatten(m.mean), flatten(m.variance)};
}

Tensor normalize(const Tensor& x, double p, int axis, double eps) {
  const Call call("normalize");
  const Tensor wide = widen(x);
  return (wide / maximum(norm(wide, p, axis, true), eps)).cast(float_result(x.dtype()));
}

}  // namespace brisk
