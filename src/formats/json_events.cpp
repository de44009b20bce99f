#include "formats/json_events.h"

#include "base/error.h"

namespace brisk {
namespace {

struct SyntaxError {
  std::size_t position;
  bool range;  // a number outside double's range
};

bool is_space(std::byte b) {
  return b == std::byte{' '} || b == std::byte{'\t'} || b == std::byte{'\n'} ||
         b == std::byte{'\r'};
}

}  // namespace

bool JsonEvents::parse_error(std::size_t position, const std::string&,
                             const nlohmann::json::exception& error) {
  throw SyntaxError{position, dynamic_cast<const nlohmann::json::out_of_range*>(&error) != nullptr};
}

void parse_json(std::span<const std::byte> text, JsonEvents& events, std::string_view what) {
  std::size_t start = 0;
  while (start < text.size() && is_space(text[start])) ++start;
  if (start == text.size() || text[start] != std::byte{'{'}) {
    user_error("{} is not a JSON object", what);
  }
  const char* begin = reinterpret_cast<const char*>(text.data());
  try {
    nlohmann::json::sax_parse(begin, begin + text.size(), &events);
  } catch (const SyntaxError& error) {
    user_error("{} {} at byte {}", what,
               error.range ? "has a number out of range" : "is not valid JSON in UTF-8",
               error.position);
  }
}

}  // namespace brisk
