// Pooling: reductions over windows.
#include <algorithm>
#include <cmath>
#include <limits>

#include "onnx/build.h"
#include "onnx/window.h"
#include "tensor/build.h"

namespace brisk::onnx {

namespace {

using Sizes = std::vector<std::int64_t>;

std::vector<Window> windows_of_pool(const NodeCall& c) {
  Dims shape = c.dims(0);
  if (shape.size() < 3) c.fail("wants [batch, channels, spatial…], got rank {}", shape.size());
  shape.erase(shape.begin(), shape.begin() + 2);
  return windows_of(c, shape, c.integers("kernel_shape"));
}

double lowest_of(DType dtype) {
  return is_float(dtype) ? -std::numeric_limits<double>::infinity()
                         : static_cast<double>(min_value(dtype));
}

// Each window as last axes, one for each spatial axis.
Tensor window_view(const Tensor& x, const std::vector<Window>& all, double fill) {
  Node node = node_of(padded(x, all, 2, fill));
  for (std::size_t i = 0; i < all.size(); ++i) {
    const Window& w = all[i];
    node = windows(node, 2 + static_cast<int>(i), w.count.size(), w.kernel, w.stride, w.dilation);
  }
  return tensor_of(node);
}

Axes inner_axes(std::size_t axes) {
  Axes over;
  for (std::size_t i = 0; i < axes; ++i) over.push_back(static_cast<int>(2 + axes + i));
  return over;
}

// The flat index of each window's greatest element, over the whole input.
Tensor places(const NodeCall& c, const Tensor& view, const std::vector<Window>& all) {
  const Sizes shape = c.shape(0);
  const std::size_t axes = all.size();
  const bool by_column = c.integer("storage_order", 0) != 0;
  Sizes flat = view.shape();
  flat.resize(2 + axes);
  const int rank = static_cast<int>(flat.size());
  std::int64_t taps = 1;
  for (const Window& w : all) taps *= w.kernel;
  Sizes with_taps = flat;
  with_taps.push_back(taps);
  Tensor rest = argmax(view.reshape(with_taps), rank, false);
  std::vector<Tensor> at(axes);
  for (std::size_t i = axes; i-- > 0;) {
    const Window& w = all[i];
    const Tensor tap = remainder(rest, w.kernel);
    rest = floor_divide(rest, w.kernel);
    const Tensor start =
        along(arange(w.count) * w.stride - w.before, 2 + static_cast<int>(i), rank);
    at[i] = tap * w.dilation + start;
  }
  const Tensor image =
      along(arange(shape[0]), 0, rank) * shape[1] + along(arange(shape[1]), 1, rank);
  Tensor spot;
  for (std::size_t k = 0; k < axes; ++k) {
    const std::size_t i = by_column ? axes - 1 - k : k;
    spot = spot.defined() ? spot * shape[2 + i] + at[i] : at[i];
  }
  return image * product(shape, 2) + spot;
}

Values max_pool(NodeCall& c) {
  const Tensor x = c[0];
  const auto all = windows_of_pool(c);
  const Tensor view = window_view(x, all, lowest_of(x.dtype()));
  Values results = {like(c, amax(view, inner_axes(all.size())))};
  if (c.wants(1)) results.emplace_back(places(c, view, all));
  return results;
}

// How many elements each window along one axis averages over. What ceil_mode adds never counts.
std::vector<float> counts_of(const Window& w, bool with_pads, std::int64_t pad_after) {
  const bool all = with_pads ? w.after <= pad_after : w.before <= 0 && w.after <= 0;
  if (all) return {static_cast<float>(w.kernel)};
  std::vector<float> counts;
  const std::int64_t windows = w.count.value();
  if (windows > (1 << 28) / w.kernel)
    user_error("{} windows of {} are too many", windows, w.kernel);
  const std::int64_t least = with_pads ? -w.before : 0;
  const std::int64_t end = w.have.value() + (with_pads ? pad_after : 0);
  for (std::int64_t i = 0; i < windows; ++i) {
    int count = 0;
    for (std::int64_t k = 0; k < w.kernel; ++k) {
      const std::int64_t at = i * w.stride - w.before + k * w.dilation;
      count += at >= least && at < end ? 1 : 0;
    }
    counts.push_back(static_cast<float>(std::max(count, 1)));
  }
  return counts;
}

Values lp_pool(NodeCall& c) {
  const Tensor x = c[0];
  const auto all = windows_of_pool(c);
  const auto p = static_cast<double>(c.integer("p", 2));
  const Tensor view = pow(abs(window_view(x, all, 0)), p);
  return {pow(sum(view, inner_axes(all.size())), 1 / p).cast(x.dtype())};
}

Axes spatial_axes(const NodeCall& c) {
  Axes axes;
  for (int i = 2; i < static_cast<int>(c.rank(0)); ++i) axes.push_back(i);
  if (axes.empty()) c.fail("wants [batch, channels, spatial…], got rank {}", c.rank(0));
  return axes;
}

Values global_lp_pool(NodeCall& c) {
  const auto p = static_cast<double>(c.integer("p", 2));
  return {pow(sum(pow(abs(c[0]), p), spatial_axes(c), true), 1 / p).cast(c[0].dtype())};
}

Values unpool(NodeCall& c) {
  const Tensor x = c[0];
  const Sizes shape = c.shape(0);
  const Sizes kernel = c.integers("kernel_shape");
  const std::size_t axes = kernel.size();
  if (shape.size() != axes + 2)
    c.fail("a kernel of {} axes for an input of rank {}", axes, shape.size());
  const Sizes stride = c.integers("strides", Sizes(axes, 1));
  const Sizes pads = c.integers("pads", Sizes(2 * axes, 0));
  if (stride.size() != axes || pads.size() != 2 * axes)
    c.fail("strides or pads do not fit the kernel");
  for (const auto* list : {&kernel, &stride, &pads}) {
    for (const std::int64_t value : *list) {
      if (value < 0 || value > (1 << 20)) c.fail("kernels, strides or pads of {}", value);
    }
  }
  Sizes natural = {shape[0], shape[1]};
  for (std::size_t i = 0; i < axes; ++i)
    natural.push_back((shape[2 + i] - 1) * stride[i] - pads[i] - pads[axes + i] + kernel[i]);
  const std::int64_t count = element_count(natural, "its result");
  Tensor y = zeros({count}, x.dtype())
                 .scatter(0, c[1].cast(DType::int64).reshape({product(shape)}),
                          x.reshape({product(shape)}))
                 .reshape(natural);
  if (c.has(2)) {
    const Sizes wanted = c.integers(2);
    if (wanted.size() != natural.size()) c.fail("output_shape has {} sizes", wanted.size());
    element_count(wanted, "output_shape");
    Sizes more;
    for (std::size_t i = natural.size(); i-- > 0;) {
      more.push_back(0);
      more.push_back(wanted[i] - natural[i]);
    }
    y = brisk::pad(y, more);
  }
  return {y};
}

// The greatest element of each bin of each region; regions are values.
Values max_roi_pool(NodeCall& c) {
  const Sizes size = c.integers("pooled_shape");
  const double scale = c.number("spatial_scale", 1);
  const Sizes shape = c.shape(0);
  const std::vector<double> rois = c.numbers(1);
  if (size.size() != 2 || shape.size() != 4) c.fail("wants an input of rank 4 and two sizes");
  std::vector<Tensor> results;
  for (std::size_t r = 0; r + 5 <= rois.size(); r += 5) {
    const auto at = [&](std::size_t i) {
      return static_cast<std::int64_t>(std::round(rois[r + i] * scale));
    };
    const Tensor image = c[0].select(
        0, std::clamp<std::int64_t>(static_cast<std::int64_t>(rois[r]), 0, shape[0] - 1));
    const std::int64_t left = at(1), top = at(2);
    const std::int64_t width = std::max<std::int64_t>(at(3) - left + 1, 1);
    const std::int64_t height = std::max<std::int64_t>(at(4) - top + 1, 1);
    std::vector<Tensor> bins;
    for (std::int64_t y = 0; y < size[0]; ++y) {
      for (std::int64_t x = 0; x < size[1]; ++x) {
        const auto clamp_to = [](std::int64_t v, std::int64_t most) {
          return std::clamp<std::int64_t>(v, 0, most);
        };
        const std::int64_t y0 = clamp_to(top + y * height / size[0], shape[2]);
        const std::int64_t y1 =
            clamp_to(top + ((y + 1) * height + size[0] - 1) / size[0], shape[2]);
        const std::int64_t x0 = clamp_to(left + x * width / size[1], shape[3]);
        const std::int64_t x1 =
            clamp_to(left + ((x + 1) * width + size[1] - 1) / size[1], shape[3]);
        if (y1 <= y0 || x1 <= x0)
          bins.push_back(zeros({shape[1]}, image.dtype()));
        else
          bins.push_back(amax(image.narrow(1, y0, y1 - y0).narrow(2, x0, x1 - x0), {1, 2}));
      }
    }
    results.push_back(stack(bins, 1).reshape({shape[1], size[0], size[1]}));
  }
  if (results.empty()) return {zeros({0, shape[1], size[0], size[1]}, c[0].dtype())};
  return {stack(results)};
}

}  // namespace

Tensor average_pool(NodeCall& c, const Tensor& x) {
  const auto all = windows_of_pool(c);
  const bool with_pads = c.integer("count_include_pad", 0) != 0;
  const DType wide = is_float(x.dtype()) ? compute_dtype(x.dtype()) : x.dtype();
  Tensor total = sum(window_view(x.cast(wide), all, 0), inner_axes(all.size()));
  const Sizes pads = c.integers("pads");
  double every = 1;
  for (std::size_t i = 0; i < all.size(); ++i) {
    const bool given = pads.size() == 2 * all.size() && c.text("auto_pad", "NOTSET") == "NOTSET";
    const auto counts = counts_of(all[i], with_pads, given ? pads[all.size() + i] : all[i].after);
    const bool same =
        std::all_of(counts.begin(), counts.end(), [&](float n) { return n == counts[0]; });
    if (same)
      every *= counts.empty() ? 1 : counts[0];
    else
      total = total / along(tensor(counts), 2 + static_cast<int>(i), x.rank());
  }
  return (total / every).cast(x.dtype());
}

void add_pool(OperatorTable& t) {
  t.add("MaxPool", max_pool);
  t.add("AveragePool", [](NodeCall& c) -> Values { return {average_pool(c, c[0])}; });
  t.add("LpPool", lp_pool);
  t.add("GlobalAveragePool",
        [](NodeCall& c) -> Values { return {mean(c[0], spatial_axes(c), true)}; });
  t.add("GlobalMaxPool", [](NodeCall& c) -> Values {
    // Stored first: the greatest of sums of products would be computed without matrix units.
    return {amax(c[0].contiguous(), spatial_axes(c), true)};
  });
  t.add("GlobalLpPool", global_lp_pool);
  t.add("MaxUnpool", unpool);
  t.add("MaxRoiPool", max_roi_pool);
}

}  // namespace brisk::onnx
