// Resizing, one axis after the other: each output position reads 1, 2 or 4 neighbours with weights
// that depend on where it falls between them.
#include <cmath>

#include "brisk/functional.h"
#include "tensor/build.h"

namespace brisk {

namespace {

int mode_axes(Interpolation mode) {
  switch (mode) {
    case Interpolation::linear: return 1;
    case Interpolation::bilinear:
    case Interpolation::bicubic: return 2;
    case Interpolation::trilinear: return 3;
    default: return 0;  // any number
  }
}

// x at integer positions along an axis, those outside moved to the edge.
Tensor at_positions(const Tensor& x, int axis, const Tensor& position, std::int64_t have) {
  const Tensor inside = clamp(position, 0, have - 1);
  return tensor_of(take_axis(node_of(x), axis, node_of(inside), false));
}

// A vector of weights along an axis, for a tensor of x's rank.
Tensor along(const Tensor& weights, int axis, int rank) {
  Dims shape(rank, Dim(1));
  shape[axis] = weights.numel();
  return weights.reshape(shape);
}

// Keys' cubic convolution kernel with a = -3/4 (R. Keys, 1981), of the four neighbours of a point
// at distance t behind the second.
std::vector<Tensor> cubic_weights(const Tensor& t) {
  constexpr double a = -0.75;
  const auto near = [](const Tensor& d) { return ((a + 2) * d - (a + 3)) * d * d + 1; };
  const auto far = [](const Tensor& d) { return ((a * d - 5 * a) * d + 8 * a) * d - 4 * a; };
  return {far(t + 1), near(t), near(1 - t), far(2 - t)};
}

// `step` is the distance of neighbouring outputs in inputs.
Tensor resize_axis(const Tensor& x, int axis, std::int64_t size, double step, Interpolation mode,
                   bool align_corners) {
  const std::int64_t have = fixed(node_of(x).shape()[axis]);
  const Tensor place = arange(size);
  if (mode == Interpolation::nearest) {
    const bool exact = step * static_cast<double>(size) == static_cast<double>(have);
    const Tensor from = exact ? floor_divide(place * have, size)
                              : floor(place.cast(DType::float32) * step).cast(DType::int64);
    return at_positions(x, axis, from, have);
  }
  const DType dtype = x.dtype();
  Tensor from = align_corners ? place.cast(dtype) * step : (place.cast(dtype) + 0.5) * step - 0.5;
  const bool cubic = mode == Interpolation::bicubic;
  if (!align_corners && !cubic) from = maximum(from, 0);
  const Tensor below = floor(from);
  const Tensor t = from - below;
  const Tensor first = below.cast(DType::int64);
  const std::vector<Tensor> weights = cubic ? cubic_weights(t) : std::vector<Tensor>{1 - t, t};
  Tensor result;
  for (std::size_t i = 0; i < weights.size(); ++i) {
    const std::int64_t offset = static_cast<std::int64_t>(i) - (cubic ? 1 : 0);
    const Tensor part =
        at_positions(x, axis, first + offset, have) * along(weights[i], axis, x.rank());
    result = result.defined() ? result + part : part;
  }
  return result;
}

Tensor resized(const Tensor& x, const std::vector<std::int64_t>& sizes,
               const std::vector<double>& steps, Interpolation mode, bool align_corners) {
  const int axes = x.rank() - 2;
  if (mode == Interpolation::area) {
    return axes == 1   ? adaptive_avg_pool1d(x, sizes)
           : axes == 2 ? adaptive_avg_pool2d(x, sizes)
                       : adaptive_avg_pool3d(x, sizes);
  }
  Tensor result = mode == Interpolation::nearest ? x : widen(x);
  for (int i = 0; i < axes; ++i) {
    const std::int64_t have = fixed(node_of(x).shape()[2 + i]);
    if (sizes[i] == have && steps[i] == 1) continue;
    result = resize_axis(result, 2 + i, sizes[i], steps[i], mode, align_corners);
  }
  return mode == Interpolation::nearest ? result : result.cast(float_result(x.dtype()));
}

int checked_axes(const Tensor& x, Interpolation mode, bool align_corners) {
  want_rank(x, "an input", 3, 5);
  const int wanted = mode_axes(mode);
  if (wanted != 0 && x.rank() != wanted + 2) {
    call_error("wants an input of rank {} for this mode, got shape {}", wanted + 2,
               to_string(x.dims()));
  }
  if (align_corners && wanted == 0) call_error("align_corners is for linear and cubic modes");
  return x.rank() - 2;
}

}  // namespace

Tensor interpolate(const Tensor& x, const Spatial& size, Interpolation mode, bool align_corners) {
  const Call call("interpolate");
  const int axes = checked_axes(x, mode, align_corners);
  const auto sizes = each_axis(size, axes, "size", 1);
  std::vector<double> steps;
  for (int i = 0; i < axes; ++i) {
    const auto have = static_cast<double>(fixed(node_of(x).shape()[2 + i]));
    const auto want = static_cast<double>(sizes[i]);
    steps.push_back(!align_corners ? have / want : want > 1 ? (have - 1) / (want - 1) : 0);
  }
  return resized(x, sizes, steps, mode, align_corners);
}

Tensor interpolate_by(const Tensor& x, const std::vector<double>& scale, Interpolation mode,
                      bool align_corners) {
  const Call call("interpolate_by");
  const int axes = checked_axes(x, mode, align_corners);
  std::vector<double> scales = scale;
  if (scales.size() == 1) scales.resize(axes, scales[0]);
  if (static_cast<int>(scales.size()) != axes) {
    call_error("wants one scale or {}, got {}", axes, scale.size());
  }
  std::vector<std::int64_t> sizes;
  std::vector<double> steps;
  for (int i = 0; i < axes; ++i) {
    const auto have = static_cast<double>(fixed(node_of(x).shape()[2 + i]));
    const double want = std::floor(have * scales[i]);
    if (!(want >= 1) || !(want < 0x1p40)) {
      call_error("wants scales that leave at least 1, got {} for shape {}", scales[i],
                 to_string(x.dims()));
    }
    sizes.push_back(static_cast<std::int64_t>(want));
    steps.push_back(!align_corners ? 1 / scales[i] : want > 1 ? (have - 1) / (want - 1) : 0);
  }
  return resized(x, sizes, steps, mode, align_corners);
}

}  // namespace brisk
