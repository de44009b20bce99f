#include "llm/transformer.h"

#include "base/error.h"
#include "brisk/create.h"
#include "brisk/functional.h"

#include <fmt/ranges.h>

#include <cmath>

namespace brisk {

// Letters: T tokens of this step, B rows of them, S = position + T tokens seen, H heads, K key
// heads, D head width, W width, F feed-forward width, E experts.

Transformer::Transformer(const ModelConfig& config, const ModelWeights& weights,
                         const KvCache& cache)
    : Transformer(config, weights, cache.context) {
  cache_ = &cache;
}

Transformer::Transformer(const ModelConfig& config, const ModelWeights& weights,
                         std::int64_t context)
    : config_(config), weights_(weights), context_(context) {
  if (config.rotary.empty()) return;
  const std::size_t pairs = config.rotary.size();
  std::vector<float> cosines(static_cast<std::size_t>(context) * pairs * 2);
  std::vector<float> sines(cosines.size());
  for (std::int64_t p = 0; p < context; ++p) {
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
  const Dims shape = {context, 1, config.head_width};
  cosines_ = from_host(std::span<const float>(cosines), shape);
  sines_ = from_host(std::span<const float>(sines), shape);
}

// The graph of one step.
struct Transformer::Step {
  const Transformer& model;
  const ModelConfig& config;
  Dim tokens;    // T, of all rows B·T
  Dim position;  // of the first of them
  Dim seen;      // S
  Rounding rounding;
  std::int64_t rows = 1;  // B
  Adaptation adapted = {};
  Tensor cosines, sines;  // [T, 1, D]

  Step(const Transformer& transformer, const Dim& count, const Dim& at, Rounding how)
      : model(transformer),
        config(transformer.config_),
        tokens(count),
        position(at),
        seen(at + count),
        rounding(how) {
    rotate_by(position, tokens);
  }

  Step(const Transformer& transformer, std::int64_t rows, std::int64_t length, Adaptation added)
      : model(transformer),
        config(transformer.config_),
        tokens(rows * length),
        position(0),
        seen(length),
        rounding(Rounding::none),
        rows(rows),
        adapted(std::move(added)) {
    rotate_by(0, length);
  }

  void rotate_by(const Dim& first, const Dim& count) {
    if (config.rotary.empty()) return;
    cosines = model.cosines_.narrow(0, first, count);
    sines = model.sines_.narrow(0, first, count);
  }

  Tensor project(const Tensor& x, const WeightBias& matrix, std::string_view part,
                 std::size_t block) const {
    Tensor product = matrix.weight.product(x, rounding);
    if (adapted) {
      const Tensor more = adapted(part, static_cast<std::int64_t>(block), x);
      if (more.defined()) product = product + more;
    }
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
    if (rows == 1) return x * cosines + swapped * sines;
    const Dims by_row = {rows, seen, x.size(1), x.size(2)};
    return (x.reshape(by_row) * cosines + swapped.reshape(by_row) * sines).reshape(x.dims());
  }

  // Which of the keys 0 … S - 1 lie in each query's window: bool [T, S], or nothing where all do.
  Tensor in_window(std::int64_t window) const {
    if (window == 0 || window >= model.context_) return {};
    const Tensor key = arange(seen);
    return key > key.narrow(0, position, seen - position).unsqueeze(1) - window;
  }

  AttentionOptions attention_options(std::size_t block) const {
    AttentionOptions options;
    options.mask = in_window(config.windows[block]);
    options.scale = config.attention_scale;
    options.softcap = config.attention_cap;
    return options;
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
      const auto parts =
          project(x, w.query_key_value, "attn_qkv", i).split({width, key_width, key_width}, 1);
      q = parts[0], k = parts[1], v = parts[2];
    } else {
      q = project(x, w.query, "attn_q", i);
      k = project(x, w.key, "attn_k", i);
      v = project(x, w.value, "attn_v", i);
    }
    q = rotate(norm(q.reshape({tokens, H, D}), w.query_norm));
    k = rotate(norm(k.reshape({tokens, K, D}), w.key_norm));
    v = v.reshape({tokens, K, D});
    return model.cache_ == nullptr ? within_rows(q, k, v, i) : with_memory(q, k, v, i);
  }

  // Of q [B·T, H, D], k and v [B·T, K, D], each row by itself.
  Tensor within_rows(const Tensor& q, const Tensor& k, const Tensor& v, std::size_t i) const {
    const auto by_row = [&](const Tensor& x) {
      return x.reshape({rows, seen, x.size(1), x.size(2)}).permute({0, 2, 1, 3});
    };
    AttentionOptions options = attention_options(i);
    options.causal = true;
    const Tensor mixed = scaled_dot_product_attention(by_row(q), by_row(k), by_row(v), options);
    return mixed.permute({0, 2, 1, 3}).reshape({tokens, config.heads * config.head_width});
  }

  // The same of one row, after what the cache holds, which then holds them too.
  Tensor with_memory(const Tensor& q, const Tensor& k, const Tensor& v, std::size_t i) const {
    const KvCache& cache = *model.cache_;
    const auto remember = [&](const Tensor& past, const Tensor& fresh) {
      const Tensor all = past.store({0, position, 0}, fresh.permute({1, 0, 2}).cast(past.dtype()));
      return all.narrow(1, 0, seen);
    };
    const DType dtype = rounding == Rounding::halves ? cache.keys[i].dtype() : DType::float32;
    AttentionOptions options = attention_options(i);
    options.causal_end = !(tokens == Dim(1));  // a single token sees all before it
    const Tensor mixed = scaled_dot_product_attention(
        q.permute({1, 0, 2}).cast(dtype), remember(cache.keys[i], k).cast(dtype),
        remember(cache.values[i], v).cast(dtype), options);
    const Dim width = config.heads * config.head_width;
    return mixed.permute({1, 0, 2}).reshape({tokens, width}).cast(DType::float32);
  }

  Tensor feed_forward(const Tensor& x, std::size_t i) const {
    const BlockWeights& w = model.weights_.blocks[i];
    if (w.router.weight) return experts(x, i);
    const Tensor up = project(x, w.up, "ffn_up", i);
    const Tensor inner =
        w.gate.weight ? activation(project(x, w.gate, "ffn_gate", i)) * up : activation(up);
    return project(inner, w.down, "ffn_down", i);
  }

  // The likeliest experts of each token, weighted by the softmax over them. Their matrices are read
  // through a computed index, so no other expert's bytes are touched.
  Tensor experts(const Tensor& x, std::size_t i) const {
    const BlockWeights& w = model.weights_.blocks[i];
    const Dim T = x.size(0);
    const std::int64_t k = config.experts_used;
    const ValuesIndices best = topk(project(x, w.router, "ffn_gate_inp", i), k, 1);
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
  return blocks(Step(*this, tokens.size(0), position, rounding), tokens, every_row);
}

Tensor Transformer::rows(const Tensor& tokens, const Adaptation& adapted) const {
  const std::vector<std::int64_t> shape = tokens.shape();
  if (shape.size() != 2 || shape[1] > context_)
    user_error("rows of tokens are [B, T], T at most {}; got [{}]", context_,
               fmt::join(shape, ", "));
  const Step step(*this, shape[0], shape[1], adapted);
  return blocks(step, tokens.flatten(), true).logits.reshape({shape[0], shape[1], -1});
}

Transformer::Output Transformer::blocks(const Step& step, const Tensor& tokens,
                                        bool every_row) const {
  Tensor x = embedding(tokens, weights_.token_embedding.value());
  if (config_.architecture->scaled_embedding) x = x * config_.embedding_scale;
  if (weights_.position_embedding) {
    const Dim count = step.seen - step.position;
    const Tensor positions = weights_.position_embedding.value().narrow(0, step.position, count);
    x = step.rows == 1
            ? x + positions
            : (x.reshape({step.rows, count, config_.width}) + positions).reshape(x.dims());
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
    x = x +
        step.norm(step.project(mixed, w.attention_output, "attn_output", i), w.post_attention_norm);
    x = x + step.norm(step.feed_forward(step.norm(x, w.ffn_norm), i), w.post_ffn_norm);
    if (i == 0) output.first_block = x;
  }
  x = step.norm(x, weights_.output_norm);
  output.logits =
      (config_.tied ? weights_.token_embedding : weights_.output.weight).product(x, step.rounding);
  if (config_.logit_cap > 0) {
    output.logits = (output.logits / config_.logit_cap).tanh() * config_.logit_cap;
  }
  return output;
}

}  // namespace brisk
