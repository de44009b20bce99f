// What tells the supported language models apart: one row each, over one transformer
// (transformer.h). Input: the name that a file gives; output: its row, and where its tensors are.
//
// The transformer: token embeddings (plus learned positions); blocks of x += attention(norm(x)),
// x += feed_forward(norm(x)); a last norm; a product with the output matrix. Everything that a row
// does not say follows from the file: sizes, grouped heads, experts, biases, windows, soft caps.
#pragma once

#include <cstdint>
#include <span>
#include <string>
#include <string_view>

namespace brisk {

/// A tensor by its name in GGUF ("blk.N." and ".weight" or ".bias" left out) and where a Hugging
/// Face folder keeps it ("{}" stands for the block, "[]" for the expert).
struct TensorName {
  std::string_view gguf;
  std::string_view folder;
};

struct Architecture {
  std::string_view name;              // config.json's model_type
  std::string_view gguf;              // general.architecture; several rows may share one
  std::span<const TensorName> names;  // that differ from Llama's

  // The arithmetic.
  bool layer_norm = false;         // with mean and bias; else the root of the mean square
  bool learned_positions = false;  // added to the embeddings; else rotary
  bool gated = true;               // act(gate x) · (up x); else act(up x)
  bool gelu = false;               // in its tanh form; else silu
  bool query_key_norms = false;    // over each head, before the rotation
  bool post_norms = false;         // of what attention and feed-forward add, before it is added
  bool scaled_embedding = false;   // by the square root of the width

  // How files store it.
  bool qkv_bias = false;              // a file without is refused; elsewhere biases are optional
  bool fused_qkv = false;             // query, key and value rows in one matrix
  bool neighbours_in_gguf = false;    // rotary pairs: elements 2i, 2i + 1; else i, i + width/2
  bool transposed_in_folder = false;  // matrices as [in, out]
  bool norms_less_one_in_folder = false;  // norm weights are stored minus one
};

/// By config.json's model_type or by general.architecture; nullptr when unknown.
const Architecture* find_architecture_of_folder(std::string_view model_type);
const Architecture* find_architecture_of_gguf(std::string_view name);
/// "llama, mistral, …", for error messages.
std::string architecture_names();

/// The name of tensor `part` ("attn_q") with `suffix` ("weight") in block `block` (-1: of none)
/// and, in folders, of expert `expert`.
std::string gguf_tensor_name(std::string_view part, std::string_view suffix, std::int64_t block);
std::string folder_tensor_name(const Architecture& architecture, std::string_view part,
                               std::string_view suffix, std::int64_t block,
                               std::int64_t expert = -1);

}  // namespace brisk
