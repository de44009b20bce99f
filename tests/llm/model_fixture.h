// A small language model of random weights, written as a GGUF file and as a Hugging Face folder, so
// that any clone tests loading and running. Input: an architecture and sizes; output: bytes.
#pragma once

#include "formats/gguf.h"
#include "formats/quantise.h"
#include "formats/safetensors.h"
#include "llm/architectures.h"

#include <fmt/core.h>

#include <cmath>
#include <cstring>
#include <filesystem>
#include <fstream>
#include <map>
#include <random>
#include <string>
#include <vector>

namespace brisk {

struct FixtureModel {
  std::string type = "llama";  // config.json's model_type
  std::int64_t width = 32, heads = 4, key_heads = 2, head_width = 8, ffn = 48, blocks = 2;
  std::int64_t vocabulary = 40, context = 32, window = 0;
  bool tied = false;
  bool tokenizer = false;  // of bytes and a few letters; wants a vocabulary of 300

  struct Values {
    std::vector<std::int64_t> shape;
    std::vector<float> values;
  };
  struct Key {
    std::string part, suffix;
    std::int64_t block;
    bool operator<(const Key& other) const {
      return std::tie(part, suffix, block) < std::tie(other.part, other.suffix, other.block);
    }
  };
  std::map<Key, Values> tensors;  // as GGUF names and lays them out, but rotary pairs as in folders

  const Architecture& architecture() const { return *find_architecture_of_folder(type); }
  bool has_experts() const { return type == "mixtral"; }

  /// Fills `tensors`, the same way each time.
  void make() {
    const Architecture& row = architecture();
    const std::int64_t queries = heads * head_width;
    const std::int64_t keys = key_heads * head_width;
    add("token_embd", -1, {vocabulary, width});
    if (row.learned_positions) add("position_embd", -1, {context, width});
    if (!tied && type != "gpt2") add("output", -1, {vocabulary, width});
    norm("output_norm", -1, width);
    for (std::int64_t i = 0; i < blocks; ++i) {
      norm("attn_norm", i, width);
      norm("ffn_norm", i, width);
      if (row.fused_qkv) {
        linear("attn_qkv", i, queries + 2 * keys, width);
      } else {
        linear("attn_q", i, queries, width);
        linear("attn_k", i, keys, width);
        linear("attn_v", i, keys, width);
      }
      if (row.query_key_norms)
        norm("attn_q_norm", i, head_width), norm("attn_k_norm", i, head_width);
      add("attn_output", i, {width, queries});
      if (row.post_norms) norm("post_attention_norm", i, width), norm("post_ffw_norm", i, width);
      if (has_experts()) {
        add("ffn_gate_inp", i, {4, width});
        add("ffn_gate_exps", i, {4, ffn, width});
        add("ffn_up_exps", i, {4, ffn, width});
        add("ffn_down_exps", i, {4, width, ffn});
      } else {
        if (row.gated) add("ffn_gate", i, {ffn, width});
        add("ffn_up", i, {ffn, width});
        add("ffn_down", i, {width, ffn});
      }
    }
  }

  /// The metadata of a GGUF file.
  void add_metadata(GgufWriter& writer) const {
    const Architecture& row = architecture();
    const auto size = [&](const char* key, std::int64_t value) {
      writer.add(std::string(row.gguf) + "." + key, static_cast<std::uint32_t>(value));
    };
    const auto number = [&](const char* key, float value) {
      writer.add(std::string(row.gguf) + "." + key, value);
    };
    writer.add("general.architecture", row.gguf);
    size("context_length", context);
    size("embedding_length", width);
    size("block_count", blocks);
    size("feed_forward_length", ffn);
    size("attention.head_count", heads);
    size("attention.head_count_kv", key_heads);
    size("attention.key_length", head_width);
    size("attention.value_length", head_width);
    number(row.layer_norm ? "attention.layer_norm_epsilon" : "attention.layer_norm_rms_epsilon",
           1e-5F);
    if (!row.learned_positions) number("rope.freq_base", 1000);
    if (window > 0) size("attention.sliding_window", window);
    if (has_experts()) size("expert_count", 4), size("expert_used_count", 2);
    if (type == "gemma2") number("attn_logit_softcapping", 5), number("final_logit_softcapping", 3);
    if (tokenizer) add_tokenizer(writer);
  }

