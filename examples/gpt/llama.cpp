#include "llama.h"

#include <cmath>

using namespace brisk;

Rotary::Rotary(std::int64_t length, std::int64_t width, double base) {
  std::vector<float> c, s;
  for (std::int64_t position = 0; position < length; ++position) {
    for (std::int64_t i = 0; i < width / 2; ++i) {
      const double angle =
          static_cast<double>(position) *
          std::pow(base, -2.0 * static_cast<double>(i) / static_cast<double>(width));
      c.push_back(static_cast<float>(std::cos(angle)));
      s.push_back(static_cast<float>(std::sin(angle)));
    }
  }
  cosines = from_host(std::span<const float>(c), {length, width / 2});
  sines = from_host(std::span<const float>(s), {length, width / 2});
}

Tensor Rotary::operator()(const Tensor& x) const {
  const Tensor pairs = x.reshape({x.size(0), x.size(1), x.size(2), x.size(3) / 2, 2});
  const Tensor a = pairs.select(-1, 0);
  const Tensor b = pairs.select(-1, 1);
  return stack({a * cosines - b * sines, a * sines + b * cosines}, -1).reshape(x.dims());
}

Block::Block(const LlamaConfig& c)
    : config(c),
      attention_norm({c.width}, c.norm_epsilon),
      ffn_norm({c.width}, c.norm_epsilon),
      query(c.width, c.heads * c.head_width(), false),
      key(c.width, c.key_heads * c.head_width(), false),
      value(c.width, c.key_heads * c.head_width(), false),
      output(c.heads * c.head_width(), c.width, false),
      gate(c.width, c.ffn_width, false),
      up(c.width, c.ffn_width, false),
      down(c.ffn_width, c.width, false) {
  // What each block adds to the stream is small at first (GPT-2's scaling).
  const double narrow = 0.02 / std::sqrt(2.0 * static_cast<double>(c.blocks));
  for (nn::Linear* matrix : {&query, &key, &value, &gate, &up})
    nn::set(matrix->weight, nn::normal(matrix->weight.dims(), 0, 0.02));
  for (nn::Linear* matrix : {&output, &down})
    nn::set(matrix->weight, nn::normal(matrix->weight.dims(), 0, narrow));
}

Tensor Block::operator()(const Tensor& x, const Rotary& rotary) const {
  const auto heads = [&](const Tensor& y, std::int64_t count) {
    return y.reshape({y.size(0), y.size(1), count, config.head_width()}).permute({0, 2, 1, 3});
  };
  const Tensor normed = attention_norm(x);
  const Tensor q = rotary(heads(query(normed), config.heads));
  const Tensor k = rotary(heads(key(normed), config.key_heads));
  const Tensor v = heads(value(normed), config.key_heads);
  const Tensor mixed = scaled_dot_product_attention(q, k, v, {.causal = true});
  const Tensor y = x + output(mixed.permute({0, 2, 1, 3}).reshape(x.dims()));
  const Tensor inner = ffn_norm(y);
  return y + down(silu(gate(inner)) * up(inner));
}

void Block::visit(nn::Fields& fields) {
  fields("attn_norm", attention_norm);
  fields("attn_q", query);
  fields("attn_k", key);
  fields("attn_v", value);
  fields("attn_output", output);
  fields("ffn_norm", ffn_norm);
  fields("ffn_gate", gate);
  fields("ffn_up", up);
  fields("ffn_down", down);
}

Llama::Llama(const LlamaConfig& c)
    : config(c),
      rotary(c.context, c.head_width(), c.rotary_base),
      embedding(c.vocabulary, c.width),
      norm({c.width}, c.norm_epsilon) {
  nn::set(embedding.weight, nn::normal(embedding.weight.dims(), 0, 0.02));
  for (std::int64_t i = 0; i < c.blocks; ++i) blocks.emplace_back(c);
}

Tensor Llama::operator()(const Tensor& tokens) const {
  Tensor x = embedding(tokens);
  for (const Block& block : blocks) x = block(x, rotary);
  return linear(norm(x), embedding.weight);
}

Tensor Llama::loss(const Tensor& tokens, const Tensor& next, DType products) const {
  const Autocast narrow(products);
  const Tensor scores = (*this)(tokens);
  return cross_entropy(scores.reshape({scores.size(0) * scores.size(1), config.vocabulary}),
                       next.flatten(0));
}

void Llama::scale_products(Scaled format) {
  for (Block& block : blocks) {
    for (nn::Linear* matrix : {&block.query, &block.key, &block.value, &block.output, &block.gate,
                               &block.up, &block.down})
      matrix->scaled = ScaledOptions{.format = format, .fallback = 0};
  }
}

// The names of GGUF files: token_embd.weight, blk.0.attn_q.weight, ….
void Llama::visit(nn::Fields& fields) {
  fields("token_embd", embedding);
  fields("blk", blocks);
  fields("output_norm", norm);
}

std::int64_t Llama::parameters() {
  std::int64_t count = 0;
  for (const Tensor& parameter : nn::parameters(*this)) {
    std::int64_t size = 1;
    for (const std::int64_t length : parameter.shape()) size *= length;
    count += size;
  }
  return count;
}
