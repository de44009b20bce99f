// The transformer against what transformers computed for eight tiny models of random weights, and
// against the known text of a small trained one.
#include "llm/model.h"

#include <gtest/gtest.h>

#include <cmath>
#include <cstring>
#include <filesystem>
#include <fstream>
#include <iterator>
#include <tuple>

#include "formats/safetensors.h"
#include "llm/generate.h"
#include "llm/model_executors.h"

namespace brisk {
namespace {

std::filesystem::path data() {
  return std::filesystem::path(BRISK_SOURCE_DIR) / ".." / "shared" / "data";
}

template <typename T>
std::vector<T> values(const SafeTensor& tensor) {
  std::vector<T> all(tensor.bytes.size() / sizeof(T));
  std::memcpy(all.data(), tensor.bytes.data(), all.size() * sizeof(T));
  return all;
}

// Relative to the largest value wanted, as a model's logits are compared.
void expect_close(std::span<const float> values, std::span<const float> wanted, const char* what) {
  ASSERT_EQ(values.size(), wanted.size()) << what;
  float largest = 0;
  for (const float w : wanted) largest = std::max(largest, std::abs(w));
  float difference = 0;
  for (std::size_t i = 0; i < wanted.size(); ++i) {
    ASSERT_TRUE(std::isfinite(values[i])) << what << ' ' << i;
    difference = std::max(difference, std::abs(values[i] - wanted[i]));
  }
  EXPECT_LE(difference, 1e-4F * largest) << what;
}

using Case = std::tuple<const char*, const char*>;  // executor, model
std::string case_name(const testing::TestParamInfo<Case>& info) {
  return std::string(std::get<0>(info.param)) + "_" + std::get<1>(info.param);
}

class TinyModelTest : public testing::TestWithParam<Case> {
 protected:
  void SetUp() override {
    folder_ = data() / "models" / std::get<1>(GetParam());
    if (!std::filesystem::exists(folder_)) GTEST_SKIP() << "needs ../shared/data/models";
    model_.emplace(Model::load(folder_));
    io_.emplace(Safetensors::open(folder_ / "io.safetensors"));
  }
  std::span<const TokenId> row(const std::vector<std::int32_t>& ids, std::size_t i) const {
    const auto length = static_cast<std::size_t>(io_->tensor("input_ids").shape[1]);
    return std::span(ids).subspan(i * length, length);
  }

  UseExecutor executor_{std::get<0>(GetParam())};
  std::filesystem::path folder_;
  std::optional<Model> model_;
  std::optional<Safetensors> io_;
};

TEST_P(TinyModelTest, computes_the_logits_that_transformers_does) {
  const auto ids = values<std::int32_t>(io_->tensor("input_ids"));
  const auto logits = values<float>(io_->tensor("logits"));
  const auto hidden = values<float>(io_->tensor("hidden_after_block_0"));
  const auto rows = static_cast<std::size_t>(io_->tensor("input_ids").shape[0]);
  Session session(*model_, {.context = 64, .batch = 24});
  for (std::size_t i = 0; i < rows; ++i) {
    session.rewind();
    const auto trace = session.trace(row(ids, i));
    const auto part = [&](const std::vector<float>& all) {
      return std::span(all).subspan(i * all.size() / rows, all.size() / rows);
    };
    expect_close(trace.first_block, part(hidden), "hidden state after block 0");
    expect_close(trace.logits, part(logits), "logits");
  }
}

// The prompt in parts of uneven length, the last of them one token.
TEST_P(TinyModelTest, does_not_care_how_a_prompt_is_cut) {
  const auto ids = values<std::int32_t>(io_->tensor("input_ids"));
  const auto logits = values<float>(io_->tensor("logits"));
  const auto prompt = row(ids, 0);
  const auto vocabulary = static_cast<std::size_t>(model_->config().vocabulary);
  Session session(*model_, {.context = 32, .batch = 9});
  const auto wanted = [&](std::size_t position) {
    return std::span(logits).subspan(position * vocabulary, vocabulary);
  };
  expect_close(session.advance(prompt.first(4)), wanted(3), "four tokens");
  expect_close(session.advance(prompt.subspan(4, 1)), wanted(4), "one more");
  expect_close(session.advance(prompt.subspan(5, 18)), wanted(22), "two batches");
  expect_close(session.advance(prompt.subspan(23, 1)), wanted(23), "the last");
}

TEST_P(TinyModelTest, continues_as_transformers_does) {
  const auto greedy = values<std::int32_t>(io_->tensor("greedy"));
  const std::size_t prompt = greedy.size() - 16;
  Session session(*model_, {.context = 64, .batch = 32});
  Sampler sampler({.temperature = 0});
  const auto result = generate(session, std::span(greedy).first(prompt), sampler,
                               {.max_tokens = 16, .ignore_end = true});
  EXPECT_EQ(result.tokens, std::vector<TokenId>(greedy.begin() + prompt, greedy.end()));
  EXPECT_EQ(result.ended, Ended::by_length);
}

INSTANTIATE_TEST_SUITE_P(
    models, TinyModelTest,
    testing::Combine(testing::Values("evaluator", "engine"),
                     testing::Values("llama", "llama3_rope", "mistral", "qwen2", "qwen3", "mixtral",
                                     "gemma2", "gpt2")),
    case_name);

class StoriesTest : public testing::TestWithParam<Case> {
 protected:
  static std::string text(const Model& model, std::string_view prompt, std::int64_t tokens) {
    Session session(model, {.context = 256, .batch = 16});
    Sampler sampler({.temperature = 0});
    std::string all(prompt);
    GenerateOptions options{.max_tokens = tokens, .at_start = prompt.empty()};
    options.on_text = [&](std::string_view piece) {
      all += piece;
      return true;
    };
    generate(session, model.tokenizer()->encode(prompt), sampler, options);
    return all;
  }
  // The text after the n-th line that begins with "$".
  static std::string expected(int n) {
    std::ifstream file(data() / "stories260K" / "expected.txt");
    const std::string all(std::istreambuf_iterator<char>(file), {});
    std::size_t at = 0;
    for (; n > 0; --n) at = all.find("\n$", at + 1) + 1;
    at = all.find('\n', at) + 1;
    return all.substr(at, all.find("\n\n$", at) - at);
  }
};

TEST_P(StoriesTest, tells_the_known_story) {
  const auto path = data() / "stories260K" / ("stories260K-" + std::string(std::get<1>(GetParam())) +
                                              ".gguf");
  if (!std::filesystem::exists(path)) GTEST_SKIP() << "needs ../shared/data/stories260K";
  const UseExecutor executor(std::get<0>(GetParam()));
  const Model model = Model::load(path);
  const bool quick = std::get<0>(GetParam()) == std::string("engine");
  const std::string story = text(model, "", quick ? 255 : 40);
  const std::string wanted = expected(0);
  ASSERT_GT(story.size(), quick ? 500U : 80U);
  EXPECT_EQ(story, wanted.substr(0, story.size()));
  const std::string zoo = text(model, "Zoo", quick ? 58 : 12);
  ASSERT_GT(zoo.size(), 20U);
  EXPECT_EQ(zoo, expected(1).substr(0, zoo.size()));
}

INSTANTIATE_TEST_SUITE_P(files, StoriesTest,
                         testing::Combine(testing::Values("evaluator", "engine"),
                                          testing::Values("F32")),
                         case_name);

}  // namespace
}  // namespace brisk
