// Low-rank adapters: what they train, what they leave alone, and that files keep them.
#include <gtest/gtest.h>

#include <cmath>
#include <filesystem>

#include "brisk/autograd.h"
#include "brisk/create.h"
#include "brisk/error.h"
#include "brisk/functional.h"
#include "brisk/optim.h"
#include "brisk/step.h"
#include "llm/adapters.h"
#include "llm/model_executors.h"
#include "llm/model_fixture.h"

namespace brisk {
namespace {

namespace fs = std::filesystem;

class AdaptersTest : public testing::Test {
 protected:
  AdaptersTest() : folder_(fs::path(testing::TempDir()) / name()) {
    fs::remove_all(folder_);
    fs::create_directories(folder_);
    manual_seed(5);
  }
  ~AdaptersTest() override { fs::remove_all(folder_); }

  static std::string name() {
    return std::string("adapters_") + testing::UnitTest::GetInstance()->current_test_info()->name();
  }

  fs::path write_gguf(const std::string& type, BlockType blocks) const {
    FixtureModel fixture;
    fixture.type = type;
    fixture.make();
    const std::vector<std::byte> bytes = fixture.gguf(blocks);
    const fs::path path = folder_ / "base.gguf";
    std::ofstream(path, std::ios::binary)
        .write(reinterpret_cast<const char*>(bytes.data()),
               static_cast<std::streamsize>(bytes.size()));
    return path;
  }

  fs::path write_folder(const std::string& type) const {
    FixtureModel fixture;
    fixture.type = type;
    if (type == "gpt2") fixture.key_heads = fixture.heads;  // its folders know no others
    fixture.make();
    fs::create_directories(folder_ / "base");
    fixture.write_folder(folder_ / "base");
    return folder_ / "base";
  }

