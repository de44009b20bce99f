// How the operators of ../shared/data/ops are called: name → the brisk call, with its arguments
// from ops.json. Input: tensors and JSON; output: the tensor to compare with PyTorch's. Where an
// operand has to be a mask, a probability or a log-probability, the case's input is what it is made
// from.
#pragma once

#include <functional>
#include <map>
#include <nlohmann/json.hpp>
#include <optional>
#include <string>
#include <vector>

#include "brisk/brisk.h"

namespace brisk::ops_test {

struct Case {
  std::string name;
  std::string op;
  nlohmann::json args;
  int inputs = 0;
  std::vector<std::string> int_inputs;
  bool grad = false;  // PyTorch's gradients are there too
};

struct Inputs {
  std::vector<Tensor> in;
  std::map<std::string, Tensor> ints;
  nlohmann::json args;

  const Tensor& operator[](std::size_t i) const { return in.at(i); }
  const Tensor& integer(const std::string& key) const { return ints.at(key); }
  template <typename T>
  T arg(const char* key) const {
    return args.at(key).get<T>();
  }
  std::vector<std::int64_t> list(const char* key) const {
    const auto& value = args.at(key);
    if (value.is_array()) return value.get<std::vector<std::int64_t>>();
    return {value.get<std::int64_t>()};
  }
  Axes axes(const char* key) const {
    const std::vector<std::int64_t> values = list(key);
    return Axes(std::vector<int>(values.begin(), values.end()));
  }
};

using Function = std::function<Tensor(const Inputs&)>;

inline ConvOptions conv_options(const Inputs& x) {
  ConvOptions options;
  options.stride = x.list("stride");
  options.padding = x.list("padding");
  if (x.args.contains("dilation")) options.dilation = x.list("dilation");
  if (x.args.contains("groups")) options.groups = x.arg<std::int64_t>("groups");
  if (x.args.contains("output_padding")) options.output_padding = x.list("output_padding");
  return options;
}

inline PoolOptions pool_options(const Inputs& x) {
  PoolOptions options;
  options.stride = Spatial(x.list("stride"));
  options.padding = x.list("padding");
  options.ceil_mode = x.arg<bool>("ceil_mode");
  if (x.args.contains("dilation")) options.dilation = x.list("dilation");
  if (x.args.contains("count_include_pad")) {
    options.count_include_pad = x.arg<bool>("count_include_pad");
  }
  return options;
}

inline Function unary(Tensor (*f)(const Tensor&)) {
  return [f](const Inputs& x) { return f(x[0]); };
}
inline Function binary(Tensor (*f)(const Tensor&, const Tensor&)) {
  return [f](const Inputs& x) { return f(x[0], x[1]); };
}
inline Function reduction(Tensor (*f)(const Tensor&, const Axes&, bool)) {
  return [f](const Inputs& x) { return f(x[0], x.axes("dim"), x.arg<bool>("keepdim")); };
}
inline Function moment(Tensor (*f)(const Tensor&, const Axes&, int, bool)) {
  return [f](const Inputs& x) { return f(x[0], x.axes("dim"), 1, x.arg<bool>("keepdim")); };
}
inline Function along_axis(Tensor (*f)(const Tensor&, int)) {
  return [f](const Inputs& x) { return f(x[0], x.arg<int>("dim")); };
}
inline Function padded(PadMode mode) {
  return [mode](const Inputs& x) {
    return pad(x[0], x.list("pad"), mode, x.args.value("value", 0.0));
  };
}

inline const std::map<std::string, Function>& op_table() {
  static const std::map<std::string, Function> table = {
      {"neg", unary(neg)},
      {"exp", unary(exp)},
      {"sin", unary(sin)},
      {"cos", unary(cos)},
      {"tanh", unary(tanh)},
      {"sigmoid", unary(sigmoid)},
      {"relu", unary(relu)},
      {"abs", unary(abs)},
      {"silu", unary(silu)},
      {"gelu_tanh", [](const Inputs& x) { return gelu(x[0], Gelu::tanh); }},
      {"gelu_erf", [](const Inputs& x) { return gelu(x[0]); }},
      {"softplus", [](const Inputs& x) { return softplus(x[0]); }},
      {"elu", [](const Inputs& x) { return elu(x[0]); }},
      {"leaky_relu", [](const Inputs& x) { return leaky_relu(x[0]); }},
      {"hardswish", unary(hardswish)},
      {"erf", unary(erf)},
      {"atan", unary(atan)},
      {"floor", unary(floor)},
      {"ceil", unary(ceil)},
      {"round", unary(round)},
      {"sign", unary(sign)},
      {"square", unary(square)},
      {"mish", unary(mish)},
      {"hardtanh", [](const Inputs& x) { return hardtanh(x[0]); }},
      {"selu", unary(selu)},
      {"exp2", unary(exp2)},
      {"sinh", unary(sinh)},
      {"cosh", unary(cosh)},
      {"relu6", unary(relu6)},
      {"logsigmoid", unary(logsigmoid)},
      {"log", unary(log)},
      {"sqrt", unary(sqrt)},
      {"rsqrt", unary(rsqrt)},
      {"reciprocal", unary(reciprocal)},
      {"log2", unary(log2)},
      {"log1p", unary(log1p)},
      {"asin", unary(asin)},
      {"acos", unary(acos)},
      {"atanh", unary(atanh)},
      {"tan", unary(tan)},
      {"asinh", unary(asinh)},
      {"acosh", unary(acosh)},
      {"add", binary(add)},
      {"sub", binary(sub)},
      {"mul", binary(mul)},
      {"div", binary(div)},
      {"maximum", binary(maximum)},
      {"minimum", binary(minimum)},
      {"pow", binary(pow)},
      {"atan2", binary(atan2)},
      {"fmod", binary(fmod)},
      {"remainder", binary(remainder)},
      {"lt", binary(lt)},
      {"le", binary(le)},
      {"gt", binary(gt)},
      {"ge", binary(ge)},
      {"eq", binary(eq)},
      {"ne", binary(ne)},
      {"where", [](const Inputs& x) { return where(x[0] > 0, x[1], x[2]); }},
      {"clamp",
       [](const Inputs& x) { return clamp(x[0], x.arg<double>("lo"), x.arg<double>("hi")); }},
      {"lerp", [](const Inputs& x) { return lerp(x[0], x[1], x[2]); }},
      {"sum", reduction([](const Tensor& x, const Axes& axes, bool keepdim) {
         return sum(x, axes, keepdim);
       })},
      {"mean", reduction(mean)},
      {"amax", reduction(amax)},
      {"amin", reduction(amin)},
      {"prod", reduction(prod)},
      {"var", moment(var)},
      {"std", moment(brisk::std)},
      {"logsumexp", reduction(logsumexp)},
      {"argmax", [](const Inputs& x) { return argmax(x[0], x.arg<int>("dim")); }},
      {"argmin", [](const Inputs& x) { return argmin(x[0], x.arg<int>("dim")); }},
      {"cumsum", along_axis(cumsum)},
      {"cumprod", along_axis(cumprod)},
      {"cummax", [](const Inputs& x) { return cummax(x[0], x.arg<int>("dim")).values; }},
      {"softmax", along_axis(softmax)},
      {"log_softmax", along_axis(log_softmax)},
      {"permute", [](const Inputs& x) { return permute(x[0], x.axes("dims")); }},
      {"transpose",
       [](const Inputs& x) { return transpose(x[0], x.arg<int>("a"), x.arg<int>("b")); }},
      {"reshape", [](const Inputs& x) { return reshape(x[0], x.list("shape")); }},
      {"expand", [](const Inputs& x) { return expand(x[0], x.list("shape")); }},
      {"flip", [](const Inputs& x) { return flip(x[0], x.axes("dims")); }},
      {"roll", [](const Inputs& x) { return roll(x[0], x.list("shift"), x.axes("dim")); }},
      {"pad_constant", padded(PadMode::constant)},
      {"pad_reflect", padded(PadMode::reflect)},
      {"pad_replicate", padded(PadMode::replicate)},
      {"pad_circular", padded(PadMode::circular)},
      {"slice",
       [](const Inputs& x) {
         return slice(x[0], x.arg<int>("dim"),
                      {x.arg<int>("start"), x.arg<int>("stop"), x.arg<int>("step")});
       }},
      {"cat", [](const Inputs& x) { return cat(x.in, x.arg<int>("dim")); }},
      {"stack", [](const Inputs& x) { return stack(x.in, x.arg<int>("dim")); }},
      {"tile", [](const Inputs& x) { return tile(x[0], x.list("reps")); }},
      {"repeat_interleave",
       [](const Inputs& x) { return repeat_interleave(x[0], x.arg<int>("n"), x.arg<int>("dim")); }},
      {"tril", [](const Inputs& x) { return tril(x[0], x.arg<int>("k")); }},
      {"triu", [](const Inputs& x) { return triu(x[0], x.arg<int>("k")); }},
      {"diagonal", [](const Inputs& x) { return diagonal(x[0]); }},
      {"unfold",
       [](const Inputs& x) {
         return unfold(x[0], x.arg<int>("dim"), x.arg<int>("size"), x.arg<int>("step"));
       }},
      {"gather", [](const Inputs& x) { return gather(x[0], x.arg<int>("dim"), x.integer("idx")); }},
      {"index_select",
       [](const Inputs& x) { return index_select(x[0], x.arg<int>("dim"), x.integer("idx")); }},
      {"embedding", [](const Inputs& x) { return embedding(x.integer("idx"), x[0]); }},
      {"scatter_add",
       [](const Inputs& x) {
         return scatter_add(x[0], x.arg<int>("dim"), x.integer("idx"), x[1]);
       }},
      {"one_hot", [](const Inputs& x) { return one_hot(x.integer("idx"), x.arg<int>("n")); }},
      {"topk",
       [](const Inputs& x) { return topk(x[0], x.arg<int>("k"), x.arg<int>("dim")).values; }},
      {"sort",
       [](const Inputs& x) {
         return sort(x[0], x.arg<int>("dim"), x.arg<bool>("descending")).values;
       }},
      {"argsort", [](const Inputs& x) { return argsort(x[0], x.arg<int>("dim")); }},
      {"masked_fill",
       [](const Inputs& x) { return masked_fill(x[0], x[1] > 0, x.arg<double>("value")); }},
      {"nonzero_count", [](const Inputs& x) { return Tensor(nonzero(x[0] > 0).size(0).value()); }},
      {"matmul", binary(matmul)},
      {"einsum", [](const Inputs& x) { return einsum(x.arg<std::string>("equation"), x.in); }},
      {"conv1d", [](const Inputs& x) { return conv1d(x[0], x[1], x[2], conv_options(x)); }},
      {"conv2d", [](const Inputs& x) { return conv2d(x[0], x[1], x[2], conv_options(x)); }},
      {"conv3d", [](const Inputs& x) { return conv3d(x[0], x[1], x[2], conv_options(x)); }},
      {"conv_transpose2d",
       [](const Inputs& x) { return conv_transpose2d(x[0], x[1], x[2], conv_options(x)); }},
      {"max_pool2d",
       [](const Inputs& x) { return max_pool2d(x[0], x.list("kernel"), pool_options(x)); }},
      {"avg_pool2d",
       [](const Inputs& x) { return avg_pool2d(x[0], x.list("kernel"), pool_options(x)); }},
      {"adaptive_avg_pool2d",
       [](const Inputs& x) { return adaptive_avg_pool2d(x[0], x.list("size")); }},
      {"interpolate",
       [](const Inputs& x) {
         const auto mode = x.arg<std::string>("mode");
         const auto& corners = x.args.at("align_corners");
         return interpolate(x[0], x.list("size"),
                            mode == "nearest"    ? Interpolation::nearest
                            : mode == "bilinear" ? Interpolation::bilinear
                                                 : Interpolation::bicubic,
                            corners.is_boolean() && corners.get<bool>());
       }},
      {"pixel_shuffle", [](const Inputs& x) { return pixel_shuffle(x[0], x.arg<int>("r")); }},
      {"layer_norm",
       [](const Inputs& x) { return layer_norm(x[0], x[1], x[2], x.arg<double>("eps")); }},
      {"rms_norm", [](const Inputs& x) { return rms_norm(x[0], x[1], x.arg<double>("eps")); }},
      {"group_norm",
       [](const Inputs& x) {
         return group_norm(x[0], x.arg<int>("groups"), x[1], x[2], x.arg<double>("eps"));
       }},
      {"instance_norm", [](const Inputs& x) { return instance_norm(x[0]); }},
      {"batch_norm_train",
       [](const Inputs& x) {
         return batch_norm_train(x[0], x[1], x[2], x.arg<double>("eps")).output;
       }},
      {"cross_entropy",
       [](const Inputs& x) {
         ClassOptions options;
         options.label_smoothing = x.arg<double>("label_smoothing");
         return cross_entropy(x[0], x.integer("target"), options);
       }},
      {"binary_cross_entropy_with_logits",
       [](const Inputs& x) { return binary_cross_entropy_with_logits(x[0], sigmoid(x[1])); }},
      {"mse_loss", [](const Inputs& x) { return mse_loss(x[0], x[1]); }},
      {"l1_loss", [](const Inputs& x) { return l1_loss(x[0], x[1]); }},
      {"smooth_l1_loss", [](const Inputs& x) { return smooth_l1_loss(x[0], x[1]); }},
      {"nll_loss",
       [](const Inputs& x) { return nll_loss(log_softmax(x[0], 1), x.integer("target")); }},
      {"attention",
       [](const Inputs& x) {
         AttentionOptions options;
         options.causal = x.arg<bool>("causal");
         return scaled_dot_product_attention(x[0], x[1], x[2], options);
       }},
  };
  return table;
}

}  // namespace brisk::ops_test
