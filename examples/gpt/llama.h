// The model: Llama's architecture (root mean square norms, rotary positions, gated feed-forward,
// one matrix for embedding and output), so that every runner of GGUF files loads what is trained.
#pragma once

#include <cstdint>
#include <vector>

#include "brisk/brisk.h"
#include "brisk/nn.h"
#include "brisk/precision.h"

struct LlamaConfig {
  std::int64_t vocabulary = 4096;
  std::int64_t context = 256;
  std::int64_t width = 256;
  std::int64_t blocks = 6;
  std::int64_t heads = 8;
  std::int64_t key_heads = 4;
  std::int64_t ffn_width = 704;
  double rotary_base = 10000;
  double norm_epsilon = 1e-5;
  std::int64_t head_width() const { return width / heads; }
};

/// A pair of neighbours turns by position · base^(-2i / width), as GGUF has it.
struct Rotary {
  Rotary(std::int64_t length, std::int64_t width, double base);
  brisk::Tensor operator()(const brisk::Tensor& x) const;  // [batch, heads, length, width]
  brisk::Tensor cosines, sines;                            // [length, width / 2]
};

struct Block {
  explicit Block(const LlamaConfig& config);
  brisk::Tensor operator()(const brisk::Tensor& x, const Rotary& rotary) const;
  void visit(brisk::nn::Fields& fields);

  LlamaConfig config;
  brisk::nn::RMSNorm attention_norm, ffn_norm;
  brisk::nn::Linear query, key, value, output;
  brisk::nn::Linear gate, up, down;
};

struct Llama {
  explicit Llama(const LlamaConfig& config);
  /// Scores of the next token, [batch, length, vocabulary], of token numbers [batch, length].
  brisk::Tensor operator()(const brisk::Tensor& tokens) const;
  /// Mean cross-entropy in nats; products in this dtype.
  brisk::Tensor loss(const brisk::Tensor& tokens, const brisk::Tensor& next,
                     brisk::DType products) const;
  /// From now on those of the blocks' matrices in 8 bits.
  void scale_products(brisk::Scaled format);
  void visit(brisk::nn::Fields& fields);
  std::int64_t parameters();

  LlamaConfig config;
  Rotary rotary;
  brisk::nn::Embedding embedding;  // the output matrix as well
  std::vector<Block> blocks;
  brisk::nn::RMSNorm norm;
};
