// The loaders: small files of each form, and files that contradict themselves.
#include "llm/tokenizer_load.h"

#include "base/error.h"
#include "formats/gguf.h"
#include "formats/temporary_folder.h"
#include "llm/tokenizer.h"

#include <gtest/gtest.h>

#include <cstring>

namespace brisk {
namespace {

using Ids = std::vector<TokenId>;
using Views = std::vector<std::string_view>;

TokenizerSpec load(const GgufWriter& writer) {
  const std::vector<std::byte> bytes = writer.bytes();
  return tokenizer_spec_from_gguf(GgufFile::parse(bytes, "test.gguf"));
}

template <typename Load>
void expect_error(Load load, const std::string& part) {
  try {
    load();
    FAIL() << "no error: " << part;
  } catch (const UserError& error) {
    EXPECT_NE(std::string(error.what()).find(part), std::string::npos) << error.what();
    EXPECT_EQ(std::string(error.what()).find('\n'), std::string::npos) << error.what();
  }
}

GgufWriter gguf_of(std::string_view model, const Views& tokens) {
  GgufWriter writer;
  writer.add("tokenizer.ggml.model", model);
  writer.add_array("tokenizer.ggml.tokens", std::span<const std::string_view>(tokens));
  return writer;
}

void add_numbers(GgufWriter& writer, const char* key, const std::vector<std::int32_t>& values) {
  writer.add_array(key, std::span<const std::int32_t>(values));
}
void add_scores(GgufWriter& writer, const std::vector<float>& values) {
  writer.add_array("tokenizer.ggml.scores", std::span<const float>(values));
}

TEST(GgufTokenizer, ReadsALlamaVocabulary) {
  GgufWriter file = gguf_of("llama", {"<unk>", "<s>", "</s>", "<0x21>", "▁", "a", "▁a", "<user>"});
  add_scores(file, {0, 0, 0, 0, -3, -2, -1, 0});
  add_numbers(file, "tokenizer.ggml.token_type", {2, 3, 3, 6, 1, 1, 1, 4});
  const Tokenizer t(load(file));
  EXPECT_EQ(t.encode("a<user>!"), (Ids{1, 6, 7, 4, 3}));
  EXPECT_EQ(t.encode("a</s>", true, true), (Ids{1, 6, 2}));
  EXPECT_EQ(t.bos(), 1);
  EXPECT_EQ(t.eos(), 2);
  EXPECT_TRUE(t.is_end_of_generation(2));
  EXPECT_EQ(t.decode(Ids{1, 6, 3, 6}, true), "a! a");
}

TEST(GgufTokenizer, HeedsTheFlags) {
  GgufWriter file = gguf_of("llama", {"<unk>", "<s>", "</s>", "▁", "a", "▁a", "<end>"});
  add_scores(file, {0, 0, 0, -3, -2, -1, 0});
  add_numbers(file, "tokenizer.ggml.token_type", {2, 3, 3, 1, 1, 1, 3});
  file.add("tokenizer.ggml.add_bos_token", false);
  file.add("tokenizer.ggml.add_eos_token", true);
  file.add("tokenizer.ggml.add_space_prefix", false);
  file.add("tokenizer.ggml.eot_token_id", std::uint32_t{6});
  const Tokenizer t(load(file));
  EXPECT_EQ(t.encode("a a"), (Ids{4, 5, 2}));
  EXPECT_TRUE(t.is_end_of_generation(6));
  EXPECT_EQ(t.decode(Ids{5}), " a");
}

TEST(GgufTokenizer, KnowsThatPhi3TakesTheSpaceAfterASpecialToken) {
  GgufWriter file = gguf_of("llama", {"<unk>", "<s>", "</s>", "▁", "a", "▁a", "<|end|>"});
  add_scores(file, {0, 0, 0, -3, -2, -1, 0});
  add_numbers(file, "tokenizer.ggml.token_type", {2, 3, 3, 1, 1, 1, 3});
  EXPECT_EQ(Tokenizer(load(file)).encode("<|end|> a", false, true), (Ids{6, 3, 5}));
  file.add("general.name", std::string_view("Phi-3 Mini"));
  EXPECT_EQ(Tokenizer(load(file)).encode("<|end|>\n a", false, true), (Ids{6, 5}));
}

TEST(GgufTokenizer, ReadsAByteLevelVocabularyWithItsPreTokenizer) {
  GgufWriter file = gguf_of("gpt2", {"a", "b", "Ġ", "ab", "Ġa", "1", "<|end|>"});
  const Views merges{"a b", "Ġ a"};
  file.add_array("tokenizer.ggml.merges", std::span<const std::string_view>(merges));
  add_numbers(file, "tokenizer.ggml.token_type", {1, 1, 1, 1, 1, 1, 3});
  file.add("tokenizer.ggml.pre", std::string_view("llama-bpe"));
  file.add("tokenizer.ggml.bos_token_id", std::uint32_t{6});
  const Tokenizer t(load(file));
  EXPECT_TRUE(t.warnings().empty());
  EXPECT_EQ(t.encode("ab a11"), (Ids{6, 3, 4, 5, 5}));  // llama-bpe adds BOS
  EXPECT_EQ(t.decode(Ids{3, 4}), "ab a");
}

TEST(GgufTokenizer, WarnsOfAnUnknownPreTokenizer) {
  for (const char* name : {"brand-new", ""}) {
    GgufWriter file = gguf_of("gpt2", {"a", "b", "ab"});
    const Views merges{"a b"};
    file.add_array("tokenizer.ggml.merges", std::span<const std::string_view>(merges));
    if (*name) file.add("tokenizer.ggml.pre", std::string_view(name));
    const Tokenizer t(load(file));
    ASSERT_EQ(t.warnings().size(), 1u);
    EXPECT_NE(t.warnings()[0].find(*name ? "'brand-new' is not known" : "does not name"),
              std::string::npos);
    EXPECT_EQ(t.encode("ab"), (Ids{2}));
  }
}

TEST(GgufTokenizer, ReadsABertVocabulary) {
  GgufWriter file = gguf_of("bert", {"[PAD]", "[UNK]", "[CLS]", "[SEP]", "▁un", "able", "▁able"});
  file.add("tokenizer.ggml.unknown_token_id", std::uint32_t{1});
  file.add("tokenizer.ggml.cls_token_id", std::uint32_t{2});
  file.add("tokenizer.ggml.seperator_token_id", std::uint32_t{3});
  const Tokenizer t(load(file));
  EXPECT_EQ(t.encode("UNABLE able x"), (Ids{2, 4, 5, 6, 1, 3}));
  EXPECT_EQ(t.decode(Ids{4, 5, 6}), "unable able");
}

TEST(GgufTokenizer, ReadsAUnigramVocabulary) {
  GgufWriter file = gguf_of("t5", {"<pad>", "</s>", "<unk>", "▁", "a", "▁a"});
  add_scores(file, {0, 0, 0, -2, -3, -4});
  add_numbers(file, "tokenizer.ggml.token_type", {3, 3, 2, 1, 1, 1});
  file.add("tokenizer.ggml.add_space_prefix", true);
  file.add("tokenizer.ggml.remove_extra_whitespaces", true);
  const Tokenizer t(load(file));
  EXPECT_EQ(t.encode("  a  aaé "), (Ids{5, 5, 4, 2, 1}));
}

TEST(GgufTokenizer, RefusesFilesThatContradictThemselves) {
  const auto refused = [](auto change, const std::string& part) {
    GgufWriter file = gguf_of("llama", {"<unk>", "<s>", "</s>", "a"});
    change(file);
    expect_error([&] { Tokenizer t(load(file)); }, part);
  };
  refused([](auto&) {}, "0 scores for 4 tokens");
  refused([](auto& f) { add_scores(f, {1, 2}); }, "2 scores for 4 tokens");
  refused(
      [](auto& f) {
        add_scores(f, {1, 2, 3, 4});
        add_numbers(f, "tokenizer.ggml.token_type", {1});
      },
      "1 token types for 4 tokens");
  refused([](auto& f) { f.add("tokenizer.ggml.scores", std::uint32_t{1}); },
          "tokenizer.ggml.scores");
  refused([](auto& f) { f.add("tokenizer.ggml.add_bos_token", std::string_view("yes")); },
          "tokenizer.ggml.add_bos_token");
  expect_error([&] { load(gguf_of("rwkv", {"a"})); }, "not 'rwkv'");
  expect_error([&] { load(gguf_of("gpt2", {"a"})); }, "needs tokenizer.ggml.merges");
  expect_error([] { load(GgufWriter()); }, "tokenizer.ggml.model");
  GgufWriter merges = gguf_of("gpt2", {"a"});
  const Views bad{"ab"};
  merges.add_array("tokenizer.ggml.merges", std::span<const std::string_view>(bad));
  expect_error([&] { load(merges); }, "merge 0 of tokenizer.ggml.merges, 'ab',");
}

TEST(GgufTokenizer, AnIdOutsideTheVocabularyIsNoneAndAWarning) {
  GgufWriter file = gguf_of("llama", {"<unk>", "a"});
  add_scores(file, {0, 0});
  file.add("tokenizer.ggml.bos_token_id", std::uint32_t{77});
  file.add("tokenizer.ggml.padding_token_id", std::uint32_t{0xffffffff});
  const Tokenizer t(load(file));
  EXPECT_EQ(t.bos(), no_token);
  EXPECT_EQ(t.warnings(),
            std::vector<std::string>{"the bos token 77 is outside the vocabulary of 2"});
}

TEST(TokenizerJson, ReadsAByteLevelModel) {
  const Tokenizer t(tokenizer_spec_from_json(R"({
    "added_tokens": [{"id": 5, "content": "<|end|>", "special": true, "lstrip": true}],
    "pre_tokenizer": {"type": "ByteLevel", "add_prefix_space": false},
    "post_processor": {"type": "ByteLevel"},
    "decoder": {"type": "ByteLevel"},
    "model": {"type": "BPE", "vocab": {"a": 0, "b": 1, "Ġ": 2, "ab": 3, "Ġab": 4},
              "merges": ["a b", ["Ġ", "ab"]]}})"));
  EXPECT_EQ(t.encode("ab ab <|end|>", true, true), (Ids{3, 4, 5}));
  EXPECT_EQ(t.decode(Ids{3, 4, 5}), "ab ab<|end|>");
  EXPECT_TRUE(t.is_special(5));
}

TEST(TokenizerJson, ReadsASentencePieceLikeBpeModel) {
  const Tokenizer t(tokenizer_spec_from_json(R"({
    "added_tokens": [{"id": 0, "content": "<unk>", "special": true},
                     {"id": 1, "content": "<s>", "special": true}],
    "normalizer": {"type": "Sequence", "normalizers": [
      {"type": "Prepend", "prepend": "▁"},
      {"type": "Replace", "pattern": {"String": " "}, "content": "▁"}]},
    "pre_tokenizer": null,
    "post_processor": {"type": "TemplateProcessing",
      "single": [{"SpecialToken": {"id": "<s>", "type_id": 0}}, {"Sequence": {"id": "A"}}],
      "special_tokens": {"<s>": {"id": "<s>", "ids": [1]}}},
    "decoder": {"type": "Sequence", "decoders": [
      {"type": "Replace", "pattern": {"String": "▁"}, "content": " "},
      {"type": "ByteFallback"}, {"type": "Fuse"},
      {"type": "Strip", "content": " ", "start": 1, "stop": 0}]},
    "model": {"type": "BPE", "unk_token": "<unk>", "fuse_unk": true, "byte_fallback": true,
              "vocab": {"<unk>": 0, "<s>": 1, "<0xC3>": 2, "<0xA9>": 3, "▁": 4, "a": 5, "▁a": 6},
              "merges": ["▁ a"]}})"));
  EXPECT_EQ(t.encode("a aé漢字"), (Ids{1, 6, 6, 2, 3, 0}));
  EXPECT_EQ(t.decode(Ids{6, 6, 2, 3}), "a aé");
}

TEST(TokenizerJson, ReadsUnigramWithMetaspace) {
  const Tokenizer t(tokenizer_spec_from_json(R"({
    "added_tokens": [{"id": 1, "content": "</s>", "special": true}],
    "normalizer": {"type": "Sequence", "normalizers": [{"type": "Nmt"}, {"type": "NFKC"},
      {"type": "Strip"}, {"type": "Lowercase"}]},
    "pre_tokenizer": {"type": "Metaspace", "replacement": "▁", "prepend_scheme": "always"},
    "post_processor": {"type": "TemplateProcessing",
      "single": [{"Sequence": {"id": "A"}}, {"SpecialToken": {"id": "</s>"}}],
      "special_tokens": {"</s>": {"ids": [1]}}},
    "decoder": {"type": "Metaspace", "replacement": "▁"},
    "model": {"type": "Unigram", "unk_id": 0,
              "vocab": [["<unk>", 0], ["</s>", 0], ["▁", -2], ["a", -3], ["▁a", -4], ["fi", -5]]}})"));
  EXPECT_EQ(t.encode(" A\tﬁ漢 "), (Ids{4, 2, 5, 0, 1}));
  EXPECT_EQ(t.decode(Ids{4, 2, 5}), "a fi");
}

TEST(TokenizerJson, ReadsWordPiece) {
  const Tokenizer t(tokenizer_spec_from_json(R"({
    "added_tokens": [],
    "normalizer": {"type": "BertNormalizer", "lowercase": false},
    "pre_tokenizer": {"type": "BertPreTokenizer"},
    "post_processor": {"type": "BertProcessing", "sep": ["[SEP]", 2], "cls": ["[CLS]", 1]},
    "decoder": {"type": "WordPiece", "prefix": "##", "cleanup": true},
    "model": {"type": "WordPiece", "unk_token": "[UNK]", "continuing_subword_prefix": "##",
              "vocab": {"[UNK]": 0, "[CLS]": 1, "[SEP]": 2, "un": 3, "##able": 4, "!": 5}}})"));
  EXPECT_EQ(t.encode("unable! Un"), (Ids{1, 3, 4, 5, 0, 2}));
  EXPECT_EQ(t.decode(Ids{3, 4, 5}), "unable!");
}

TEST(TokenizerJson, ReadsEveryPreTokenizer) {
  const auto pieces = [](const std::string& step) {
    const Tokenizer t(tokenizer_spec_from_json(
        R"({"pre_tokenizer": )" + step +
        R"(, "model": {"type": "WordPiece", "unk_token": "?", "vocab": {"?": 0}}})"));
    return t.encode("ab, 12 c").size();  // one unknown token for each piece
  };
  EXPECT_EQ(pieces(R"({"type": "Whitespace"})"), 4u);
  EXPECT_EQ(pieces(R"({"type": "WhitespaceSplit"})"), 3u);
  EXPECT_EQ(pieces(R"({"type": "Punctuation", "behavior": "Removed"})"), 2u);
  EXPECT_EQ(pieces(R"({"type": "Digits", "individual_digits": true})"), 4u);
  EXPECT_EQ(pieces(R"({"type": "Digits", "individual_digits": false})"), 3u);
  EXPECT_EQ(pieces(R"({"type": "CharDelimiterSplit", "delimiter": ","})"), 2u);
  EXPECT_EQ(pieces(R"({"type": "Split", "pattern": {"Regex": "[a-z]+"}, "behavior": "Removed",
                       "invert": true})"),
            2u);
  EXPECT_EQ(pieces(R"({"type": "Split", "pattern": {"String": ", "},
                       "behavior": "MergedWithPrevious"})"),
            2u);
}

