// The transformer of every language model here, as a graph. Input: a configuration with its
// weights, a cache, and the token ids of the next T positions; output: their logits, lazy, and with
// them the stores into the cache; or without a cache, whole rows of tokens, as training wants them.
// What tells the models apart is in architectures.h.
#pragma once

#include "brisk/tensor.h"
#include "llm/kv_cache.h"
#include "llm/weights.h"

#include <functional>
#include <string_view>

namespace brisk {

/// What is added to the product of x [rows, in] with the matrix `part` ("attn_q") of a block;
/// undefined: nothing.
using Adaptation =
    std::function<Tensor(std::string_view part, std::int64_t block, const Tensor& x)>;

class Transformer {
 public:
  /// Makes the rotary tables for `cache.context` positions. The arguments must outlive it.
  Transformer(const ModelConfig& config, const ModelWeights& weights, const KvCache& cache);
  /// Without memory, for rows of at most `context` tokens.
  Transformer(const ModelConfig& config, const ModelWeights& weights, std::int64_t context);

  struct Output {
    Tensor logits;       // float32 [T or 1, vocabulary]
    Tensor first_block;  // float32 [T, width]: the hidden state after block 0
  };
  /// `tokens` is [T] of an integer dtype; its first token stands at `position`. T and position may
  /// be variables; position + T is at most the cache's context. Without `every_row`: the logits of
  /// the last token only. With Rounding::halves, queries meet keys of a cache of 16 bits in its
  /// dtype.
  Output operator()(const Tensor& tokens, const Dim& position, bool every_row,
                    Rounding rounding) const;
  /// Of rows that know nothing of each other, tokens [B, T]: logits [B, T, vocabulary], in float32
  /// throughout. Gradients pass to what `adapted` gives.
  Tensor rows(const Tensor& tokens, const Adaptation& adapted = {}) const;

 private:
  struct Step;
  Output blocks(const Step& step, const Tensor& tokens, bool every_row) const;
  const ModelConfig& config_;
  const ModelWeights& weights_;
  const KvCache* cache_ = nullptr;
  std::int64_t context_;
  Tensor cosines_, sines_;  // [context, 1, head width], realized; sines with the rotation's signs
};

}  // namespace brisk
