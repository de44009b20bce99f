// Convolutions as contractions over views: windows of the input × the weight, summed over channels
// and kernel. Nothing is copied: padding, strides and dilation are index arithmetic.
#include "brisk/functional.h"
#include "tensor/autocast.h"
#include "tensor/contract.h"
#include "tensor/own_gradient.h"

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
  const DType dtype = product_operands(promote(x.dtype(), weight.dtype()));
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

// Padded on both sides and convolved, in product_dtype.
Node convolved(const Node& x, const Node& weight, const Sizes& sizes, std::int64_t groups) {
  Shape box(2 * x.rank(), Size(0));
  for (std::size_t i = 0; i < sizes.padding.size(); ++i) {
    box[2 * (2 + i)] = box[2 * (2 + i) + 1] = sizes.padding[i];
  }
  const Node padded = pad(x, std::move(box));
  return convolve(padded, weight, sizes, groups, padded.shape());
}

// The convolution's adjoint: the input with stride - 1 zeros between its elements, padded by what
// the kernel reaches over, convolved with the weight turned around.
Node transposed(const Node& x, const Node& weight, const Sizes& sizes, std::int64_t groups) {
  const int axes = x.rank() - 2;
  Node view = x;
  for (int i = 0; i < axes; ++i) {
    const int axis = 2 + i;
    const std::int64_t stride = sizes.stride[i];
    if (stride > 1) {
      Shape apart = view.shape();
      apart.insert(apart.begin() + axis + 1, Size(1));
      Shape joint = view.shape();
      joint[axis] = joint[axis] * Size(stride);
      view = reshape(pad_axis(reshape(view, std::move(apart)), axis + 1, 0, stride - 1), joint);
      view = cut(view, axis, 0, joint[axis] - Size(stride - 1));
    }
    const std::int64_t reach = sizes.dilation[i] * (fixed(weight.shape()[axis]) - 1);
    const std::int64_t before = reach - sizes.padding[i];
    const std::int64_t after = before + sizes.output_padding[i];
    if (fixed(view.shape()[axis]) + before + after < 1) {
      call_error("padding {} leaves nothing of an output for shape {}", sizes.padding[i],
                 to_string(x.shape()));
    }
    view = pad_axis(view, axis, before, after);
  }
  // [in, out / G, kernel…] → [out, in / G, kernel…], kernel reversed
  const Shape& w = weight.shape();
  const Size inputs = w[0] / Size(groups);
  Shape apart = {groups, inputs, w[1]};
  apart.insert(apart.end(), w.begin() + 2, w.end());
  std::vector<int> order = {0, 2, 1};
  std::vector<int> turned;
  for (int i = 0; i < axes; ++i) {
    order.push_back(3 + i);
    turned.push_back(2 + i);
  }
  Shape joint = {w[1] * Size(groups), inputs};
  joint.insert(joint.end(), w.begin() + 2, w.end());
  const Node kernel =
      flip(reshape(permute(reshape(weight, std::move(apart)), std::move(order)), std::move(joint)),
           turned);
  Sizes plain = sizes;
  plain.stride.assign(axes, 1);
  return convolve(view, kernel, plain, groups, view.shape());
}

using Convolution = Node (*)(const Node&, const Node&, const Sizes&, std::int64_t);

// How far an output of `count` elements is short of what the input's size allows.
Sizes with_output_padding(Sizes sizes, const Shape& x, const Shape& weight, const Shape& output) {
  for (std::size_t i = 0; i < sizes.stride.size(); ++i) {
    const std::int64_t reach = sizes.dilation[i] * (fixed(weight[2 + i]) - 1) + 1;
    const std::int64_t used = (fixed(output[2 + i]) - 1) * sizes.stride[i] + reach;
    sizes.output_padding[i] = fixed(x[2 + i]) + 2 * sizes.padding[i] - used;
  }
  return sizes;
}

// A convolution whose gradients are convolutions: of the input, that of the gradient with its
// adjoint; of the weight, a sum of products of the gradient and the input's windows.
Tensor with_gradients(Convolution f, const Input& input, const Sizes& sizes, std::int64_t groups) {
  const std::vector<Tensor> both = {tensor_of(input.x), tensor_of(input.weight)};
  return with_own_gradient(
      both, [&] { return tensor_of(f(node_of(both[0]), node_of(both[1]), sizes, groups)); },
      [=](const Tensor&, const std::vector<Tensor>& in, const Tensor& gradient_of_result) {
        const bool forward = f == convolved;
        const Tensor g = gradient_of_result.cast(in[0].dtype());
        const Node x = node_of(in[0]);
        const Node weight = node_of(in[1]);
        const Sizes back =
            forward ? with_output_padding(sizes, x.shape(), weight.shape(), node_of(g).shape())
                    : sizes;
        Tensor by_input = with_gradients(forward ? transposed : convolved,
                                         {node_of(g), weight, g.dtype(), true}, back, groups);
        for (int axis = 2; axis < by_input.rank(); ++axis) {
          by_input = narrow(by_input, axis, 0, in[0].size(axis));
        }
        // The result is linear in the weight: any stands for it.
        const Node any = buffer(weight.dtype(), weight.shape(), nullptr);
        const Node result = f(x, any, sizes, groups);
        const Node seed = to_dtype(node_of(g), result.dtype());
        return std::vector<Tensor>{by_input,
                                   tensor_of(gradient({&result, 1}, {&seed, 1}, {&any, 1})[0])};
      });
}

Tensor conv(const char* name, const Tensor& x, const Tensor& weight, const Tensor& bias,
            const ConvOptions& options, int axes) {
  const Call call(name);
  const Input input = input_of(x, weight, axes);
  const Sizes sizes = sizes_of(options, axes);
  want_channels(input, input.weight.shape()[1] * Size(options.groups), options.groups,
                input.weight.shape()[0]);
  return finished(node_of(with_gradients(convolved, input, sizes, options.groups)), bias, input);
}

Tensor conv_transpose(const char* name, const Tensor& x, const Tensor& weight, const Tensor& bias,
                      const ConvOptions& options, int axes) {
  const Call call(name);
  const Input input = input_of(x, weight, axes);
  const Sizes sizes = sizes_of(options, axes);
  want_channels(input, input.weight.shape()[0], options.groups, input.weight.shape()[0]);
  for (int i = 0; i < axes; ++i) {
    if (sizes.output_padding[i] >= std::max(sizes.stride[i], sizes.dilation[i])) {
      call_error("wants output padding below stride or dilation, got {} of {} and {}",
                 sizes.output_padding[i], sizes.stride[i], sizes.dilation[i]);
    }
  }
  return finished(node_of(with_gradients(transposed, input, sizes, options.groups)), bias, input);
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
