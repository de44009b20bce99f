// Convolutions as contractions over views: windows of the input × the weight, summed over channels
// and kernel. Nothing is copied: padding, strides and dilation are index arithmetic.
#include "brisk/functional.h"
#include "tensor/contract.h"

namespace brisk {

namespace {

struct Sizes {
  std::vector<std::int64_t> stride;
  std::vector<std::int64_t> padding;
  std::vector<std::int64_t> dilation;
  std::vector<std::int64_t> output_padding;
};

Sizes sizes_of(const ConvOptions& options, int axes) {
  if (options.groups < 1) call_error("wants at least 1 group, got {}", options.groups);
  return {each_axis(options.stride, axes, "stride", 1),
          each_axis(options.padding, axes, "padding", 0),
          each_axis(options.dilation, axes, "dilation", 1),
          each_axis(options.output_padding, axes, "output padding", 0)};
}

// x [B, C, space…] already padded, weight [O, C / groups, kernel…] → [B, O, places…] in
// product_dtype.
Node convolve(const Node& x, const Node& weight, const Sizes& sizes, std::int64_t groups,
              const Shape& padded_shape) {
  const int axes = x.rank() - 2;
  const Size outputs = weight.shape()[0] / Size(groups);
  const Size inputs = weight.shape()[1];
  Node view = x;
  Shape places;
  for (int i = 0; i < axes; ++i) {
    const std::int64_t kernel = fixed(weight.shape()[2 + i]);
    const std::int64_t reach = sizes.dilation[i] * (kernel - 1) + 1;
    const std::int64_t have = fixed(x.shape()[2 + i]);
    if (kernel < 1 || have < reach) {
      call_error("a kernel that spans {} does not fit the padded input of shape {}", reach,
                 to_string(padded_shape));
    }
    const std::int64_t count = (have - reach) / sizes.stride[i] + 1;
    view = windows(view, 2 + i, count, kernel, sizes.stride[i], sizes.dilation[i]);
    places.push_back(count);
  }
  // view [B, C, places…, kernel…] → [B, G, 1, places…, C/G, kernel…]
  const Size batch = x.shape()[0];
  Shape left = {batch, groups, inputs};
  left.insert(left.end(), view.shape().begin() + 2, view.shape().end());
  std::vector<int> order = {0, 1};
  for (int i = 0; i < axes; ++i) order.push_back(3 + i);
  order.push_back(2);
  for (int i = 0; i < axes; ++i) order.push_back(3 + axes + i);
  Node a = permute(reshape(view, std::move(left)), std::move(order));
  Shape with_outputs = a.shape();
  with_outputs.insert(with_outputs.begin() + 2, Size(1));
  a = reshape(a, std::move(with_outputs));
  // weight → [1, G, O/G, 1…, C/G, kernel…]
  Shape right = {1, groups, outputs};
  right.insert(right.end(), axes, Size(1));
  right.push_back(inputs);
  right.insert(right.end(), weight.shape().begin() + 2, weight.shape().end());
  const Node b = reshape(weight, std::move(right));
  std::vector<int> over;
  for (int i = 0; i <= axes; ++i) over.push_back(3 + axes + i);
  Shape result = {batch, outputs * Size(groups)};
  result.insert(result.end(), places.begin(), places.end());
  return reshape(contract(a, b, over), std::move(result));
}

struct Input {
  Node x;  // with a batch axis
  Node weight;
  DType dtype;
  bool batched;
};

Input input_of(const Tensor& x, const Tensor& weight, int axes) {
  want_rank(x, "an input", axes + 1, axes + 2);
  want_rank(weight, "a weight", axes + 2, axes + 2);
  const DType dtype = promote(x.dtype(), weight.dtype());
  return {lead(to_dtype(node_of(x), dtype), axes + 2), to_dtype(node_of(weight), dtype), dtype,
          x.rank() == axes + 2};
}

Tensor finished(Node result, const Tensor& bias, const Input& input) {
  if (bias.defined()) {
    const Size& channels = result.shape()[1];
    if (bias.rank() != 1 || node_of(bias).shape()[0] != channels) {
      call_error("wants a bias of shape [{}], got {}", to_string(channels), to_string(bias.dims()));
    }
    Shape shape(result.rank(), Size(1));
    shape[1] = channels;
    const Node shift = reshape(to_dtype(node_of(bias), result.dtype()), std::move(shape));
    result = add(result, expand(shift, result.shape()));
  }
  if (!input.batched) {
    Shape shape(result.shape().begin() + 1, result.shape().end());
    result = reshape(result, std::move(shape));
  }
  return tensor_of(cast(result, input.dtype));
}

void want_channels(const Input& input, const Size& wanted, std::int64_t groups,
                   const Size& divided) {
  const Size& channels = input.x.shape()[1];
  if (channels == wanted && divided % Size(groups) == Size(0)) return;
  call_error("an input of shape {} does not fit a weight of shape {} in {} groups",
             to_string(input.x.shape()), to_string(input.weight.shape()), groups);
}

Tensor conv(const char* name, const Tensor& x, const Tensor& weight, const Tensor& bias,
            const ConvOptions& options, int axes) {
  const Call call(name);
  const Input input = input_of(x, weight, axes);
  const Sizes sizes = sizes_of(options, axes);
  want_channels(input, input.weight.shape()[1] * Size(options.groups), options.groups,
                input.weight.shape()[0]);
  Shape box(2 * input.x.rank(), Size(0));
  for (int i = 0; i < axes; ++i) box[2 * (2 + i)] = box[2 * (2 + i) + 1] = sizes.padding[i];
  const Node padded = pad(input.x, std::move(box));
  return finished(convolve(padded, input.weight, sizes, options.groups, padded.shape()), bias,
                  input);
}

// The convolution's adjoint: the input with stride - 1 zeros between its elements, padded by what
// the kernel reaches over, convolved with the weight turned around.
Tensor conv_transpose(const char* name, const Tensor& x, const Tensor& weight, const Tensor& bias,
                      const ConvOptions& options, int axes) {
  const Call call(name);
  const Input input = input_of(x, weight, axes);
  const Sizes sizes = sizes_of(options, axes);
  want_channels(input, input.weight.shape()[0], options.groups, input.weight.shape()[0]);
  Node view = input.x;
  for (int i = 0; i < axes; ++i) {
    const int axis = 2 + i;
    const std::int64_t stride = sizes.stride[i];
    if (sizes.output_padding[i] >= std::max(stride, sizes.dilation[i])) {
      call_error("wants output padding below stride or dilation, got {} of {} and {}",
                 sizes.output_padding[i], stride, sizes.dilation[i]);
    }
    if (stride > 1) {
      Shape apart = view.shape();
      apart.insert(apart.begin() + axis + 1, Size(1));
      Shape joint = view.shape();
      joint[axis] = joint[axis] * Size(stride);
      view = reshape(pad_axis(reshape(view, std::move(apart)), axis + 1, 0, stride - 1), joint);
      view = cut(view, axis, 0, joint[axis] - Size(stride - 1));
    }
    const std::int64_t reach = sizes.dilation[i] * (fixed(input.weight.shape()[axis]) - 1);
    const std::int64_t before = reach - sizes.padding[i];
    const std::int64_t after = before + sizes.output_padding[i];
    if (fixed(view.shape()[axis]) + before + after < 1) {
      call_error("padding {} leaves nothing of an output for shape {}", sizes.padding[i],
                 to_string(input.x.shape()));
    }
    view = pad_axis(view, axis, before, after);
  }
  // [in, out / G, kernel…] → [out, in / G, kernel…], kernel reversed
  const Shape& w = input.weight.shape();
  const Size inputs = w[0] / Size(options.groups);
  Shape apart = {options.groups, inputs, w[1]};
  apart.insert(apart.end(), w.begin() + 2, w.end());
  std::vector<int> order = {0, 2, 1};
  std::vector<int> turned;
  for (int i = 0; i < axes; ++i) {
    order.push_back(3 + i);
    turned.push_back(2 + i);
  }
  Shape joint = {w[1] * Size(options.groups), inputs};
  joint.insert(joint.end(), w.begin() + 2, w.end());
  const Node kernel = flip(
      reshape(permute(reshape(input.weight, std::move(apart)), std::move(order)), std::move(joint)),
      turned);
  Sizes plain = sizes;
  plain.stride.assign(axes, 1);
  return finished(convolve(view, kernel, plain, options.groups, view.shape()), bias, input);
}

}  // namespace

Tensor conv1d(const Tensor& x, const Tensor& weight, const Tensor& bias,
              const ConvOptions& options) {
  return conv("conv1d", x, weight, bias, options, 1);
}
Tensor conv2d(const Tensor& x, const Tensor& weight, const Tensor& bias,
              const ConvOptions& options) {
  return conv("conv2d", x, weight, bias, options, 2);
}
Tensor conv3d(const Tensor& x, const Tensor& weight, const Tensor& bias,
              const ConvOptions& options) {
  return conv("conv3d", x, weight, bias, options, 3);
}
Tensor conv_transpose1d(const Tensor& x, const Tensor& weight, const Tensor& bias,
                        const ConvOptions& options) {
  return conv_transpose("conv_transpose1d", x, weight, bias, options, 1);
}
Tensor conv_transpose2d(const Tensor& x, const Tensor& weight, const Tensor& bias,
                        const ConvOptions& options) {
  return conv_transpose("conv_transpose2d", x, weight, bias, options, 2);
}
Tensor conv_transpose3d(const Tensor& x, const Tensor& weight, const Tensor& bias,
                        const ConvOptions& options) {
  return conv_transpose("conv_transpose3d", x, weight, bias, options, 3);
}

}  // namespace brisk
