// The transformer of every language model here, as a graph. Input: a configuration with its
// weights, a cache, and the token ids of the next T positions; output: their logits, lazy, and with
// them the stores into the cache. What tells the models apart is in architectures.h.
#pragma once

#include "brisk/tensor.h"
#include "llm/kv_cache.h"
#include "llm/weights.h"

namespace brisk {

class Transformer {
 public:
  /// Makes the rotary tables for `cache.context` positions. The arguments must outlive it.
  Transformer(const ModelConfig& config, const ModelWeights& weights, const KvCache& cache);

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

 private:
  struct Step;
  const ModelConfig& config_;
  const ModelWeights& weights_;
  const KvCache& cache_;
  Tensor cosines_, sines_;  // [context, 1, head width], realized; sines with the rotation's signs
};

}  // namespace brisk
