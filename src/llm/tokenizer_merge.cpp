// Byte pair encoding: the best pair of neighbouring symbols merges until none does. A heap of pairs
// over a linked list of symbols; equal pairs merge from left to right.
#include "llm/tokenizer_model.h"
#include "llm/unicode.h"

#include <algorithm>

namespace brisk {

namespace {

struct Symbol {
  std::uint32_t begin = 0, size = 0;  // bytes of the word; size 0: merged away
  std::int32_t previous = -1, next = -1;
  TokenId id = no_token;
};

struct Candidate {
  double cost = 0;  // the lowest merges first
  std::int32_t left = 0;
  std::uint32_t size = 0;  // of both symbols when the pair was seen: another size means it is gone
  TokenId result = no_token;
  bool operator<(const Candidate& other) const {  // the heap's top is the greatest
    return cost != other.cost ? cost > other.cost : left > other.left;
  }
};

struct MergeScratch : TokenizerModel::Scratch {
  std::vector<Symbol> symbols;
  std::vector<Candidate> heap;
  std::string text;
};

class MergeModel : public TokenizerModel {
 public:
  MergeModel(const TokenizerSpec& spec, std::span<const std::string> texts, const TokenIndex& index)
      : spec_(spec),
        index_(index),
        unknown_(spec),
        by_score_(spec.model == TokenizerSpec::Model::merge_by_score),
        independent_words_(words_are_independent(spec, texts)) {
    if (by_score_) return;
    merges_.reserve(spec.merges.size());
    std::string left, right, joined;
    const auto spelled = [&](const std::string& text, std::string& bytes) -> std::string_view {
      return spec.byte_level && alphabet_to_bytes(text, bytes) ? bytes : text;
    };
    for (std::size_t rank = 0; rank < spec.merges.size(); ++rank) {
      const std::string_view first = spelled(spec.merges[rank].left, left);
      std::string_view second = spelled(spec.merges[rank].right, right);
      const TokenId left_id = index.find(first), right_id = index.find(second);
      if (left_id == no_token || right_id == no_token) continue;
      if (second.starts_with(spec.continuing_prefix))
        second.remove_prefix(spec.continuing_prefix.size());
      joined.assign(first).append(second);
      const TokenId result = index.find(joined);
      // A merge that names no token can never apply.
      if (result != no_token)
        merges_.add(left_id, right_id, {static_cast<std::uint32_t>(rank), result});
    }
  }

  std::unique_ptr<Scratch> make_scratch() const override {
    return std::make_unique<MergeScratch>();
  }

  void encode(std::string_view piece, Scratch& scratch, std::vector<TokenId>& out) const override {
    auto& own = static_cast<MergeScratch&>(scratch);
    if (spec_.ignore_merges) {
      if (const TokenId id = index_.find(piece); id != no_token) return out.push_back(id);
    }
    if (independent_words_)
      for_each_marked_word(piece, [&](std::string_view word) { encode_word(word, own, out); });
    else
      encode_word(piece, own, out);
  }

 private:
  void encode_word(std::string_view word, MergeScratch& own, std::vector<TokenId>& out) const {
    make_symbols(word, own);
    std::vector<Symbol>& symbols = own.symbols;
    std::vector<Candidate>& heap = own.heap;
    heap.clear();
    const auto propose = [&](std::int32_t left) {
      if (left < 0 || symbols[left].next < 0) return false;
      const Symbol &a = symbols[left], &b = symbols[a.next];
      Candidate candidate{0, left, a.size + b.size, no_token};
      if (by_score_) {
        candidate.result = index_.find(word.substr(a.begin, candidate.size));
        if (candidate.result != no_token) candidate.cost = -spec_.scores[candidate.result];
      } else {
        const MergeIndex::Merge merge = merges_.find(a.id, b.id);
        candidate.result = merge.result;
        candidate.cost = merge.rank;
      }
      if (candidate.result == no_token) return false;
      heap.push_back(candidate);
      return true;
    };
    for (std::int32_t i = 0; i < static_cast<std::int32_t>(symbols.size()); ++i) propose(i);
    std::make_heap(heap.begin(), heap.end());
    while (!heap.empty()) {
      std::pop_heap(heap.begin(), heap.end());
      const Candidate best = heap.back();
      heap.pop_back();
      Symbol& left = symbols[best.left];
      if (left.size == 0 || left.next < 0) continue;
      Symbol& right = symbols[left.next];
      if (left.size + right.size != best.size) continue;
      left.size = best.size;
      left.id = best.result;
      right.size = 0;
      left.next = right.next;
      if (left.next >= 0) symbols[left.next].previous = best.left;
      if (propose(left.previous)) std::push_heap(heap.begin(), heap.end());
      if (propose(best.left)) std::push_heap(heap.begin(), heap.end());
    }
    bool was_unknown = false;
    for (const Symbol& symbol : symbols) {
      if (symbol.size == 0) continue;
      if (symbol.id != no_token)
        out.push_back(symbol.id);
      else
        unknown_.append(word.substr(symbol.begin, symbol.size), was_unknown, out);
      was_unknown = symbol.id == no_token;
    }
  }

  void make_symbols(std::string_view word, MergeScratch& own) const {
    own.symbols.clear();
    const bool plain = spec_.continuing_prefix.empty() && spec_.word_suffix.empty();
    for (std::size_t at = 0; at < word.size();) {
      const std::size_t size = spec_.byte_level ? 1 : decode_utf8(word, at).length;
      std::string_view text = word.substr(at, size);
      if (!plain) {
        own.text.assign(at == 0 ? "" : spec_.continuing_prefix).append(text);
        if (at + size == word.size()) own.text += spec_.word_suffix;
        text = own.text;
      }
      const auto index = static_cast<std::int32_t>(own.symbols.size());
      own.symbols.push_back({static_cast<std::uint32_t>(at), static_cast<std::uint32_t>(size),
                             index - 1, index + 1, index_.find(text)});
      at += size;
    }
    if (!own.symbols.empty()) own.symbols.back().next = -1;
  }

  const TokenizerSpec& spec_;
  const TokenIndex& index_;
  UnknownText unknown_;
  MergeIndex merges_;
  bool by_score_, independent_words_;
};

}  // namespace

std::unique_ptr<TokenizerModel> make_merge_model(const TokenizerSpec& spec,
                                                 std::span<const std::string> texts,
                                                 const TokenIndex& index) {
  return std::make_unique<MergeModel>(spec, texts, index);
}

}  // namespace brisk
