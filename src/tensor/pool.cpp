// Pooling: reductions over windows of the last axes, and over windows of unequal size (adaptive).
#include <algorithm>

#include "brisk/functional.h"
#include "tensor/build.h"
#include "tensor/own_gradient.h"

namespace brisk {

namespace {

// How windows lie along one axis.
struct Axis {
  std::int64_t have;
  std::int64_t kernel;
  std::int64_t stride;
  std::int64_t padding;
  std::int64_t dilation;
  std::int64_t count;
  std::int64_t reach() const { return dilation * (kernel - 1) + 1; }
  // Elements behind the last own one that the windows touch.
  std::int64_t after() const { return (count - 1) * stride + reach() - have - padding; }
};

std::vector<Axis> axes_of_pool(const Tensor& x, const Spatial& kernel, const PoolOptions& options,
                               int axes) {
  want_rank(x, "an input", axes + 1, axes + 2);
  const auto kernels = each_axis(kernel, axes, "kernel", 1);
  const auto strides = options.stride ? each_axis(*options.stride, axes, "stride", 1) : kernels;
  const auto paddings = each_axis(options.padding, axes, "padding", 0);
  const auto dilations = each_axis(options.dilation, axes, "dilation", 1);
  const Shape& shape = node_of(x).shape();
  std::vector<Axis> result;
  for (int i = 0; i < axes; ++i) {
    Axis a{fixed(shape[x.rank() - axes + i]), kernels[i], strides[i], paddings[i], dilations[i], 0};
    if (2 * a.padding > a.kernel) {
      call_error("wants padding of at most half the kernel, got {} of {}", a.padding, a.kernel);
    }
    const std::int64_t span = a.have + 2 * a.padding - a.reach();
    if (span < 0 || a.have == 0) {
      call_error("a kernel that spans {} does not fit shape {} with padding {}", a.reach(),
                 to_string(shape), a.padding);
    }
    a.count = (span + (options.ceil_mode ? a.stride - 1 : 0)) / a.stride + 1;
    // A window must begin inside the input or its left padding.
    if (options.ceil_mode && (a.count - 1) * a.stride >= a.have + a.padding) --a.count;
    result.push_back(a);
  }
  return result;
}

// Windows of the last axes, as new last axes, with `fill` around the input.
Node pool_windows(Node node, const std::vector<Axis>& axes, const Node& fill) {
  const int first = node.rank() - static_cast<int>(axes.size());
  for (std::size_t i = 0; i < axes.size(); ++i) {
    const Axis& a = axes[i];
    const int axis = first + static_cast<int>(i);
    node = pad_axis(node, axis, a.padding, std::max<std::int64_t>(a.after(), 0), fill);
    node = windows(node, axis, a.count, a.kernel, a.stride, a.dilation);
  }
  return node;
}

Node reduced(ReduceOp op, const Node& view, std::size_t axes, bool keepdim = false) {
  std::vector<int> over;
  for (std::size_t i = axes; i > 0; --i) over.push_back(view.rank() - static_cast<int>(i));
  return reduce_axes(op, view, over, keepdim);
}

// Where each window's first element is that equals its greatest (or is NaN). Which one it is takes
// a byte a window to keep, where that is enough.
Node first_of_greatest(const Node& windows, const Node& greatest, std::size_t axes) {
  const Shape& shape = windows.shape();
  const Shape kernel(shape.end() - static_cast<std::ptrdiff_t>(axes), shape.end());
  const std::int64_t size = fixed(element_count(kernel));
  const DType dtype = size < 256 ? DType::uint8 : DType::int32;
  const Node counted = node_of((size - arange(size)).cast(dtype));  // from the end, 1 the last
  const Node places = expand_to(reshape(counted, kernel), shape);
  const Node found = bit_or(equal(windows, expand_to(greatest, shape)), cmpne(windows, windows));
  const Node candidates = where(found, places, constant_int(0, dtype));
  return equal(places, expand_to(reduced(ReduceOp::max, candidates, axes, true), shape));
}

// x, whose gradient lies in memory before anything is made of it: each place reads it several
// times.
Tensor with_stored_gradient(const Tensor& x) {
  return with_own_gradient(
      {x}, [&] { return x; },
      [](const Tensor&, const std::vector<Tensor>&, const Tensor& g) {
        return std::vector<Tensor>{g.contiguous()};
      });
}

Tensor max_pool(const char* name, const Tensor& x, const Spatial& kernel,
                const PoolOptions& options, int axes) {
  const Call call(name);
  const auto plan = axes_of_pool(x, kernel, options, axes);
  const auto view = [&](const Tensor& y) {
    return pool_windows(node_of(y), plan, lowest(y.dtype()));
  };
  const Node windows = view(x.detach());
  const Node greatest = reduced(ReduceOp::max, windows, plan.size(), true);
  const Tensor values = tensor_of(reduced(ReduceOp::max, windows, plan.size()));
  return with_gradient_of(values, x, [&] {
    const Node chosen = where(first_of_greatest(windows, greatest, plan.size()),
                              view(with_stored_gradient(x)), constant_like(0, x.dtype()));
    return with_stored_gradient(tensor_of(reduced(ReduceOp::add, chosen, plan.size())));
  });
}

// How many elements each window along an axis averages over: all, or those that are not padding;
// what ceil_mode adds behind the padding never counts.
Tensor window_counts(const Axis& a, bool padding_counts, DType dtype) {
  const Tensor begin = arange(a.count) * a.stride - a.padding;
  const Tensor end = minimum(begin + a.kernel, padding_counts ? a.have + a.padding : a.have);
  return (end - (padding_counts ? begin : maximum(begin, 0))).cast(dtype);
}

Tensor avg_pool(const char* name, const Tensor& x, const Spatial& kernel,
                const PoolOptions& options, int axes) {
  const Call call(name);
  PoolOptions plain = options;
  plain.dilation = 1;
  const auto plan = axes_of_pool(x, kernel, plain, axes);
  const Tensor wide = widen(x);
  Tensor result =
      tensor_of(reduced(ReduceOp::add, pool_windows(node_of(wide), plan, {}), plan.size()));
  if (options.divisor_override) {
    if (*options.divisor_override == 0) call_error("wants a divisor other than 0");
    result = result / static_cast<double>(*options.divisor_override);
  } else {
    double every = 1;  // the count of the axes where all windows have the same
    for (std::size_t i = 0; i < plan.size(); ++i) {
      const Axis& a = plan[i];
      const bool same =
          options.count_include_pad ? a.after() <= a.padding : a.padding == 0 && a.after() <= 0;
      if (same) {
        every *= static_cast<double>(a.kernel);
        continue;
      }
      Dims shape(plan.size(), Dim(1));
      shape[i] = a.count;
      result = result / window_counts(a, options.count_include_pad, wide.dtype()).reshape(shape);
    }
    if (every != 1) result = result / every;
  }
  return result.cast(float_result(x.dtype()));
}

Tensor lp_pool(const char* name, const Tensor& x, double p, const Spatial& kernel,
               const PoolOptions& options, int axes) {
  const Call call(name);
  if (p == 0) call_error("wants an exponent other than 0");
  PoolOptions plain = options;
  plain.padding = 0;
  plain.dilation = 1;
  const auto plan = axes_of_pool(x, kernel, plain, axes);
  const Node powers = node_of(pow(widen(x), p));
  const Node total = reduced(ReduceOp::add, pool_windows(powers, plan, {}), plan.size());
  return pow(relu(tensor_of(total)), 1 / p).cast(float_result(x.dtype()));
}

// Along one axis: windows of one size where the sizes divide, else each window's elements picked
// from the whole axis by a mask.
Node adaptive_axis(ReduceOp op, const Node& node, int axis, std::int64_t count) {
  const std::int64_t have = fixed(node.shape()[axis]);
  if (count == have) return node;
  if (have % count == 0) {
    return reduce_axes(op, windows(node, axis, count, have / count, have / count, 1), {node.rank()},
                       false);
  }
  // [count, have]: position in floor(i·have/count) … ceil((i + 1)·have/count) - 1
  const Tensor window = arange(count).unsqueeze(1);
  const Tensor begin = floor_divide(window * have, count);
  const Tensor end = floor_divide((window + 1) * have + (count - 1), count);
  const Tensor at = arange(have);
  Dims shape(node.rank() + 1, Dim(1));
  shape[axis] = count;
  shape[axis + 1] = have;
  const Node inside = node_of(((at >= begin) & (at < end)).reshape(shape));
  Shape wide = node.shape();
  wide.insert(wide.begin() + axis, Size(1));
  const Node view = reshape(node, wide);
  wide[axis] = count;
  const Node none = op == ReduceOp::max ? lowest(node.dtype()) : constant_like(0, node.dtype());
  const Node chosen = where(expand(inside, wide), expand(view, wide), none);
  return reduce_axes(op, chosen, {axis + 1}, false);
}

Tensor adaptive_pool(const char* name, ReduceOp op, const Tensor& x, const Spatial& size,
                     int axes) {
  const Call call(name);
  want_rank(x, "an input", axes + 1, axes + 2);
  const auto sizes = each_axis(size, axes, "size", -1);
  const bool average = op == ReduceOp::add;
  Node node = node_of(average ? widen(x) : x);
  for (int i = 0; i < axes; ++i) {
    const int axis = x.rank() - axes + i;
    const std::int64_t have = fixed(node.shape()[axis]);
    const std::int64_t count = sizes[i] == -1 ? have : sizes[i];
    if (count < 1 || have < 1) {
      call_error("wants sizes of at least 1, got {} from shape {}", count, to_string(x.dims()));
    }
    node = adaptive_axis(op, node, axis, count);
    if (!average) continue;
    const Tensor window = arange(count);
    const Tensor length =
        floor_divide((window + 1) * have + (count - 1), count) - floor_divide(window * have, count);
    Dims shape(axes - i, Dim(1));
    shape[0] = count;
    const DType dtype = node.dtype();
    const Tensor total = tensor_of(node);
    const std::int64_t each = have / count;
    node = node_of(each * count == have ? total / static_cast<double>(each)
                                        : total / length.cast(dtype).reshape(shape));
  }
  const Tensor result = tensor_of(node);
  return average ? result.cast(float_result(x.dtype())) : result;
}

}  // namespace

Tensor max_pool1d(const Tensor& x, const Spatial& kernel, const PoolOptions& options) {
  return max_pool("max_pool1d", x, kernel, options, 1);
}
Tensor max_pool2d(const Tensor& x, const Spatial& kernel, const PoolOptions& options) {
  return max_pool("max_pool2d", x, kernel, options, 2);
}
Tensor max_pool3d(const Tensor& x, const Spatial& kernel, const PoolOptions& options) {
  return max_pool("max_pool3d", x, kernel, options, 3);
}
Tensor avg_pool1d(const Tensor& x, const Spatial& kernel, const PoolOptions& options) {
  return avg_pool("avg_pool1d", x, kernel, options, 1);
}
Tensor avg_pool2d(const Tensor& x, const Spatial& kernel, const PoolOptions& options) {
  return avg_pool("avg_pool2d", x, kernel, options, 2);
}
Tensor avg_pool3d(const Tensor& x, const Spatial& kernel, const PoolOptions& options) {
  return avg_pool("avg_pool3d", x, kernel, options, 3);
}
Tensor lp_pool1d(const Tensor& x, double p, const Spatial& kernel, const PoolOptions& options) {
  return lp_pool("lp_pool1d", x, p, kernel, options, 1);
}
Tensor lp_pool2d(const Tensor& x, double p, const Spatial& kernel, const PoolOptions& options) {
  return lp_pool("lp_pool2d", x, p, kernel, options, 2);
}
Tensor adaptive_avg_pool1d(const Tensor& x, const Spatial& size) {
  return adaptive_pool("adaptive_avg_pool1d", ReduceOp::add, x, size, 1);
}
Tensor adaptive_avg_pool2d(const Tensor& x, const Spatial& size) {
  return adaptive_pool("adaptive_avg_pool2d", ReduceOp::add, x, size, 2);
}
Tensor adaptive_avg_pool3d(const Tensor& x, const Spatial& size) {
  return adaptive_pool("adaptive_avg_pool3d", ReduceOp::add, x, size, 3);
}
Tensor adaptive_max_pool1d(const Tensor& x, const Spatial& size) {
  return adaptive_pool("adaptive_max_pool1d", ReduceOp::max, x, size, 1);
}
Tensor adaptive_max_pool2d(const Tensor& x, const Spatial& size) {
  return adaptive_pool("adaptive_max_pool2d", ReduceOp::max, x, size, 2);
}

}  // namespace brisk
