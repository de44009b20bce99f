// Learning a tokenizer: which pairs are joined, in which order, and that what comes out is a
// tokenizer like any other.
#include "llm/tokenizer_train.h"

#include <gtest/gtest.h>

#include "base/error.h"
#include "formats/gguf.h"
#include "llm/tokenizer.h"
#include "llm/tokenizer_load.h"

namespace brisk {
namespace {

// Pairs of neighbours by count: "es" 9, "st" 9, "we" 8, "lo" 7, "ow" 7, …; "es" and "st" tie, and
// e comes before s. Then "est" 9, then "lo" and "ow" 7 of "l", "o", "w".
constexpr std::string_view words =
    "low low low low low lower lower newest newest newest newest newest newest widest widest "
    "widest";

TEST(TokenizerTrain, JoinsTheMostFrequentPairFirstAndTheOldestOfEquals) {
  TokenizerTrainer trainer;
  trainer.add(words);
  const TokenizerSpec spec = trainer.train(256 + 4 + 1);
  ASSERT_EQ(spec.merges.size(), 4U);
  const auto merged = [&](std::size_t i) {
    return spec.merges[i].left + "+" + spec.merges[i].right;
  };
  EXPECT_EQ(merged(0), "e+s");
  EXPECT_EQ(merged(1), "es+t");
  EXPECT_EQ(merged(2), "l+o");
  EXPECT_EQ(merged(3), "lo+w");
  EXPECT_EQ(spec.tokens.size(), 261U);
  EXPECT_EQ(spec.tokens[259], "low");
  EXPECT_EQ(spec.tokens[260], "<|endoftext|>");
  EXPECT_EQ(spec.eos, 260);
}

TEST(TokenizerTrain, PairsWithinARunJoinFromTheLeft) {
  TokenizerTrainer trainer;
  for (int i = 0; i < 4; ++i) trainer.add("aaaaa");
  const TokenizerSpec spec = trainer.train(256 + 100 + 1);
  const Tokenizer tokenizer(spec);
  EXPECT_EQ(tokenizer.encode("aaaaa", false).size(), 1U);
  EXPECT_EQ(spec.merges.size(), 3U);  // aa, aaaa, aaaaa: then nothing is left to join
}

TEST(TokenizerTrain, PortionsDoNotMatterAndEveryTextHasTokens) {
  TokenizerTrainer whole;
  whole.add(std::string(words) + "\n" + std::string(words));
  TokenizerTrainer parts;
  parts.add(words);
  parts.add("\n" + std::string(words));
  const TokenizerSpec spec = whole.train(280);
  EXPECT_EQ(spec.tokens, parts.train(280).tokens);
  const Tokenizer tokenizer(spec);
  for (const std::string text : {"low newest lowest", "völlig anders: 東京 🙂\n\n\tx", ""}) {
    EXPECT_EQ(tokenizer.decode(tokenizer.encode(text, false)), text);
  }
  EXPECT_LT(tokenizer.encode("newest", false).size(), 4U);
}

TEST(TokenizerTrain, GoesThroughAGgufFile) {
  TokenizerTrainer trainer("llama-bpe");
  trainer.add(words);
  const TokenizerSpec spec = trainer.train(300, {"<|end|>", "<|user|>"});
  GgufWriter writer;
  write_tokenizer(writer, spec);
  const std::vector<std::byte> bytes = writer.bytes();
  const GgufFile file = GgufFile::parse(bytes, "written");
  const Tokenizer read(tokenizer_spec_from_gguf(file));
  const Tokenizer trained(spec);
  EXPECT_EQ(read.spec().tokens, spec.tokens);
  EXPECT_EQ(read.eos(), trained.eos());
  for (const std::string text : {"lower newest<|user|>low", "wide west"}) {
    EXPECT_EQ(read.encode(text, true, true), trained.encode(text, true, true));
    EXPECT_EQ(read.encode(text, true, false), trained.encode(text, true, false));
  }
}

TEST(TokenizerTrain, SaysWhatItCannotDo) {
  EXPECT_THROW(TokenizerTrainer("no such name"), UserError);
  EXPECT_THROW(TokenizerTrainer().train(256), UserError);
  EXPECT_EQ(TokenizerTrainer().train(1000).tokens.size(), 257U);  // of no text at all
}

}  // namespace
}  // namespace brisk
