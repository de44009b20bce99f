// Reading a TokenizerSpec from model files. The files need not be trusted: every defect is a
// UserError of one line that names the file or the key; what is merely odd becomes one of the
// spec's warnings.
#pragma once

#include "llm/tokenizer_spec.h"

#include <filesystem>
#include <string_view>

namespace brisk {

class GgufFile;

/// From the keys tokenizer.ggml.*; the models llama, gpt2, bert, t5 and gemma4.
TokenizerSpec tokenizer_spec_from_gguf(const GgufFile& file);

/// From a Hugging Face folder: tokenizer.json, else tokenizer.model (SentencePiece), else
/// vocab.json with merges.txt (GPT-2), else vocab.txt (BERT); with tokenizer_config.json,
/// special_tokens_map.json and generation_config.json where they are.
TokenizerSpec tokenizer_spec_from_folder(const std::filesystem::path& folder);

/// From the text of tokenizer.json (model and all).
TokenizerSpec tokenizer_spec_from_json(std::string_view text);

/// From a SentencePiece model (a protobuf ModelProto) of type unigram or BPE.
TokenizerSpec tokenizer_spec_from_sentencepiece(std::string_view bytes);

}  // namespace brisk
