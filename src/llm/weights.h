// The tensors of one language model, where they lie in its file. Input: a GGUF file or a Hugging
// Face folder (or one .safetensors file in it), which need not be trusted; output: every tensor
// that the configuration asks for, of the shape that it asks for, read from the mapping without a
// copy. What is missing or of another shape is a UserError of one line that names file and tensor.
#pragma once

#include "brisk/tensor.h"
#include "formats/quant_blocks.h"
#include "llm/config.h"

#include <cstdint>
#include <filesystem>
#include <memory>
#include <optional>
#include <span>
#include <string>
#include <vector>

namespace brisk {

class GgufFile;
class Safetensors;

/// A tensor of a file. `shape` is outermost first; its rows lie one after another in blocks.
struct StoredTensor {
  std::string name;
  BlockType type = BlockType::f32;
  std::vector<std::int64_t> shape;
  std::span<const std::byte> bytes;
};

/// A model's file, of either form.
class ModelFile {
 public:
  static ModelFile open(const std::filesystem::path& path);
  /// GGUF from bytes that outlive the result and what is loaded from it.
  static ModelFile parse_gguf(std::span<const std::byte> bytes, std::string name);

  const std::string& name() const;
  const std::filesystem::path& folder() const { return folder_; }  // of a Hugging Face model
  const GgufFile* gguf() const { return gguf_.get(); }             // null for folders
  ModelConfig config() const;
  std::vector<StoredTensor> tensors() const;
  std::optional<StoredTensor> find(const std::string& name) const;
  /// Keeps the mapping.
  std::shared_ptr<const void> owner() const;
  /// The mapped files' bytes, all of them.
  std::vector<std::span<const std::byte>> mapped() const;

 private:
  std::shared_ptr<const GgufFile> gguf_;
  std::shared_ptr<const Safetensors> safetensors_;
  std::filesystem::path folder_;
};

/// To what values are rounded before they meet a matrix, for speed.
enum class Rounding : std::uint8_t {
  none,    // everything is float32
  bytes,   // to 8 bits before a quantised matrix, so that integers are multiplied
           // (formats/quant_tensors.h)
  halves,  // to 16 bits before a matrix that is not of float32, for units that multiply them
};

/// One tensor of the model, perhaps absent.
struct Weight {
  Tensor stored;  // elements of a floating-point type, or uint8 rows of blocks
  BlockType type = BlockType::f32;
  BlockLayout layout = BlockLayout::blocks;
  std::vector<std::int64_t> shape;
  bool transposed = false;  // stored with the two axes of `shape` swapped
  bool less_one = false;    // stored minus one

  explicit operator bool() const { return stored.defined(); }
  /// float32 of `shape`, lazy; undefined when absent.
  Tensor value() const;
  /// The floating-point type of 16 bits that the matrix meets others in: its own, or bfloat16;
  /// none where it is of float32.
  DType half() const;
  /// x [rows, in] times the transpose of this matrix [out, in], lazy, in float32.
  Tensor product(const Tensor& x, Rounding rounding) const;
};

/// A matrix [out, in] or a norm's weight, with its bias.
struct WeightBias {
  Weight weight;
  Weight bias;  // perhaps absent
};

struct BlockWeights {
  WeightBias attention_norm, query, key, value, query_key_value, attention_output;
  WeightBias query_norm, key_norm, post_attention_norm;
  WeightBias ffn_norm, gate, up, down, post_ffn_norm;
  WeightBias router;                              // [experts, width]
  Weight gate_experts, up_experts, down_experts;  // [experts, out, in]
};

struct ModelWeights {
  Weight token_embedding;     // [vocabulary, width]
  Weight position_embedding;  // [context, width]
  std::vector<BlockWeights> blocks;
  WeightBias output_norm;
  WeightBias output;  // without weight: the token embedding
};

/// Also completes `config` by what only the tensors say: the vocabulary's size, rotary factors, and
/// whether the output is tied.
ModelWeights load_weights(const ModelFile& file, ModelConfig& config);

}  // namespace brisk