TEST(TokenizerJson, RefusesWhatItCannotRead) {
  const auto refused = [](const std::string& text, const std::string& part) {
    expect_error([&] { Tokenizer t(tokenizer_spec_from_json(text)); }, part);
  };
  const std::string model = R"("model": {"type": "WordPiece", "vocab": {"a": 0}})";
  refused("", "tokenizer.json: ");
  refused("[1, 2", "tokenizer.json: ");
  refused("{}", "tokenizer.json: ");
  refused("\"\xff\"", "tokenizer.json: ");
  refused(R"({"model": {"type": "Mystery", "vocab": {}}})", "the model 'Mystery'");
  refused(R"({"model": {"type": "WordPiece", "vocab": {}}})", "a vocabulary of 0 tokens");
  refused(R"({"model": {"type": "WordPiece", "vocab": {"a": 16000000}}})",
          "token id 16000000 in a vocabulary of 1");
  refused(R"({"model": {"type": "WordPiece", "vocab": {"a": -1}}})", "the token id -1");
  refused(R"({"model": {"type": "WordPiece", "vocab": {"a": 1e75}}})",
          "'1e+75' instead of an integer");
  refused(R"({"model": {"type": "WordPiece", "vocab": {"a": 18446744073709551615}}})",
          "'18446744073709551615' instead of an integer");
  refused(R"({"model": {"type": "BPE", "vocab": {"a": 0}, "merges": ["ab"]}})", "merge 0, 'ab',");
  refused(R"({"model": {"type": "BPE", "vocab": {"a": "x"}, "merges": []}})",
          "'\"x\"' instead of an integer");
  refused(R"({"normalizer": {"type": "Magic"}, )" + model + "}", "the normalizer 'Magic'");
  refused(R"({"pre_tokenizer": {"type": "Magic"}, )" + model + "}", "the pre-tokenizer 'Magic'");
  refused(R"({"post_processor": {"type": "Magic"}, )" + model + "}", "the post-processor 'Magic'");
  refused(R"({"normalizer": {"type": "Precompiled", "precompiled_charsmap": "*"}, )" + model + "}",
          "not base64");
  std::string deep = R"({"type": "NFC"})";
  for (int i = 0; i < 40; ++i) deep = R"({"type": "Sequence", "normalizers": [)" + deep + "]}";
  refused(R"({"normalizer": )" + deep + ", " + model + "}", "nested 17 deep");
}

