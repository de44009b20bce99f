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

#include "formats/gguf.h"
#include "formats/quantise.h"
#include "formats/safetensors.h"
#include "formats/temporary_folder.h"
#include "llm/generate.h"
#include "llm/model_executors.h"
#include "shared_data.h"

namespace brisk {
namespace {

std::string read_text(const std::filesystem::path& path) {
  std::ifstream file(path, std::ios::binary);
  return {std::istreambuf_iterator<char>(file), {}};
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
    folder_ = shared_data() / "models" / std::get<1>(GetParam());
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
  // Gemma 2's vectors come from an attention that leaves the soft cap out (a calculation in double
  // precision agrees with them without it, and with it only to 5e-5 of the largest value).
  const TemporaryFolder uncapped;
  if (model_->config().attention_cap > 0) {
    std::string config = read_text(folder_ / "config.json");
    const std::string cap = "\"attn_logit_softcapping\":";
    const std::size_t at = config.find(cap) + cap.size();
    config.replace(at, config.find(',', at) - at, "null");
    uncapped.write("config.json", config);
    std::filesystem::copy(folder_ / "model.safetensors", uncapped.path());
    model_.emplace(Model::load(uncapped.path()));
    ASSERT_EQ(model_->config().attention_cap, 0);
  }
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

INSTANTIATE_TEST_SUITE_P(models, TinyModelTest,
                         testing::Combine(testing::Values("evaluator", "engine", "groups"),
                                          testing::Values("llama", "llama3_rope", "mistral",
                                                          "qwen2", "qwen3", "mixtral", "gemma2",
                                                          "gpt2")),
                         case_name);

// The model of ../shared/data with its matrices in another type, but for those whose rows are no
// whole blocks.
std::vector<std::byte> requantised(const GgufFile& file, BlockType type) {
  GgufWriter writer;
  for (const GgufEntry& entry : file.metadata()) writer.add(entry.key, entry.value);
  std::vector<std::vector<std::byte>> kept;
  for (const GgufTensor& tensor : file.tensors()) {
    const BlockInfo& info = block_info(type);
    if (tensor.shape.size() < 2 || tensor.shape.back() % info.values != 0) {
      writer.add_tensor(tensor.name, tensor.shape, tensor.type, tensor.bytes);
      continue;
    }
    const auto count = static_cast<std::int64_t>(tensor.bytes.size() / sizeof(float));
    std::vector<float> values(static_cast<std::size_t>(count));
    std::memcpy(values.data(), tensor.bytes.data(), tensor.bytes.size());
    auto& blocks = kept.emplace_back(static_cast<std::size_t>(count / info.values * info.bytes));
    encode_block_row(type, values.data(), blocks.data(), count);
    writer.add_tensor(tensor.name, tensor.shape, type, blocks);
  }
  return writer.bytes();
}

class StoriesTest : public testing::TestWithParam<const char*> {
 protected:
  void SetUp() override {
    if (!std::filesystem::exists(path_)) GTEST_SKIP() << "needs ../shared/data/stories260K";
  }
  // Greedy; `total` counts the tokens of the prompt, BOS not, and those generated.
  static std::string text(const Model& model, std::string_view prompt, std::int64_t total) {
    Session session(model, {.context = 256, .batch = 16});
    Sampler sampler({.temperature = 0});
    std::string all(prompt);
    const auto tokens = model.tokenizer()->encode(prompt);
    GenerateOptions options;
    options.max_tokens = total + 1 - static_cast<std::int64_t>(tokens.size());
    options.at_start = prompt.empty();
    options.on_text = [&](std::string_view piece) {
      all += piece;
      return true;
    };
    generate(session, tokens, sampler, options);
    return all;
  }
  // The text under the n-th command.
  static std::string expected(int n) {
    const std::string all = read_text(shared_data() / "stories260K" / "expected.txt");
    std::size_t at = 0;
    for (; n > 0; --n) at = all.find("\n$", at + 1) + 1;
    at = all.find('\n', at) + 1;
    std::string text = all.substr(at, all.find("\n\n$", at) - at);
    while (text.ends_with('\n')) text.pop_back();
    return text;
  }

  std::filesystem::path path_ = shared_data() / "stories260K" / "stories260K-F32.gguf";
  UseExecutor executor_{GetParam()};
};

TEST_P(StoriesTest, tells_the_known_story) {
  const Model model = Model::load(path_);
  EXPECT_EQ(text(model, "", 256), expected(0));
  EXPECT_EQ(text(model, "Zoo", 60), expected(1));
}

TEST_P(StoriesTest, tells_it_in_eight_bits_too) {
  const auto bytes = requantised(GgufFile::open(path_), BlockType::q8_0);
  const Model model = Model::load(ModelFile::parse_gguf(bytes, "eight bits"));
  const std::string story = text(model, "", 100);  // then it finds other words
  EXPECT_GT(story.size(), 250U);
  EXPECT_EQ(story, expected(0).substr(0, story.size()));
}

TEST_P(StoriesTest, begins_it_in_any_type_of_blocks) {
  const GgufFile file = GgufFile::open(path_);
  for (const BlockType type :
       {BlockType::q4_0, BlockType::q4_1, BlockType::q5_0, BlockType::q5_1, BlockType::iq4_nl,
        BlockType::mxfp4, BlockType::f16, BlockType::bf16}) {
    const auto bytes = requantised(file, type);
    const Model model = Model::load(ModelFile::parse_gguf(bytes, "requantised"));
    const std::string story = text(model, "", 6);
    EXPECT_EQ(story, expected(0).substr(0, story.size())) << block_info(type).name;
  }
}

INSTANTIATE_TEST_SUITE_P(executors, StoriesTest, testing::Values("evaluator", "engine"),
                         [](const auto& info) { return std::string(info.param); });

}  // namespace
}  // namespace brisk
