// UTF-8 (Unicode 14, table 3-7), normal forms (UAX #15) and simple lower case from
// unicode_tables.h.
#include "llm/unicode.h"

#include "llm/unicode_tables.h"

#include <algorithm>
#include <cstdint>
#include <iterator>
#include <unordered_map>
#include <unordered_set>
#include <vector>

namespace brisk {

Utf8Char decode_utf8(std::string_view text, std::size_t at) {
  const auto byte = [&](std::size_t i) { return static_cast<unsigned char>(text[at + i]); };
  const unsigned lead = byte(0);
  if (lead < 0x80) return {lead, 1, true, false};
  if (lead < 0xc2 || lead > 0xf4) return {0, 1, false, false};
  const int length = lead < 0xe0 ? 2 : lead < 0xf0 ? 3 : 4;
  // The second byte's range excludes overlong forms, surrogates and codes past U+10FFFF.
  const unsigned low = lead == 0xe0 ? 0xa0 : lead == 0xf0 ? 0x90 : 0x80;
  const unsigned high = lead == 0xed ? 0x9f : lead == 0xf4 ? 0x8f : 0xbf;
  char32_t code = lead & (0x7f >> length);
  for (int i = 1; i < length; ++i) {
    if (at + i >= text.size()) return {0, i, false, true};
    const unsigned next = byte(i);
    if (next < (i == 1 ? low : 0x80) || next > (i == 1 ? high : 0xbf)) return {0, i, false, false};
    code = code << 6 | (next & 0x3f);
  }
  return {code, length, true, false};
}

void append_utf8(std::string& out, char32_t code) {
  const auto put = [&](char32_t byte) { out.push_back(static_cast<char>(byte)); };
  if (code < 0x80) return put(code);
  if (code < 0x800) {
    put(0xc0 | code >> 6);
  } else {
    if (code < 0x10000) {
      put(0xe0 | code >> 12);
    } else {
      put(0xf0 | code >> 18);
      put(0x80 | (code >> 12 & 0x3f));
    }
    put(0x80 | (code >> 6 & 0x3f));
  }
  put(0x80 | (code & 0x3f));
}

std::size_t valid_utf8_prefix(std::string_view text) {
  std::size_t at = 0;
  while (at < text.size()) {
    if (static_cast<unsigned char>(text[at]) < 0x80) {
      ++at;
      continue;
    }
    const Utf8Char c = decode_utf8(text, at);
    if (!c.valid) break;
    at += c.length;
  }
  return at;
}

std::string replace_invalid_utf8(std::string_view text) {
  std::string out;
  while (!text.empty()) {
    const std::size_t valid = valid_utf8_prefix(text);
    out.append(text.substr(0, valid));
    text.remove_prefix(valid);
    if (text.empty()) break;
    append_utf8(out, 0xfffd);
    text.remove_prefix(decode_utf8(text, 0).length);
  }
  return out;
}

namespace {

// Ill-formed bytes travel through code-point sequences above the Unicode range.
constexpr char32_t raw_byte = 0x200000;

constexpr char32_t hangul_base = 0xac00, lead_base = 0x1100, vowel_base = 0x1161,
                   tail_base = 0x11a7;
constexpr char32_t lead_count = 19, vowel_count = 21, tail_count = 28;
constexpr char32_t hangul_count = lead_count * vowel_count * tail_count;

struct NormalizationData {
  std::unordered_map<char32_t, std::u32string> canonical, compatible;  // one step each
  std::unordered_map<std::uint64_t, char32_t> composition;             // first << 32 | second
  std::unordered_map<char32_t, int> combining_class;

  NormalizationData() {
    using namespace unicode_tables;
    const std::unordered_set<char32_t> never(std::begin(pairs_never_composed),
                                             std::end(pairs_never_composed));
    for (std::size_t i = 0; i < std::size(pair_decompositions); i += 3) {
      const char32_t *row = pair_decompositions + i, code = row[0];
      canonical[code] = {row[1], row[2]};
      if (!never.contains(code)) composition[std::uint64_t(row[1]) << 32 | row[2]] = code;
    }
    const auto add_singles = [](auto& map, const char32_t* row, std::size_t size) {
      for (const char32_t* end = row + size; row != end; row += 3)
        for (char32_t code = row[0]; code <= row[1]; ++code) map[code] = {row[2] + (code - row[0])};
    };
    add_singles(canonical, single_decompositions, std::size(single_decompositions));
    add_singles(compatible, compatible_singles, std::size(compatible_singles));
    for (std::size_t i = 0; i < std::size(compatible_sequences);) {
      const char32_t* row = compatible_sequences + i;
      compatible[row[0]].assign(row + 2, row[1]);
      i += 2 + row[1];
    }
    for (std::size_t i = 0; i < std::size(combining_classes); i += 3)
      for (char32_t c = combining_classes[i]; c <= combining_classes[i + 1]; ++c)
        combining_class[c] = static_cast<int>(combining_classes[i + 2]);
  }

  int class_of(char32_t code) const {
    if (code < 0x300) return 0;
    const auto found = combining_class.find(code);
    return found == combining_class.end() ? 0 : found->second;
  }

