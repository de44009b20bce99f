// Text → token ids and back, for every family of tokenizer that GGUF and Hugging Face files use.
// Built from a TokenizerSpec (tokenizer_load.h reads one from a file); immutable, safe to share by
// threads.
#pragma once

#include "llm/tokenizer_spec.h"

#include <memory>
#include <span>
#include <string>
#include <string_view>
#include <vector>

namespace brisk {

class Tokenizer {
 public:
  /// UserError when the spec contradicts itself (lengths, ids outside the vocabulary, scores that
  /// are not finite, patterns that do not compile).
  explicit Tokenizer(TokenizerSpec spec);
  Tokenizer(Tokenizer&&) noexcept;
  Tokenizer& operator=(Tokenizer&&) noexcept;
  ~Tokenizer();

  /// add_special: the model's own tokens around the text (BOS, EOS, …). parse_special: the text's
  /// spellings of special tokens become those tokens; leave it off for text of unknown origin.
  std::vector<TokenId> encode(std::string_view text, bool add_special = true,
                              bool parse_special = false) const;

  /// The bytes that a token adds to the text, perhaps a part of a character. `at_start`: nothing
  /// comes before it. UserError for an id outside the vocabulary.
  std::string piece(TokenId id, bool at_start = false) const;
  /// The whole text as UTF-8 (U+FFFD for what is not); skip_special leaves out control tokens.
  std::string decode(std::span<const TokenId> ids, bool skip_special = false) const;

  TokenId size() const;
  const std::string& token(TokenId id) const;  // spelled as in the file
  TokenId find(std::string_view token) const;  // by that spelling; no_token when there is none
  bool is_special(TokenId id) const;           // control and unknown tokens
  bool is_end_of_generation(TokenId id) const;
  TokenId bos() const { return spec().bos; }
  TokenId eos() const { return spec().eos; }
  const std::vector<std::string>& warnings() const { return spec().warnings; }
  const TokenizerSpec& spec() const;

 private:
  struct State;
  std::unique_ptr<const State> state_;
};

/// Tokens in, text out as soon as it is complete: bytes of an unfinished character are held back.
class StreamDecoder {
 public:
  /// `at_start` as in Tokenizer::piece, for the first token. The tokenizer must outlive the
  /// decoder.
  explicit StreamDecoder(const Tokenizer& tokenizer, bool skip_special = true,
                         bool at_start = false);
  std::string push(TokenId id);
  /// What is left at the end; an unfinished character becomes U+FFFD.
  std::string finish();

 private:
  const Tokenizer& tokenizer_;
  bool skip_special_, at_start_;
  std::string pending_;
};

}  // namespace brisk