  const fs::path folder_;
  const UseExecutor engine_{"engine"};
};

// Rows of tokens that repeat, so that there is something to learn.
constexpr std::int64_t rows = 3, length = 12;
Tensor tokens() {
  return remainder(arange(rows * (length + 1)).reshape({rows, length + 1}) * 7, 11)
      .cast(DType::int32)
      .realize();
}

Tensor loss_of(const Transformer& model, const Adapters& adapters, const Tensor& text) {
  const Tensor logits = model.rows(text.narrow(1, 0, length).contiguous(), std::cref(adapters));
  return cross_entropy(logits.flatten(0, 1),
                       text.narrow(1, 1, length).flatten().cast(DType::int64));
}

// Losses by step.
std::vector<float> train(const Model& model, Adapters& adapters, int steps) {
  const Transformer transformer(model.config(), model.weights(), length);
  const Tensor text = tokens();
  nn::Optimizer optimizer(adapters.parameters(), nn::AdamW{.lr = 2e-2, .weight_decay = 0});
  Step step([&] {
    const Tensor loss = loss_of(transformer, adapters, text);
    loss.backward();
    optimizer.step();
    optimizer.zero_grad();
    return loss;
  });
  std::vector<float> losses;
  for (int i = 0; i < steps; ++i) losses.push_back(step()[0].item<float>());
  return losses;
}

std::vector<float> logits_of(const Model& model, const Adaptation& adapted = {}) {
  const NoGrad guard;
  const Transformer transformer(model.config(), model.weights(), length);
  return transformer.rows(tokens().narrow(1, 0, length).contiguous(), adapted).to_vector<float>();
}

void expect_near(const std::vector<float>& got, const std::vector<float>& want, double tolerance) {
  ASSERT_EQ(got.size(), want.size());
  for (std::size_t i = 0; i < want.size(); ++i)
    ASSERT_NEAR(got[i], want[i], tolerance * std::max(1.0F, std::fabs(want[i]))) << i;
}

TEST_F(AdaptersTest, RowsGiveTheLogitsOfASession) {
  for (const char* type : {"llama", "qwen2", "qwen3", "gemma2", "gpt2", "mixtral"}) {
    const Model model = Model::load(write_gguf(type, BlockType::f32));
    const std::vector<float> all = logits_of(model);
    Session session(model, {.context = length, .round_activations = false});
    const std::vector<std::int32_t> text = tokens().to_vector<std::int32_t>();
    const auto size = static_cast<std::size_t>(length * model.config().vocabulary);
    for (std::size_t row = 0; row < rows; ++row) {
      session.rewind();
      const auto first = text.begin() + static_cast<std::ptrdiff_t>(row * (length + 1));
      const std::vector<TokenId> ids(first, first + length);
      const std::vector<float> mine(all.begin() + static_cast<std::ptrdiff_t>(row * size),
                                    all.begin() + static_cast<std::ptrdiff_t>((row + 1) * size));
      expect_near(mine, session.trace(ids).logits, 1e-3);
    }
  }
}

TEST_F(AdaptersTest, TheLossFallsAndTheModelStays) {
  for (const BlockType blocks : {BlockType::f32, BlockType::q8_0, BlockType::q4_0}) {
    const Model model = Model::load(write_gguf("llama", blocks));
    Adapters adapters(model, {.rank = 4, .alpha = 8});
    const std::vector<float> before = logits_of(model);
    expect_near(logits_of(model, std::cref(adapters)), before, 1e-6);  // B is 0
    const std::vector<float> losses = train(model, adapters, 60);
    EXPECT_LT(losses.back(), 0.6F * losses.front());
    EXPECT_EQ(logits_of(model), before);
  }
}

TEST_F(AdaptersTest, MergedIntoAFileAModelGivesTheSameLogits) {
  const AdapterOptions every{
      .rank = 4,
      .alpha = 8,
      .targets = {"q_proj", "k_proj", "v_proj", "o_proj", "gate_proj", "up_proj", "down_proj"}};
  for (const BlockType blocks : {BlockType::f32, BlockType::q8_0}) {
    const Model model = Model::load(write_gguf("llama", blocks));
    Adapters adapters(model, every);
    train(model, adapters, 20);
    const std::vector<float> want = logits_of(model, std::cref(adapters));
    adapters.merge(folder_ / "merged.gguf", BlockType::f32);
    expect_near(logits_of(Model::load(folder_ / "merged.gguf")), want, 1e-4);
    EXPECT_GT(std::fabs(want[0] - logits_of(model)[0]), 1e-2F);
  }
}

TEST_F(AdaptersTest, MergedIntoAFolderAModelGivesTheSameLogits) {
  for (const char* type : {"llama", "gpt2"}) {
    const bool gpt2 = std::string(type) == "gpt2";
    const Model model = Model::load(write_folder(type));
    Adapters adapters(model, {.rank = 4, .alpha = 8, .targets = {gpt2 ? "c_attn" : "q_proj"}});
    train(model, adapters, 20);
    adapters.merge(folder_ / "merged");
    expect_near(logits_of(Model::load(folder_ / "merged")), logits_of(model, std::cref(adapters)),
                1e-4);
  }
}

// A GGUF file keeps the rows of queries and keys in another order than Hugging Face's form.
TEST_F(AdaptersTest, SavedFromOneFormTheyFitTheOther) {
  const Model gguf = Model::load(write_gguf("llama", BlockType::f32));
  const Model folder = Model::load(write_folder("llama"));
  expect_near(logits_of(folder), logits_of(gguf), 1e-4);
  Adapters adapters(gguf, {.rank = 4, .alpha = 8});
  train(gguf, adapters, 20);
  adapters.save(folder_ / "adapters");
  const std::vector<float> want = logits_of(gguf, std::cref(adapters));
  for (const Model* model : {&gguf, &folder}) {
    const Adapters again = Adapters::load(*model, folder_ / "adapters");
    expect_near(logits_of(*model, std::cref(again)), want, 1e-4);
  }
  const nn::State state = nn::read_state(folder_ / "adapters" / "adapter_model.safetensors");
  EXPECT_EQ(state.size(), 2U * 4 * 2);
  const auto a = state.find("base_model.model.model.layers.1.self_attn.q_proj.lora_A.weight");
  ASSERT_NE(a, state.end());
  EXPECT_EQ(a->second.shape(), (std::vector<std::int64_t>{4, 32}));
}

TEST_F(AdaptersTest, WhatIsWrongIsSaid) {
  const Model model = Model::load(write_gguf("llama", BlockType::f32));
  const auto message = [&](const auto& f) {
    try {
      f();
    } catch (const UserError& error) {
      return std::string(error.what());
    }
    return std::string();
  };
  EXPECT_NE(message([&] { Adapters(model, {.rank = 0}); }).find("a rank of at least 1, got 0"),
            std::string::npos);
  EXPECT_NE(message([&] {
              Adapters(model, {.targets = {"c_attn"}});
            }).find("no matrix is called 'c_attn'; those that adapters take are mlp.down_proj"),
            std::string::npos);
  std::ofstream(folder_ / "adapter_config.json") << R"({"peft_type":"LORA","r":"x"})";
  EXPECT_NE(message([&] { Adapters::load(model, folder_); }).find("no configuration of adapters"),
            std::string::npos);
  const Transformer transformer(model.config(), model.weights(), length);
  EXPECT_NE(message([&] {
              transformer.rows(zeros({1, length + 1}, DType::int32));
            }).find("T at most 12; got [1, 13]"),
            std::string::npos);
}

}  // namespace
}  // namespace brisk
