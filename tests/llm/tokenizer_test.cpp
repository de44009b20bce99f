// The tokenizer models, added tokens, decoding and hardening, on small vocabularies of our own.
#include "llm/tokenizer.h"

#include "base/error.h"
#include "llm/tokenizer_model.h"
#include "llm/tokenizer_steps.h"

#include <gtest/gtest.h>

#include <chrono>
#include <cmath>
#include <limits>
#include <thread>

namespace brisk {
namespace {

using Ids = std::vector<TokenId>;
using Model = TokenizerSpec::Model;

/// SentencePiece-style: <unk>, <s>, </s>, the 256 byte tokens (3 to 258), then `pieces` from 259
/// on, earlier ones scored better.
TokenizerSpec sentencepiece_spec(const std::vector<std::string>& pieces) {
  TokenizerSpec spec;
  spec.model = Model::merge_by_score;
  const auto add = [&](std::string text, TokenKind kind) {
    spec.scores.push_back(-static_cast<double>(spec.tokens.size()));
    spec.tokens.push_back(std::move(text));
    spec.kinds.push_back(kind);
  };
  add("<unk>", TokenKind::unknown);
  add("<s>", TokenKind::control);
  add("</s>", TokenKind::control);
  const char* digits = "0123456789ABCDEF";
  for (int byte = 0; byte < 256; ++byte)
    add(std::string("<0x") + digits[byte >> 4] + digits[byte & 15] + ">", TokenKind::byte);
  for (const std::string& piece : pieces) add(piece, TokenKind::normal);
  spec.unk = 0;
  spec.bos = 1;
  spec.eos = 2;
  spec.prefix = {1};
  spec.byte_fallback = spec.fuse_unknown = spec.space_marker = spec.strip_leading_space = true;
  spec.normalize = sentencepiece_normalizer("", false, true);
  add_tokens_by_kind(spec);
  return spec;
}

/// Byte-level BPE: the 256 bytes in order, then one token for each merge.
TokenizerSpec byte_level_spec(const std::vector<std::pair<std::string, std::string>>& merges) {
  TokenizerSpec spec;
  for (int byte = 0; byte < 256; ++byte)
    spec.tokens.push_back(bytes_to_alphabet(std::string(1, static_cast<char>(byte))));
  for (const auto& [left, right] : merges) {
    spec.merges.push_back({left, right});
    spec.tokens.push_back(left + right);
  }
  spec.kinds.assign(spec.tokens.size(), TokenKind::normal);
  spec.byte_level = true;
  spec.pre_tokenize = gpt2_pre_tokenizer();
  return spec;
}

TokenId add_token(TokenizerSpec& spec, std::string text, bool special) {
  const auto id = static_cast<TokenId>(spec.tokens.size());
  spec.tokens.push_back(text);
  spec.kinds.push_back(special ? TokenKind::control : TokenKind::user_defined);
  if (!spec.scores.empty()) spec.scores.push_back(0);
  spec.added.push_back({id, std::move(text), special});
  return id;
}

Ids byte_ids(std::string_view bytes, TokenId first = 0) {
  Ids ids;
  for (const char c : bytes) ids.push_back(first + static_cast<unsigned char>(c));
  return ids;
}

TEST(MergeByScore, MergesTheBestPairFirstAndOfEqualsTheLeftmost) {
  const Tokenizer t(sentencepiece_spec({"▁", "a", "b", "ab", "aa", "ba", "▁a"}));
  EXPECT_EQ(t.encode("b", false), (Ids{259, 261}));
  EXPECT_EQ(t.encode("xab", false), (Ids{259, 3 + 'x', 262}));
  EXPECT_EQ(t.encode("ab", false), (Ids{259, 262}));        // "ab" before "▁a"
  EXPECT_EQ(t.encode("aaa", false), (Ids{259, 263, 260}));  // the left pair, then nothing is better
  EXPECT_EQ(t.encode("a", true), (Ids{1, 265}));
}

TEST(MergeByScore, UnknownCharactersFallBackToBytes) {
  const Tokenizer t(sentencepiece_spec({"▁", "é"}));
  EXPECT_EQ(t.encode("é", false), (Ids{259, 260}));
  Ids llama{259};
  for (const TokenId id : byte_ids("🦙\xff", 3)) llama.push_back(id);
  EXPECT_EQ(t.encode("🦙\xff", false), llama);
  EXPECT_EQ(t.decode(t.encode("é🦙", false)), "é🦙");
}

TEST(MergeByScore, WithoutByteTokensUnknownNeighboursBecomeOneUnknownToken) {
  TokenizerSpec spec;
  spec.model = Model::merge_by_score;
  spec.tokens = {"<unk>", "a"};
  spec.scores = {0, 0};
  spec.unk = 0;
  spec.fuse_unknown = true;
  EXPECT_EQ(Tokenizer(spec).encode("xyaz"), (Ids{0, 1, 0}));
  spec.fuse_unknown = false;
  EXPECT_EQ(Tokenizer(spec).encode("xyaz"), (Ids{0, 0, 1, 0}));
  spec.unk = no_token;
  EXPECT_EQ(Tokenizer(spec).encode("xyaz"), (Ids{1}));
}

TEST(MergeByScore, CuttingBetweenWordsChangesNothing) {
  // "b▁a" spans two words, so the first vocabulary may not be cut; the second may.
  const Tokenizer across(sentencepiece_spec({"▁", "a", "b", "b▁", "b▁a"}));
  EXPECT_EQ(across.encode("b a", false), (Ids{259, 263}));
  const Tokenizer apart(sentencepiece_spec({"▁", "a", "b", "▁▁", "▁a"}));
  EXPECT_EQ(apart.encode("b  a", false), (Ids{259, 261, 262, 260}));
}

TEST(MergeByScore, PlainTextNeverBecomesAControlOrByteToken) {
  TokenizerSpec spec = sentencepiece_spec({"▁", "<", "s", ">", "<s", "<0x4", "1>"});
  const Tokenizer t(std::move(spec));
  for (const char* text : {"<s>", "<0x41>", "<unk>"})
    for (const TokenId id : t.encode(text, false)) {
      EXPECT_FALSE(t.is_special(id));
      EXPECT_NE(id, 3 + 0x41) << text;
    }
  EXPECT_EQ(t.encode("<s>", false, true), (Ids{1}));
}

TEST(MergeByRank, MergesInTheOrderOfTheList) {
  const Tokenizer t(byte_level_spec({{"b", "c"}, {"a", "b"}, {"a", "bc"}, {"Ġ", "a"}}));
  EXPECT_EQ(t.encode("abc"), (Ids{258}));
  EXPECT_EQ(t.encode("ab"), (Ids{257}));
  EXPECT_EQ(t.encode(" ab"), (Ids{' ', 257}));
  EXPECT_EQ(t.encode(" a"), (Ids{259}));
  EXPECT_EQ(t.piece(259), " a");
}

TEST(MergeByRank, AnyBytesComeBackUnchanged) {
  const Tokenizer t(byte_level_spec({{"a", "b"}, {"Ã", "©"}}));
  std::string bytes;
  std::uint32_t state = 7;
  for (int i = 0; i < 5000; ++i) {
    state = state * 1664525 + 1013904223;
    bytes.push_back(static_cast<char>(state >> 24));
  }
  std::string back;
  for (const TokenId id : t.encode(bytes)) back += t.piece(id);
  EXPECT_EQ(back, bytes);
  EXPECT_EQ(t.encode("é"), (Ids{257}));
}

TEST(MergeByRank, IgnoreMergesTakesAWholePieceThatIsAToken) {
  TokenizerSpec spec = byte_level_spec({{"a", "b"}});
  spec.tokens.push_back("abc");
  spec.kinds.push_back(TokenKind::normal);
  EXPECT_EQ(Tokenizer(spec).encode("abc"), (Ids{256, 'c'}));
  spec.ignore_merges = true;
  EXPECT_EQ(Tokenizer(spec).encode("abc"), (Ids{257}));
}

TEST(MergeByRank, WordSuffixMarksTheLastSymbol) {
  TokenizerSpec spec;
  spec.tokens = {"a", "b", "a</w>", "b</w>", "ab</w>"};
  spec.merges = {{"a", "b</w>"}};
  spec.word_suffix = "</w>";
  spec.pre_tokenize = {split_step(R"(\s+)", PreTokenizeStep::Behavior::removed)};
  const Tokenizer t(std::move(spec));
  EXPECT_EQ(t.encode("ab ba"), (Ids{4, 1, 2}));
  EXPECT_EQ(t.decode(Ids{4, 1, 2}), "ab ba ");
}

TEST(MergeByRank, MergesThatNameNoTokenNeverApply) {
  TokenizerSpec spec = byte_level_spec({{"a", "b"}});
  spec.merges.push_back({"x", "y"});        // "xy" is no token
  spec.merges.push_back({"nothing", "b"});  // nor is this
  spec.merges.push_back({"", ""});
  EXPECT_EQ(Tokenizer(std::move(spec)).encode("abxy"), (Ids{256, 'x', 'y'}));
}

TokenizerSpec wordpiece_spec() {
  TokenizerSpec spec;
  spec.model = Model::wordpiece;
  spec.tokens = {"[UNK]", "[CLS]", "[SEP]", "un", "##aff", "##able", "able", "##a", "!", "漢"};
  spec.kinds.assign(spec.tokens.size(), TokenKind::normal);
  for (const TokenId id : {0, 1, 2}) {
    spec.kinds[id] = TokenKind::control;
    spec.added.push_back({id, spec.tokens[id], true});
  }
  spec.unk = 0;
  spec.prefix = {1};
  spec.suffix = {2};
  spec.continuing_prefix = "##";
  spec.max_word_chars = 20;
  spec.words_apart = spec.clean_up_spaces = true;
  spec.normalize = bert_normalizer(true, true, true, true);
  spec.pre_tokenize = bert_pre_tokenizer();
  return spec;
}

TEST(WordPiece, TakesTheLongestTokenAtEachPlace) {
  const Tokenizer t(wordpiece_spec());
  EXPECT_EQ(t.encode("unaffable able!"), (Ids{1, 3, 4, 5, 6, 8, 2}));
  EXPECT_EQ(t.decode(Ids{1, 3, 4, 5, 6, 8, 2}), "[CLS] unaffable able! [SEP]");
  EXPECT_EQ(t.decode(Ids{1, 3, 4, 5, 6, 8, 2}, true), "unaffable able!");
}

TEST(WordPiece, AWordThatDoesNotFitIsUnknownAsAWhole) {
  const Tokenizer t(wordpiece_spec());
  EXPECT_EQ(t.encode("unaffx able", false), (Ids{0, 6}));
  EXPECT_EQ(t.encode("un" + std::string(18, 'a'), false).size(), 19u);
  EXPECT_EQ(t.encode("un" + std::string(19, 'a'), false), (Ids{0}));
}

TEST(WordPiece, CleansTextAsBertDoes) {
  const Tokenizer t(wordpiece_spec());
  EXPECT_EQ(t.encode("ÜN\tÁble\u200b!漢able", false), (Ids{3, 6, 8, 9, 6}));
  EXPECT_EQ(t.encode(" \n ", false), (Ids{}));
}

TokenizerSpec unigram_spec() {
  TokenizerSpec spec;
  spec.model = Model::unigram;
  spec.tokens = {"<unk>", "▁", "a", "b", "ab", "▁ab", "abb"};
  spec.scores = {0, -2, -3, -3, -4, -5, -8};
  spec.kinds.assign(spec.tokens.size(), TokenKind::normal);
  spec.kinds[0] = TokenKind::unknown;
  spec.unk = 0;
  spec.fuse_unknown = spec.space_marker = spec.strip_leading_space = true;
  spec.normalize = sentencepiece_normalizer("", true, true);
  return spec;
}

TEST(Unigram, TakesThePathOfGreatestScore) {
  const Tokenizer t(unigram_spec());
  EXPECT_EQ(t.encode("ab"), (Ids{5}));      // -5, not -2 -4
  EXPECT_EQ(t.encode("abb"), (Ids{5, 3}));  // -5 -3, not -2 -8
  EXPECT_EQ(t.encode("  ba   ab "), (Ids{1, 3, 2, 5}));
  EXPECT_EQ(t.decode(Ids{1, 3, 2, 5}), "ba ab");
}

TEST(Unigram, UnknownNeighboursBecomeOneUnknownToken) {
  const Tokenizer t(unigram_spec());
  EXPECT_EQ(t.encode("axyb"), (Ids{1, 2, 0, 3}));
  EXPECT_EQ(t.encode("x y"), (Ids{1, 0, 1, 0}));
  EXPECT_EQ(t.encode("\xff\xfe"), (Ids{1, 0}));
}

TEST(AddedTokens, AreFoundBeforeAnythingElseTheLongestFirst) {
  TokenizerSpec spec = byte_level_spec({});
  const TokenId end = add_token(spec, "<|end|>", true);
  const TokenId longer = add_token(spec, "<|end|>>", true);
  const TokenId tool = add_token(spec, "<tool>", false);
  const Tokenizer t(std::move(spec));
  EXPECT_EQ(t.encode("a<|end|>b", true, true), (Ids{'a', end, 'b'}));
  EXPECT_EQ(t.encode("<|end|>>", true, true), (Ids{longer}));
  EXPECT_EQ(t.encode("<|end|", true, true), byte_ids("<|end|"));
  EXPECT_EQ(t.encode("<|end|>", true, false), byte_ids("<|end|>"));
  EXPECT_EQ(t.encode("<tool>", true, false), (Ids{tool}));
  EXPECT_EQ(t.find("<|end|>"), end);
  EXPECT_EQ(t.find("A"), 'A');
  EXPECT_EQ(t.find("nothing"), no_token);
}

TEST(AddedTokens, CanTakeSpacesAlongOrStandOnlyAsWords) {
  TokenizerSpec spec = byte_level_spec({});
  const TokenId left = add_token(spec, "<l>", true), right = add_token(spec, "<r>", true);
  const TokenId word = add_token(spec, "cat", false);
  spec.added[0].strip_left = spec.added[1].strip_right = spec.added[2].single_word = true;
  const Tokenizer t(std::move(spec));
  EXPECT_EQ(t.encode("a \n<l> b", true, true), (Ids{'a', left, ' ', 'b'}));
  EXPECT_EQ(t.encode("a <r>\u3000 b", true, true), (Ids{'a', ' ', right, 'b'}));
  EXPECT_EQ(t.encode("cat cats"), (Ids{word, ' ', 'c', 'a', 't', 's'}));
}

TEST(AddedTokens, EachSegmentIsNormalizedOnItsOwn) {
  TokenizerSpec spec = sentencepiece_spec({"▁", "a", "▁a"});
  const Tokenizer t(std::move(spec));
  EXPECT_EQ(t.encode("a</s>a", true, true), (Ids{1, 261, 2, 261}));
}

TEST(Decode, DropsTheLeadingSpaceOnlyWhereTheTextBegins) {
  const Tokenizer t(sentencepiece_spec({"▁", "a", "▁a"}));
  EXPECT_EQ(t.decode(Ids{261, 261}), "a a");
  EXPECT_EQ(t.decode(Ids{1, 261, 261}), "<s> a a");
  EXPECT_EQ(t.decode(Ids{1, 261, 261}, true), "a a");
  EXPECT_EQ(t.piece(261), " a");
  EXPECT_EQ(t.piece(261, true), "a");
}

TEST(Decode, GivesReplacementCharactersForBytesThatAreNotUtf8) {
  const Tokenizer t(byte_level_spec({}));
  EXPECT_EQ(t.decode(Ids{'a', 0xf0, 0x9f, 'b', 0xff}), "a\ufffdb\ufffd");
}

TEST(Decode, RefusesIdsOutsideTheVocabulary) {
  const Tokenizer t(byte_level_spec({}));
  for (const TokenId id : {-1, 256, 1 << 30}) {
    EXPECT_THROW(t.decode(Ids{id}), UserError);
    EXPECT_THROW(t.piece(id), UserError);
    EXPECT_THROW(t.token(id), UserError);
    EXPECT_FALSE(t.is_special(id));
    EXPECT_FALSE(t.is_end_of_generation(id));
  }
}

TEST(StreamDecoder, HoldsBackAnUnfinishedCharacter) {
  const Tokenizer t(byte_level_spec({}));
  StreamDecoder stream(t);
  EXPECT_EQ(stream.push('a'), "a");
  EXPECT_EQ(stream.push(0xf0), "");
  EXPECT_EQ(stream.push(0x9f), "");
  EXPECT_EQ(stream.push(0xa6), "");
  EXPECT_EQ(stream.push(0x99), "🦙");
  EXPECT_EQ(stream.push(0xe6), "");
  EXPECT_EQ(stream.push('b'), "\ufffdb");
  EXPECT_EQ(stream.push(0xff), "\ufffd");
  EXPECT_EQ(stream.push(0xc3), "");
  EXPECT_EQ(stream.finish(), "\ufffd");
  EXPECT_EQ(stream.finish(), "");
}

TEST(StreamDecoder, GivesTheSameTextAsDecodingAtOnce) {
  const Tokenizer t(byte_level_spec({{"Ã", "©"}, {"a", "Ã"}}));
  const std::string text =
      "aé 漢字 \xf0\x9f 🦙\xff"
      "é\xe2\x82";
  const Ids ids = t.encode(text);
  StreamDecoder stream(t);
  std::string streamed;
  for (const TokenId id : ids) streamed += stream.push(id);
  EXPECT_EQ(streamed + stream.finish(), t.decode(ids));
}

TEST(StreamDecoder, LeavesSpecialTokensOutUnlessAsked) {
  const Tokenizer t(sentencepiece_spec({"▁", "a", "▁a"}));
  StreamDecoder plain(t), all(t, false), start(t, true, true);
  EXPECT_EQ(plain.push(2), "");
  EXPECT_EQ(plain.push(261), " a");
  EXPECT_EQ(all.push(2), "</s>");
  EXPECT_EQ(start.push(1), "");
  EXPECT_EQ(start.push(261), "a");
  EXPECT_EQ(start.push(261), " a");
}

TEST(SpecialIds, EndOfGenerationIsEosEotAndTheKnownNames) {
  TokenizerSpec spec = byte_level_spec({});
  const TokenId eos = add_token(spec, "<|endoftext|>", true);
  const TokenId turn = add_token(spec, "<|im_end|>", true);
  const TokenId other = add_token(spec, "<|other|>", true);
  const TokenId listed = add_token(spec, "<|listed|>", true);
  spec.eos = eos;
  spec.end_of_generation = {listed};
  const Tokenizer t(std::move(spec));
  EXPECT_TRUE(t.is_end_of_generation(eos));
  EXPECT_TRUE(t.is_end_of_generation(turn));
  EXPECT_TRUE(t.is_end_of_generation(listed));
  EXPECT_FALSE(t.is_end_of_generation(other));
  EXPECT_FALSE(t.is_end_of_generation(no_token));
  EXPECT_TRUE(t.is_special(other));
}

TEST(SpecialIds, EndOfMessageIsNoEndOfGenerationWhereTurnsHaveTheirOwn) {
  TokenizerSpec spec = byte_level_spec({});
  const TokenId end = add_token(spec, "<|end|>", true);
  EXPECT_TRUE(Tokenizer(spec).is_end_of_generation(end));
  const TokenId done = add_token(spec, "<|return|>", true);
  add_token(spec, "<|call|>", true);
  EXPECT_FALSE(Tokenizer(spec).is_end_of_generation(end));
  EXPECT_TRUE(Tokenizer(spec).is_end_of_generation(done));
  spec.eos = end;
  EXPECT_TRUE(Tokenizer(spec).is_end_of_generation(end));
}

void expect_refused(TokenizerSpec spec, const std::string& message) {
  try {
    Tokenizer t(std::move(spec));
    FAIL() << "no error: " << message;
  } catch (const UserError& error) {
    EXPECT_EQ(error.what(), message);
  }
}

TEST(HostileSpec, IsRefusedInOneLine) {
  const TokenizerSpec good = sentencepiece_spec({"a"});
  const auto refused = [&](auto change, const std::string& message) {
    TokenizerSpec spec = good;
    change(spec);
    expect_refused(std::move(spec), "tokenizer: " + message);
  };
  expect_refused({}, "tokenizer: a vocabulary of 0 tokens; 1 to 2^24 are possible");
  refused([](auto& s) { s.scores.pop_back(); }, "259 scores for 260 tokens");
  refused([](auto& s) { s.scores.clear(); }, "0 scores for 260 tokens");
  refused([](auto& s) { s.kinds.push_back(TokenKind::normal); }, "261 token types for 260 tokens");
  refused([](auto& s) { s.scores[5] = std::nan(""); }, "the score of token 5 is not finite");
  refused([](auto& s) { s.scores[6] = -std::numeric_limits<double>::infinity(); },
          "the score of token 6 is not finite");
  refused([](auto& s) { s.tokens[7] = std::string(5000, 'x'); },
          "token 7 has 5000 bytes, 4096 are allowed");
  refused([](auto& s) { s.bos = 260; },
          "the BOS token 260 is outside the vocabulary of 260 tokens");
  refused([](auto& s) { s.eos = -2; }, "the EOS token -2 is outside the vocabulary of 260 tokens");
  refused([](auto& s) { s.unk = 999; },
          "the unknown token 999 is outside the vocabulary of 260 tokens");
  refused(
      [](auto& s) {
        s.suffix = {1, 260};
      },
      "the suffix token 260 is outside the vocabulary of 260 tokens");
  refused(
      [](auto& s) {
        s.added.push_back({-7, "x"});
      },
      "the added token -7 is outside the vocabulary of 260 tokens");
  refused([](auto& s) { s.pre_tokenize = {split_step("(", PreTokenizeStep::Behavior::removed)}; },
          "the pattern '(' is not valid at byte 1: missing closing parenthesis");
  refused([](auto& s) { s.normalize = {normalize_replace("a", std::string(2000, 'b'))}; },
          "a normalizer inserts 2000 bytes, 1024 are allowed");
  refused(
      [](auto& s) {
        s.normalize = {{NormalizeStep::Kind::charsmap, {}, "\x08"}};
      },
      "the character map of 1 bytes does not hold the trie that it announces");
}

TEST(HostileSpec, EmptyAndRepeatedTokensDoNoHarm) {
  TokenizerSpec spec = sentencepiece_spec({"", "a", "a", "", "aa", "aa", "\xff", "▁"});
  const Tokenizer t(std::move(spec));
  EXPECT_EQ(t.encode("aaa", false), (Ids{266, 263, 260}));  // the first of the equal ones
  EXPECT_EQ(t.piece(259), "");
  EXPECT_EQ(t.decode(Ids{259, 262, 265}), "\ufffd");
  EXPECT_EQ(t.encode("", false), (Ids{}));
  EXPECT_EQ(t.find(""), no_token);
}

TEST(CharsMap, ReplacesTheLongestKeyAndSurvivesAnyTrie) {
  // Units of the trie for "a" → "xy": the root's child sits at offset ^ 'a', its value at its
  // offset.
  const auto unit = [](std::uint32_t label, bool value, std::uint32_t offset) {
    return label | (value ? 0x100u : 0u) | offset << 10;
  };
  std::vector<std::uint32_t> units(256, 0);
  units[0] = unit(0, false, 1);
  units[1 ^ 'a'] = unit('a', true, (1 ^ 'a') ^ 200);
  units[200] = 0x80000000;  // a value: offset 0 of the replacements
  std::string blob;
  const auto put = [&](std::uint32_t word) {
    for (int i = 0; i < 4; ++i) blob.push_back(static_cast<char>(word >> 8 * i));
  };
  put(static_cast<std::uint32_t>(units.size() * 4));
  for (const std::uint32_t u : units) put(u);
  const CharsMap map(blob + std::string("xy\0", 3));
  EXPECT_EQ(map.apply("banab\xff"), "bxynxyb\xff");
  EXPECT_THROW(CharsMap(blob.substr(0, 100)), UserError);
  std::uint32_t state = 5;
  for (int round = 0; round < 200; ++round) {  // random units: any result, no access outside
    std::string bad = blob;
    for (std::size_t i = 4; i < bad.size(); ++i) {
      state = state * 1664525 + 1013904223;
      bad[i] = static_cast<char>(state >> 24);
    }
    CharsMap(bad).apply("the quick brown fox \xff\x80 ünïcödé");
  }
}

TEST(Tokenizer, AMegabyteTakesAMomentWhateverItHolds) {
  const Tokenizer scores(sentencepiece_spec({"▁", "a", "aa", "aaaa", "▁a", "▁▁", "▁▁▁▁"}));
  const Tokenizer ranks(byte_level_spec({{"a", "a"}, {"aa", "aa"}, {"Ġ", "a"}, {"Ġ", "Ġ"}}));
  const Tokenizer unigram(unigram_spec());
  const Tokenizer words(wordpiece_spec());
  for (const char* unit : {"a", "a ", " ", "\xff", "漢"}) {
    std::string text;
    while (text.size() < (1 << 20)) text += unit;
    for (const Tokenizer* t : {&scores, &ranks, &unigram, &words}) {
      const auto begin = std::chrono::steady_clock::now();
      t->encode(text);
      const std::chrono::duration<double> took = std::chrono::steady_clock::now() - begin;
      EXPECT_LT(took.count(), 10) << "on many '" << unit << "'";  // some 0.3 s when idle
    }
  }
}

TEST(Tokenizer, IsSafeToShareByThreads) {
  const Tokenizer t(byte_level_spec({{"a", "b"}, {"Ġ", "ab"}}));
  const std::string text = "ab abab é漢字 12 \xff ab";
  const Ids wanted = t.encode(text);
  std::vector<std::thread> threads;
  std::vector<int> wrong(4);
  for (int i = 0; i < 4; ++i)
    threads.emplace_back([&, i] {
      for (int round = 0; round < 200; ++round) wrong[i] += t.encode(text) != wanted;
    });
  for (std::thread& thread : threads) thread.join();
  EXPECT_EQ(wrong, std::vector<int>(4));
}

}  // namespace
}  // namespace brisk
