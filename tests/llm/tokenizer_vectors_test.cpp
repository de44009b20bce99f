// Tokenizers against the ids that other projects' tokenizers gave for the same text
// (../shared/data).
#include "formats/gguf.h"
#include "llm/tokenizer.h"
#include "llm/tokenizer_data.h"
#include "llm/tokenizer_load.h"
#include "llm/tokenizer_model.h"
#include "llm/unicode.h"

#include <nlohmann/json.hpp>

#include <sstream>

namespace brisk {
namespace {

std::vector<std::string> split_text(const std::string& text, const std::string& separator) {
  std::vector<std::string> parts;
  std::size_t at = 0;
  for (std::size_t found; (found = text.find(separator, at)) != std::string::npos;
       at = found + separator.size())
    parts.push_back(text.substr(at, found - at));
  parts.push_back(text.substr(at));
  return parts;
}

class GgufVocabulary : public testing::TestWithParam<const char*> {};

TEST_P(GgufVocabulary, GivesTheIdsOfLlamaCpp) {
  BRISK_NEED_DATA(data, "ggml-vocab-gguf/ggml-vocab.tar.xz");
  const std::string name = std::string("ggml-vocab-") + GetParam() + ".gguf";
  const Tokenizer tokenizer(tokenizer_spec_from_gguf(GgufFile::open(data.path / name)));
  EXPECT_TRUE(tokenizer.warnings().empty());
  const auto texts = split_text(read_text(data.path / (name + ".inp")), "\n__ggml_vocab_test__\n");
  const auto lines = split_text(read_text(data.path / (name + ".out")), "\n");
  ASSERT_GE(texts.size(), 46u);
  ASSERT_GE(lines.size() + 1, texts.size());
  for (std::size_t i = 0; i < texts.size(); ++i) {
    std::istringstream line(i < lines.size() ? lines[i] : "");
    const std::vector<TokenId> wanted{std::istream_iterator<TokenId>(line), {}};
    if (wanted.empty() && i + 1 == texts.size()) continue;  // the last separator's remainder
    EXPECT_EQ(tokenizer.encode(texts[i], false), wanted) << "text " << i << ": " << texts[i];
  }
}

INSTANTIATE_TEST_SUITE_P(Real, GgufVocabulary,
                         testing::Values("gpt-2", "llama-spm", "bert-bge", "falcon",
                                         "deepseek-llm"));

nlohmann::json vectors_of(const char* model) {
  return nlohmann::json::parse(read_text(shared_data() / "hf-tokenizers" / "vectors.json"))
      .at(model)
      .at("cases");
}

void expect_vectors(const Tokenizer& tokenizer, const char* model, bool skip_no_break_spaces) {
  const auto cases = vectors_of(model);
  ASSERT_FALSE(cases.empty());
  for (const auto& [name, entry] : cases.items()) {
    const auto text = entry.at("text").get<std::string>();
    if (skip_no_break_spaces && text.find("\u00a0") != std::string::npos) continue;
    const auto wanted = entry.at("ids").get<std::vector<TokenId>>();
    auto ids = tokenizer.encode(text, true, true);
    if (entry.contains("text_pair")) {  // BERT's pairs: the second text and another separator
      const auto second = tokenizer.encode(entry.at("text_pair").get<std::string>(), false);
      ids.insert(ids.end(), second.begin(), second.end());
      ids.push_back(tokenizer.find("[SEP]"));
    }
    EXPECT_EQ(ids, wanted) << name;
    EXPECT_EQ(tokenizer.decode(wanted), entry.at("decoded").get<std::string>()) << name;
  }
}

struct Pairing {
  const char* model;   // of vectors.json
  const char* folder;  // of the archive
  bool clean_up;       // what that model's missing tokenizer_config.json says
};

class HuggingFaceVocabulary : public testing::TestWithParam<Pairing> {};

TEST_P(HuggingFaceVocabulary, GivesTheIdsAndTextsOfTransformers) {
  BRISK_NEED_DATA(data, "hf-tokenizers/tokenizers.tar.xz");
  const auto [model, folder, clean_up] = GetParam();
  TokenizerSpec spec = tokenizer_spec_from_folder(data.path / folder);
  spec.clean_up_spaces = clean_up;
  const Tokenizer tokenizer(std::move(spec));
  EXPECT_TRUE(tokenizer.warnings().empty());
  // In the stored tokenizer.json of Llama 2 the four tokens of no-break spaces have become plain
  // ones; the test below takes the same vectors from the intact tokenizer.model.
  expect_vectors(tokenizer, model, folder == std::string("llama2"));
}

INSTANTIATE_TEST_SUITE_P(Real, HuggingFaceVocabulary,
                         testing::Values(Pairing{"Xenova/gpt2", "gpt2", true},
                                         Pairing{"openai-community/gpt2", "gpt2", true},
                                         Pairing{"Xenova/llama-tokenizer", "llama2", false},
                                         Pairing{"google-t5/t5-small", "t5-small", true},
                                         Pairing{"Xenova/t5-small", "t5-small", true},
                                         Pairing{"Xenova/clip-vit-base-patch16", "clip", true},
                                         Pairing{"Xenova/bert-base-uncased", "bert-base-uncased",
                                                 true}));

/// tiktoken's ranks: lines of base64 text and rank; the pair that gives the lowest rank merges
/// first.
TokenizerSpec tiktoken_spec(const std::string& file) {
  TokenizerSpec spec;
  const std::string digits = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";
  std::istringstream lines(file);
  for (std::string text, rank; lines >> text >> rank;) {
    std::string bytes;
    unsigned bits = 0, count = 0;
    for (const char c : text.substr(0, text.find('='))) {
      bits = bits << 6 | static_cast<unsigned>(digits.find(c));
      if ((count += 6) >= 8) bytes += static_cast<char>(bits >> (count -= 8));
    }
    EXPECT_EQ(rank, std::to_string(spec.tokens.size()));
    spec.scores.push_back(-static_cast<double>(spec.tokens.size()));
    spec.tokens.push_back(bytes_to_alphabet(bytes));
  }
  spec.model = TokenizerSpec::Model::merge_by_score;
  spec.byte_level = true;
  spec.pre_tokenize = named_pre_tokenizer("cl100k").steps;
  return spec;
}

TEST(TokenizerVectors, TiktokenRanksGiveTheIdsOfGpt4) {
  BRISK_NEED_DATA(data, "hf-tokenizers/tokenizers.tar.xz");
  const Tokenizer tokenizer(tiktoken_spec(read_text(data.path / "cl100k_base.tiktoken")));
  expect_vectors(tokenizer, "Xenova/gpt-4", false);
}

TEST(TokenizerVectors, TheSentencePieceModelOfLlama2GivesTheIdsAndTextsOfTransformers) {
  if (!std::filesystem::exists(shared_data())) GTEST_SKIP() << "needs ../shared/data";
  TokenizerSpec spec = tokenizer_spec_from_sentencepiece(
      read_text(shared_data() / "llama2-tokenizer" / "tokenizer.model"));
  spec.prefix = {spec.bos};
  expect_vectors(Tokenizer(std::move(spec)), "Xenova/llama-tokenizer", false);
}

TEST(TokenizerVectors, TheSentencePieceModelOfLlama2AgreesWithItsTokenizerJson) {
  BRISK_NEED_DATA(data, "hf-tokenizers/tokenizers.tar.xz");
  BRISK_NEED_DATA(vocabularies, "ggml-vocab-gguf/ggml-vocab.tar.xz");
  const Tokenizer merges(tokenizer_spec_from_folder(data.path / "llama2"));
  const Tokenizer pieces(tokenizer_spec_from_sentencepiece(
      read_text(shared_data() / "llama2-tokenizer" / "tokenizer.model")));
  const Tokenizer gguf(
      tokenizer_spec_from_gguf(GgufFile::open(vocabularies.path / "ggml-vocab-llama-spm.gguf")));
  EXPECT_EQ(pieces.size(), 32000);
  const auto texts = split_text(read_text(vocabularies.path / "ggml-vocab-llama-spm.gguf.inp"),
                                "\n__ggml_vocab_test__\n");
  for (const std::string& text : texts) {
    const auto ids = pieces.encode(text, false);
    EXPECT_EQ(merges.encode(text, false), ids) << text;
    EXPECT_EQ(gguf.encode(text, false), ids) << text;
    EXPECT_EQ(pieces.decode(ids), text);
  }
}

class SentencePieceModel : public testing::TestWithParam<std::pair<const char*, const char*>> {};

TEST_P(SentencePieceModel, DecodesToTheNormalizedTextOfEachLine) {
  BRISK_NEED_DATA(data, "sentencepiece-models/sentencepiece.tar.xz");
  const Tokenizer tokenizer(
      tokenizer_spec_from_sentencepiece(read_text(data.path / GetParam().first)));
  const auto lines = split_text(read_text(data.path / GetParam().second), "\n");
  ASSERT_GT(lines.size(), 1000u);
  std::size_t exact = 0;
  for (std::string line : lines) {
    if (line.ends_with('\r')) line.pop_back();
    std::string wanted;  // NFKC, spaces folded
    std::istringstream words(unicode_normalize(line, NormalForm::nfkc));
    for (std::string word; std::getline(words, word, ' ');)
      if (!word.empty()) wanted += (wanted.empty() ? "" : " ") + word;
    // Characters without a token are lost; what lies between must be there in order.
    const auto parts = split_text(tokenizer.decode(tokenizer.encode(line, false)), "<unk>");
    std::size_t at = 0;
    for (std::size_t i = 0; i < parts.size(); ++i) {
      const std::size_t found = wanted.find(parts[i], at);
      ASSERT_NE(found, std::string::npos) << line;
      if (i == 0) {
        EXPECT_EQ(found, 0u) << line;
      }
      at = found + parts[i].size();
    }
    if (parts.size() == 1) {
      EXPECT_EQ(parts[0], wanted);
      ++exact;
    }
  }
  EXPECT_GT(exact, lines.size() * 3 / 4) << "lines whose every character has a token";
}

INSTANTIATE_TEST_SUITE_P(Real, SentencePieceModel,
                         testing::Values(std::pair{"test_model.model", "botchan.txt"},
                                         std::pair{"test_ja_model.model",
                                                   "wagahaiwa_nekodearu.txt"}));

TEST(TokenizerVectors, Stories260KHasTheVocabularyOfItsLlama2cFileAndDecodesItsOwnText) {
  const auto folder = shared_data() / "stories260K";
  if (!std::filesystem::exists(folder)) GTEST_SKIP() << "needs ../shared/data/stories260K";
  const Tokenizer tokenizer(
      tokenizer_spec_from_gguf(GgufFile::open(folder / "stories260K-F32.gguf")));
  ASSERT_EQ(tokenizer.size(), 512);
  // tok512.bin: i32 longest length; per token f32 score, i32 length, bytes (with spaces unmarked).
  const std::string file = read_text(folder / "tok512.bin");
  std::size_t at = 4;
  for (TokenId id = 0; id < 512; ++id) {
    std::int32_t length;
    ASSERT_LE(at + 8, file.size());
    std::memcpy(&length, file.data() + at + 4, 4);
    const std::string text = file.substr(at + 8, length);
    at += 8 + length;
    if (id >= 259) {
      EXPECT_EQ(tokenizer.piece(id), text) << id;
    }
  }
  const std::string story = split_text(read_text(folder / "expected.txt"), "\n\n")[0];
  const std::string text = story.substr(story.find("Once"));
  const auto ids = tokenizer.encode(text);
  EXPECT_EQ(ids[0], tokenizer.bos());
  EXPECT_EQ(tokenizer.decode(ids, true), text);
  EXPECT_LT(ids.size(), text.size() / 2);
  EXPECT_TRUE(tokenizer.is_end_of_generation(2));
  EXPECT_FALSE(tokenizer.is_end_of_generation(403));
}

}  // namespace
}  // namespace brisk
