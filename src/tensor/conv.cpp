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
    const Size& have = x.shape()[2 + i];
    if (kernel < 1 || have.lower() < reach) {
      call_error("a kernel that spans {} does not fit the padded input of shape {}", reach,
                 to_string(padded_shape));
    }
    const Size count = (have - reach) / sizes.stride[i] + 1;
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

// How an axis of a transposed convolution comes about: place s·q + r of the result, r < s, is a sum
// of products of the input's elements from q + first on and those elements of the kernel that lie s
// apart and fall on r. So all places with one r are a convolution without strides.
struct Phases {
  std::int64_t size;    // of the result
  std::int64_t stride;  // s
  std::int64_t used;    // phases that elements of the kernel fall on: the first
  std::int64_t first;
  std::int64_t taps;   // elements of the input that a place sees, and of the kernel by phase
  std::int64_t apart;  // how far they lie from each other
  std::int64_t front;  // zeros in front of the kernel, that it falls on phases from 0 on

  std::int64_t places() const { return (size + stride - 1) / stride; }
};

std::int64_t divided_up(std::int64_t a, std::int64_t b) { return a / b + (a % b > 0 ? 1 : 0); }

Phases phases_of(std::int64_t input, std::int64_t kernel, const Sizes& sizes, int axis) {
  const std::int64_t stride = sizes.stride[axis];
  const std::int64_t dilation = sizes.dilation[axis];
  const std::int64_t padding = sizes.padding[axis];
  Phases p{};
  p.size =
      (input - 1) * stride + 1 + dilation * (kernel - 1) - 2 * padding + sizes.output_padding[axis];
  // Where elements of the kernel lie apart too, zeros go between those of the input.
  p.stride = dilation > 1 ? 1 : stride;
  p.apart = dilation;
  const std::int64_t last = divided_up(padding, p.stride);
  p.first = divided_up(padding - dilation * (kernel - 1), p.stride);
  p.taps = (last - p.first) / p.apart + 1;
  p.front = p.stride * last - padding;
  p.used = p.front == 0 ? std::min(kernel, p.stride) : p.stride;
  return p;
}

// [in, out / G, kernel…] → [1, G, out / G, (1, phases)…, in / G, taps…]
Node weight_by_phase(const Node& weight, const std::vector<Phases>& phases, std::int64_t groups) {
  const int axes = static_cast<int>(phases.size());
  const Shape& w = weight.shape();
  Node view = weight;
  Shape shape = {1, groups, w[0] / Size(groups), w[1]};
  std::vector<int> order = {0, 1, 3};
  std::vector<int> turned;
  for (int i = 0; i < axes; ++i) {
    const Phases& p = phases[i];
    const std::int64_t kernel = fixed(w[2 + i]);
    view = pad_axis(view, 2 + i, p.front, p.taps * p.used - p.front - kernel);
    shape.insert(shape.end(), {1, p.taps, p.used});
    order.insert(order.end(), {4 + 3 * i, 4 + 3 * i + 2});
    turned.push_back(4 + 3 * i + 1);
  }
  order.push_back(2);
  order.insert(order.end(), turned.begin(), turned.end());
  return permute(flip(reshape(view, std::move(shape)), turned), std::move(order));
}

// [B, in, space…] → [B, G, 1, (places, 1)…, in / G, taps…]
Node input_by_place(const Node& x, const std::vector<Phases>& phases, const Sizes& sizes,
                    std::int64_t groups) {
  const int axes = static_cast<int>(phases.size());
  Node view = x;
  for (int i = 0; i < axes; ++i) {
    const Phases& p = phases[i];
    if (p.stride != sizes.stride[i]) view = spread(view, 2 + i, sizes.stride[i]);
    const std::int64_t reach = (p.taps - 1) * p.apart;
    const std::int64_t behind = p.first + p.places() + reach - fixed(view.shape()[2 + i]);
    view = windows(pad_axis(view, 2 + i, -p.first, behind), 2 + i, p.places(), p.taps, 1, p.apart);
  }
  Shape shape = {x.shape()[0], groups, x.shape()[1] / Size(groups), 1};
  std::vector<int> order = {0, 1, 3};
  for (int i = 0; i < axes; ++i) {
    shape.insert(shape.end(), {phases[i].places(), 1});
    order.insert(order.end(), {4 + 2 * i, 4 + 2 * i + 1});
  }
  order.push_back(2);
  for (int i = 0; i < axes; ++i) {
    shape.push_back(phases[i].taps);
    order.push_back(4 + 2 * axes + i);
  }
  return permute(reshape(view, std::move(shape)), std::move(order));
}

// The convolution's adjoint, in product_dtype.
Node transposed(const Node& x, const Node& weight, const Sizes& sizes, std::int64_t groups) {
  const int axes = x.rank() - 2;
  std::vector<Phases> phases;
  for (int i = 0; i < axes; ++i) {
    const Size& have = x.shape()[2 + i];
    phases.push_back(phases_of(fixed(have), fixed(weight.shape()[2 + i]), sizes, i));
    if (phases[i].size < 1) {
      call_error("padding {} leaves nothing of an output for shape {}", sizes.padding[i],
                 to_string(x.shape()));
    }
  }
  std::vector<int> over;
  for (int i = 0; i <= axes; ++i) over.push_back(3 + 2 * axes + i);
  Node result = contract(input_by_place(x, phases, sizes, groups),
                         weight_by_phase(weight, phases, groups), over);
  Shape shape = {x.shape()[0], weight.shape()[1] * Size(groups)};
  for (int i = 0; i < axes; ++i) {
    const Phases& p = phases[i];
    result = pad_axis(result, 4 + 2 * i, 0, p.stride - p.used);
    shape.push_back(p.places() * p.stride);
  }
  result = reshape(result, std::move(shape));
  for (int i = 0; i < axes; ++i) result = cut(result, 2 + i, 0, phases[i].size);
  return result;
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

// Of a convolution of x that has this gradient. A transposed one, from `gradient_of_result` to x,
// has the same: it multiplies the same elements.
Node weight_gradient(const Node& x, const Node& weight, const Node& gradient_of_result,
                     const Sizes& sizes, std::int64_t groups) {
  // The result is linear in the weight: any stands for it.
  const Node any = buffer(weight.dtype(), weight.shape(), nullptr);
  Node result = convolved(x, any, sizes, groups);
  for (int axis = 2; axis < result.rank(); ++axis)
    result = cut(result, axis, 0, gradient_of_result.shape()[axis]);
  const Node seed = to_dtype(gradient_of_result, result.dtype());
  return gradient({&result, 1}, {&seed, 1}, {&any, 1})[0];
}

// A convolution whose gradients are convolutions: of the input, that of the gradient with its
// adjoint; of the weight, a sum of products of the gradient and the input's windows.
Tensor with_gradients(Convolution f, const Input& input, const Sizes& sizes, std::int64_t groups) {
  const std::vector<Tensor> both = {tensor_of(input.x), tensor_of(input.weight)};
  return with_own_gradient(
      both, [&] { return tensor_of(f(node_of(both[0]), node_of(both[1]), sizes, groups)); },
      [=](const Tensor&, const std::vector<Tensor>& in, const Tensor& gradient_of_result) {
        const bool forward = f == convolved;
        // Windows read each element several times.
        const Tensor g = gradient_of_result.cast(in[0].dtype()).contiguous();
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
        const Tensor by_weight =
            tensor_of(forward ? weight_gradient(x, weight, node_of(g), sizes, groups)
                              : weight_gradient(node_of(g), weight, x, sizes, groups));
        return std::vector<Tensor>{by_input, by_weight};
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