std::string varint(std::uint64_t value) {
  std::string out;
  for (; value >= 0x80; value >>= 7) out.push_back(static_cast<char>(value | 0x80));
  return out + static_cast<char>(value);
}
std::string number_field(int number, std::uint64_t value) {
  return varint(number << 3) + varint(value);
}
std::string bytes_field(int number, const std::string& bytes) {
  return varint(number << 3 | 2) + varint(bytes.size()) + bytes;
}
std::string piece(const std::string& text, float score, int type) {
  std::string bits(4, '\0');
  std::memcpy(bits.data(), &score, 4);
  return bytes_field(1, bytes_field(1, text) + varint(2 << 3 | 5) + bits + number_field(3, type));
}

TEST(SentencePieceFile, ReadsBothModels) {
  const std::string pieces = piece("<unk>", 0, 2) + piece("<s>", 0, 3) + piece("</s>", 0, 3) +
                             piece("▁", -3, 1) + piece("a", -2, 1) + piece("▁a", -1, 1);
  const std::string minus_one(1, '\x01');
  const std::string trainer = number_field(40, 0) + number_field(41, 1) + number_field(42, 2) +
                              number_field(43, ~std::uint64_t(0));
  const Tokenizer bpe(tokenizer_spec_from_sentencepiece(
      pieces + bytes_field(2, number_field(3, 2) + trainer) + bytes_field(3, number_field(4, 0))));
  EXPECT_EQ(bpe.encode("a  a"), (Ids{5, 3, 5}));
  EXPECT_EQ(bpe.spec().pad, no_token);
  EXPECT_EQ(bpe.bos(), 1);
  const Tokenizer unigram(
      tokenizer_spec_from_sentencepiece(pieces + bytes_field(2, number_field(3, 1) + trainer)));
  EXPECT_EQ(unigram.encode("a  a"), (Ids{5, 5}));
}

