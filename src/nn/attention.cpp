// Attention of several heads over projections of its own.
#include "brisk/nn.h"
#include "tensor/build.h"

namespace brisk::nn {

MultiheadAttention::MultiheadAttention(std::int64_t width, std::int64_t heads, bool with_bias)
    : out_proj(width, width, with_bias), heads(heads) {
  const Call call("MultiheadAttention");
  if (heads < 1 || width % heads != 0) {
    call_error("wants a width that its heads divide, got {} and {}", width, heads);
  }
  in_proj_weight = parameter(xavier_uniform({3 * width, width}));
  if (!with_bias) return;
  in_proj_bias = parameter(zeros({3 * width}));
  set(out_proj.bias, zeros({width}));
}

Tensor MultiheadAttention::operator()(const Tensor& query, const Tensor& key, const Tensor& value,
                                      const AttentionOptions& attention) const {
  const Call call("MultiheadAttention");
  const std::vector<Tensor> weights = in_proj_weight.chunk(3);
  const std::vector<Tensor> biases =
      in_proj_bias.defined() ? in_proj_bias.chunk(3) : std::vector<Tensor>(3);
  const auto projected = [&](const Tensor& x, int part) {
    want_rank(x, "query, key and value", 3, 3);
    return linear(x, weights[part], biases[part]).unflatten(-1, {heads, -1}).transpose(1, 2);
  };
  const Tensor mixed = scaled_dot_product_attention(projected(query, 0), projected(key, 1),
                                                    projected(value, 2), attention);
  return out_proj(mixed.transpose(1, 2).flatten(2));
}

void MultiheadAttention::visit(Fields& fields) {
  fields("in_proj_weight", in_proj_weight);
  fields("in_proj_bias", in_proj_bias);
  fields("out_proj", out_proj);
}

}  // namespace brisk::nn
