// A tokenizer as plain data: what the loaders read from a file and Tokenizer is built from.
#pragma once

#include "llm/pretokenizer.h"
#include "llm/tokenizer_normalizer.h"

#include <cstddef>
#include <cstdint>
#include <string>
#include <vector>

namespace brisk {

using TokenId = std::int32_t;
inline constexpr TokenId no_token = -1;

enum class TokenKind : std::uint8_t {  // the numbers of tokenizer.ggml.token_type
  normal = 1,
  unknown = 2,
  control = 3,
  user_defined = 4,
  unused = 5,
  byte = 6,
};

/// A token that is found in the text before anything else happens to it.
struct AddedToken {
  TokenId id = no_token;
  std::string text;
  bool special = false;      // only found where the caller asks for special tokens
  bool single_word = false;  // only between characters that are not part of a word
  bool strip_left = false, strip_right = false;  // takes the white space around it along
};

struct TokenizerSpec {
  enum class Model : std::uint8_t {
    merge_by_rank,   // BPE: pairs of symbols merge in the order of `merges`
    merge_by_score,  // BPE as SentencePiece does it: the pair whose joined text scores best
    wordpiece,       // the longest token at each place of a word
    unigram,         // the split of greatest summed score
  };
  struct Merge {
    std::string left, right;
  };

  Model model = Model::merge_by_rank;
  std::vector<std::string> tokens;  // by id, spelled as in the file
  std::vector<double> scores;       // merge_by_score and unigram: one per token
  std::vector<TokenKind> kinds;     // none: all normal
  std::vector<Merge> merges;        // merge_by_rank
  std::vector<AddedToken> added;

  bool byte_level = false;     // symbols are bytes, spelled in GPT-2's alphabet of 256 characters
  bool byte_fallback = false;  // characters without a token become tokens <0x00> … <0xFF>
  bool fuse_unknown = false;   // neighbouring unknown symbols give one unknown token
  bool ignore_merges = false;  // merge_by_rank: a piece that is itself a token stays whole
  std::string word_prefix;     // wordpiece: stands before the first token of a word
  std::string continuing_prefix;   // stands before tokens that continue a word ("##")
  std::string word_suffix;         // merge_by_rank: ends the last token of a word ("</w>")
  std::size_t max_word_chars = 0;  // wordpiece: longer words are unknown; 0: no limit

  std::vector<NormalizeStep> normalize;
  std::vector<PreTokenizeStep> pre_tokenize;
  std::vector<TokenId> prefix, suffix;  // what encode's add_special puts around the text

  // Decoding.
  bool space_marker = false;         // U+2581 is a space
  bool strip_leading_space = false;  // a space that begins the whole text is dropped
  bool words_apart = false;          // tokens without continuing_prefix get a space before them
  bool clean_up_spaces = false;      // " ." and the like lose their space, as in transformers

  TokenId bos = no_token, eos = no_token, unk = no_token, pad = no_token, eot = no_token;
  std::vector<TokenId> end_of_generation;  // besides eos, eot and the names that everyone uses
  std::string pre_name;                    // tokenizer.ggml.pre
  std::vector<std::string> warnings;       // what the user should be told, one sentence each
};

}  // namespace brisk
