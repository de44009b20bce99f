// Look-up tables of a tokenizer: text → id, pair of ids → merge, and a trie for longest matches.
#pragma once

#include "llm/tokenizer_spec.h"

#include <cstdint>
#include <span>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

namespace brisk {

/// Text → id, by open addressing.
class TokenIndex {
 public:
  TokenIndex() = default;
  /// `texts`, by id, must outlive the index; add() decides which of them are found.
  explicit TokenIndex(std::span<const std::string> texts);
  /// Of equal texts the first stays. Empty ones are not found.
  void add(TokenId id);
  TokenId find(std::string_view text) const;
  std::size_t longest() const { return longest_; }  // bytes

 private:
  struct Slot {
    std::uint32_t tag = 0;  // of the text's hash, so that few other texts are looked at
    TokenId id = no_token;
  };
  std::size_t slot_of(std::string_view text, std::uint64_t hash) const;
  std::span<const std::string> texts_;
  std::vector<Slot> slots_;  // a power of two, at most half full
  std::size_t longest_ = 0;
};

/// Pair of ids → rank of their merge and id of the result.
class MergeIndex {
 public:
  struct Merge {
    std::uint32_t rank = 0;
    TokenId result = no_token;  // no_token: the pair does not merge
  };
  void reserve(std::size_t count);
  /// The first of equal pairs stays.
  void add(TokenId left, TokenId right, Merge merge);
  Merge find(TokenId left, TokenId right) const;

 private:
  struct Slot {
    std::uint64_t pair = ~std::uint64_t(0);
    Merge merge;
  };
  std::size_t slot_of(std::uint64_t pair) const;
  std::vector<Slot> slots_;
  std::size_t count_ = 0;
};

/// A set of texts, walked byte by byte.
class TokenTrie {
 public:
  static constexpr std::uint32_t none = ~std::uint32_t(0);

  TokenTrie() : nodes_(1) {}
  /// Of equal texts the first in `entries` counts. Empty texts are left out.
  explicit TokenTrie(std::vector<std::pair<std::string_view, TokenId>> entries);

  static constexpr std::uint32_t root = 0;
  std::uint32_t step(std::uint32_t node, char byte) const;
  std::uint32_t walk(std::uint32_t node, std::string_view text) const;
  TokenId value(std::uint32_t node) const { return nodes_[node].id; }

 private:
  struct Node {
    std::uint32_t children = 0;  // index of the first; they lie together, ordered by byte
    std::uint16_t count = 0;
    unsigned char byte = 0;
    TokenId id = no_token;
  };
  std::vector<Node> nodes_;
};

}  // namespace brisk
