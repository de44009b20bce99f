// Images: resizing, sampling at positions, regions.
#include <algorithm>
#include <cmath>
#include <numeric>

#include "onnx/build.h"

namespace brisk::onnx {

namespace {

using Sizes = std::vector<std::int64_t>;

// ---- Resize -------------------------------------------------------------------------------------

// How one axis is resized: for each output the inputs it reads, with their weights.
struct AxisPlan {
  std::int64_t have = 0, size = 0;
  double scale = 1, start = 0, end = 1;  // start, end: of tf_crop_and_resize
};

struct ResizeMode {
  std::string transform, mode, nearest;
  double cubic = -0.75;
  bool exclude_outside = false, antialias = false;
};

double source_of(const AxisPlan& p, const ResizeMode& m, std::int64_t i) {
  const auto x = static_cast<double>(i);
  const auto have = static_cast<double>(p.have);
  const auto size = static_cast<double>(p.size);
  if (m.transform == "asymmetric") return x / p.scale;
  if (m.transform == "tf_half_pixel_for_nn") return (x + 0.5) / p.scale;
  if (m.transform == "pytorch_half_pixel") return size > 1 ? (x + 0.5) / p.scale - 0.5 : 0;
  if (m.transform == "align_corners") {
    const double length = have * p.scale;  // before it was rounded to a size
    return length == 1 ? 0 : x * (have - 1) / (length - 1);
  }
  if (m.transform == "tf_crop_and_resize") {
    if (size <= 1) return 0.5 * (p.start + p.end) * (have - 1);
    return p.start * (have - 1) + x * (p.end - p.start) * (have - 1) / (size - 1);
  }
  const double plain = (x + 0.5) / p.scale - 0.5;
  if (m.transform == "half_pixel_symmetric") {
    const double adjustment = size / (have * p.scale);
    return have / 2 * (1 - adjustment) + plain;
  }
  if (m.transform == "half_pixel") return plain;
  user_error("coordinate_transformation_mode '{}' is not known", m.transform);
}

std::int64_t nearest_of(const ResizeMode& m, double x) {
  if (m.nearest == "round_prefer_floor") return static_cast<std::int64_t>(std::ceil(x - 0.5));
  if (m.nearest == "round_prefer_ceil") return static_cast<std::int64_t>(std::floor(x + 0.5));
  if (m.nearest == "floor") return static_cast<std::int64_t>(std::floor(x));
  if (m.nearest == "ceil") return static_cast<std::int64_t>(std::ceil(x));
  user_error("nearest_mode '{}' is not known", m.nearest);
}

double weight_at(const ResizeMode& m, double distance) {
  const double d = std::abs(distance);
  if (m.mode == "linear") return std::max(1 - d, 0.0);
  const double a = m.cubic;  // Keys' kernel
  if (d <= 1) return ((a + 2) * d - (a + 3)) * d * d + 1;
  return d < 2 ? ((a * d - 5 * a) * d + 8 * a) * d - 4 * a : 0;
}

struct Taps {
  std::vector<Sizes> index;  // by tap, by output
  std::vector<std::vector<float>> weight;
};

Taps taps_of(const AxisPlan& p, const ResizeMode& m) {
  Taps taps;
  if (m.mode == "nearest") {
    taps.index.emplace_back();
    for (std::int64_t i = 0; i < p.size; ++i)
      taps.index[0].push_back(
          std::clamp<std::int64_t>(nearest_of(m, source_of(p, m, i)), 0, p.have - 1));
    return taps;
  }
  // Where fewer elements come out than go in, antialiasing stretches the kernel.
  const double squeeze = m.antialias ? std::min(p.scale, 1.0) : 1.0;
  const double reach = (m.mode == "linear" ? 1 : 2) / squeeze;
  const auto first = static_cast<std::int64_t>(std::floor(-reach)) + 1;
  const std::int64_t count = 2 - 2 * first;
  if (count > (1 << 28) / std::max<std::int64_t>(p.size, 1))
    user_error("a scale of {} reads too many elements", p.scale);
  taps.index.resize(static_cast<std::size_t>(count));
  taps.weight.resize(static_cast<std::size_t>(count));
  for (std::int64_t i = 0; i < p.size; ++i) {
    const double x = source_of(p, m, i);
    const auto base = static_cast<std::int64_t>(std::floor(x));
    std::vector<double> weights;
    double total = 0;
    for (std::int64_t k = 0; k < count; ++k) {
      const std::int64_t at = base + first + k;
      double w = weight_at(m, (static_cast<double>(at) - x) * squeeze);
      if (m.exclude_outside && (at < 0 || at >= p.have)) w = 0;
      weights.push_back(w);
      total += w;
    }
    for (std::int64_t k = 0; k < count; ++k) {
      const auto at = static_cast<std::size_t>(k);
      taps.index[at].push_back(std::clamp<std::int64_t>(base + first + k, 0, p.have - 1));
      taps.weight[at].push_back(static_cast<float>(total != 0 ? weights[at] / total : 0));
    }
  }
  return taps;
}

// Whether output i reads input i / factor.
bool repeats(const Sizes& index, std::int64_t factor) {
  for (std::size_t i = 0; i < index.size(); ++i) {
    if (index[i] != static_cast<std::int64_t>(i) / factor) return false;
  }
  return true;
}

Tensor resize_axis(const Tensor& x, int axis, const AxisPlan& p, const ResizeMode& m) {
  const Taps taps = taps_of(p, m);
  if (m.mode == "nearest") {
    if (p.size % p.have == 0 && repeats(taps.index[0], p.size / p.have))
      return x.repeat_interleave(p.size / p.have, axis);
    return x.index_select(axis, tensor(taps.index[0]));
  }
  if (taps.index.size() > 8) {  // a product with the matrix of weights
    if (p.size > (1 << 28) / p.have) user_error("axis {} goes from {} to {}", axis, p.have, p.size);
    std::vector<float> matrix(static_cast<std::size_t>(p.size * p.have));
    for (std::size_t k = 0; k < taps.index.size(); ++k) {
      for (std::size_t i = 0; i < taps.index[k].size(); ++i)
        matrix[i * static_cast<std::size_t>(p.have) + static_cast<std::size_t>(taps.index[k][i])] +=
            taps.weight[k][i];
    }
    const Tensor weights = from_host(std::span<const float>(matrix), {p.size, p.have});
    return movedim(linear(movedim(x, axis, -1), weights), -1, axis);
  }
  Tensor result;
  for (std::size_t k = 0; k < taps.index.size(); ++k) {
    const bool nothing =
        std::all_of(taps.weight[k].begin(), taps.weight[k].end(), [](float w) { return w == 0; });
    if (nothing) continue;
    const Tensor part =
        x.index_select(axis, tensor(taps.index[k])) * along(tensor(taps.weight[k]), axis, x.rank());
    result = result.defined() ? result + part : part;
  }
  return result;
}

struct ResizeInputs {
  std::size_t roi, scales, sizes;  // SIZE_MAX: there is none
};

void apply_policy(const NodeCall& c, std::vector<AxisPlan>& plans, const Sizes& axes) {
  const std::string policy = c.text("keep_aspect_ratio_policy", "stretch");
  if (policy == "stretch") return;
  double scale = policy == "not_larger" ? 1e30 : 0;
  for (const std::int64_t axis : axes) {
    const double one = plans[static_cast<std::size_t>(axis)].scale;
    scale = policy == "not_larger" ? std::min(scale, one) : std::max(scale, one);
  }
  for (const std::int64_t axis : axes) {
    AxisPlan& p = plans[static_cast<std::size_t>(axis)];
    p.scale = scale;
    p.size = static_cast<std::int64_t>(std::floor(scale * static_cast<double>(p.have) + 0.5));
  }
}

Tensor outside_filled(const NodeCall& c, const Tensor& y, const std::vector<AxisPlan>& plans,
                      const ResizeMode& m) {
  const double value = c.number("extrapolation_value", 0);
  Tensor outside;
  for (std::size_t axis = 0; axis < plans.size(); ++axis) {
    std::vector<std::uint8_t> flags;
    for (std::int64_t i = 0; i < plans[axis].size; ++i) {
      const double x = source_of(plans[axis], m, i);
      flags.push_back(x < 0 || x > static_cast<double>(plans[axis].have - 1) ? 1 : 0);
    }
    if (std::find(flags.begin(), flags.end(), 1) == flags.end()) continue;
    const Tensor one = along(tensor(flags).cast(DType::boolean), static_cast<int>(axis), y.rank());
    outside = outside.defined() ? outside | one : one;
  }
  return outside.defined() ? where(outside, value, y) : y;
}

Values resize_with(NodeCall& c, const ResizeInputs& at, const ResizeMode& m,
                   std::vector<double> scales) {
  const Tensor x = c[0];
  const Dims shape = c.dims(0);
  Sizes axes(shape.size());
  std::iota(axes.begin(), axes.end(), 0);
  for (std::int64_t& axis : axes = c.integers("axes", axes)) axis = c.axis(axis, x.rank());
  // Of an axis whose size depends on variables, which has to stay as it is, that of one element.
  std::vector<AxisPlan> plans;
  for (const Dim& size : shape) {
    const std::int64_t have = size.is_constant() ? size.value() : 1;
    plans.push_back({have, have});
  }
  const bool by_size = at.sizes != SIZE_MAX && c.has(at.sizes) && product(c.shape(at.sizes)) > 0;
  if (!by_size && scales.empty()) scales = c.numbers(at.scales);
  const Dims sizes = by_size ? c.sizes(at.sizes) : Dims();
  if ((by_size ? sizes.size() : scales.size()) != axes.size())
    c.fail("{} scales or sizes for {} axes", by_size ? sizes.size() : scales.size(), axes.size());
  for (std::size_t i = 0; i < axes.size(); ++i) {
    AxisPlan& p = plans[static_cast<std::size_t>(axes[i])];
    const Dim& have = shape[static_cast<std::size_t>(axes[i])];
    if (!have.is_constant()) {
      if (by_size ? sizes[i] != have : scales[i] != 1)
        c.fail("axis {} is of size {}, which depends on variables", axes[i], to_string(have));
    } else if (by_size) {
      check_shape({sizes[i]}, "a size");
      p.size = sizes[i].value();
      p.scale = p.have > 0 ? static_cast<double>(p.size) / static_cast<double>(p.have) : 1;
    } else {
      if (!(scales[i] > 0 && scales[i] < 1e9)) c.fail("a scale of {}", scales[i]);
      p.scale = scales[i];
      p.size = static_cast<std::int64_t>(std::floor(static_cast<double>(p.have) * p.scale));
    }
  }
  if (by_size) apply_policy(c, plans, axes);
  const bool crops = m.transform == "tf_crop_and_resize";
  if (crops) {
    const auto roi = c.numbers(at.roi);
    if (roi.size() != 2 * axes.size())
      c.fail("roi has {} values for {} axes", roi.size(), axes.size());
    for (std::size_t i = 0; i < axes.size(); ++i) {
      plans[static_cast<std::size_t>(axes[i])].start = roi[i];
      plans[static_cast<std::size_t>(axes[i])].end = roi[axes.size() + i];
    }
  }
  Dims result;
  for (std::size_t i = 0; i < plans.size(); ++i) {
    const AxisPlan& p = plans[i];
    const bool stays = p.size == 1 && p.scale == 1 && p.start == 0 && p.end == 1;
    if (!shape[i].is_constant() && !stays)
      c.fail("axis {} is of size {}, which depends on variables", i, to_string(shape[i]));
    result.push_back(shape[i].is_constant() ? Dim(p.size) : shape[i]);
  }
  check_shape(result, "its result");
  const bool computes = m.mode != "nearest" && x.dtype() != DType::float64;
  Tensor y = computes ? x.cast(DType::float32) : x;
  for (std::size_t axis = 0; axis < plans.size(); ++axis) {
    const AxisPlan& p = plans[axis];
    if (p.size != p.have && std::max(p.size, p.have) > (1 << 20))
      c.fail("axis {} goes from {} to {}", axis, p.have, p.size);
    if (p.size == p.have && p.scale == 1 && !(crops && (p.start != 0 || p.end != 1))) continue;
    if (p.have == 0 || p.size == 0) {
      y = zeros(result, y.dtype());
      break;
    }
    y = resize_axis(y, static_cast<int>(axis), p, m);
  }
  if (crops) y = outside_filled(c, y, plans, m);
  if (!is_float(x.dtype()) && computes) y = round(y);
  return {y.cast(x.dtype())};
}

std::string mode_of(const NodeCall& c) {
  std::string mode = c.text("mode", "nearest");
  if (mode == "bilinear" || mode == "trilinear") return "linear";
  if (mode != "nearest" && mode != "linear" && mode != "cubic")
    c.fail("mode '{}' is not known", mode);
  return mode;
}

Values resize(NodeCall& c) {
  ResizeMode m{c.text("coordinate_transformation_mode", "half_pixel"),
               mode_of(c),
               c.text("nearest_mode", "round_prefer_floor"),
               c.number("cubic_coeff_a", -0.75),
               c.integer("exclude_outside", 0) != 0,
               c.integer("antialias", 0) != 0};
  return resize_with(c, {1, 2, 3}, m, {});
}

// Before operator set 11: the input itself at x / scale.
Values upsample(NodeCall& c) {
  const ResizeMode m{"asymmetric", mode_of(c), "floor"};
  std::vector<double> scales = c.numbers("scales");
  if (scales.empty() && c.has_attribute("height_scale"))
    scales = {1, 1, c.number("height_scale", 1), c.number("width_scale", 1)};
  return resize_with(c, {SIZE_MAX, 1, SIZE_MAX}, m, scales);
}

// ---- GridSample ---------------------------------------------------------------------------------

struct Sampling {
  std::string mode, padding;
  bool align;
};

// Where a position that was mirrored at both ends comes to lie.
Tensor mirrored(const Tensor& x, double least, double greatest) {
  const double span = greatest - least;
  if (span <= 0) return zeros_like(x);
  const Tensor far = abs(x - least);
  const Tensor turns = floor(far / span);
  const Tensor rest = far - turns * span;
  const Tensor odd = remainder(turns, 2.0) != 0;
  return where(odd, greatest - rest, rest + least);
}

Tensor kept_inside(const Tensor& x, const Sampling& s, std::int64_t size) {
  const auto last = static_cast<double>(size - 1);
  if (s.padding == "border") return clamp(x, 0.0, last);
  if (s.padding != "reflection") return x;
  const Tensor inside = s.align ? mirrored(x, 0, last) : mirrored(x, -0.5, last + 0.5);
  return clamp(inside, 0.0, last);
}

struct Tap {
  Tensor index, weight, inside;  // inside: undefined where the index always is
};

std::vector<Tap> taps_at(const Tensor& grid, const Sampling& s, std::int64_t size) {
  const auto n = static_cast<double>(size);
  Tensor x = s.align ? (grid + 1.0) * ((n - 1) / 2) : ((grid + 1.0) * n - 1.0) / 2.0;
  const auto tap = [&](const Tensor& at, const Tensor& weight) -> Tap {
    const Tensor inside = (at >= 0) & (at <= n - 1);
    return {clamp(at, 0.0, n - 1).cast(DType::int64), weight, inside};
  };
  if (s.mode == "nearest") return {tap(round(kept_inside(x, s, size)), {})};
  if (s.mode == "linear") {
    x = kept_inside(x, s, size);
    const Tensor below = floor(x);
    return {tap(below, 1.0 - (x - below)), tap(below + 1.0, x - below)};
  }
  const Tensor below = floor(x);
  const Tensor t = x - below;
  std::vector<Tap> taps;
  for (int k = -1; k <= 2; ++k) {
    const Tensor d = abs(t - static_cast<double>(k));
    constexpr double a = -0.75;
    const Tensor near = ((a + 2) * d - (a + 3)) * d * d + 1.0;
    const Tensor far = ((a * d - 5 * a) * d + 8 * a) * d - 4 * a;
    taps.push_back(
        tap(kept_inside(below + static_cast<double>(k), s, size), k == 0 || k == 1 ? near : far));
  }
  return taps;
}

// Sums over all combinations of the axes' taps, from axis `axis` on.
Tensor sampled(const Tensor& image, const std::vector<std::vector<Tap>>& taps, const Sizes& size,
               std::size_t axis, const Tensor& flat, const Tensor& weight, const Tensor& inside) {
  if (axis == taps.size()) {
    const Dims wide = {image.size(0), image.size(1), flat.size(1)};
    Tensor found = image.gather(2, flat.unsqueeze(1).expand(wide));
    found = where(inside.unsqueeze(1), found, 0.0);
    return weight.defined() ? found * weight.unsqueeze(1) : found;
  }
  Tensor sum;
  for (const Tap& tap : taps[axis]) {
    const Tensor at = flat.defined() ? flat * size[axis] + tap.index : tap.index;
    const Tensor w = !tap.weight.defined() ? weight
                     : weight.defined()    ? weight * tap.weight
                                           : tap.weight;
    const Tensor in = inside.defined() ? inside & tap.inside : tap.inside;
    const Tensor part = sampled(image, taps, size, axis + 1, at, w, in);
    sum = sum.defined() ? sum + part : part;
  }
  return sum;
}

Values grid_sample(NodeCall& c) {
  const Tensor x = c[0];
  const Tensor grid = c[1];
  const Dims shape = c.dims(0);
  const Dims places = c.dims(1);
  const std::size_t axes = shape.size() - std::min<std::size_t>(shape.size(), 2);
  if (axes < 1 || places.size() != axes + 2 || places.back() != Dim(axes) || places[0] != shape[0])
    c.fail("wants a grid [batch, …, {}] for an input of rank {}", axes, shape.size());
  std::string mode = c.text("mode", "linear");
  if (mode == "bilinear") mode = "linear";
  if (mode == "bicubic") mode = "cubic";
  const Sampling s{mode, c.text("padding_mode", "zeros"), c.integer("align_corners", 0) != 0};
  const Dim count = product(places, 1, axes + 1);
  Sizes size;
  for (std::size_t i = 0; i < axes; ++i) size.push_back(shape[2 + i].value());
  std::vector<std::vector<Tap>> taps;
  for (std::size_t i = 0; i < axes; ++i) {  // the grid names the last axis first
    const Tensor along_axis =
        grid.select(-1, static_cast<std::int64_t>(axes - 1 - i)).reshape({shape[0], count});
    taps.push_back(taps_at(along_axis.cast(DType::float32), s, size[i]));
  }
  const Tensor image = x.reshape({shape[0], shape[1], product(shape, 2)});
  Dims result = {shape[0], shape[1]};
  result.insert(result.end(), places.begin() + 1, places.end() - 1);
  return {sampled(image, taps, size, 0, {}, {}, {}).reshape(result).cast(x.dtype())};
}

Values affine_grid(NodeCall& c) {
  const Tensor theta = c[0];
  const Sizes size = c.integers(1);
  const bool align = c.integer("align_corners", 0) != 0;
  if (size.size() < 4 || size.size() > 5) c.fail("wants 4 or 5 sizes, got {}", size.size());
  element_count(size, "the grid");
  const int axes = static_cast<int>(size.size()) - 2;
  const Dims inner(size.begin() + 2, size.end());
  std::vector<Tensor> parts;
  for (int i = axes - 1; i >= 0; --i) {  // x, y, z
    const std::int64_t n = size[2 + static_cast<std::size_t>(i)];
    const Tensor at = arange(n).cast(DType::float32);
    const Tensor place = align ? (n > 1 ? at * (2.0 / static_cast<double>(n - 1)) - 1.0 : at)
                               : (at * 2.0 + 1.0) / static_cast<double>(n) - 1.0;
    parts.push_back(along(place, i, axes).broadcast_to(inner));
  }
  parts.push_back(ones(inner));
  const Tensor base = stack(parts, -1).reshape({1, product(size, 2), axes + 1});
  const Tensor grid = matmul(base, theta.cast(DType::float32).transpose(1, 2));
  Sizes result = {size[0]};
  result.insert(result.end(), size.begin() + 2, size.end());
  result.push_back(axes);
  return {grid.reshape(result).cast(theta.dtype())};
}

// ---- regions ------------------------------------------------------------------------------------

// Samples along one axis of each region: [regions, bins·samples].
struct Samples {
  Tensor low, high;  // indices
  Tensor low_weight, high_weight;
  Tensor inside, counts;  // counts: samples of each bin, [regions]
};

Samples samples_of(const Tensor& start, const Tensor& length, std::int64_t bins, std::int64_t most,
                   std::int64_t fixed, std::int64_t size) {
  const Tensor bin = length / static_cast<double>(bins);  // [regions]
  const Tensor count =
      fixed > 0 ? full_like(bin, static_cast<double>(fixed)) : maximum(ceil(bin), 1.0);
  const Tensor at = arange(bins * most);
  const Tensor which = floor_divide(at, most).cast(DType::float32);
  const Tensor sample = remainder(at, most).cast(DType::float32);
  const Tensor wide_count = count.unsqueeze(1);
  Tensor y = start.unsqueeze(1) + which * bin.unsqueeze(1) +
             (sample + 0.5) * (bin.unsqueeze(1) / wide_count);
  const Tensor inside = (y >= -1.0) & (y <= static_cast<double>(size)) & (sample < wide_count);
  y = maximum(y, 0.0);
  const Tensor low = clamp(floor(y), 0.0, static_cast<double>(size - 1));
  const Tensor high = minimum(low + 1.0, static_cast<double>(size - 1));
  const Tensor rest = where(low >= static_cast<double>(size - 1), 0.0, y - low);
  return {low.cast(DType::int64), high.cast(DType::int64), 1.0 - rest, rest, inside, count};
}

Values roi_align(NodeCall& c) {
  const Tensor x = c[0];
  const auto shape = c.shape(0);
  if (shape.size() != 4 || c.rank(1) != 2 || c.shape(1)[1] != 4)
    c.fail("wants an input of rank 4 and regions [count, 4]");
  const std::int64_t regions = c.shape(1)[0];
  const std::int64_t height = c.integer("output_height", 1);
  const std::int64_t width = c.integer("output_width", 1);
  const std::int64_t fixed = c.integer("sampling_ratio", 0);
  const double scale = c.number("spatial_scale", 1);
  const bool half = c.text("coordinate_transformation_mode",
                           c.version() >= 16 ? "half_pixel" : "output_half_pixel") == "half_pixel";
  const bool greatest = c.text("mode", "avg") == "max";
  if (height < 1 || width < 1) c.fail("an output of {} x {}", height, width);
  if (regions == 0) return {zeros({0, shape[1], height, width}, x.dtype())};
  const Tensor rois = c[1].cast(DType::float32) * scale - (half ? 0.5 : 0.0);
  const auto edge = [&](int i) { return rois.select(1, i); };
  const auto length = [&](int i) {
    const Tensor plain = edge(i + 2) - edge(i);
    return half ? plain : maximum(plain, 1.0);
  };
  std::int64_t most_y = fixed, most_x = fixed;
  if (fixed <= 0) {  // as many samples as a bin is long: known from the values only
    const auto values = c.numbers(1);
    most_y = most_x = 1;
    for (std::size_t r = 0; r + 4 <= values.size(); r += 4) {
      const double least = half ? 0 : 1;
      const double h = std::max(least, (values[r + 3] - values[r + 1]) * scale);  // not NaN
      const double w = std::max(least, (values[r + 2] - values[r]) * scale);
      most_y = std::max(most_y, static_cast<std::int64_t>(
                                    std::ceil(std::min(h / static_cast<double>(height), 1e6))));
      most_x = std::max(most_x, static_cast<std::int64_t>(
                                    std::ceil(std::min(w / static_cast<double>(width), 1e6))));
    }
  }
  element_count({regions, shape[1], height * most_y, width * most_x}, "its samples");
  const Samples ys = samples_of(edge(1), length(1), height, most_y, fixed, shape[2]);
  const Samples xs = samples_of(edge(0), length(0), width, most_x, fixed, shape[3]);
  const Tensor image = c.has(2) ? x.index_select(0, c[2].cast(DType::int64))
                                : x.expand({regions, shape[1], shape[2], shape[3]});
  const Tensor flat = image.reshape({regions, shape[1], shape[2] * shape[3]}).cast(DType::float32);
  const std::int64_t rows = height * most_y, columns = width * most_x;
  const Tensor inside =
      (ys.inside.unsqueeze(2) & xs.inside.unsqueeze(1)).reshape({regions, 1, rows * columns});
  Tensor total;
  for (int corner = 0; corner < 4; ++corner) {
    const bool up = corner < 2, left = corner % 2 == 0;
    const Tensor at =
        (up ? ys.low : ys.high).unsqueeze(2) * shape[3] + (left ? xs.low : xs.high).unsqueeze(1);
    const Tensor weight = (up ? ys.low_weight : ys.high_weight).unsqueeze(2) *
                          (left ? xs.low_weight : xs.high_weight).unsqueeze(1);
    const Tensor index =
        at.reshape({regions, 1, rows * columns}).expand({regions, shape[1], rows * columns});
    const Tensor part = flat.gather(2, index) * weight.reshape({regions, 1, rows * columns});
    total = !total.defined() ? part : greatest ? maximum(total, part) : total + part;
  }
  total = where(inside, total, greatest ? -1e30 : 0.0)
              .reshape({regions, shape[1], height, most_y, width, most_x});
  if (greatest) return {amax(total, {3, 5}).cast(x.dtype())};
  const Tensor count = (ys.counts * xs.counts).reshape({regions, 1, 1, 1});
  return {(sum(total, {3, 5}) / count).cast(x.dtype())};
}

// Columns of blocks back to an image: each element is added where its block lies.
Values col2im(NodeCall& c) {
  const Tensor x = c[0];
  const Sizes image = c.integers(1);
  const Sizes block = c.integers(2);
  const std::size_t axes = image.size();
  const Sizes stride = c.integers("strides", Sizes(axes, 1));
  const Sizes dilation = c.integers("dilations", Sizes(axes, 1));
  const Sizes pads = c.integers("pads", Sizes(2 * axes, 0));
  if (x.rank() != 3 || block.size() != axes || stride.size() != axes || dilation.size() != axes ||
      pads.size() != 2 * axes)
    c.fail("wants [batch, channels·block, blocks] and as many values as the image has axes");
  element_count(image, "the image");
  const std::int64_t taps = element_count(block, "the block");
  const auto shape = c.shape(0);
  if (taps == 0 || shape[1] % taps != 0)
    c.fail("a block of {} does not divide {} rows", taps, shape[1]);
  Sizes counts;
  for (std::size_t i = 0; i < axes; ++i) {
    if (stride[i] < 1 || dilation[i] < 1) c.fail("strides and dilations are at least 1");
    for (const std::int64_t value : {stride[i], dilation[i], pads[i], pads[axes + i]}) {
      if (value < 0 || value > (1 << 20)) c.fail("strides, dilations or pads of {}", value);
    }
    counts.push_back(
        (image[i] + pads[i] + pads[axes + i] - dilation[i] * (block[i] - 1) - 1) / stride[i] + 1);
  }
  if (element_count(counts, "the blocks") != shape[2])
    c.fail("{} blocks fit the image, got {}", product(counts), shape[2]);
  Sizes places;
  const std::int64_t total = product(image);
  if (shape[2] > (1 << 28) / taps) c.fail("{} blocks of {} are too many", shape[2], taps);
  for (std::int64_t tap = 0; tap < taps; ++tap) {
    for (std::int64_t spot = 0; spot < shape[2]; ++spot) {
      std::int64_t flat = 0, factor = 1, t = tap, s = spot;
      for (std::size_t i = axes; i-- > 0;) {
        const std::int64_t at = s % counts[i] * stride[i] - pads[i] + t % block[i] * dilation[i];
        if (at < 0 || at >= image[i] || flat < 0)
          flat = -1;
        else
          flat += at * factor;
        factor *= image[i];
        t /= block[i];
        s /= counts[i];
      }
      places.push_back(flat < 0 ? total : flat);  // one place more takes what lies outside
    }
  }
  const std::int64_t channels = shape[1] / taps;
  const Tensor rows = x.reshape({shape[0] * channels, taps * shape[2]});
  const Tensor index = tensor(places).unsqueeze(0).expand({shape[0] * channels, taps * shape[2]});
  const Tensor sums =
      zeros({shape[0] * channels, total + 1}, x.dtype()).scatter_add(1, index, rows);
  Sizes result = {shape[0], channels};
  result.insert(result.end(), image.begin(), image.end());
  return {sums.narrow(1, 0, total).reshape(result)};
}

}  // namespace

void add_vision(OperatorTable& t) {
  t.add("Upsample", upsample);
  t.add("Resize", upsample, 10);
  t.add("Resize", resize, 11);
  t.add("GridSample", grid_sample);
  t.add("AffineGrid", affine_grid);
  t.add("RoiAlign", roi_align);
  t.add("Col2Im", col2im);
}

}  // namespace brisk::onnx
