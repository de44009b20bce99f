// Keys and values of the tokens so far, of every block: memory of a fixed length that each step
// writes in place, behind what is there.
#pragma once

#include "brisk/tensor.h"
#include "llm/config.h"

#include <cstdint>
#include <vector>

namespace brisk {

struct KvCache {
  /// Zeros for `context` tokens.
  KvCache(const ModelConfig& config, std::int64_t context, DType dtype);

  std::int64_t context;
  // One a block: [key heads, context, head width], realized.
  std::vector<Tensor> keys;
  std::vector<Tensor> values;
};

/// Bytes of such a cache.
std::int64_t kv_cache_bytes(const ModelConfig& config, std::int64_t context, DType dtype);

}  // namespace brisk
