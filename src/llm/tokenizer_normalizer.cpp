// Normalizer steps and the double-array trie of SentencePiece's character maps.
#include "llm/tokenizer_normalizer.h"

#include "base/error.h"

#include <cstring>

namespace brisk {

namespace {
constexpr std::size_t max_replacement = 1024;  // bytes
}

CharsMap::CharsMap(std::string_view blob) {
  const auto u32 = [&](std::size_t at) {
    const auto byte = [&](int i) {
      return std::uint32_t(static_cast<unsigned char>(blob[at + i]));
    };
    return byte(0) | byte(1) << 8 | byte(2) << 16 | byte(3) << 24;
  };
  const std::size_t trie_bytes = blob.size() < 4 ? 1 : u32(0);
  if (trie_bytes % 4 != 0 || trie_bytes > blob.size() - 4)
    user_error("tokenizer: the character map of {} bytes does not hold the trie that it announces",
               blob.size());
  units_.resize(trie_bytes / 4);
  for (std::size_t i = 0; i < units_.size(); ++i) units_[i] = u32(4 + 4 * i);
  replacements_ = blob.substr(4 + trie_bytes);
  replacements_.push_back('\0');
}

std::string CharsMap::apply(std::string_view text) const {
  // A unit: bits 0-7 and 31 label, bit 8 "has a value", bit 9 "offset is in steps of 256", bits
  // 10-30 offset; a unit with bit 31 is a value.
  const auto offset = [](std::uint32_t u) { return std::size_t(u >> 10) << ((u & 0x200) >> 6); };
  std::string out;
  out.reserve(text.size());
  for (std::size_t at = 0; at < text.size();) {
    std::size_t node = offset(unit(0)), matched = 0, value = 0;
    for (std::size_t i = at; i < text.size(); ++i) {
      const auto byte = static_cast<unsigned char>(text[i]);
      node ^= byte;
      const std::uint32_t u = unit(node);
      if ((u & 0x800000ff) != byte || byte == 0) break;
      node ^= offset(u);
      if (u & 0x100) matched = i + 1 - at, value = unit(node) & 0x7fffffff;
    }
    if (matched > 0 && value < replacements_.size()) {
      // Real maps stay under 20 bytes; the bound keeps a hostile one from blowing up the text.
      out.append(replacements_, value, strnlen(replacements_.c_str() + value, max_replacement));
      at += matched;
    } else {
      const Utf8Char c = decode_utf8(text, at);
      out += text.substr(at, c.length);
      at += c.length;
    }
  }
  return out;
}

Normalizer::Normalizer(std::vector<NormalizeStep> steps) : steps_(std::move(steps)) {
  using Kind = NormalizeStep::Kind;
  for (const NormalizeStep& step : steps_) {
    if (step.kind != Kind::charsmap && step.content.size() > max_replacement)
      user_error("tokenizer: a normalizer inserts {} bytes, {} are allowed", step.content.size(),
                 max_replacement);
    patterns_.push_back(step.kind == Kind::replace ? std::make_unique<Regex>(step.pattern)
                                                   : nullptr);
    charsmaps_.push_back(step.kind == Kind::charsmap ? std::make_unique<CharsMap>(step.content)
                                                     : nullptr);
  }
}

std::string Normalizer::apply(std::string text, MatchScratch& scratch) const {
  using Kind = NormalizeStep::Kind;
  for (std::size_t i = 0; i < steps_.size(); ++i) {
    const NormalizeStep& step = steps_[i];
    switch (step.kind) {
      case Kind::nfc: text = unicode_normalize(text, NormalForm::nfc); break;
      case Kind::nfd: text = unicode_normalize(text, NormalForm::nfd); break;
      case Kind::nfkc: text = unicode_normalize(text, NormalForm::nfkc); break;
      case Kind::nfkd: text = unicode_normalize(text, NormalForm::nfkd); break;
      case Kind::lower: text = unicode_lower(text); break;
      case Kind::replace: text = patterns_[i]->replace(text, step.content, scratch); break;
      case Kind::prepend:
        if (!text.empty()) text.insert(0, step.content);
        break;
      case Kind::charsmap: text = charsmaps_[i]->apply(text); break;
    }
  }
  return text;
}

}  // namespace brisk
