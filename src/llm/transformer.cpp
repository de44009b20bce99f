#include "llm/transformer.h"

#include "brisk/create.h"
#include "brisk/functional.h"

#include <cmath>

namespace brisk {

// Letters: T tokens of this step, S = position + T tokens seen, H heads, K key heads, D head width,
// W width, F feed-forward width, E experts.

Transformer::Transformer(const ModelConfig& config, const ModelWeights& weights,
                         const KvCache& cache)
    : config_(config), weights_(weights), cache_(cache) {
  if (config.rotary.empty()) return;
  const std::size_t pairs = config.rotary.size();
  std::vector<float> cosines(static_cast<std::size_t>(cache.context) * pairs * 2);
  std::vector<float> sines(cosines.size());
  for (std::int64_t p = 0; p < cache.context; ++p) {
    for (std::size_t i = 0; i < pairs; ++i) {
      const double angle = static_cast<double>(p) * config.rotary[i];
      const std::size_t row = static_cast<std::size_t>(p) * pairs * 2;
      const std::size_t a = row + (config.rotary_neighbours ? 2 * i : i);
      const std::size_t b = a + (config.rotary_neighbours ? 1 : pairs);
      cosines[a] = cosines[b] = static_cast<float>(std::cos(angle));
      sines[b] = static_cast<float>(std::sin(angle));
      sines[a] = -sines[b];
    }
  }
  const Dims shape = {cache.context, 1, config.head_width};
  cosines_ = from_host(std::span<const float>(cosines), shape);
  sines_ = from_host(std::span<const float>(sines), shape);
}

// The graph of one step.
struct Transformer::Step {
  const Transformer& model;
  const ModelConfig& config;
  Dim tokens;    // T
  Dim position;  // of the first of them
  Dim seen;      // S
  Rounding rounding;
  Tensor cosines, sines;  // [T, 1, D]

  Step(const Transformer& transformer, const Dim& count, const Dim& at, Rounding how)
      : model(transformer),
        config(transformer.config_),
        tokens(count),
        position(at),
        seen(at + count),
        rounding(how) {
    if (config.rotary.empty()) return;
    cosines = model.cosines_.narrow(0, position, tokens);
    sines = model.sines_.narrow(0, position, tokens);
  }

  Tensor project(const Tensor& x, const WeightBias& matrix) const {
    const Tensor product = matrix.weight.product(x, rounding);
    return matrix.bias ? product + matrix.bias.value() : product;
  }

  Tensor norm(const Tensor& x, const WeightBias& n) const {
    if (!n.weight) return x;
    return config.architecture->layer_norm
               ? layer_norm(x, n.weight.value(), n.bias.value(), config.norm_epsilon)
               : rms_norm(x, n.weight.value(), config.norm_epsilon);
  }

  Tensor activation(const Tensor& x) const {
    return config.architecture->gelu ? gelu(x, Gelu::tanh) : silu(x);
  }

  // x [T, heads, D]: each pair (a, b) becomes (a cos - b sin, b cos + a sin).
  Tensor rotate(const Tensor& x) const {
    if (config.rotary.empty()) return x;
    const std::int64_t pairs = config.head_width / 2;
    const Dims split = config.rotary_neighbours ? Dims{x.size(0), x.size(1), pairs, 2}
                                                : Dims{x.size(0), x.size(1), 2, pairs};
    const Tensor swapped =
        x.reshape(split).flip(config.rotary_neighbours ? 3 : 2).reshape(x.dims());
    return x * cosines + swapped * sines;
  }

  // Which of the keys 0 … S - 1 lie in each query's window: bool [T, S], or nothing where all do.
  Tensor in_window(std::int64_t window) const {
    if (window == 0 || window >= model.cache_.context) return {};
    const Tensor key = arange(seen);
    return key > key.narrow(0, position, tokens).unsqueeze(1) - window;
  }

