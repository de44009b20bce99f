// What happens to text before it is cut into pieces: Unicode forms, lower case, replacements, and
// SentencePiece's compiled character maps. Takes and gives UTF-8; ill-formed bytes stay as they
// are.
#pragma once

#include "llm/pretokenizer.h"
#include "llm/unicode.h"

#include <memory>
#include <string>
#include <string_view>
#include <vector>

namespace brisk {

struct NormalizeStep {
  enum class Kind : std::uint8_t {
    nfc,
    nfd,
    nfkc,
    nfkd,
    lower,
    replace,  // every match of `pattern` by `content`
    prepend,  // `content` in front of a text that is not empty
    charsmap  // `content` is SentencePiece's precompiled_charsmap
  };
  Kind kind = Kind::nfc;
  std::string pattern = {};  // a regular expression
  std::string content = {};
};

/// SentencePiece's precompiled_charsmap: u32 size of the trie in bytes, the trie (a Darts-clone
/// double array of u32 units, little-endian), then NUL-terminated replacements that the trie's
/// values are offsets into. At each place the longest key is replaced.
class CharsMap {
 public:
  /// UserError when the sizes contradict each other.
  explicit CharsMap(std::string_view blob);
  std::string apply(std::string_view text) const;

 private:
  std::uint32_t unit(std::size_t index) const { return index < units_.size() ? units_[index] : 0; }
  std::vector<std::uint32_t> units_;
  std::string replacements_;
};

class Normalizer {
 public:
  Normalizer() = default;
  explicit Normalizer(std::vector<NormalizeStep> steps);
  std::string apply(std::string text, MatchScratch& scratch) const;

 private:
  std::vector<NormalizeStep> steps_;
  std::vector<std::unique_ptr<Regex>> patterns_;      // one per step, null where it has none
  std::vector<std::unique_ptr<CharsMap>> charsmaps_;  // likewise
};

}  // namespace brisk
