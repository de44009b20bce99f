// Linear maps, tables, convolutions and norms.
#include <cmath>

#include "brisk/autograd.h"
#include "brisk/nn.h"
#include "tensor/build.h"

namespace brisk::nn {

namespace {

// PyTorch's default for linear maps and convolutions: within 1 / sqrt(inputs).
Tensor within(const Dims& shape, double inputs) {
  return parameter(uniform(shape, 1 / std::sqrt(std::max(inputs, 1.0))));
}

Tensor ones_parameter(const Dims& shape) { return parameter(ones(shape)); }
Tensor zeros_parameter(const Dims& shape) { return parameter(zeros(shape)); }

Dims with_kernel(const Dims& front, const Spatial& kernel, int axes) {
  Dims shape = front;
  for (const std::int64_t size : each_axis(kernel, axes, "kernel", 1)) shape.push_back(size);
  return shape;
}

double inputs_of(const Dims& weight) {
  double count = 1;
  for (std::size_t i = 1; i < weight.size(); ++i) count *= static_cast<double>(weight[i].value());
  return count;
}

void want_groups(std::int64_t in, std::int64_t out, std::int64_t groups) {
  if (in < 1 || out < 1 || groups < 1 || in % groups != 0 || out % groups != 0) {
    call_error("wants channels that its {} groups divide, got {} in and {} out", groups, in, out);
  }
}

}  // namespace

// ---- linear, embedding --------------------------------------------------------------------------

Linear::Linear(std::int64_t in, std::int64_t out, bool with_bias) {
  const Call call("Linear");
  if (in < 1 || out < 1) call_error("wants sizes of at least 1, got {} in and {} out", in, out);
  weight = within({out, in}, static_cast<double>(in));
  if (with_bias) bias = within({out}, static_cast<double>(in));
}

void Linear::visit(Fields& fields) {
  fields("weight", weight);
  fields("bias", bias);
}

Embedding::Embedding(std::int64_t count, std::int64_t width, std::optional<std::int64_t> padding)
    : padding(padding) {
  const Call call("Embedding");
  if (count < 1 || width < 1) call_error("wants sizes of at least 1, got {} of {}", count, width);
  if (padding && (*padding < 0 || *padding >= count)) {
    call_error("wants a padding row of 0 to {}, got {}", count - 1, *padding);
  }
  Tensor rows = randn({count, width});
  if (padding) rows = where(arange(count).unsqueeze(1) == *padding, 0, rows);
  weight = parameter(rows);
}

Tensor Embedding::operator()(const Tensor& index) const {
  Tensor rows = embedding(index, weight);
  if (!padding) return rows;
  const Tensor fixed = embedding(index, weight.detach());
  return where((index == *padding).unsqueeze(-1), fixed, rows);
}

void Embedding::visit(Fields& fields) { fields("weight", weight); }

// ---- convolutions -------------------------------------------------------------------------------

template <int axes>
Conv<axes>::Conv(std::int64_t in, std::int64_t out, const Spatial& kernel,
                 const ConvOptions& options, bool with_bias)
    : options(options) {
  const Call call("Conv");
  want_groups(in, out, options.groups);
  const Dims shape = with_kernel({out, in / options.groups}, kernel, axes);
  weight = within(shape, inputs_of(shape));
  if (with_bias) bias = within({out}, inputs_of(shape));
}

template <int axes>
Tensor Conv<axes>::operator()(const Tensor& x) const {
  if constexpr (axes == 1) return conv1d(x, weight, bias, options);
  if constexpr (axes == 2) return conv2d(x, weight, bias, options);
  if constexpr (axes == 3) return conv3d(x, weight, bias, options);
}

template <int axes>
void Conv<axes>::visit(Fields& fields) {
  fields("weight", weight);
  fields("bias", bias);
}

template <int axes>
ConvTranspose<axes>::ConvTranspose(std::int64_t in, std::int64_t out, const Spatial& kernel,
                                   const ConvOptions& options, bool with_bias)
    : options(options) {
  const Call call("ConvTranspose");
  want_groups(in, out, options.groups);
  const Dims shape = with_kernel({in, out / options.groups}, kernel, axes);
  weight = within(shape, inputs_of(shape));
  if (with_bias) bias = within({out}, inputs_of(shape));
}

template <int axes>
Tensor ConvTranspose<axes>::operator()(const Tensor& x) const {
  if constexpr (axes == 1) return conv_transpose1d(x, weight, bias, options);
  if constexpr (axes == 2) return conv_transpose2d(x, weight, bias, options);
  if constexpr (axes == 3) return conv_transpose3d(x, weight, bias, options);
}

template <int axes>
void ConvTranspose<axes>::visit(Fields& fields) {
  fields("weight", weight);
  fields("bias", bias);
}

template struct Conv<1>;
template struct Conv<2>;
template struct Conv<3>;
template struct ConvTranspose<1>;
template struct ConvTranspose<2>;
template struct ConvTranspose<3>;

// ---- norms --------------------------------------------------------------------------------------

BatchNorm::BatchNorm(std::int64_t channels, const BatchNormOptions& options) : options(options) {
  if (options.affine) {
    weight = ones_parameter({channels});
    bias = zeros_parameter({channels});
  }
  running_mean = zeros({channels}).contiguous().realize();
  running_var = ones({channels}).contiguous().realize();
}

Tensor BatchNorm::operator()(const Tensor& x) const {
  const Call call("BatchNorm");
  if (!training) {
    return batch_norm(x, running_mean, running_var, weight, bias, options.eps);
  }
  const brisk::BatchNorm batch = batch_norm_train(x, weight, bias, options.eps);
  const Dim count = x.numel() / x.size(1);
  if (count.value() < 2) call_error("wants more than one value a channel in training");
  const double unbiased =
      static_cast<double>(count.value()) / static_cast<double>(count.value() - 1);
  const NoGrad guard;
  const auto move = [&](Tensor running, const Tensor& now) {
    running.assign(running + (now - running) * options.momentum);
  };
  move(running_mean, batch.mean);
  move(running_var, batch.variance * unbiased);
  return batch.output;
}

void BatchNorm::visit(Fields& fields) {
  fields("weight", weight);
  fields("bias", bias);
  fields.buffer("running_mean", running_mean);
  fields.buffer("running_var", running_var);
  fields.mode(training);
}

LayerNorm::LayerNorm(const Dims& shape, double eps, bool with_bias) : eps(eps) {
  weight = ones_parameter(shape);
  if (with_bias) bias = zeros_parameter(shape);
}

void LayerNorm::visit(Fields& fields) {
  fields("weight", weight);
  fields("bias", bias);
}

RMSNorm::RMSNorm(const Dims& shape, double eps) : weight(ones_parameter(shape)), eps(eps) {}

void RMSNorm::visit(Fields& fields) { fields("weight", weight); }

GroupNorm::GroupNorm(std::int64_t groups, std::int64_t channels, double eps, bool affine)
    : groups(groups), eps(eps) {
  const Call call("GroupNorm");
  if (groups < 1 || channels % groups != 0) {
    call_error("wants channels that its groups divide, got {} and {}", channels, groups);
  }
  if (!affine) return;
  weight = ones_parameter({channels});
  bias = zeros_parameter({channels});
}

void GroupNorm::visit(Fields& fields) {
  fields("weight", weight);
  fields("bias", bias);
}

InstanceNorm::InstanceNorm(std::int64_t channels, double eps, bool affine) : eps(eps) {
  if (!affine) return;
  weight = ones_parameter({channels});
  bias = zeros_parameter({channels});
}

void InstanceNorm::visit(Fields& fields) {
  fields("weight", weight);
  fields("bias", bias);
}

}  // namespace brisk::nn
