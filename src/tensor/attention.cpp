// Attention: scores, softmax, weighted sum. Written out plainly: the scheduler recognises the shape
// and makes one kernel of it.
#include <cmath>
#include <limits>
#include <numbers>

#include "brisk/functional.h"
#include "tensor/autocast.h"
#include "tensor/contract.h"
#include "tensor/own_gradient.h"

namespace brisk {

namespace {

// [..., heads, T, width] → [..., key heads, heads / key heads, T, width]
Tensor grouped(const Tensor& x, const Dim& key_heads) {
  Dims shape = x.dims();
  const std::size_t at = shape.size() - 3;
  const Dim group = shape[at] / key_heads;
  shape[at] = key_heads;
  shape.insert(shape.begin() + static_cast<std::ptrdiff_t>(at) + 1, group);
  return x.reshape(shape);
}

// The mask for grouped scores: an axis of heads is split as the heads are.
Tensor grouped_mask(const Tensor& mask, const Dim& key_heads) {
  if (mask.rank() < 3) return mask;
  if (mask.size(-3) == Dim(1)) return mask.unsqueeze(-3);
  return grouped(mask, key_heads);
}

// Checked operands under the same heads: [..., key heads, group, T, width] where heads are grouped.
class Attention {
 public:
  Attention(Tensor query, Tensor key, Tensor value, DType dtype, const AttentionOptions& options)
      : shape_(query.dims()),
        dtype_(dtype),
        options_(options),
        causal_(options.causal || options.causal_end) {
    const double width = static_cast<double>(fixed(query.size(-1).size()));
    scale_ = options.scale.value_or(1 / std::sqrt(width));
    shape_.back() = value.size(-1);
    if (query.rank() >= 3 && query.size(-3) != key.size(-3)) {
      if (options.mask.defined()) options_.mask = grouped_mask(options.mask, key.size(-3));
      query = grouped(query, key.size(-3));
      key = key.unsqueeze(-3);
      value = value.unsqueeze(-3);
    }
    query_ = query.cast(dtype);
    key_ = key.cast(dtype);
    value_ = value.cast(dtype);
  }

  Tensor result() const {
    const Tensor scores = shown(raised(bent(scaled_products())), -infinity);
    // As the products of narrow dtypes take them.
    const Tensor weights = softmax(scores, -1).cast(dtype_);
    return product(weights, transpose(value_, -1, -2)).reshape(shape_).cast(dtype_);
  }

  struct Gradients {
    Tensor query, key, value, mask;
  };
  /// log Σ exp of each row's scores.
  Tensor log_totals() const {
    const Tensor masked = shown(raised(bent(scaled_products())), -infinity);
    const Tensor greatest = amax(masked, -1, true);
    const Tensor total = sum(exp2_or_zero((masked - greatest) * std::numbers::log2e), -1, true);
    return greatest + log(total);
  }

  /// With p the weights: value pᵀ·g, weights g·valueᵀ, scores p·(those - Σ result·g), from which
  /// the other operands have theirs. The weights are computed again, from the totals.
  Gradients gradients(const Tensor& result, const Tensor& log_totals,
                      const Tensor& gradient) const {
    Dims shape = query_.dims();
    shape.back() = value_.size(-1);
    const Tensor g = gradient.cast(dtype_).reshape(shape);
    const Tensor below = sum(g.cast(wide_) * result.reshape(shape).cast(wide_), -1, true);

    const Tensor scaled = scaled_products();
    const Tensor capped = bent(scaled);
    const Tensor scores = raised(capped);
    const Tensor weights = exp2_or_zero((scores - log_totals) * std::numbers::log2e);
    const Tensor by_score = weights * (product(g, value_) - below);

    Tensor by_product = by_score * scale_;
    if (options_.softcap != 0) {
      const Tensor t = capped / options_.softcap;
      by_product = by_product * (1 - t * t);
    }
    by_product = shown(by_product, 0).cast(dtype_);
    Gradients result_of;
    result_of.value =
        product(transpose(shown(weights, 0).cast(dtype_), -1, -2), transpose(g, -1, -2));
    result_of.query = product(by_product, transpose(key_, -1, -2));
    result_of.key = product(transpose(by_product, -1, -2), transpose(query_, -1, -2));
    result_of.mask = shown(by_score, 0);
    return result_of;
  }

 private:
  static constexpr double infinity = std::numeric_limits<double>::infinity();