  void decompose(char32_t code, bool compatibly, std::u32string& out) const {
    if (code < 0xa0) return out.push_back(code);
    if (code - hangul_base < hangul_count) {
      const char32_t index = code - hangul_base, tail = index % tail_count;
      out.push_back(lead_base + index / (vowel_count * tail_count));
      out.push_back(vowel_base + index / tail_count % vowel_count);
      if (tail != 0) out.push_back(tail_base + tail);
      return;
    }
    const std::u32string* parts = nullptr;
    if (const auto found = canonical.find(code); found != canonical.end()) parts = &found->second;
    if (!parts && compatibly)
      if (const auto found = compatible.find(code); found != compatible.end())
        parts = &found->second;
    if (!parts) return out.push_back(code);
    for (const char32_t part : *parts) decompose(part, compatibly, out);
  }

  /// 0 when the two do not compose.
  char32_t compose(char32_t first, char32_t second) const {
    if (first - lead_base < lead_count && second - vowel_base < vowel_count)
      return hangul_base + ((first - lead_base) * vowel_count + (second - vowel_base)) * tail_count;
    if (first - hangul_base < hangul_count && (first - hangul_base) % tail_count == 0 &&
        second > tail_base && second < tail_base + tail_count)
      return first + (second - tail_base);
    const auto found = composition.find(std::uint64_t(first) << 32 | second);
    return found == composition.end() ? 0 : found->second;
  }
};

const NormalizationData& normalization_data() {
  static const NormalizationData data;
  return data;
}

std::u32string to_codes(std::string_view text) {
  std::u32string codes;
  codes.reserve(text.size());
  for (std::size_t at = 0; at < text.size();) {
    const Utf8Char c = decode_utf8(text, at);
    codes.push_back(c.valid ? c.code : raw_byte + static_cast<unsigned char>(text[at]));
    at += c.valid ? c.length : 1;
  }
  return codes;
}

std::string to_text(const std::u32string& codes) {
  std::string text;
  text.reserve(codes.size());
  for (const char32_t code : codes) {
    if (code >= raw_byte)
      text.push_back(static_cast<char>(code - raw_byte));
    else
      append_utf8(text, code);
  }
  return text;
}

bool is_ascii(std::string_view text) {
  return std::none_of(text.begin(), text.end(), [](char c) { return c & 0x80; });
}

/// Canonical ordering: each run of combining characters is sorted stably by class.
void reorder(std::u32string& codes, const NormalizationData& data) {
  std::vector<std::pair<int, char32_t>> run;
  for (std::size_t i = 0; i < codes.size();) {
    if (data.class_of(codes[i]) == 0) {
      ++i;
      continue;
    }
    run.clear();
    const std::size_t begin = i;
    for (; i < codes.size() && data.class_of(codes[i]) != 0; ++i)
      run.emplace_back(data.class_of(codes[i]), codes[i]);
    std::stable_sort(run.begin(), run.end(),
                     [](const auto& a, const auto& b) { return a.first < b.first; });
    for (std::size_t k = 0; k < run.size(); ++k) codes[begin + k] = run[k].second;
  }
}

void compose_in_place(std::u32string& codes, const NormalizationData& data) {
  std::size_t kept = 0, starter = codes.size();
  int last_class = -1;  // of the character before, when it did not compose; -1: the starter itself
  for (const char32_t code : codes) {
    const int own_class = data.class_of(code);
    if (starter < kept && last_class < own_class) {
      if (const char32_t whole = data.compose(codes[starter], code)) {
        codes[starter] = whole;
        continue;
      }
    }
    if (own_class == 0) starter = kept;
    last_class = own_class == 0 ? -1 : own_class;
    codes[kept++] = code;
  }
  codes.resize(kept);
}

}  // namespace

std::string unicode_normalize(std::string_view text, NormalForm form) {
  if (is_ascii(text)) return std::string(text);
  const NormalizationData& data = normalization_data();
  const bool compatibly = form == NormalForm::nfkc || form == NormalForm::nfkd;
  std::u32string codes;
  codes.reserve(text.size());
  for (const char32_t code : to_codes(text)) data.decompose(code, compatibly, codes);
  reorder(codes, data);
  if (form == NormalForm::nfc || form == NormalForm::nfkc) compose_in_place(codes, data);
  return to_text(codes);
}

std::string unicode_lower(std::string_view text) {
  std::string out(text);
  for (char& c : out)
    if (c >= 'A' && c <= 'Z') c += 'a' - 'A';
  if (is_ascii(text)) return out;
  static const auto lower = [] {
    std::unordered_map<char32_t, char32_t> map;
    using unicode_tables::lower_case;
    for (std::size_t i = 0; i < std::size(lower_case); i += 4) {
      const char32_t* row = lower_case + i;
      for (char32_t c = row[0]; c <= row[1]; c += row[3]) map[c] = row[2] + (c - row[0]);
    }
    return map;
  }();
  std::u32string codes;
  for (const char32_t code : to_codes(out)) {
    const auto found = lower.find(code);
    codes.push_back(found == lower.end() ? code : found->second);
    // U+0130, I with a dot above, is the one character whose lower case is two.
    if (code == 0x130) codes.back() = U'i', codes.push_back(0x307);
  }
  return to_text(codes);
}

}  // namespace brisk
