// Open addressing with linear probing, and a trie laid out breadth first.
#include "llm/tokenizer_index.h"

#include <algorithm>
#include <bit>
#include <cstring>

namespace brisk {

namespace {

std::uint64_t mix(std::uint64_t x) {  // the finalizer of MurmurHash3
  x = (x ^ x >> 33) * 0xff51afd7ed558ccdULL;
  x = (x ^ x >> 33) * 0xc4ceb9fe1a85ec53ULL;
  return x ^ x >> 33;
}

std::uint64_t hash_of(std::string_view text) {
  std::uint64_t state = text.size() * 0x9e3779b97f4a7c15ULL;
  const char* at = text.data();
  std::size_t left = text.size();
  for (; left >= 8; at += 8, left -= 8) {
    std::uint64_t word;
    std::memcpy(&word, at, 8);
    state = mix(state ^ word);
  }
  std::uint64_t word = 0;
  if (left > 0) std::memcpy(&word, at, left);
  return mix(state ^ word);
}

std::size_t capacity_for(std::size_t count) {
  return std::bit_ceil(std::max<std::size_t>(16, 2 * count));
}

}  // namespace

TokenIndex::TokenIndex(std::span<const std::string> texts)
    : texts_(texts), slots_(capacity_for(texts.size())) {}

std::size_t TokenIndex::slot_of(std::string_view text, std::uint64_t hash) const {
  const auto tag = static_cast<std::uint32_t>(hash >> 32);
  std::size_t slot = hash & (slots_.size() - 1);
  while (slots_[slot].id != no_token &&
         (slots_[slot].tag != tag || texts_[slots_[slot].id] != text))
    slot = (slot + 1) & (slots_.size() - 1);
  return slot;
}

void TokenIndex::add(TokenId id) {
  const std::string& text = texts_[id];
  if (text.empty()) return;
  const std::uint64_t hash = hash_of(text);
  Slot& slot = slots_[slot_of(text, hash)];
  if (slot.id != no_token) return;
  slot = {static_cast<std::uint32_t>(hash >> 32), id};
  longest_ = std::max(longest_, text.size());
}

TokenId TokenIndex::find(std::string_view text) const {
  if (text.empty() || text.size() > longest_) return no_token;
  return slots_[slot_of(text, hash_of(text))].id;
}

std::size_t MergeIndex::slot_of(std::uint64_t pair) const {
  std::size_t slot = mix(pair) & (slots_.size() - 1);
  while (slots_[slot].merge.result != no_token && slots_[slot].pair != pair)
    slot = (slot + 1) & (slots_.size() - 1);
  return slot;
}

void MergeIndex::reserve(std::size_t count) {
  if (capacity_for(count) <= slots_.size()) return;
  std::vector<Slot> old(capacity_for(count));
  std::swap(old, slots_);
  for (const Slot& slot : old)
    if (slot.merge.result != no_token) slots_[slot_of(slot.pair)] = slot;
}

void MergeIndex::add(TokenId left, TokenId right, Merge merge) {
  reserve(count_ + 1);
  const std::uint64_t pair = std::uint64_t(std::uint32_t(left)) << 32 | std::uint32_t(right);
  Slot& slot = slots_[slot_of(pair)];
  if (slot.merge.result != no_token) return;
  slot = {pair, merge};
  ++count_;
}

MergeIndex::Merge MergeIndex::find(TokenId left, TokenId right) const {
  if (left < 0 || right < 0 || slots_.empty()) return {};
  return slots_[slot_of(std::uint64_t(std::uint32_t(left)) << 32 | std::uint32_t(right))].merge;
}

TokenTrie::TokenTrie(std::vector<std::pair<std::string_view, TokenId>> entries) : nodes_(1) {
  std::erase_if(entries, [](const auto& entry) { return entry.first.empty(); });
  std::stable_sort(entries.begin(), entries.end(),
                   [](const auto& a, const auto& b) { return a.first < b.first; });
  struct Range {  // entries that share the node's text
    std::size_t begin, end, depth;
  };
  std::vector<Range> ranges{{0, entries.size(), 0}};  // one per node, in the same order
  for (std::size_t node = 0; node < nodes_.size(); ++node) {
    auto [begin, end, depth] = ranges[node];
    if (begin < end && entries[begin].first.size() == depth && depth > 0) {
      nodes_[node].id = entries[begin].second;
      while (begin < end && entries[begin].first.size() == depth) ++begin;
    }
    nodes_[node].children = static_cast<std::uint32_t>(nodes_.size());
    while (begin < end) {
      const char byte = entries[begin].first[depth];
      std::size_t next = begin;
      while (next < end && entries[next].first[depth] == byte) ++next;
      nodes_.push_back({0, 0, static_cast<unsigned char>(byte), no_token});
      ranges.push_back({begin, next, depth + 1});
      ++nodes_[node].count;
      begin = next;
    }
  }
}

std::uint32_t TokenTrie::step(std::uint32_t node, char byte) const {
  const Node* begin = nodes_.data() + nodes_[node].children;
  const Node* end = begin + nodes_[node].count;
  const auto wanted = static_cast<unsigned char>(byte);
  const Node* found = std::lower_bound(
      begin, end, wanted, [](const Node& child, unsigned char b) { return child.byte < b; });
  return found != end && found->byte == wanted ? static_cast<std::uint32_t>(found - nodes_.data())
                                               : none;
}

std::uint32_t TokenTrie::walk(std::uint32_t node, std::string_view text) const {
  for (std::size_t i = 0; i < text.size() && node != none; ++i) node = step(node, text[i]);
  return node;
}

}  // namespace brisk
