#include "export.h"

#include <algorithm>
#include <cmath>
#include <list>
#include <string_view>
#include <vector>

#include "formats/gguf.h"
#include "formats/quantise.h"
#include "llm/model.h"
#include "llm/tokenizer_train.h"
#include "text.h"

void export_gguf(const std::filesystem::path& path, Llama& model,
                 const brisk::TokenizerSpec& tokenizer, const std::string& name,
                 brisk::BlockType type) {
  using brisk::BlockType;
  const LlamaConfig& c = model.config;
  brisk::GgufWriter file;
  const auto number = [&](std::string_view key, std::int64_t value) {
    file.add(key, static_cast<std::uint32_t>(value));
  };
  file.add("general.architecture", std::string_view("llama"));
  file.add("general.name", std::string_view(name));
  number("llama.vocab_size", static_cast<std::int64_t>(tokenizer.tokens.size()));
  number("llama.context_length", c.context);
  number("llama.embedding_length", c.width);
  number("llama.block_count", c.blocks);
  number("llama.feed_forward_length", c.ffn_width);
  number("llama.attention.head_count", c.heads);
  number("llama.attention.head_count_kv", c.key_heads);
  number("llama.rope.dimension_count", c.head_width());
  file.add("llama.rope.freq_base", static_cast<float>(c.rotary_base));
  file.add("llama.attention.layer_norm_rms_epsilon", static_cast<float>(c.norm_epsilon));
  brisk::write_tokenizer(file, tokenizer);

  std::list<std::vector<std::byte>> all;  // until the file is written
  for (const auto& [tensor_name, tensor] : brisk::nn::named_parameters(model)) {
    const std::vector<std::int64_t> shape = tensor.shape();
    const std::vector<float> values = tensor.to_vector<float>();
    const bool small = type == BlockType::q4_0;
    const BlockType stored = shape.size() == 1                                ? BlockType::f32
                             : small && tensor_name.starts_with("token_embd") ? BlockType::q8_0
                                                                              : type;
    const brisk::BlockInfo& info = brisk::block_info(stored);
    const auto count = static_cast<std::int64_t>(values.size());
    std::vector<std::byte>& blocks =
        all.emplace_back(static_cast<std::size_t>(count / info.values * info.bytes));
    brisk::encode_block_row(stored, values.data(), blocks.data(), count);
    file.add_tensor(tensor_name, shape, stored, blocks);
  }
  file.write(path);
}

double held_out_loss(const std::filesystem::path& path, const std::vector<std::int32_t>& tokens,
                     std::int64_t most_rows) {
  const brisk::Model model = brisk::Model::load(path);
  const std::int64_t length = model.config().context;
  const auto vocabulary = static_cast<std::size_t>(model.config().vocabulary);
  const std::int64_t rows = std::min(most_rows, batches_in_order(tokens, 1, length));
  brisk::Session session(model, {.context = length, .batch = length});
  double total = 0;
  for (std::int64_t row = 0; row < rows; ++row) {
    const Batch batch = batch_in_order(tokens, 1, length, row);
    session.rewind();
    const std::vector<float> logits = session.trace(batch.tokens).logits;
    for (std::size_t i = 0; i < batch.next.size(); ++i) {
      const auto first = logits.begin() + static_cast<std::ptrdiff_t>(i * vocabulary);
      const float top = *std::max_element(first, first + static_cast<std::ptrdiff_t>(vocabulary));
      double sum = 0;
      for (std::size_t v = 0; v < vocabulary; ++v)
        sum += std::exp(static_cast<double>(first[static_cast<std::ptrdiff_t>(v)] - top));
      total += std::log(sum) + static_cast<double>(top - first[batch.next[i]]);
    }
  }
  return total / static_cast<double>(rows * length);
}
