// The sizes and constants of one language model, as its file states them. Input: GGUF metadata or a
// folder's config.json, which need not be trusted; output: a ModelConfig whose values are in range
// and fit together. Every defect is a UserError of one line that names the file and the key.
#pragma once

#include "llm/architectures.h"

#include <cstdint>
#include <filesystem>
#include <string>
#include <vector>

namespace brisk {

class GgufFile;

struct ModelConfig {
  const Architecture* architecture = nullptr;
  std::string file;  // for messages

  std::int64_t vocabulary = 0;  // 0: as many as the embedding has rows
  std::int64_t width = 0;
  std::int64_t blocks = 0;
  std::int64_t heads = 0;
  std::int64_t key_heads = 0;  // divides heads
  std::int64_t head_width = 0;
  std::int64_t ffn_width = 0;
  std::int64_t experts = 0;  // 0: one feed-forward, without router
  std::int64_t experts_used = 0;
  std::int64_t context = 0;  // positions that the model was made for
  bool tied = false;         // the output matrix is the embedding; also where the file has none

  double norm_epsilon = 1e-5;
  double attention_scale = 1;
  double attention_cap = 0;  // 0: none
  double logit_cap = 0;
  double embedding_scale = 1;
  bool rotary_neighbours = false;     // rotary pairs are elements 2i, 2i + 1
  std::vector<double> rotary;         // radians a position, one a pair; empty: no rotation
  std::vector<std::int64_t> windows;  // by block: the last keys that a query sees; 0: all
};

ModelConfig config_from_gguf(const GgufFile& file);
/// From config.json in the folder.
ModelConfig config_from_folder(const std::filesystem::path& folder);
/// From the text of config.json; `name` stands for the file in errors.
ModelConfig config_from_json(std::string_view text, const std::string& name);

/// Checks that the sizes are in range and fit together, and fills what follows from them.
void complete(ModelConfig& config);
/// Frequencies base^(-2i / width), one a pair.
std::vector<double> rotary_frequencies(std::int64_t width, double base);

}  // namespace brisk