  /// The file, with its matrices in `type` where their rows are whole blocks.
  /// `said`: what its metadata claims, where that is not true.
  std::vector<std::byte> gguf(BlockType block_type = BlockType::f32,
                              const FixtureModel* said = nullptr) const {
    GgufWriter writer;
    (said ? *said : *this).add_metadata(writer);
    std::vector<std::vector<std::byte>> kept;
    for (const auto& [key, tensor] : tensors) {
      const std::vector<float> values =
          architecture().neighbours_in_gguf ? interleaved(key, tensor) : tensor.values;
      const BlockInfo& info = block_info(block_type);
      const bool plain = tensor.shape.size() < 2 || tensor.shape.back() % info.values != 0;
      const BlockType stored = plain ? BlockType::f32 : block_type;
      const auto count = static_cast<std::int64_t>(values.size());
      auto& bytes = kept.emplace_back(
          static_cast<std::size_t>(count / block_info(stored).values * block_info(stored).bytes));
      encode_block_row(stored, values.data(), bytes.data(), count);
      writer.add_tensor(gguf_tensor_name(key.part, key.suffix, key.block), tensor.shape, stored,
                        bytes);
    }
    return writer.bytes();
  }

  std::string config_json() const {
    if (type == "gpt2") {
      return fmt::format(R"({{"model_type":"gpt2","vocab_size":{},"n_embd":{},"n_layer":{},)"
                         R"("n_head":{},"n_inner":{},"n_positions":{}}})",
                         vocabulary, width, blocks, heads, ffn, context);
    }
    return fmt::format(
        R"({{"model_type":"{}","vocab_size":{},"hidden_size":{},"num_hidden_layers":{},)"
        R"("num_attention_heads":{},"num_key_value_heads":{},"head_dim":{},"intermediate_size":{},)"
        R"("max_position_embeddings":{},"rms_norm_eps":1e-5,"rope_theta":1000,)"
        R"("sliding_window":{},"tie_word_embeddings":{}{}}})",
        type, vocabulary, width, blocks, heads, key_heads, head_width, ffn, context,
        window > 0 ? std::to_string(window) : "null", tied,
        has_experts() ? R"(,"num_local_experts":4,"num_experts_per_tok":2)"
        : type == "gemma2"
            ? fmt::format(R"(,"attn_logit_softcapping":5,"final_logit_softcapping":3,)"
                          R"("query_pre_attn_scalar":{})",
                          head_width)
            : "");
  }

  /// config.json and model.safetensors; `shards`: in two files with an index.
  void write_folder(const std::filesystem::path& folder, bool shards = false) const {
    const Architecture& row = architecture();
    std::map<std::string, Values> named;
    for (const auto& [key, tensor] : tensors) {
      Values stored = tensor;
      const bool matrix = key.suffix == "weight" && tensor.shape.size() == 2 && key.block >= 0;
      if (row.transposed_in_folder && matrix) stored = transposed(tensor);
      if (row.norms_less_one_in_folder && tensor.shape.size() == 1) {
        for (float& value : stored.values) value -= 1;
      }
      if (tensor.shape.size() == 3) {
        const auto size = stored.values.size() / 4;
        for (std::size_t e = 0; e < 4; ++e) {
          const auto begin = stored.values.begin() + static_cast<std::ptrdiff_t>(e * size);
          named[folder_tensor_name(row, key.part, key.suffix, key.block, static_cast<int>(e))] = {
              {tensor.shape[1], tensor.shape[2]},
              {begin, begin + static_cast<std::ptrdiff_t>(size)}};
        }
      } else {
        named[folder_tensor_name(row, key.part, key.suffix, key.block)] = stored;
      }
    }
    std::ofstream(folder / "config.json") << config_json();
    SafetensorsWriter writers[2];
    std::string index;
    std::size_t count = 0;
    for (const auto& [name, tensor] : named) {
      const std::size_t shard = shards ? count++ % 2 : 0;
      writers[shard].add(name, DType::float32, tensor.shape,
                         std::as_bytes(std::span(tensor.values)));
      index +=
          fmt::format("{}\"{}\":\"part{}.safetensors\"", index.empty() ? "" : ",", name, shard);
    }
    if (!shards) return writers[0].write(folder / "model.safetensors");
    writers[0].write(folder / "part0.safetensors");
    writers[1].write(folder / "part1.safetensors");
    std::ofstream(folder / "model.safetensors.index.json") << "{\"weight_map\":{" << index << "}}";
  }

