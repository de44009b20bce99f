// Convolutions.
#include <algorithm>

#include "onnx/build.h"
#include "onnx/trace.h"
#include "onnx/window.h"

namespace brisk::onnx {

namespace {

using Sizes = std::vector<std::int64_t>;

Sizes each(const NodeCall& c, const char* name, std::size_t axes, std::int64_t otherwise,
           std::int64_t least) {
  Sizes values = c.integers(name, Sizes(axes, otherwise));
  if (values.empty()) values.assign(axes, otherwise);
  if (values.size() != axes) c.fail("{} has {} values for {} axes", name, values.size(), axes);
  for (const std::int64_t value : values) {
    if (value < least || value > (1 << 20)) c.fail("{} of {} are not possible", name, value);
  }
  return values;
}

Sizes pads_of(const NodeCall& c, std::size_t axes) {
  Sizes pads = c.integers("pads", Sizes(2 * axes, 0));
  if (pads.empty()) pads.assign(2 * axes, 0);
  if (pads.size() != 2 * axes) c.fail("pads has {} values for {} axes", pads.size(), axes);
  for (const std::int64_t pad : pads) {
    if (pad < -(1 << 30) || pad > (1 << 30)) c.fail("pads of {} are not possible", pad);
  }
  return pads;
}

std::int64_t ceiling(std::int64_t a, std::int64_t b) { return (a + b - 1) / b; }

Tensor convolve(const Tensor& x, const Tensor& w, const Tensor& b, const ConvOptions& options) {
  switch (x.rank()) {
    case 3: return conv1d(x, w, b, options);
    case 4: return conv2d(x, w, b, options);
    case 5: return conv3d(x, w, b, options);
    default: user_error("convolutions of tensors of rank {} are not supported", x.rank());
  }
}

Tensor convolve_transposed(const Tensor& x, const Tensor& w, const ConvOptions& options) {
  switch (x.rank()) {
    case 3: return conv_transpose1d(x, w, {}, options);
    case 4: return conv_transpose2d(x, w, {}, options);
    case 5: return conv_transpose3d(x, w, {}, options);
    default: user_error("convolutions of tensors of rank {} are not supported", x.rank());
  }
}

Dims spatial(const Tensor& x) {
  Dims shape = x.dims();
  if (shape.size() < 3) user_error("wants [batch, channels, spatial…], got rank {}", shape.size());
  shape.erase(shape.begin(), shape.begin() + 2);
  return shape;
}

Sizes numbers(const Dims& dims) {
  Sizes sizes;
  for (const Dim& size : dims) sizes.push_back(size.value());
  return sizes;
}

Values transposed(NodeCall& c) {
  const Tensor x = c[0];
  const Tensor w = c[1];
  const Sizes have = numbers(spatial(x));
  const Sizes kernel = numbers(spatial(w));
  const std::size_t axes = have.size();
  if (kernel.size() != axes)
    c.fail("a weight of rank {} for an input of rank {}", w.rank(), x.rank());
  const Sizes stride = each(c, "strides", axes, 1, 1);
  const Sizes dilation = each(c, "dilations", axes, 1, 1);
  const Sizes more = each(c, "output_padding", axes, 0, 0);
  const std::string automatic = c.text("auto_pad", "NOTSET");
  Sizes pads = pads_of(c, axes);
  Sizes wanted = c.integers("output_shape");
  if (wanted.size() > axes)
    wanted.erase(wanted.begin(), wanted.end() - static_cast<std::ptrdiff_t>(axes));
  Sizes full(axes);
  for (std::size_t i = 0; i < axes; ++i) {
    full[i] = (have[i] - 1) * stride[i] + dilation[i] * (kernel[i] - 1) + 1;
    const bool same = automatic.starts_with("SAME");
    if (wanted.size() != axes && !same) continue;
    const std::int64_t target = wanted.size() == axes ? wanted[i] : have[i] * stride[i];
    const std::int64_t total = full[i] + more[i] - target;  // negative: zeros behind the last
    const std::int64_t half = total / 2;
    pads[i] = total < 0 ? 0 : automatic == "SAME_UPPER" ? half : total - half;
    pads[axes + i] = total - pads[i];
  }
  ConvOptions options;
  options.stride = stride;
  options.dilation = dilation;
  options.groups = c.integer("group", 1);
  Tensor y = convolve_transposed(x, w, options);
  Sizes cuts(2 * axes);  // of the last axis first
  for (std::size_t i = 0; i < axes; ++i) {
    cuts[2 * (axes - 1 - i)] = -pads[i];
    cuts[2 * (axes - 1 - i) + 1] = more[i] - pads[axes + i];
  }
  if (std::any_of(cuts.begin(), cuts.end(), [](auto cut) { return cut != 0; }))
    y = brisk::pad(y, cuts);
  if (c.has(2)) y = y + along(c[2], 1, y.rank());
  return {y.cast(x.dtype())};
}

// x and w minus their zero points; a zero point of w may be one a channel.
Tensor centred(const NodeCall& c, std::size_t i, std::size_t zero) {
  Tensor x = c[i].cast(DType::int32);
  if (!c.has(zero)) return x;
  const Tensor point = c[zero].cast(DType::int32);
  const bool one = product(c.shape(zero)) == 1;
  return x - (one ? point.reshape(Dims()) : along(point, 0, x.rank()));
}

Values convolve_integers(NodeCall& c) {
  return {convolution(c, centred(c, 0, 2), centred(c, 1, 3), {})};
}

// x, scale, zero, w, scale, zero, scale, zero of the result[, bias].
Values convolve_quantised(NodeCall& c) {
  const Tensor sums = convolution(c, centred(c, 0, 2), centred(c, 3, 5), c.optional(8));
  Tensor scale = c[4];
  if (product(c.shape(4)) > 1)
    scale = along(scale, 1, sums.rank());
  else
    scale = scale.reshape(Dims());
  const Tensor real = sums.cast(DType::float32) * (c[1].reshape(Dims()) * scale);
  return {quantised(real, c[6].reshape(Dims()), c[7].reshape(Dims()), c.type(7))};
}

// DeformConv: each kernel position reads at an offset of its own, between elements.
Values deformable(NodeCall& c) {
  const Tensor x = c[0];
  const Tensor w = c[1];
  const Tensor offset = c[2];
  if (x.rank() != 4) c.fail("wants an input of rank 4");
  const Sizes shape = x.shape();
  const Sizes kernel = numbers(spatial(w));
  const auto windows = windows_of(c, spatial(x), kernel);
  const std::int64_t groups = c.integer("group", 1);
  const std::int64_t parts = c.integer("offset_group", 1);
  if (groups < 1 || parts < 1 || shape[1] % parts != 0) c.fail("groups do not divide the channels");
  const std::int64_t taps = kernel[0] * kernel[1];
  const Sizes out = {windows[0].count.value(), windows[1].count.value()};
  const Tensor o = offset.reshape({shape[0], parts, taps, 2, out[0], out[1]});
  // [batch, parts, taps, rows, columns] of positions.
  const auto places = [&](int axis) {
    const Window& v = windows[static_cast<std::size_t>(axis)];
    const Tensor start = (arange(v.count) * v.stride - v.before).cast(DType::float32);
    const Tensor tap =
        axis == 0 ? floor_divide(arange(taps), kernel[1]) : remainder(arange(taps), kernel[1]);
    const Tensor step = (tap * v.dilation).cast(DType::float32);
    return o.select(3, axis) + along(step, 2, 5) + along(start, 3 + axis, 5);
  };
  const Tensor row = places(0);
  const Tensor column = places(1);
  const Tensor image = x.reshape({shape[0], parts, shape[1] / parts, shape[2] * shape[3]});
  const std::int64_t spots = taps * out[0] * out[1];
  const auto read = [&](const Tensor& r, const Tensor& q) {
    const Tensor inside = (r >= 0) & (r < shape[2]) & (q >= 0) & (q < shape[3]);
    const Tensor flat = where(inside, r * shape[3] + q, 0).reshape({shape[0], parts, 1, spots});
    const Tensor found = image.gather(3, flat.expand({shape[0], parts, shape[1] / parts, spots}));
    return where(inside.reshape({shape[0], parts, 1, spots}), found, 0.0);
  };
  const Tensor top = brisk::floor(row);
  const Tensor left = brisk::floor(column);
  Tensor value;
  for (int i = 0; i < 4; ++i) {
    const Tensor r = top + (i / 2);
    const Tensor q = left + (i % 2);
    const Tensor weight = (1 - abs(row - r)) * (1 - abs(column - q));
    const Tensor part = read(r.cast(DType::int64), q.cast(DType::int64)) *
                        weight.reshape({shape[0], parts, 1, spots});
    value = value.defined() ? value + part : part;
  }
  if (c.has(4)) value = value * c[4].reshape({shape[0], parts, 1, spots});
  // [batch, groups, channels a group · taps, places] × weights.
  const std::int64_t inner = shape[1] / groups * taps;
  const Tensor columns = value.reshape({shape[0], groups, inner, out[0] * out[1]});
  const std::int64_t outputs = w.size(0).value();
  const Tensor y = matmul(w.reshape({groups, outputs / groups, inner}), columns);
  Tensor result = y.reshape({shape[0], outputs, out[0], out[1]});
  if (c.has(3)) result = result + along(c[3], 1, 4);
  return {result.cast(x.dtype())};
}

}  // namespace

std::vector<Window> windows_of(const NodeCall& c, const Dims& have, const Sizes& kernel) {
  const std::size_t axes = have.size();
  if (kernel.size() != axes) c.fail("a kernel of {} axes for {} spatial axes", kernel.size(), axes);
  const Sizes stride = each(c, "strides", axes, 1, 1);
  const Sizes dilation = each(c, "dilations", axes, 1, 1);
  const std::string automatic = c.text("auto_pad", "NOTSET");
  const bool up = c.integer("ceil_mode", 0) != 0;
  const Sizes pads = automatic == "NOTSET" ? pads_of(c, axes) : Sizes(2 * axes, 0);
  if (axes > 0 && !have.back().is_constant() && !c.tracer().rows_may_vary())
    c.fail("the last axis has a size of {}, which depends on variables, and is slow without bounds",
           to_string(have.back()));
  std::vector<Window> result;
  for (std::size_t i = 0; i < axes; ++i) {
    Window w{have[i], kernel[i], stride[i], dilation[i], pads[i], pads[axes + i], 0};
    if (w.kernel < 1 || w.kernel > (1 << 20)) c.fail("a kernel of size {}", w.kernel);
    if (automatic.starts_with("SAME")) {
      const auto behind = [&](std::int64_t size) {  // what the last window reads beyond the axis
        return std::max<std::int64_t>((ceiling(size, w.stride) - 1) * w.stride + w.reach() - size,
                                      0);
      };
      const std::int64_t total = w.stride == 1 ? w.reach() - 1 : behind(w.have.value());
      w.before = automatic == "SAME_LOWER" ? total - total / 2 : total / 2;
      w.after = total - w.before;
    }
    const Dim span = w.have + (w.before + w.after - w.reach());
    if (span.lower() < 0)
      c.fail("a kernel that spans {} does not fit an axis of {} with its pads", w.reach(),
             to_string(w.have));
    w.count = span / w.stride + 1;
    if (up && span % w.stride != Dim(0)) {
      const std::int64_t count = w.count.value(), size = w.have.value() + w.before;
      if (count * w.stride < size) {
        w.count = count + 1;
        w.after = count * w.stride + w.reach() - size;
      }
    }
    result.push_back(w);
  }
  return result;
}

Tensor padded(const Tensor& x, const std::vector<Window>& windows, int first, double value) {
  Sizes pads(static_cast<std::size_t>(2 * x.rank()), 0);
  bool any = false;
  for (std::size_t i = 0; i < windows.size(); ++i) {
    const std::size_t place =
        2 * (static_cast<std::size_t>(x.rank()) - 1 - static_cast<std::size_t>(first) - i);
    pads[place] = windows[i].before;
    pads[place + 1] = windows[i].after;
    any = any || windows[i].before != 0 || windows[i].after != 0;
  }
  return any ? brisk::pad(x, pads, PadMode::constant, value) : x;
}

Tensor convolution(NodeCall& c, Tensor x, const Tensor& weight, const Tensor& bias) {
  const auto windows = windows_of(c, spatial(x), numbers(spatial(weight)));
  ConvOptions options;
  options.groups = c.integer("group", 1);
  Sizes stride, dilation, padding;
  bool symmetric = true;
  for (const Window& w : windows) {
    stride.push_back(w.stride);
    dilation.push_back(w.dilation);
    padding.push_back(w.before);
    symmetric = symmetric && w.before == w.after && w.before >= 0;
  }
  options.stride = stride;
  options.dilation = dilation;
  if (symmetric)
    options.padding = padding;
  else
    x = padded(x, windows, 2, 0);
  return convolve(x, weight, bias, options);
}

void add_convolution(OperatorTable& t) {
  t.add("Conv", [](NodeCall& c) -> Values { return {convolution(c, c[0], c[1], c.optional(2))}; });
  t.add("ConvTranspose", transposed);
  t.add("ConvInteger", convolve_integers);
  t.add("QLinearConv", convolve_quantised);
  t.add("DeformConv", deformable);
}

}  // namespace brisk::onnx
