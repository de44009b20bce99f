#include "llm/kv_cache.h"

#include "brisk/create.h"

namespace brisk {

KvCache::KvCache(const ModelConfig& config, std::int64_t length, DType dtype) : context(length) {
  const Dims shape = {config.key_heads, length, config.head_width};
  for (std::int64_t i = 0; i < config.blocks; ++i) {
    keys.push_back(empty(shape, dtype));
    values.push_back(empty(shape, dtype));
  }
}

std::int64_t kv_cache_bytes(const ModelConfig& config, std::int64_t context, DType dtype) {
  return 2 * config.blocks * config.key_heads * config.head_width * context * byte_size(dtype);
}

}  // namespace brisk
