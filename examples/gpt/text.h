// Text as tokens: a tokenizer trained on it, and batches drawn from it by seed and step alone, so
// that a run can stop anywhere and go on the same.
#pragma once

#include <cstdint>
#include <filesystem>
#include <string>
#include <vector>

#include "llm/tokenizer_spec.h"

/// Documents: a file, or all .txt files of a folder, in the order of their names.
std::vector<std::filesystem::path> text_files(const std::vector<std::filesystem::path>& given);

struct Text {
  brisk::TokenizerSpec tokenizer;
  std::vector<std::int32_t> train, held_out;  // documents end with the tokenizer's end token
  std::int64_t held_out_bytes = 0;
};

/// Trains a tokenizer of so many tokens and applies it. Documents are files, or what the character
/// U+001E separates in them. The last hundredth is held out, and is not among what the tokenizer
/// learns from either: whole documents where there are a hundred of them, else of each its end.
Text read_text(const std::vector<std::filesystem::path>& files, std::int64_t vocabulary);

/// The same, kept in these two files: read from there where they are.
Text read_text(const std::vector<std::filesystem::path>& files, std::int64_t vocabulary,
               const std::filesystem::path& folder);

/// Rows of `length` tokens, and the tokens that follow each.
struct Batch {
  std::vector<std::int32_t> tokens, next;
};
Batch random_batch(const std::vector<std::int32_t>& tokens, std::int64_t rows, std::int64_t length,
                   std::uint64_t seed, std::int64_t step);
/// The `index`th batch of the tokens in order; fewer rows are never given, so the rest is left out.
Batch batch_in_order(const std::vector<std::int32_t>& tokens, std::int64_t rows,
                     std::int64_t length, std::int64_t index);
std::int64_t batches_in_order(const std::vector<std::int32_t>& tokens, std::int64_t rows,
                              std::int64_t length);
