// Unicode for tokenizers: UTF-8 decoding that survives any bytes, the four normal forms, lower
// case. Ill-formed bytes pass through normalization and lower-casing unchanged.
#pragma once

#include <cstddef>
#include <string>
#include <string_view>

namespace brisk {

struct Utf8Char {
  char32_t code = 0;
  int length = 0;  // bytes; of an ill-formed sequence its maximal subpart (at least 1)
  bool valid = false;
  bool incomplete = false;  // ill-formed only because the text ends here
};

/// The character at text[at]; `at` must be inside the text. Surrogates, overlong forms and codes
/// past U+10FFFF are ill-formed.
Utf8Char decode_utf8(std::string_view text, std::size_t at);
void append_utf8(std::string& out, char32_t code);

/// Bytes of the longest well-formed prefix.
std::size_t valid_utf8_prefix(std::string_view text);

/// The text with each ill-formed sequence replaced by U+FFFD.
std::string replace_invalid_utf8(std::string_view text);

enum class NormalForm { nfc, nfd, nfkc, nfkd };
std::string unicode_normalize(std::string_view text, NormalForm form);

/// Character by character, without context (a final sigma is not special).
std::string unicode_lower(std::string_view text);

}  // namespace brisk
