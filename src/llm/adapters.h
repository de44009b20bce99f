// Low-rank adapters (LoRA: Hu et al., arXiv:2106.09685) of a language model: to the product with a
// frozen matrix W [out, in] comes alpha / rank · B A x, A [rank, in] at random and B [out, rank] of
// zeros at first. Input: a model and which of its matrices to adapt; output: parameters to train,
// files as Hugging Face's PEFT has them, and the model with the adapters added to its matrices.
#pragma once

#include <cstdint>
#include <filesystem>
#include <map>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "brisk/nn.h"
#include "llm/model.h"

namespace brisk {

struct AdapterOptions {
  std::int64_t rank = 8;
  double alpha = 16;
  /// Names of matrices as in the model's Hugging Face form: q_proj, k_proj, v_proj, o_proj,
  /// gate_proj, up_proj, down_proj; of GPT-2 c_attn, attn.c_proj, c_fc, mlp.c_proj.
  std::vector<std::string> targets = {"q_proj", "k_proj", "v_proj", "o_proj"};
};

class Adapters {
 public:
  /// The model must outlive it. UserError where a target names no matrix of it.
  Adapters(const Model& model, AdapterOptions options);
  /// From adapter_config.json and adapter_model.safetensors in a folder.
  static Adapters load(const Model& model, const std::filesystem::path& folder);

  /// What comes to a product (transformer.h).
  Tensor operator()(std::string_view part, std::int64_t block, const Tensor& x) const;
  std::vector<Tensor> parameters() const;
  /// By PEFT's names, "base_model.model.model.layers.0.self_attn.q_proj.lora_A.weight", in the
  /// order of rows that the model's file has.
  nn::State state() const;

  /// adapter_config.json and adapter_model.safetensors, rows in the order of Hugging Face's form.
  void save(const std::filesystem::path& folder) const;
  /// The model's file with the adapters added to its matrices, which become `type` (where their
  /// rows are no whole blocks of it, float16); all else stays as it is. A GGUF file, or of a model
  /// in Hugging Face's form a folder, whose matrices keep their dtype.
  void merge(const std::filesystem::path& path, BlockType type = BlockType::f16) const;

 private:
  struct Pair {
    Tensor a, b;            // [rank, in], [out, rank]
    const Weight* weight;   // what they adapt
    std::string name;       // of the matrix in the folder form, without ".weight"
    std::string file_name;  // in the model's file
    std::int64_t heads;     // whose rows GGUF files have in another order; 0: none
  };
  std::vector<float> merged(const Pair& pair) const;
  void merge_gguf(const std::filesystem::path& path, BlockType type) const;
  void merge_folder(const std::filesystem::path& path) const;
  double scale() const { return options_.alpha / static_cast<double>(options_.rank); }

  const Model& model_;
  AdapterOptions options_;
  std::map<std::pair<std::string, std::int64_t>, Pair, std::less<>> pairs_;
};

}  // namespace brisk
