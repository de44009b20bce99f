// Patterns of the steps that several loaders need.
#include "llm/tokenizer_steps.h"

namespace brisk {

using Kind = NormalizeStep::Kind;

const std::string_view punctuation_class = R"([\p{P}!-/:-@\[-`{-~])";

NormalizeStep normalize_replace(std::string regex, std::string by) {
  return {Kind::replace, std::move(regex), std::move(by)};
}

NormalizeStep strip_spaces(bool left, bool right) {
  // The look-behind keeps the search for the last spaces linear.
  const std::string at_end = R"((?<!\s)\s++\z)";
  return normalize_replace(left && right ? R"(\A\s+|)" + at_end : left ? R"(\A\s+)" : at_end, "");
}

std::vector<NormalizeStep> bert_normalizer(bool clean, bool separate_han, bool strip_accents,
                                           bool lower) {
  std::vector<NormalizeStep> steps;
  if (clean) {
    steps.push_back(normalize_replace(R"([\x{0}\x{fffd}]|(?![\t\n\r])[\p{Cc}\p{Cf}\p{Co}])", ""));
    steps.push_back(normalize_replace(R"(\s)", " "));
  }
  if (separate_han) {
    const std::string han =
        R"([\x{4e00}-\x{9fff}\x{3400}-\x{4dbf}\x{20000}-\x{2a6df}\x{2a700}-\x{2b73f})"
        R"(\x{2b740}-\x{2b81f}\x{2b920}-\x{2ceaf}\x{f900}-\x{faff}\x{2f800}-\x{2fa1f}])";
    steps.push_back(normalize_replace("(?=" + han + ")|(?<=" + han + ")", " "));
  }
  if (strip_accents) {
    steps.push_back({Kind::nfd});
    steps.push_back(normalize_replace(R"(\p{Mn}+)", ""));
  }
  if (lower) steps.push_back({Kind::lower});
  return steps;
}

PreTokenizeStep split_step(std::string regex, PreTokenizeStep::Behavior behavior, bool invert) {
  return {PreTokenizeStep::Kind::split, std::move(regex), behavior, invert};
}

std::vector<PreTokenizeStep> bert_pre_tokenizer() {
  return {split_step(R"(\s+)", PreTokenizeStep::Behavior::removed),
          split_step(std::string(punctuation_class), PreTokenizeStep::Behavior::isolated)};
}

std::vector<NormalizeStep> sentencepiece_normalizer(std::string charsmap, bool fold_spaces,
                                                    bool space_prefix) {
  std::vector<NormalizeStep> steps;
  if (!charsmap.empty()) steps.push_back({Kind::charsmap, {}, std::move(charsmap)});
  if (fold_spaces) {
    steps.push_back(normalize_replace(R"(\A +|(?<! ) ++\z)", ""));
    steps.push_back(normalize_replace(" {2,}", " "));
  }
  if (space_prefix) steps.push_back({Kind::prepend, {}, " "});
  steps.push_back(normalize_replace(" ", "\u2581"));
  return steps;
}

std::vector<PreTokenizeStep> gpt2_pre_tokenizer() { return named_pre_tokenizer("gpt-2").steps; }

void add_tokens_by_kind(TokenizerSpec& spec) {
  for (std::size_t i = 0; i < spec.kinds.size() && i < spec.tokens.size(); ++i) {
    const TokenKind kind = spec.kinds[i];
    const bool special = kind == TokenKind::control || kind == TokenKind::unknown;
    if (special || kind == TokenKind::user_defined)
      spec.added.push_back({static_cast<TokenId>(i), spec.tokens[i], special});
  }
}

}  // namespace brisk
