// A GGUF file of the shape of a Llama of 1.1 billion weights (22 blocks, width 2048, feed-forward
// 5632, 32 heads over 4 key heads, 32000 tokens) with random weights of one type. Input: a path and
// a type; output: the file, made once.
#pragma once

#include <bit>
#include <filesystem>

#include "formats/gguf.h"
#include "measure.h"

namespace bench {

struct LlamaShape {
  std::int64_t blocks = 22, width = 2048, ffn = 5632, heads = 32, key_heads = 4, vocabulary = 32000;
  std::int64_t context = 2048;
};

/// Random rows of blocks: float16 values or scales about `size`, random quantised values.
inline std::vector<std::byte> random_blocks(brisk::BlockType type, std::int64_t values, float size,
                                            Random& random) {
  using brisk::BlockType;
  const brisk::BlockInfo& info = brisk::block_info(type);
  auto bytes = random.bytes(static_cast<std::size_t>(values / info.values * info.bytes));
  const auto put_half = [&](std::size_t at, float value) {
    const std::uint16_t half = brisk::float_to_half(value);
    std::memcpy(bytes.data() + at, &half, 2);
  };
  if (type == BlockType::f16) {
    for (std::size_t at = 0; at < bytes.size(); at += 2) put_half(at, size * random.uniform());
    return bytes;
  }
  if (type == BlockType::bf16) {
    for (std::size_t at = 0; at < bytes.size(); at += 2) {
      const auto bits = std::bit_cast<std::uint32_t>(size * random.uniform());
      const auto high = static_cast<std::uint16_t>(bits >> 16);
      std::memcpy(bytes.data() + at, &high, 2);
    }
    return bytes;
  }
  const float step = size / (type == BlockType::q8_0 ? 127 : 8);  // both begin with their scale
  for (std::size_t at = 0; at < bytes.size(); at += static_cast<std::size_t>(info.bytes)) {
    put_half(at, step * random.uniform(0.5, 1));
  }
  return bytes;
}

/// Bytes of the matrices that one token's step reads: all but the embedding, of which it reads a
/// row.
inline double bytes_per_token(const LlamaShape& s, brisk::BlockType type) {
  const double block = 2.0 * static_cast<double>(s.width * s.width) +
                       2.0 * static_cast<double>(s.width * s.width * s.key_heads / s.heads) +
                       3.0 * static_cast<double>(s.width * s.ffn);
  const double weights =
      static_cast<double>(s.blocks) * block + static_cast<double>(s.vocabulary * s.width);
  const brisk::BlockInfo& info = brisk::block_info(type);
  return weights * static_cast<double>(info.bytes) / static_cast<double>(info.values);
}

inline void write_llama(const std::filesystem::path& path, const LlamaShape& s,
                        brisk::BlockType type) {
  brisk::GgufWriter gguf;
  gguf.add("general.architecture", "llama");
  const auto number = [&](const char* key, std::int64_t value) {
    gguf.add(fmt::format("llama.{}", key), static_cast<std::uint32_t>(value));
  };
  number("context_length", s.context);
  number("embedding_length", s.width);
  number("block_count", s.blocks);
  number("feed_forward_length", s.ffn);
  number("attention.head_count", s.heads);
  number("attention.head_count_kv", s.key_heads);
  number("rope.dimension_count", s.width / s.heads);
  gguf.add("llama.attention.layer_norm_rms_epsilon", 1e-5F);

  std::vector<std::string> words = {"<unk>", "<s>", "</s>"};
  std::vector<std::int32_t> kinds = {2, 3, 3};  // unknown, control
  for (int byte = 0; byte < 256; ++byte) {
    words.push_back(fmt::format("<0x{:02X}>", byte));
    kinds.push_back(6);  // byte
  }
  while (static_cast<std::int64_t>(words.size()) < s.vocabulary) {
    words.push_back(fmt::format("\u2581w{}", words.size()));
    kinds.push_back(1);  // normal
  }
  std::vector<float> scores;
  for (std::size_t i = 0; i < words.size(); ++i) scores.push_back(-static_cast<float>(i));
  gguf.add("tokenizer.ggml.model", "llama");
  gguf.add_array(
      "tokenizer.ggml.tokens",
      std::span<const std::string_view>(std::vector<std::string_view>(words.begin(), words.end())));
  gguf.add_array("tokenizer.ggml.scores", std::span<const float>(scores));
  gguf.add_array("tokenizer.ggml.token_type", std::span<const std::int32_t>(kinds));

  Random random(11);
  std::vector<std::vector<std::byte>> kept;  // until the file is written
  const auto matrix = [&](const std::string& name, std::int64_t out, std::int64_t in) {
    const float size = std::sqrt(3.0F / static_cast<float>(in));
    kept.push_back(random_blocks(type, out * in, size, random));
    gguf.add_tensor(name, std::vector{out, in}, type, kept.back());
  };
  const auto norm = [&](const std::string& name) {
    const auto values = random.uniforms(static_cast<std::size_t>(s.width), 0.5, 1.5);
    const auto bytes = std::as_bytes(std::span(values));
    kept.emplace_back(bytes.begin(), bytes.end());
    gguf.add_tensor(name, std::vector{s.width}, brisk::BlockType::f32, kept.back());
  };
  matrix("token_embd.weight", s.vocabulary, s.width);
  const std::int64_t keys = s.width / s.heads * s.key_heads;
  for (std::int64_t i = 0; i < s.blocks; ++i) {
    const std::string block = fmt::format("blk.{}.", i);
    norm(block + "attn_norm.weight");
    matrix(block + "attn_q.weight", s.width, s.width);
    matrix(block + "attn_k.weight", keys, s.width);
    matrix(block + "attn_v.weight", keys, s.width);
    matrix(block + "attn_output.weight", s.width, s.width);
    norm(block + "ffn_norm.weight");
    matrix(block + "ffn_gate.weight", s.ffn, s.width);
    matrix(block + "ffn_up.weight", s.ffn, s.width);
    matrix(block + "ffn_down.weight", s.width, s.ffn);
  }
  norm("output_norm.weight");
  matrix("output.weight", s.vocabulary, s.width);
  gguf.write(path);
}

}  // namespace bench
