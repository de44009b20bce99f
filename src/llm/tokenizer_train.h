// Learning a tokenizer from text: byte-level BPE, as GPT-2 and Llama 3 use it (Sennrich, Haddow and
// Birch 2016, over bytes). Every text has tokens, and every token spells bytes.
#pragma once

#include "llm/tokenizer_spec.h"

#include <cstdint>
#include <string>
#include <string_view>
#include <unordered_map>
#include <vector>

namespace brisk {

class GgufWriter;

/// Counts the pieces of text that it is given, then joins the most frequent pair of neighbours into
/// a token, again and again. The same text gives the same tokenizer, in whatever portions it came.
class TokenizerTrainer {
 public:
  /// `pre_name`: how text is cut into pieces, by the names of tokenizer.ggml.pre ("gpt-2",
  /// "llama-bpe", …); UserError where brisk does not know it, or where it does not work on bytes.
  explicit TokenizerTrainer(std::string pre_name = "gpt-2");

  /// A document, or any portion of text that ends where a piece does (at an end of line, say).
  void add(std::string_view text);

  /// Of `vocabulary` tokens: the 256 bytes, what was joined in the order in which it was, then the
  /// special ones, of which the first begins and ends texts. Fewer where the text gives out: pairs
  /// that stand only once are not joined. UserError where not even bytes and special tokens fit.
  TokenizerSpec train(std::int64_t vocabulary,
                      const std::vector<std::string>& special = {"<|endoftext|>"}) const;

 private:
  std::string pre_name_;
  PreTokenizer cutter_;
  MatchScratch scratch_;
  std::unordered_map<std::string, std::int64_t> pieces_;  // and how often each was seen
};

/// The keys tokenizer.ggml.* of a byte-level BPE tokenizer; UserError for another.
void write_tokenizer(GgufWriter& file, const TokenizerSpec& spec);

}  // namespace brisk