TEST(SentencePieceFile, IsRefusedWhenItIsCutOrOfAnotherKind) {
  const std::string file = piece("<unk>", 0, 2) + bytes_field(2, number_field(3, 4));
  expect_error([&] { tokenizer_spec_from_sentencepiece(file); }, "type 4");
  expect_error([&] { tokenizer_spec_from_sentencepiece(file.substr(0, 5)); }, "ends inside");
  expect_error([&] { tokenizer_spec_from_sentencepiece("\x0b"); }, "wire type 3");
  expect_error([&] { tokenizer_spec_from_sentencepiece(std::string(12, '\xff')); }, "64 bits");
  expect_error([&] { Tokenizer t(tokenizer_spec_from_sentencepiece("")); }, "0 tokens");
}

TEST(TokenizerFolder, ReadsTheConfigurationBesideTheVocabulary) {
  const TemporaryFolder folder;
  folder.write("tokenizer.json", R"({
    "added_tokens": [{"id": 1, "content": "<s>", "special": true},
                     {"id": 2, "content": "</s>", "special": true},
                     {"id": 3, "content": "<|turn|>", "special": true}],
    "model": {"type": "BPE", "vocab": {"a": 0}, "merges": []}})");
  folder.write("tokenizer_config.json",
               R"({"bos_token": {"content": "<s>"}, "eos_token": "</s>", "pad_token": null,
                   "clean_up_tokenization_spaces": true})");
  folder.write("generation_config.json", R"({"eos_token_id": [2, 3, 99, "x"]})");
  const Tokenizer t(tokenizer_spec_from_folder(folder.path()));
  EXPECT_EQ(t.bos(), 1);
  EXPECT_EQ(t.eos(), 2);
  EXPECT_EQ(t.spec().pad, no_token);
  EXPECT_TRUE(t.spec().clean_up_spaces);
  EXPECT_TRUE(t.is_end_of_generation(3));
}

