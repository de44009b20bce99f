#include "llm/architectures.h"

#include "base/error.h"

#include <array>

namespace brisk {

namespace {

constexpr TensorName llama_names[] = {
    {"token_embd", "model.embed_tokens"},
    {"output_norm", "model.norm"},
    {"output", "lm_head"},
    {"attn_norm", "model.layers.{}.input_layernorm"},
    {"attn_q", "model.layers.{}.self_attn.q_proj"},
    {"attn_k", "model.layers.{}.self_attn.k_proj"},
    {"attn_v", "model.layers.{}.self_attn.v_proj"},
    {"attn_q_norm", "model.layers.{}.self_attn.q_norm"},
    {"attn_k_norm", "model.layers.{}.self_attn.k_norm"},
    {"attn_output", "model.layers.{}.self_attn.o_proj"},
    {"ffn_norm", "model.layers.{}.post_attention_layernorm"},
    {"ffn_gate", "model.layers.{}.mlp.gate_proj"},
    {"ffn_up", "model.layers.{}.mlp.up_proj"},
    {"ffn_down", "model.layers.{}.mlp.down_proj"},
};

constexpr TensorName mixtral_names[] = {
    {"ffn_gate_inp", "model.layers.{}.block_sparse_moe.gate"},
    {"ffn_gate_exps", "model.layers.{}.block_sparse_moe.experts.[].w1"},
    {"ffn_down_exps", "model.layers.{}.block_sparse_moe.experts.[].w2"},
    {"ffn_up_exps", "model.layers.{}.block_sparse_moe.experts.[].w3"},
};

constexpr TensorName gemma2_names[] = {
    {"post_attention_norm", "model.layers.{}.post_attention_layernorm"},
    {"ffn_norm", "model.layers.{}.pre_feedforward_layernorm"},
    {"post_ffw_norm", "model.layers.{}.post_feedforward_layernorm"},
};

constexpr TensorName gpt2_names[] = {
    {"token_embd", "transformer.wte"},
    {"position_embd", "transformer.wpe"},
    {"output_norm", "transformer.ln_f"},
    {"attn_norm", "transformer.h.{}.ln_1"},
    {"attn_qkv", "transformer.h.{}.attn.c_attn"},
    {"attn_output", "transformer.h.{}.attn.c_proj"},
    {"ffn_norm", "transformer.h.{}.ln_2"},
    {"ffn_up", "transformer.h.{}.mlp.c_fc"},
    {"ffn_down", "transformer.h.{}.mlp.c_proj"},
};

constexpr std::array<Architecture, 7> architectures = {{
    {.name = "llama", .gguf = "llama", .names = {}, .neighbours_in_gguf = true},
    {.name = "mistral", .gguf = "llama", .names = {}, .neighbours_in_gguf = true},
    {.name = "mixtral", .gguf = "llama", .names = mixtral_names, .neighbours_in_gguf = true},
    {.name = "qwen2", .gguf = "qwen2", .names = {}, .qkv_bias = true},
    {.name = "qwen3", .gguf = "qwen3", .names = {}, .query_key_norms = true},
    {.name = "gemma2",
     .gguf = "gemma2",
     .names = gemma2_names,
     .gelu = true,
     .post_norms = true,
     .scaled_embedding = true,
     .norms_less_one_in_folder = true},
    {.name = "gpt2",
     .gguf = "gpt2",
     .names = gpt2_names,
     .layer_norm = true,
     .learned_positions = true,
     .gated = false,
     .gelu = true,
     .qkv_bias = true,
     .fused_qkv = true,
     .transposed_in_folder = true},
}};

std::string_view find_name(std::span<const TensorName> names, std::string_view part) {
  for (const TensorName& name : names) {
    if (name.gguf == part) return name.folder;
  }
  return {};
}

void fill(std::string& name, std::string_view mark, std::int64_t number) {
  if (const auto at = name.find(mark); at != std::string::npos) {
    name.replace(at, mark.size(), std::to_string(number));
  }
}

}  // namespace

const Architecture* find_architecture_of_folder(std::string_view model_type) {
  for (const Architecture& row : architectures) {
    if (row.name == model_type) return &row;
  }
  return nullptr;
}

const Architecture* find_architecture_of_gguf(std::string_view name) {
  for (const Architecture& row : architectures) {
    if (row.gguf == name) return &row;
  }
  return nullptr;
}

std::string architecture_names() {
  std::string text;
  for (const Architecture& row : architectures) {
    text += (text.empty() ? "" : ", ") + std::string(row.name);
  }
  return text;
}

std::string gguf_tensor_name(std::string_view part, std::string_view suffix, std::int64_t block) {
  return block < 0 ? fmt::format("{}.{}", part, suffix)
                   : fmt::format("blk.{}.{}.{}", block, part, suffix);
}

std::string folder_tensor_name(const Architecture& architecture, std::string_view part,
                               std::string_view suffix, std::int64_t block, std::int64_t expert) {
  std::string_view pattern = find_name(architecture.names, part);
  if (pattern.empty()) pattern = find_name(llama_names, part);
  check(!pattern.empty(), "every part of a model has a name");
  std::string name(pattern);
  fill(name, "{}", block);
  fill(name, "[]", expert);
  return name + "." + std::string(suffix);
}

}  // namespace brisk
