// Patterns, the steps that cut text into pieces, and the names of tokenizer.ggml.pre.
#include "llm/pretokenizer.h"

#include "base/error.h"

#include <gtest/gtest.h>

#include <chrono>

namespace brisk {
namespace {

using Behavior = PreTokenizeStep::Behavior;
using Kind = PreTokenizeStep::Kind;
using Prepend = PreTokenizeStep::Prepend;
using Strings = std::vector<std::string>;

Strings cut(std::vector<PreTokenizeStep> steps, std::string text, bool at_start = true) {
  MatchScratch scratch;
  const auto pieces = PreTokenizer(std::move(steps)).cut(std::move(text), at_start, scratch);
  Strings out;
  for (const TextSpan span : pieces.spans)
    out.push_back(pieces.text.substr(span.begin, span.end - span.begin));
  return out;
}

Strings cut_as(std::string_view name, std::string text) {
  NamedPreTokenizer named = named_pre_tokenizer(name);
  EXPECT_TRUE(named.known) << name;
  return cut(std::move(named.steps), std::move(text));
}

TEST(Regex, NamesTheMistakeInABadExpression) {
  try {
    Regex("a(b");
    FAIL() << "no error";
  } catch (const UserError& error) {
    EXPECT_STREQ(
        error.what(),
        "tokenizer: the pattern 'a(b' is not valid at byte 3: missing closing parenthesis");
  }
}

TEST(Regex, ReplacesMatchesAlsoEmptyOnesAndLeavesIllFormedBytes) {
  MatchScratch scratch;
  EXPECT_EQ(Regex("\\d+").replace("a12\xff"
                                  "3b",
                                  "#", scratch),
            "a#\xff#b");
  EXPECT_EQ(Regex("(?=é)").replace("aéé", "-", scratch), "a-é-é");
  EXPECT_EQ(Regex("x*").replace("ab", ".", scratch), ".a.b.");
  EXPECT_EQ(Regex(Regex::escape("a.b*(c)[\\]")).replace("a.b*(c)[\\] axb", "!", scratch), "! axb");
}

TEST(PreTokenizer, SplitsAsEachBehaviourSays) {
  const auto split = [](Behavior behavior, bool invert = false) {
    return cut({{Kind::split, "-", behavior, invert}}, "the-final--countdown");
  };
  EXPECT_EQ(split(Behavior::isolated), (Strings{"the", "-", "final", "-", "-", "countdown"}));
  EXPECT_EQ(split(Behavior::removed), (Strings{"the", "final", "countdown"}));
  EXPECT_EQ(split(Behavior::with_previous), (Strings{"the-", "final-", "-", "countdown"}));
  EXPECT_EQ(split(Behavior::with_next), (Strings{"the", "-final", "-", "-countdown"}));
  EXPECT_EQ(split(Behavior::contiguous), (Strings{"the", "-", "final", "--", "countdown"}));
  EXPECT_EQ(split(Behavior::removed, true), (Strings{"-", "-", "-"}));
}

TEST(PreTokenizer, AnEmptyMatchCutsWhereItIs) {
  EXPECT_EQ(cut({{Kind::split, "(?=b)"}}, "abab"), (Strings{"a", "ba", "b"}));
}

TEST(PreTokenizer, MarksSpacesAndCutsBeforeEach) {
  const auto mark = [](std::string text, Prepend prepend, bool cuts, bool at_start = true) {
    return cut({{Kind::metaspace, {}, {}, false, prepend, cuts}}, std::move(text), at_start);
  };
  EXPECT_EQ(mark("Hey  you", Prepend::always, true), (Strings{"▁Hey", "▁", "▁you"}));
  EXPECT_EQ(mark("Hey you", Prepend::never, false), (Strings{"Hey▁you"}));
  EXPECT_EQ(mark(" Hey", Prepend::always, true), (Strings{"▁Hey"}));
  EXPECT_EQ(mark("Hey", Prepend::first, true, true), (Strings{"▁Hey"}));
  EXPECT_EQ(mark("Hey", Prepend::first, true, false), (Strings{"Hey"}));
}

TEST(PreTokenizer, PutsASpaceFirst) {
  EXPECT_EQ(cut({{Kind::prefix_space}}, "a b"), (Strings{" a b"}));
  EXPECT_EQ(cut({{Kind::prefix_space}}, " a"), (Strings{" a"}));
  EXPECT_EQ(cut({{Kind::prefix_space}}, "\xff"), (Strings{" ", "\xff"}));
}

TEST(PreTokenizer, IllFormedBytesArePiecesOfTheirOwn) {
  EXPECT_EQ(cut({{Kind::split, "b"}},
                "ab\xe2\x82"
                "b\xff\xfe"),
            (Strings{"a", "b", "\xe2\x82", "b", "\xff\xfe"}));
}

TEST(PreTokenizer, CountsGroupsOfDigitsFromTheRight) {
  EXPECT_EQ(cut({{Kind::digit_groups, "\\d+"}}, "x1y22z333 4444 55555 666666"),
            (Strings{"x", "1", "y", "22", "z", "333", " ", "4", "444", " ", "55", "555", " ", "666",
                     "666"}));
}

TEST(PreTokenizer, CutsAsTheNamedModelsDo) {
  EXPECT_EQ(cut_as("gpt-2", "I'll  go, 1234 x"),
            (Strings{"I", "'ll", " ", " go", ",", " 1234", " x"}));
  EXPECT_EQ(cut_as("starcoder", "a 123"), (Strings{"a", " ", "1", "2", "3"}));
  EXPECT_EQ(cut_as("llama-bpe", "I'LL go\n\n 12345"),
            (Strings{"I", "'LL", " go", "\n\n", " ", "123", "45"}));
  EXPECT_EQ(cut_as("qwen2", "(abc 123"), (Strings{"(abc", " ", "1", "2", "3"}));
  EXPECT_EQ(cut_as("gpt-4o", "camelCase's HTTPServer /\n"),
            (Strings{"camel", "Case's", " HTTPServer", " /\n"}));
  EXPECT_EQ(cut_as("tekken", "camelCase's 12"), (Strings{"camel", "Case", "'s", " ", "1", "2"}));
  EXPECT_EQ(cut_as("deepseek-v3", "x = 12345; 漢字かな"),
            (Strings{"x", " =", " ", "123", "45", ";", " ", "漢字かな"}));
  EXPECT_EQ(cut_as("deepseek-llm", "Hi 你好  1234 "),
            (Strings{"Hi", " ", "你好", "  ", "1234", " "}));
  EXPECT_EQ(cut_as("falcon", "a, 12345"), (Strings{"a", ",", " ", "123", "45"}));
  EXPECT_EQ(cut_as("superbpe", "12345 a b"), (Strings{"12", "345", " a b"}));
  EXPECT_EQ(cut_as("tiny_aya", "1234567 x1234y"),
            (Strings{"1", "234", "567", " x", "123", "4", "y"}));
  EXPECT_EQ(cut_as("kimi-k2", "漢字abc"), (Strings{"漢字", "abc"}));
  EXPECT_EQ(cut_as("bloom", "a b, c"), (Strings{"a", " b", ",", " c"}));
  EXPECT_EQ(cut_as("gemma4", "a b\n\nc"), (Strings{"a b", "\n\n", "c"}));
}

TEST(PreTokenizer, ALongRunOfSpacesIsStillCutFromTheWordAfterIt) {
  const std::string spaces(3'000'000, ' ');
  for (const char* name : {"llama-bpe", "gpt-4o", "deepseek-v3", "qwen2"})
    EXPECT_EQ(cut_as(name, spaces + " word two"), (Strings{spaces, " word", " two"})) << name;
}

TEST(PreTokenizer, APatternThatBacktracksWithoutEndLeavesTheRestInOnePiece) {
  const std::string text = std::string(200'000, ' ') + "x";
  EXPECT_EQ(cut({{Kind::split, "\\s+$"}}, text), (Strings{text}));
  EXPECT_EQ(cut({{Kind::split, "(a+)+[bc]"}}, std::string(40, 'a')),
            (Strings{std::string(40, 'a')}));
}

constexpr const char* names =
    "gpt-2 phi-2 jina-es jina-de jina-v2-es jina-v2-de gigachat a.x-4.0 mellum modern-bert mpt "
    "olmo "
    "jais trillion granite-docling exaone4 jina-v1-en jina-v2-code roberta-bpe starcoder refact "
    "command-r smollm codeshell exaone minerva-7b mellum2 falcon llama3 llama-v3 llama-bpe falcon3 "
    "falcon-h1 pixtral midm-2.0 lfm2 jina-v5-nano dbrx smaug-bpe glm4 chatglm-bpe minicpm5 jais-2 "
    "qwen2 deepseek-r1-qwen kormo f2llmv2 megrez stablelm2 hunyuan solar-open grok-2 laguna "
    "ufakzeka "
    "qwen35 bailingmoe bailingmoe2 llada-moe seed-coder exaone-moe tekken gpt-4o llama4 kanana2 "
    "talkie minimax-m2 granite-embed-multi-97m tiny_aya cohere2moe youtu kimi-k2 deepseek-llm "
    "deepseek-coder deepseek-v3 hunyuan-dense joyai-llm hy_v4 spark2_5 afmoe superbpe poro-chat "
    "bloom "
    "gpt3-finnish viking chameleon gemma4 granite-embed-multi-311m sarvam-moe default";

template <typename Visit>
void for_each_name(Visit visit) {
  std::string_view rest = names;
  while (!rest.empty()) {
    const std::size_t end = std::min(rest.find(' '), rest.size());
    visit(rest.substr(0, end));
    rest.remove_prefix(std::min(end + 1, rest.size()));
  }
}

TEST(PreTokenizer, EveryNameIsKnownAndLosesNothing) {
  const std::string text =
      "Hello, I'LL've  3.14159 \t\n\r\n camelCase HTTPServer漢字かな한국어 ไทย 12345678 ((x))\n\n  "
      "Ünïcödé e\u0301 \u200d🦙 <sentinel:1>IMGIMGABCZ   ";
  for_each_name([&](std::string_view name) {
    std::string joined;
    for (const std::string& piece : cut_as(name, text)) joined += piece;
    EXPECT_EQ(joined, text) << name;
  });
}

TEST(PreTokenizer, NoNameTakesQuadraticTime) {
  for (const char* unit : {" ", "\n", " \n", "a", "A", "7", "!", "漢", "\u0301", "a ", "'s"}) {
    std::string text;
    while (text.size() < 100'000) text += unit;
    text += "漢x";
    for_each_name([&](std::string_view name) {
      const auto begin = std::chrono::steady_clock::now();
      cut_as(name, text);
      const std::chrono::duration<double> took = std::chrono::steady_clock::now() - begin;
      // Some 5 ms; a quadratic one would take far longer.
      EXPECT_LT(took.count(), 2) << name << " on many '" << unit << "'";
    });
  }
}

TEST(PreTokenizer, AnUnknownNameGetsTheDefaultSteps) {
  for (const char* name : {"no-such-model", "", "gpt-2 phi-2", "gpt"}) {
    const NamedPreTokenizer named = named_pre_tokenizer(name);
    EXPECT_FALSE(named.known) << name;
    EXPECT_EQ(cut(named.steps, "a, 12345"), (Strings{"a", ",", " ", "123", "45"}));
  }
}

}  // namespace
}  // namespace brisk
