#include "llm/tokenizer_train.h"

#include "base/error.h"
#include "formats/gguf.h"
#include "formats/quote.h"
#include "llm/tokenizer_model.h"
#include "llm/tokenizer_steps.h"

#include <algorithm>
#include <queue>
#include <utility>

namespace brisk {

namespace {

using Symbol = std::uint32_t;

struct Pair {
  Symbol left = 0, right = 0;
  bool operator==(const Pair&) const = default;
};
struct PairHash {
  std::size_t operator()(const Pair& pair) const {
    return (std::size_t{pair.left} << 32 | pair.right) * 0x9e3779b97f4a7c15ULL;
  }
};

// A pair as it was counted when it came into the queue; the most frequent first, then the oldest
// symbols.
struct Candidate {
  std::int64_t count = 0;
  Pair pair;
  bool operator<(const Candidate& other) const {
    if (count != other.count) return count < other.count;
    if (pair.left != other.pair.left) return pair.left > other.pair.left;
    return pair.right > other.pair.right;
  }
};

struct Word {
  std::vector<Symbol> symbols;
  std::int64_t count = 0;
};

// The words, and where each pair of neighbours stands in them.
class Merger {
 public:
  explicit Merger(std::vector<Word> words) : words_(std::move(words)) {
    for (std::size_t i = 0; i < words_.size(); ++i) count(i, 1);
    for (const auto& [pair, places] : pairs_) queue_.push({places.count, pair});
    changed_.clear();
  }

  /// The pair that stands most often now, which must be more than once.
  bool next(Pair& best) {
    while (!queue_.empty()) {
      const Candidate candidate = queue_.top();
      queue_.pop();
      const std::int64_t now = pairs_.at(candidate.pair).count;
      if (now < 2) continue;
      if (now == candidate.count) {
        best = candidate.pair;
        return true;
      }
      if (now < candidate.count) queue_.push({now, candidate.pair});
    }
    return false;
  }

  void join(const Pair& pair, Symbol symbol) {
    for (const std::size_t i : std::exchange(pairs_.at(pair).words, {})) {
      std::vector<Symbol>& symbols = words_[i].symbols;
      const auto stands_at = [&](std::size_t at) {
        return at + 1 < symbols.size() && Pair{symbols[at], symbols[at + 1]} == pair;
      };
      std::size_t first = 0;
      while (first + 1 < symbols.size() && !stands_at(first)) ++first;
      if (first + 1 >= symbols.size()) continue;  // a word that is listed twice
      count(i, -1);
      std::size_t to = first;
      for (std::size_t from = first; from < symbols.size(); ++to) {
        const bool joins = stands_at(from);
        symbols[to] = joins ? symbol : symbols[from];
        from += joins ? 2 : 1;
      }
      symbols.resize(to);
      count(i, 1);
    }
    for (const Pair& grown : changed_) queue_.push({pairs_.at(grown).count, grown});
    changed_.clear();
  }

 private:
  struct Places {
    std::int64_t count = 0;
    std::vector<std::size_t> words;  // some more than once, and some without it by now
  };

  void count(std::size_t i, int sign) {
    const Word& word = words_[i];
    for (std::size_t at = 0; at + 1 < word.symbols.size(); ++at) {
      const Pair pair = {word.symbols[at], word.symbols[at + 1]};
      Places& places = pairs_[pair];
      places.count += sign * word.count;
      if (sign < 0) continue;
      if (places.words.empty() || places.words.back() != i) places.words.push_back(i);
      if (changed_.empty() || !(changed_.back() == pair)) changed_.push_back(pair);
    }
  }