 private:
  static void add_tokenizer(GgufWriter& writer) {
    std::vector<std::string> tokens = {"<unk>", "<s>", "</s>"};
    std::vector<std::int32_t> kinds = {2, 3, 3};
    for (int byte = 0; byte < 256; ++byte) tokens.push_back(fmt::format("<0x{:02X}>", byte));
    kinds.resize(tokens.size(), 6);
    for (char c = 'a'; tokens.size() < 299; ++c) {
      tokens.push_back(std::string(1, c > 'z' ? static_cast<char>(c - 'z' + 'A' - 1) : c));
    }
    tokens.push_back("\xe2\x96\x81");
    kinds.resize(tokens.size(), 1);
    const std::vector<std::string_view> views(tokens.begin(), tokens.end());
    const std::vector<float> scores(tokens.size(), 0);
    writer.add("tokenizer.ggml.model", std::string_view("llama"));
    writer.add_array("tokenizer.ggml.tokens", std::span(views));
    writer.add_array("tokenizer.ggml.scores", std::span<const float>(scores));
    writer.add_array("tokenizer.ggml.token_type", std::span<const std::int32_t>(kinds));
    writer.add("tokenizer.ggml.bos_token_id", std::uint32_t{1});
    writer.add("tokenizer.ggml.eos_token_id", std::uint32_t{2});
  }

  void add(const std::string& part, std::int64_t block, std::vector<std::int64_t> shape,
           const std::string& suffix = "weight") {
    const Key key{part, suffix, block};
    std::mt19937 random(static_cast<unsigned>(tensors.size() + 1));
    std::size_t count = 1;
    for (const std::int64_t size : shape) count *= static_cast<std::size_t>(size);
    const bool is_norm = part.find("norm") != std::string::npos && suffix == "weight";
    const float scale =
        shape.size() == 1 ? 0.2F : 1.5F / std::sqrt(static_cast<float>(shape.back()));
    std::vector<float> values(count);
    for (float& value : values) {
      value = (static_cast<float>(random() % 2001) / 1000 - 1) * scale + (is_norm ? 1.0F : 0.0F);
    }
    tensors[key] = {std::move(shape), std::move(values)};
  }
  void norm(const std::string& part, std::int64_t block, std::int64_t size) {
    add(part, block, {size});
    if (architecture().layer_norm) add(part, block, {size}, "bias");
  }
  void linear(const std::string& part, std::int64_t block, std::int64_t out, std::int64_t in) {
    add(part, block, {out, in});
    if (architecture().qkv_bias) add(part, block, {out}, "bias");
  }

  // Rows i and i + width/2 of each head become neighbours, as GGUF files of Llama have them.
  std::vector<float> interleaved(const Key& key, const Values& tensor) const {
    if (key.part != "attn_q" && key.part != "attn_k") return tensor.values;
    std::vector<float> result(tensor.values.size());
    const auto row = static_cast<std::size_t>(tensor.shape.size() > 1 ? tensor.shape[1] : 1);
    for (std::int64_t r = 0; r < tensor.shape[0]; ++r) {
      const std::int64_t in_head = r % head_width;
      const std::int64_t half = head_width / 2;
      const std::int64_t to = r - in_head + in_head % half * 2 + in_head / half;
      std::copy_n(tensor.values.begin() + r * static_cast<std::int64_t>(row), row,
                  result.begin() + to * static_cast<std::int64_t>(row));
    }
    return result;
  }

  static Values transposed(const Values& tensor) {
    const std::int64_t rows = tensor.shape[0];
    const std::int64_t columns = tensor.shape[1];
    Values result{{columns, rows}, std::vector<float>(tensor.values.size())};
    for (std::int64_t r = 0; r < rows; ++r) {
      for (std::int64_t c = 0; c < columns; ++c) {
        result.values[static_cast<std::size_t>(c * rows + r)] =
            tensor.values[static_cast<std::size_t>(r * columns + c)];
      }
    }
    return result;
  }
};

}  // namespace brisk
