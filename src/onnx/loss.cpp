// Losses.
#include "onnx/build.h"

namespace brisk::onnx {

namespace {

Tensor reduced(const NodeCall& c, const Tensor& each, const Tensor& weight) {
  const std::string how = c.text("reduction", "mean");
  if (how == "none") return each;
  if (how == "sum") return sum(each);
  return weight.defined() ? sum(each) / sum(weight) : mean(each);
}

// -log probability of each target, weighted; targets of ignore_index count nothing.
Tensor likelihood(const NodeCall& c, const Tensor& log_probability, const Tensor& target,
                  const Tensor& class_weight) {
  const bool ignores = c.has_attribute("ignore_index");
  const std::int64_t ignored = c.integer("ignore_index", -100);
  const Tensor at = target.cast(DType::int64);
  const Tensor counts = at != ignored;
  const Tensor safe = ignores ? where(counts, at, 0) : at;
  const Tensor chosen = log_probability.gather(1, safe.unsqueeze(1)).squeeze(1);
  Tensor weight;
  if (class_weight.defined()) {
    const Tensor flat = class_weight.index_select(0, safe.flatten());
    weight = flat.reshape(at.dims());
  }
  if (ignores) {
    if (!weight.defined()) weight = ones_like(chosen);
    weight = where(counts, weight, 0.0);
  }
  Tensor each = -chosen;
  if (weight.defined()) each = each * weight;
  return reduced(c, each, weight).cast(log_probability.dtype());
}

Values negative_log_likelihood(NodeCall& c) { return {likelihood(c, c[0], c[1], c.optional(2))}; }

Values softmax_cross_entropy(NodeCall& c) {
  const Tensor log_probability = log_softmax(c[0], 1);
  return {likelihood(c, log_probability, c[1], c.optional(2)), log_probability};
}

}  // namespace

void add_loss(OperatorTable& t) {
  t.add("NegativeLogLikelihoodLoss", negative_log_likelihood);
  t.add("SoftmaxCrossEntropyLoss", softmax_cross_entropy);
}

}  // namespace brisk::onnx
