// What the tokenizer models share: unknown text, byte tokens, GPT-2's byte alphabet.
#include "llm/tokenizer_model.h"

#include "llm/unicode.h"

namespace brisk {

bool takes_part(const TokenizerSpec& spec, TokenId id) {
  if (spec.kinds.empty()) return true;
  const TokenKind kind = spec.kinds[id];
  return kind != TokenKind::control && kind != TokenKind::unknown && kind != TokenKind::byte;
}

int byte_of_token(std::string_view text) {
  if (text.size() != 6 || !text.starts_with("<0x") || text[5] != '>') return -1;
  int value = 0;
  for (const char c : text.substr(3, 2)) {
    const int digit = c >= '0' && c <= '9'   ? c - '0'
                      : c >= 'A' && c <= 'F' ? c - 'A' + 10
                      : c >= 'a' && c <= 'f' ? c - 'a' + 10
                                             : -1;
    if (digit < 0) return -1;
    value = value * 16 + digit;
  }
  return value;
}

namespace {

constexpr bool stands_for_itself(unsigned byte) {
  return (byte >= 33 && byte <= 126) || (byte >= 161 && byte <= 172) || byte >= 174;
}

struct Alphabet {
  std::array<char32_t, 256> code_of_byte{};
  std::array<int, 324> byte_of_code{};
  constexpr Alphabet() {
    for (int& byte : byte_of_code) byte = -1;
    char32_t next = 256;
    for (unsigned byte = 0; byte < 256; ++byte) {
      code_of_byte[byte] = stands_for_itself(byte) ? byte : next++;
      byte_of_code[code_of_byte[byte]] = static_cast<int>(byte);
    }
  }
};
constexpr Alphabet alphabet;

}  // namespace

bool alphabet_to_bytes(std::string_view text, std::string& out) {
  std::string bytes(text.size(), '\0');
  std::size_t size = 0;
  for (std::size_t at = 0; at < text.size(); ++at) {
    unsigned code = static_cast<unsigned char>(text[at]);
    if (code >= 0x80) {  // the alphabet's other characters take two bytes
      if (code < 0xc2 || code > 0xdf || at + 1 == text.size()) return false;
      const unsigned next = static_cast<unsigned char>(text[++at]);
      if ((next & 0xc0) != 0x80) return false;
      code = (code & 0x1f) << 6 | (next & 0x3f);
    }
    if (code >= alphabet.byte_of_code.size() || alphabet.byte_of_code[code] < 0) return false;
    bytes[size++] = static_cast<char>(alphabet.byte_of_code[code]);
  }
  bytes.resize(size);
  out = std::move(bytes);
  return true;
}

std::string bytes_to_alphabet(std::string_view bytes) {
  std::string text;
  for (const char c : bytes)
    append_utf8(text, alphabet.code_of_byte[static_cast<unsigned char>(c)]);
  return text;
}

bool words_are_independent(const TokenizerSpec& spec, std::span<const std::string> texts) {
  constexpr std::string_view marker = "\u2581";
  if (spec.byte_level) return false;
  bool marker_known = false;
  for (std::size_t id = 0; id < texts.size(); ++id) {
    if (!takes_part(spec, static_cast<TokenId>(id))) continue;
    std::string_view text = texts[id];
    marker_known |= text == marker;
    while (text.starts_with(marker)) text.remove_prefix(marker.size());
    if (text.find(marker) != std::string_view::npos) return false;
  }
  return marker_known;
}

UnknownText::UnknownText(const TokenizerSpec& spec) : unk_(spec.unk), fuse_(spec.fuse_unknown) {
  bytes_.fill(no_token);
  if (!spec.byte_fallback) return;
  for (std::size_t id = spec.tokens.size(); id-- > 0;)
    if (const int byte = byte_of_token(spec.tokens[id]); byte >= 0)
      bytes_[byte] = static_cast<TokenId>(id);
}

void UnknownText::append(std::string_view text, bool follows, std::vector<TokenId>& out) const {
  const std::size_t size = out.size();
  for (const char c : text) {
    const TokenId id = bytes_[static_cast<unsigned char>(c)];
    if (id == no_token) {
      out.resize(size);
      break;
    }
    out.push_back(id);
  }
  if (out.size() > size || text.empty() || unk_ == no_token) return;
  if (!fuse_ || !follows || out.empty() || out.back() != unk_) out.push_back(unk_);
}

}  // namespace brisk
