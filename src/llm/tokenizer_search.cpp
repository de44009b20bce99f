// WordPiece (the longest token at each place) and unigram (the path of greatest score), both by
// walking a trie of the tokens.
#include "llm/tokenizer_model.h"
#include "llm/unicode.h"

#include <algorithm>
#include <limits>

namespace brisk {

namespace {

TokenTrie make_trie(const TokenizerSpec& spec, std::span<const std::string> texts) {
  std::vector<std::pair<std::string_view, TokenId>> entries;
  for (std::size_t id = 0; id < texts.size(); ++id)
    if (takes_part(spec, static_cast<TokenId>(id)))
      entries.emplace_back(texts[id], static_cast<TokenId>(id));
  return TokenTrie(std::move(entries));
}

class WordPieceModel : public TokenizerModel {
 public:
  WordPieceModel(const TokenizerSpec& spec, std::span<const std::string> texts)
      : trie_(make_trie(spec, texts)),
        first_(trie_.walk(TokenTrie::root, spec.word_prefix)),
        further_(trie_.walk(TokenTrie::root, spec.continuing_prefix)),
        unk_(spec.unk),
        max_chars_(spec.max_word_chars) {}

  std::unique_ptr<Scratch> make_scratch() const override { return std::make_unique<Scratch>(); }

  void encode(std::string_view word, Scratch&, std::vector<TokenId>& out) const override {
    const std::size_t size = out.size();
    if (!too_long(word) && encode_word(word, out)) return;
    out.resize(size);
    if (unk_ != no_token) out.push_back(unk_);
  }

 private:
  bool too_long(std::string_view word) const {
    if (max_chars_ == 0) return false;
    const auto starts =
        std::count_if(word.begin(), word.end(), [](char c) { return (c & 0xc0) != 0x80; });
    return static_cast<std::size_t>(starts) > max_chars_;
  }

  bool encode_word(std::string_view word, std::vector<TokenId>& out) const {
    for (std::size_t at = 0; at < word.size();) {
      std::uint32_t node = at == 0 ? first_ : further_;
      TokenId best = no_token;
      std::size_t best_end = at;
      for (std::size_t i = at; i < word.size() && node != TokenTrie::none; ++i) {
        node = trie_.step(node, word[i]);
        if (node != TokenTrie::none && trie_.value(node) != no_token)
          best = trie_.value(node), best_end = i + 1;
      }
      if (best == no_token) return false;
      out.push_back(best);
      at = best_end;
    }
    return true;
  }

  TokenTrie trie_;
  std::uint32_t first_, further_;  // where the walk of a word's first and further tokens begins
  TokenId unk_;
  std::size_t max_chars_;
};

struct UnigramScratch : TokenizerModel::Scratch {
  struct Path {
    double score = -std::numeric_limits<double>::infinity();
    std::uint32_t begin = 0;  // of its last token
    TokenId id = no_token;
  };
  std::vector<Path> paths;  // the best to each byte offset
  std::vector<std::uint32_t> ends;
};

class UnigramModel : public TokenizerModel {
 public:
  UnigramModel(const TokenizerSpec& spec, std::span<const std::string> texts)
      : spec_(spec),
        trie_(make_trie(spec, texts)),
        unknown_(spec),
        independent_words_(words_are_independent(spec, texts)) {
    double lowest = 0;
    for (std::size_t id = 0; id < texts.size(); ++id)
      if (takes_part(spec, static_cast<TokenId>(id))) lowest = std::min(lowest, spec.scores[id]);
    unknown_score_ = lowest - 10;  // SentencePiece's penalty
  }

  std::unique_ptr<Scratch> make_scratch() const override {
    return std::make_unique<UnigramScratch>();
  }

  void encode(std::string_view piece, Scratch& scratch, std::vector<TokenId>& out) const override {
    auto& own = static_cast<UnigramScratch&>(scratch);
    if (independent_words_)
      for_each_marked_word(piece, [&](std::string_view word) { encode_word(word, own, out); });
    else
      encode_word(piece, own, out);
  }

 private:
  double score(TokenId id) const {
    const bool user = !spec_.kinds.empty() && spec_.kinds[id] == TokenKind::user_defined;
    return user ? 0 : spec_.scores[id];
  }

  void encode_word(std::string_view word, UnigramScratch& own, std::vector<TokenId>& out) const {
    auto& paths = own.paths;
    paths.assign(word.size() + 1, {});
    paths[0].score = 0;
    for (std::size_t at = 0; at < word.size();) {
      const std::size_t next = at + decode_utf8(word, at).length;
      const auto offer = [&](std::size_t end, double added, TokenId id) {
        const double total = paths[at].score + added;
        if (total > paths[end].score) paths[end] = {total, static_cast<std::uint32_t>(at), id};
      };
      bool single = false;
      std::uint32_t node = TokenTrie::root;
      for (std::size_t i = at; i < word.size(); ++i) {
        node = trie_.step(node, word[i]);
        if (node == TokenTrie::none) break;
        if (const TokenId id = trie_.value(node); id != no_token) {
          offer(i + 1, score(id), id);
          single |= i + 1 == next;
        }
      }
      if (!single) offer(next, unknown_score_, no_token);
      at = next;
    }
    own.ends.clear();
    for (std::size_t end = word.size(); end > 0; end = paths[end].begin)
      own.ends.push_back(static_cast<std::uint32_t>(end));
    bool was_unknown = false;
    for (auto end = own.ends.rbegin(); end != own.ends.rend(); ++end) {
      const auto& path = paths[*end];
      if (path.id != no_token)
        out.push_back(path.id);
      else
        unknown_.append(word.substr(path.begin, *end - path.begin), was_unknown, out);
      was_unknown = path.id == no_token;
    }
  }

  const TokenizerSpec& spec_;
  TokenTrie trie_;
  UnknownText unknown_;
  bool independent_words_;
  double unknown_score_ = 0;
};

}  // namespace

std::unique_ptr<TokenizerModel> make_wordpiece_model(const TokenizerSpec& spec,
                                                     std::span<const std::string> texts) {
  return std::make_unique<WordPieceModel>(spec, texts);
}

std::unique_ptr<TokenizerModel> make_unigram_model(const TokenizerSpec& spec,
                                                   std::span<const std::string> texts) {
  return std::make_unique<UnigramModel>(spec, texts);
}

}  // namespace brisk