TEST(TokenizerFolder, ReadsTheOlderForms) {
  const TemporaryFolder gpt2;
  gpt2.write("vocab.json", R"({"a": 0, "b": 1, "ab": 2, "<|endoftext|>": 3})");
  gpt2.write("merges.txt", "#version: 0.2\na b\n");
  const Tokenizer bytes(tokenizer_spec_from_folder(gpt2.path()));
  EXPECT_EQ(bytes.encode("ab<|endoftext|>", true, true), (Ids{2, 3}));
  EXPECT_EQ(bytes.eos(), 3);
  const TemporaryFolder bert;
  bert.write("vocab.txt", "[UNK]\r\n[CLS]\r\n[SEP]\r\nun\r\n##able\r\n");
  const Tokenizer words(tokenizer_spec_from_folder(bert.path()));
  EXPECT_EQ(words.encode("Unable"), (Ids{1, 3, 4, 2}));
  const TemporaryFolder llama;
  llama.write("tokenizer.model", piece("<unk>", 0, 2) + piece("<s>", 0, 3) + piece("</s>", 0, 3) +
                                     piece("▁a", -1, 1) + piece("▁", -2, 1) + piece("a", -3, 1) +
                                     bytes_field(2, number_field(3, 2)));
  EXPECT_EQ(Tokenizer(tokenizer_spec_from_folder(llama.path())).encode("a"), (Ids{1, 3}));
}

TEST(TokenizerFolder, SaysWhatIsWrong) {
  const TemporaryFolder folder;
  expect_error([&] { tokenizer_spec_from_folder(folder.path()); },
               "no tokenizer.json, tokenizer.model");
  expect_error([&] { tokenizer_spec_from_folder(folder.path() / "absent"); }, "absent");
  folder.write("vocab.json", R"({"a": 5})");
  folder.write("merges.txt", "a b\n");
  expect_error([&] { tokenizer_spec_from_folder(folder.path()); }, "token 'a' has no id below 1");
  folder.write("vocab.json", R"([1])");
  expect_error([&] { tokenizer_spec_from_folder(folder.path()); }, "not a JSON object");
  folder.write("tokenizer_config.json", R"({"bos_token": 5})");
  folder.write("vocab.json", R"({"a": 0})");
  expect_error([&] { tokenizer_spec_from_folder(folder.path()); }, "type must be string");
}

}  // namespace
}  // namespace brisk