  static Tensor product(const Tensor& a, const Tensor& b) {
    return tensor_of(product_by_rows(node_of(a), node_of(b)));
  }
  Tensor scaled_products() const { return product(query_, key_) * scale_; }
  Tensor bent(const Tensor& scores) const {
    if (options_.softcap == 0) return scores;
    return tanh(scores / options_.softcap) * options_.softcap;
  }
  Tensor raised(const Tensor& scores) const {
    const bool adds = options_.mask.defined() && !is_bool(options_.mask.dtype());
    return adds ? scores + options_.mask : scores;
  }
  /// `hidden` where a query does not see a key.
  Tensor shown(const Tensor& x, double hidden) const {
    Tensor result = x;
    if (options_.mask.defined() && is_bool(options_.mask.dtype()))
      result = where(options_.mask, result, hidden);
    if (!causal_) return result;
    const Dim keys = key_.size(-2);
    Tensor last = arange(query_.size(-2)).unsqueeze(1);  // the last key that each query sees
    if (options_.causal_end) last = last + tensor_of((keys - query_.size(-2)).size().node());
    return where(arange(keys) <= last, result, hidden);
  }

  Tensor query_, key_, value_;
  Dims shape_;  // of the result
  DType dtype_;
  DType wide_ = product_dtype(dtype_);
  AttentionOptions options_;
  bool causal_;
  double scale_ = 1;
};

AttentionOptions without_mask(AttentionOptions options) {
  options.mask = {};
  return options;
}

// Over the axes along which these sizes have one element, and the first ones that they leave out.
Tensor summed_to(const Dims& sizes, const Tensor& x) {
  Tensor result = x;
  while (result.rank() > static_cast<int>(sizes.size())) result = sum(result, 0);
  for (int axis = 0; axis < result.rank(); ++axis) {
    if (result.size(axis) != sizes[static_cast<std::size_t>(axis)])
      result = sum(result, axis, true);
  }
  return result;
}

// A gradient of [..., key heads, group, T, width] for an operand with or without groups.
Tensor summed_like(const Tensor& operand, Tensor x, const Dim& heads) {
  if (x.rank() > operand.rank()) {
    const bool each = operand.rank() >= 3 && operand.size(-3) == heads;
    x = each ? x.flatten(-4, -3) : sum(x, -3);
  }
  return summed_to(operand.dims(), x).cast(operand.dtype());
}

}  // namespace

// The scores are not kept for the backward pass, which computes them again.
Tensor scaled_dot_product_attention(const Tensor& query, const Tensor& key, const Tensor& value,
                                    const AttentionOptions& options) {
  const Call call("scaled_dot_product_attention");
  want_rank(query, "a query", 2, 100);
  want_rank(key, "a key", query.rank(), query.rank());
  want_rank(value, "a value", query.rank(), query.rank());
  const bool heads = query.rank() >= 3;
  if (query.size(-1) != key.size(-1) || key.size(-2) != value.size(-2) ||
      (heads && (key.size(-3) != value.size(-3) || query.size(-3) % key.size(-3) != Dim(0)))) {
    call_error(
        "wants query [..., heads, queries, width], key and value [..., key heads, keys, width] "
        "with "
        "key heads dividing heads, got {}, {} and {}",
        to_string(query.dims()), to_string(key.dims()), to_string(value.dims()));
  }
  const DType dtype = product_operands(promote(promote(query.dtype(), key.dtype()), value.dtype()));
  if (!is_float(dtype)) call_error("wants floating point, got {}", name(dtype));
  std::vector<Tensor> inputs = {query, key, value};
  const Tensor& mask = options.mask;
  if (mask.defined()) inputs.push_back(mask);
  return with_own_gradient(
      inputs, [&] { return Attention(query, key, value, dtype, options).result(); },
      [dtype, options = without_mask(options)](const Tensor& result, const std::vector<Tensor>& in,
                                               const Tensor& g) {
        // The rows' totals come with the result; scores of their own begin to be computed now.
        const auto late = [&](const Tensor& x) { return tensor_of(after(node_of(x), node_of(g))); };
        AttentionOptions same = options;
        if (in.size() > 3) same.mask = in[3];
        const Tensor totals = Attention(in[0], in[1], in[2], dtype, same).log_totals();
        const Attention again(late(in[0]), late(in[1]), late(in[2]), dtype, same);
        const Attention::Gradients by = again.gradients(result, totals, g);
        const Dim heads = in[0].rank() >= 3 ? in[0].size(-3) : Dim(1);
        std::vector<Tensor> gradients = {summed_like(in[0], by.query, heads),
                                         summed_like(in[1], by.key, heads),
                                         summed_like(in[2], by.value, heads)};
        if (in.size() > 3)
          gradients.push_back(is_float(in[3].dtype()) ? summed_like(in[3], by.mask, heads)
                                                      : Tensor());
        return gradients;
      });
}

}  // namespace brisk
