// Cutting text into the pieces that a tokenizer's model sees one by one: Unicode regular
// expressions (PCRE2 with JIT) and the few steps that are not one. Takes text and steps, gives
// spans of the text.
#pragma once

#include <cstdint>
#include <memory>
#include <string>
#include <string_view>
#include <vector>

struct pcre2_real_code_8;

namespace brisk {

struct TextSpan {
  std::uint32_t begin = 0, end = 0;
  bool well_formed = true;  // false: bytes that are not UTF-8, which no pattern looks at
};

/// What matching needs besides the pattern; one per thread, reused between calls.
class MatchScratch {
 public:
  MatchScratch();
  ~MatchScratch();
  MatchScratch(const MatchScratch&) = delete;
  MatchScratch& operator=(const MatchScratch&) = delete;

 private:
  friend class Regex;
  struct State;
  std::unique_ptr<State> state_;
};

/// A compiled regular expression over UTF-8 with Unicode classes.
class Regex {
 public:
  /// UserError when the expression is not valid.
  explicit Regex(std::string_view regex);
  static std::string escape(std::string_view literal);

  /// Appends the matches from left to right, spans relative to `text`, which must be well-formed
  /// UTF-8. Where a match exceeds its bounds on work or memory, the rest counts as unmatched.
  void find_all(std::string_view text, MatchScratch& scratch, std::vector<TextSpan>& matches) const;

  /// The text with each match replaced; ill-formed bytes stay.
  std::string replace(std::string_view text, std::string_view by, MatchScratch& scratch) const;

 private:
  struct Free {
    void operator()(pcre2_real_code_8* code) const;
  };
  std::unique_ptr<pcre2_real_code_8, Free> code_;
};

struct PreTokenizeStep {
  enum class Kind : std::uint8_t {
    split,         // cut at the pattern's matches, as `behavior` says
    digit_groups,  // each match is cut into groups of three characters, counted from its right end
    prefix_space,  // a segment that does not begin with a space gets one
    metaspace,     // spaces become U+2581; optional U+2581 in front; optional cut before each
  };
  enum class Behavior : std::uint8_t { isolated, removed, with_previous, with_next, contiguous };
  enum class Prepend : std::uint8_t { always, first, never };

  Kind kind = Kind::split;
  std::string pattern = {};  // split, digit_groups
  Behavior behavior = Behavior::isolated;
  bool invert = false;                // split: what lies between the matches counts as match
  Prepend prepend = Prepend::always;  // metaspace; `first`: only where the text begins
  bool cut = true;                    // metaspace
};

class PreTokenizer {
 public:
  struct Pieces {
    std::string text;
    std::vector<TextSpan> spans;  // none empty, in order
  };

  PreTokenizer() = default;
  explicit PreTokenizer(std::vector<PreTokenizeStep> steps);

  /// `at_start`: the segment begins the whole text. Texts are at most 2^31 bytes.
  Pieces cut(std::string text, bool at_start, MatchScratch& scratch) const;

 private:
  std::vector<PreTokenizeStep> steps_;
  std::vector<std::unique_ptr<Regex>> patterns_;  // one per step, null where it has none
};

/// The behaviour behind a GGUF file's tokenizer.ggml.pre.
struct NamedPreTokenizer {
  bool known = false;  // false: an unknown name, and the default steps
  std::vector<PreTokenizeStep> steps;
  bool ignore_merges = false;  // a piece that is a token as a whole is not built by merges
  bool add_bos = false;        // where the file does not say
  bool add_separator = false;  // likewise
  bool byte_level = true;      // false: U+2581 for spaces, <0xXX> for unknown bytes
};
NamedPreTokenizer named_pre_tokenizer(std::string_view name);

}  // namespace brisk
