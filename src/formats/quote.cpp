#include "formats/quote.h"

#include <fmt/core.h>

namespace brisk {

std::string quote(std::string_view text) {
  constexpr std::size_t limit = 160;
  std::string out = "'";
  for (const char c : text.substr(0, limit)) {
    const bool plain = c >= ' ' && c <= '~' && c != '\'' && c != '\\';
    if (plain) {
      out += c;
    } else {
      out += fmt::format("\\x{:02x}", static_cast<unsigned char>(c));
    }
  }
  if (text.size() > limit) out += "…";
  return out + "'";
}

std::string one_line(std::string_view text) {
  std::string out;
  for (const char c : text) {
    const bool control = (c >= 0 && c < ' ') || c == '\x7f';
    out += control ? fmt::format("\\x{:02x}", static_cast<unsigned char>(c)) : std::string(1, c);
  }
  return out;
}

}  // namespace brisk
