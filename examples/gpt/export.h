// The trained model as a GGUF file, which brisk and every other runner of such files loads.
#pragma once

#include <filesystem>
#include <string>

#include "formats/quant_blocks.h"
#include "llama.h"
#include "llm/tokenizer_spec.h"

/// Matrices in `type` (the embedding, which is the output matrix too, in 8 bits where the others
/// have fewer), vectors in float32.
void export_gguf(const std::filesystem::path& path, Llama& model,
                 const brisk::TokenizerSpec& tokenizer, const std::string& name,
                 brisk::BlockType type);

/// Mean cross-entropy in nats of the file's model on the tokens, in rows of its context.
double held_out_loss(const std::filesystem::path& path, const std::vector<std::int32_t>& tokens,
                     std::int64_t most_rows);
