// The algorithms that turn one piece of text into token ids: BPE merges by rank or by score,
// WordPiece, unigram. All take any bytes, and time that grows as n log n at most.
#pragma once

#include "llm/tokenizer_index.h"
#include "llm/tokenizer_spec.h"

#include <array>
#include <memory>
#include <span>
#include <string>
#include <string_view>
#include <vector>

namespace brisk {

/// What a symbol without a token becomes: its bytes' tokens, else the unknown token, else nothing.
class UnknownText {
 public:
  explicit UnknownText(const TokenizerSpec& spec);
  /// `follows`: the symbol before was unknown too and of the same piece.
  void append(std::string_view text, bool follows, std::vector<TokenId>& out) const;

 private:
  std::array<TokenId, 256> bytes_;  // <0x00> … <0xFF>; no_token where there is none
  TokenId unk_;
  bool fuse_;
};

class TokenizerModel {
 public:
  virtual ~TokenizerModel() = default;
  /// Working memory, reused between calls by one thread.
  struct Scratch;
  virtual std::unique_ptr<Scratch> make_scratch() const = 0;
  virtual void encode(std::string_view piece, Scratch& scratch,
                      std::vector<TokenId>& out) const = 0;
};

struct TokenizerModel::Scratch {
  virtual ~Scratch() = default;
};

/// `texts`: the tokens' texts as the model sees them (byte-level ones as bytes); they and the spec
/// must outlive the model. Tokens that only an exact request may give (control, unknown, byte) take
/// no part.
std::unique_ptr<TokenizerModel> make_merge_model(const TokenizerSpec& spec,
                                                 std::span<const std::string> texts,
                                                 const TokenIndex& index);
std::unique_ptr<TokenizerModel> make_wordpiece_model(const TokenizerSpec& spec,
                                                     std::span<const std::string> texts);
std::unique_ptr<TokenizerModel> make_unigram_model(const TokenizerSpec& spec,
                                                   std::span<const std::string> texts);

/// Whether ordinary text may become this token.
bool takes_part(const TokenizerSpec& spec, TokenId id);

/// The byte of a token spelled <0xXX>, or -1.
int byte_of_token(std::string_view text);

/// GPT-2's alphabet: printable Latin-1 bytes stand for themselves, the other 68 are U+0100 onwards.
/// to_bytes returns false, and leaves `out` alone, when the text holds any other character.
bool alphabet_to_bytes(std::string_view text, std::string& out);
std::string bytes_to_alphabet(std::string_view bytes);

/// Calls visit(word) for the parts of a text whose words begin with U+2581.
template <typename Visit>
void for_each_marked_word(std::string_view text, Visit visit) {
  constexpr std::string_view marker = "\u2581";
  std::size_t begin = 0, search = 0;
  while (search < text.size()) {
    while (text.substr(search).starts_with(marker)) search += marker.size();
    const std::size_t end = std::min(text.find(marker, search), text.size());
    visit(text.substr(begin, end - begin));
    begin = search = end;
  }
}

/// True when no token holds U+2581 after another character, so that text may be cut before each run
/// of it without changing any result.
bool words_are_independent(const TokenizerSpec& spec, std::span<const std::string> texts);

}  // namespace brisk
