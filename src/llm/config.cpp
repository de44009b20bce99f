#include "llm/config.h"

#include "base/error.h"

#include <cmath>
#include <utility>

namespace brisk {

void complete(ModelConfig& config) {
  // Far above any model, and low enough that products of three fit in 64 bits.
  constexpr std::int64_t most = std::int64_t{1} << 20;
  const auto want = [&](bool holds, const char* what) {
    if (!holds) user_error("{}: {}", config.file, what);
  };
  const std::pair<const char*, std::int64_t> sizes[] = {{"width", config.width},
                                                        {"heads", config.heads},
                                                        {"key heads", config.key_heads},
                                                        {"head width", config.head_width},
                                                        {"feed-forward width", config.ffn_width}};
  for (const auto& [name, size] : sizes) {
    if (size < 1 || size > most) {
      user_error("{}: a {} of {} is not between 1 and {}", config.file, name, size, most);
    }
  }
  want(config.blocks >= 1 && config.blocks <= 4096, "wants 1 to 4096 blocks");
  want(config.vocabulary >= 0 && config.vocabulary <= 1 << 28, "the vocabulary's size is wrong");
  want(config.context >= 1 && config.context <= 1 << 28, "the context length is wrong");
  want(config.heads % config.key_heads == 0, "the key heads do not divide the heads");
  want(config.heads * config.head_width <= most * 16, "the heads are too wide");
  want(config.experts >= 0 && config.experts <= 4096, "the number of experts is wrong");
  want(config.experts == 0 || (config.experts_used >= 1 && config.experts_used <= config.experts),
       "the number of experts used is not between 1 and that of the experts");
  want(std::isfinite(config.norm_epsilon) && config.norm_epsilon >= 0,
       "the epsilon of the norms is wrong");
  want(std::isfinite(config.attention_scale) && config.attention_scale > 0,
       "the scale of the attention is wrong");
  want(std::isfinite(config.attention_cap) && config.attention_cap >= 0 &&
           std::isfinite(config.logit_cap) && config.logit_cap >= 0,
       "a soft cap is negative or not finite");
  config.windows.resize(static_cast<std::size_t>(config.blocks));
  for (const std::int64_t window : config.windows) {
    want(window >= 0, "a sliding window is negative");
  }
  if (config.architecture->learned_positions) {
    config.rotary.clear();
  } else {
    want(config.head_width % 2 == 0, "heads of odd width cannot be rotated");
    want(config.rotary.size() == static_cast<std::size_t>(config.head_width / 2),
         "the rotary embedding does not cover the heads");
    for (const double frequency : config.rotary) {
      want(std::isfinite(frequency) && frequency >= 0, "a rotary frequency is not finite");
    }
  }
  if (config.architecture->scaled_embedding) {
    config.embedding_scale = std::sqrt(static_cast<double>(config.width));
  }
}

std::vector<double> rotary_frequencies(std::int64_t width, double base) {
  std::vector<double> frequencies;
  frequencies.reserve(static_cast<std::size_t>(width / 2));
  for (std::int64_t i = 0; i < width / 2; ++i) {
    frequencies.push_back(
        std::pow(base, -2.0 * static_cast<double>(i) / static_cast<double>(width)));
  }
  return frequencies;
}

}  // namespace brisk