  std::vector<Word> words_;
  std::unordered_map<Pair, Places, PairHash> pairs_;
  std::priority_queue<Candidate> queue_;
  std::vector<Pair> changed_;  // since the queue heard of them
};

}  // namespace

TokenizerTrainer::TokenizerTrainer(std::string pre_name) : pre_name_(std::move(pre_name)) {
  NamedPreTokenizer named = named_pre_tokenizer(pre_name_);
  if (!named.known || !named.byte_level)
    user_error(
        "{} is no pre-tokenizer of byte-level BPE that brisk knows; \"gpt-2\" and "
        "\"llama-bpe\" are",
        quote(pre_name_));
  cutter_ = PreTokenizer(std::move(named.steps));
}

void TokenizerTrainer::add(std::string_view text) {
  constexpr std::size_t portion = 1 << 20;
  while (!text.empty()) {
    std::size_t end = std::min(portion, text.size());
    if (end < text.size()) {  // at a line's end, if there is one
      const std::size_t line = text.rfind('\n', end);
      if (line != std::string_view::npos && line > 0) end = line;
    }
    const auto pieces = cutter_.cut(std::string(text.substr(0, end)), true, scratch_);
    for (const TextSpan& span : pieces.spans)
      ++pieces_[pieces.text.substr(span.begin, span.end - span.begin)];
    text.remove_prefix(end);
  }
}

TokenizerSpec TokenizerTrainer::train(std::int64_t vocabulary,
                                      const std::vector<std::string>& special) const {
  const auto joins = vocabulary - 256 - static_cast<std::int64_t>(special.size());
  if (joins < 0)
    user_error("a vocabulary of {} tokens is too small for 256 bytes and {} special tokens",
               vocabulary, special.size());
  // In the order of their bytes: that of a hash table is another on every machine.
  std::vector<std::pair<std::string_view, std::int64_t>> sorted(pieces_.begin(), pieces_.end());
  std::sort(sorted.begin(), sorted.end());
  std::vector<Word> words;
  for (const auto& [piece, count] : sorted) {
    Word word{{}, count};
    for (const char byte : piece) word.symbols.push_back(static_cast<unsigned char>(byte));
    words.push_back(std::move(word));
  }

  TokenizerSpec spec;
  spec.byte_level = true;
  spec.pre_name = pre_name_;
  spec.pre_tokenize = named_pre_tokenizer(pre_name_).steps;
  spec.ignore_merges = named_pre_tokenizer(pre_name_).ignore_merges;
  for (int byte = 0; byte < 256; ++byte)
    spec.tokens.push_back(bytes_to_alphabet(std::string(1, static_cast<char>(byte))));
  Merger merger(std::move(words));
  Pair best;
  while (static_cast<std::int64_t>(spec.merges.size()) < joins && merger.next(best)) {
    merger.join(best, static_cast<Symbol>(spec.tokens.size()));
    spec.merges.push_back({spec.tokens[best.left], spec.tokens[best.right]});
    spec.tokens.push_back(spec.tokens[best.left] + spec.tokens[best.right]);
  }
  spec.kinds.assign(spec.tokens.size(), TokenKind::normal);
  if (!special.empty()) spec.bos = spec.eos = static_cast<TokenId>(spec.tokens.size());
  for (const std::string& text : special) {
    spec.tokens.push_back(text);
    spec.kinds.push_back(TokenKind::control);
  }
  add_tokens_by_kind(spec);
  return spec;
}

void write_tokenizer(GgufWriter& file, const TokenizerSpec& spec) {
  if (spec.model != TokenizerSpec::Model::merge_by_rank || !spec.byte_level)
    user_error("only tokenizers of byte-level BPE can be written to GGUF files");
  std::vector<std::string_view> tokens(spec.tokens.begin(), spec.tokens.end());
  std::vector<std::int32_t> kinds;
  for (std::size_t i = 0; i < tokens.size(); ++i)
    kinds.push_back(
        static_cast<std::int32_t>(spec.kinds.empty() ? TokenKind::normal : spec.kinds[i]));
  std::vector<std::string> merges;
  for (const auto& [left, right] : spec.merges) merges.push_back(left + " " + right);
  const std::vector<std::string_view> lines(merges.begin(), merges.end());
  file.add("tokenizer.ggml.model", std::string_view("gpt2"));
  file.add("tokenizer.ggml.pre", std::string_view(spec.pre_name));
  file.add_array("tokenizer.ggml.tokens", std::span<const std::string_view>(tokens));
  file.add_array("tokenizer.ggml.token_type", std::span<const std::int32_t>(kinds));
  file.add_array("tokenizer.ggml.merges", std::span<const std::string_view>(lines));
  const auto add_id = [&](std::string_view key, TokenId id) {
    if (id != no_token) file.add(key, static_cast<std::uint32_t>(id));
  };
  add_id("tokenizer.ggml.bos_token_id", spec.bos);
  add_id("tokenizer.ggml.eos_token_id", spec.eos);
  add_id("tokenizer.ggml.unknown_token_id", spec.unk);
  add_id("tokenizer.ggml.padding_token_id", spec.pad);
  const auto around = [](const std::vector<TokenId>& tokens, TokenId id) {
    return id != no_token && std::find(tokens.begin(), tokens.end(), id) != tokens.end();
  };
  file.add("tokenizer.ggml.add_bos_token", around(spec.prefix, spec.bos));
  file.add("tokenizer.ggml.add_eos_token", around(spec.suffix, spec.eos));
}

}  // namespace brisk
