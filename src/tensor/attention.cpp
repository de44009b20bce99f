// Attention: scores, softmax, weighted sum. Written out plainly: the scheduler recognises the shape
// and makes one kernel of it.
#include <cmath>
#include <limits>

#include "brisk/autograd.h"
#include "brisk/functional.h"
#include "tensor/autocast.h"
#include "tensor/contract.h"

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

// Scores, softmax and weighted sum of checked operands.
Tensor attended(const Tensor& query, const Tensor& key, const Tensor& value, DType dtype,
                const AttentionOptions& options) {
  const Dim queries = query.size(-2);
  const Dim keys = key.size(-2);
  const bool heads = query.rank() >= 3;
  const bool group = heads && query.size(-3) != key.size(-3);
  const Tensor q = group ? grouped(query, key.size(-3)) : query;
  const Tensor k = group ? key.unsqueeze(-3) : key;
  const Tensor v = group ? value.unsqueeze(-3) : value;
  const double width = static_cast<double>(fixed(query.size(-1).size()));
  const double scale = options.scale.value_or(1 / std::sqrt(width));
  Tensor scores =
      tensor_of(product_by_rows(node_of(q.cast(dtype)), node_of(k.cast(dtype)))) * scale;
  if (options.softcap != 0) scores = tanh(scores / options.softcap) * options.softcap;
  const double hidden = -std::numeric_limits<double>::infinity();
  if (options.causal || options.causal_end) {
    Tensor last = arange(queries).unsqueeze(1);  // the last key that each query sees
    if (options.causal_end) last = last + tensor_of((keys - queries).size().node());
    scores = where(arange(keys) <= last, scores, hidden);
  }
  if (options.mask.defined()) {
    const Tensor mask = group ? grouped_mask(options.mask, key.size(-3)) : options.mask;
    scores = is_bool(mask.dtype()) ? where(mask, scores, hidden) : scores + mask;
  }
  // As the products of narrow dtypes take them.
  const Tensor weights = softmax(scores, -1).cast(dtype);
  // The sum over keys, with value's keys as the last axis.
  const Tensor turned = transpose(v.cast(weights.dtype()), -1, -2);
  Tensor result = tensor_of(product_by_rows(node_of(weights), node_of(turned)));
  if (group) {
    Dims shape = query.dims();
    shape.back() = value.size(-1);
    result = result.reshape(shape);
  }
  return result.cast(dtype);
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
  const auto of = [=](const std::vector<Tensor>& in) {
    return attended(in[0], in[1], in[2], dtype, options);
  };
  const bool tracked = query.requires_grad() || key.requires_grad() || value.requires_grad();
  return tracked ? checkpoint(of, {query, key, value}) : of({query, key, value});
}

}  // namespace brisk