  Tensor attention(const Tensor& x, std::size_t i) const {
    const BlockWeights& w = model.weights_.blocks[i];
    const Dim H = config.heads;
    const Dim K = config.key_heads;
    const Dim D = config.head_width;
    Tensor q, k, v;
    if (w.query_key_value.weight) {
      const std::int64_t width = config.heads * config.head_width;
      const std::int64_t key_width = config.key_heads * config.head_width;
      const auto parts = project(x, w.query_key_value).split({width, key_width, key_width}, 1);
      q = parts[0], k = parts[1], v = parts[2];
    } else {
      q = project(x, w.query), k = project(x, w.key), v = project(x, w.value);
    }
    q = rotate(norm(q.reshape({tokens, H, D}), w.query_norm));
    k = rotate(norm(k.reshape({tokens, K, D}), w.key_norm));
    v = v.reshape({tokens, K, D});
    const auto remember = [&](const Tensor& cache, const Tensor& fresh) {
      const Tensor all =
          cache.store({0, position, 0}, fresh.permute({1, 0, 2}).cast(cache.dtype()));
      return all.narrow(1, 0, seen);
    };
    const DType cached = model.cache_.keys[i].dtype();
    const DType dtype = rounding == Rounding::halves ? cached : DType::float32;
    AttentionOptions options;
    options.mask = in_window(config.windows[i]);
    options.causal_end = !(tokens == Dim(1));  // a single token sees all before it
    options.scale = config.attention_scale;
    options.softcap = config.attention_cap;
    const Tensor mixed = scaled_dot_product_attention(
        q.permute({1, 0, 2}).cast(dtype), remember(model.cache_.keys[i], k).cast(dtype),
        remember(model.cache_.values[i], v).cast(dtype), options);
    return mixed.permute({1, 0, 2}).reshape({tokens, H * D}).cast(DType::float32);
  }

  Tensor feed_forward(const Tensor& x, const BlockWeights& w) const {
    if (w.router.weight) return experts(x, w);
    const Tensor up = project(x, w.up);
    return project(w.gate.weight ? activation(project(x, w.gate)) * up : activation(up), w.down);
  }

  // The likeliest experts of each token, weighted by the softmax over them. Their matrices are read
  // through a computed index, so no other expert's bytes are touched.
  Tensor experts(const Tensor& x, const BlockWeights& w) const {
    const Dim T = x.size(0);
    const std::int64_t k = config.experts_used;
    const ValuesIndices best = topk(project(x, w.router), k, 1);
    const Tensor share = best.values.softmax(1).unsqueeze(2);  // [T, k, 1]
    const Tensor chosen = best.indices.reshape({T * k});
    const auto pick = [&](const Weight& all) { return index_select(all.value(), 0, chosen); };
    const Tensor column = x.reshape({T, 1, config.width, 1})
                              .expand({T, k, config.width, 1})
                              .reshape({T * k, config.width, 1});
    const Tensor inner =
        activation(matmul(pick(w.gate_experts), column)) * matmul(pick(w.up_experts), column);
    const Tensor outer = matmul(pick(w.down_experts), inner).reshape({T, k, config.width});
    return (outer * share).sum(1);
  }
};

Transformer::Output Transformer::operator()(const Tensor& tokens, const Dim& position,
                                            bool every_row, Rounding rounding) const {
  const Step step(*this, tokens.size(0), position, rounding);
  Tensor x = embedding(tokens, weights_.token_embedding.value());
  if (config_.architecture->scaled_embedding) x = x * config_.embedding_scale;
  if (weights_.position_embedding) {
    x = x + weights_.position_embedding.value().narrow(0, position, step.tokens);
  }
  Output output;
  for (std::size_t i = 0; i < weights_.blocks.size(); ++i) {
    const BlockWeights& w = weights_.blocks[i];
    Tensor mixed = step.attention(step.norm(x, w.attention_norm), i);
    if (i + 1 == weights_.blocks.size() && !every_row) {  // nothing reads the other rows any more
      const Dim last = step.tokens - Dim(1);
      mixed = mixed.narrow(0, last, 1);
      x = x.narrow(0, last, 1);
    }
    x = x + step.norm(step.project(mixed, w.attention_output), w.post_attention_norm);
    x = x + step.norm(step.feed_forward(step.norm(x, w.ffn_norm), w), w.post_ffn_norm);
    if (i == 0) output.first_block = x;
  }
  x = step.norm(x, weights_.output_norm);
  output.logits =
      (config_.tied ? weights_.token_embedding : weights_.output.weight).product(x, rounding);
  if (config_.logit_cap > 0) {
    output.logits = (output.logits / config_.logit_cap).tanh() * config_.logit_cap;
  }
  return output;
}

}  // namespace brisk
