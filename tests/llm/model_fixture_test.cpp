// Loading and running models that this file makes itself: both forms of a file agree, every type of
// blocks computes as what it decodes to, a cache computes as no cache, and what does not fit is
// said.
#include <gtest/gtest.h>

#include <numeric>

#include "formats/temporary_folder.h"
#include "llm/generate.h"
#include "llm/model.h"
#include "llm/model_executors.h"
#include "llm/model_fixture.h"

namespace brisk {
namespace {

const char* const types[] = {"llama", "mistral", "mixtral", "qwen2", "qwen3", "gemma2", "gpt2"};

FixtureModel fixture(const std::string& type) {
  FixtureModel model;
  model.type = type;
  if (type == "mistral" || type == "gemma2") model.window = 5;
  if (type == "gpt2") model.key_heads = model.heads, model.ffn = 4 * model.width;
  if (type == "qwen3") model.head_width = 12;
  model.tied = type == "qwen2";
  model.make();
  return model;
}

Model loaded(std::span<const std::byte> bytes) {
  return Model::load(ModelFile::parse_gguf(bytes, "fixture"));
}

std::vector<TokenId> some_tokens(const Model& model, int count) {
  std::vector<TokenId> tokens;
  for (int i = 0; i < count; ++i) {
    tokens.push_back(static_cast<TokenId>((7 * i * i + 3) % model.config().vocabulary));
  }
  return tokens;
}

std::vector<float> logits_of(const Model& model, int count = 12, bool rounded = true) {
  Session session(model, {.context = 16, .batch = 16, .round_activations = rounded});
  return session.trace(some_tokens(model, count)).logits;
}

void expect_close(std::span<const float> values, std::span<const float> wanted) {
  ASSERT_EQ(values.size(), wanted.size());
  float largest = 0;
  for (const float w : wanted) largest = std::max(largest, std::abs(w));
  ASSERT_GT(largest, 0.01F);
  for (std::size_t i = 0; i < wanted.size(); ++i) {
    ASSERT_NEAR(values[i], wanted[i], 1e-5F * largest) << i;
  }
}

// Root of the mean square of the differences, as a share of that of the values.
double distance(std::span<const float> values, std::span<const float> wanted) {
  double difference = 0;
  double size = 0;
  for (std::size_t i = 0; i < wanted.size(); ++i) {
    difference += std::pow(static_cast<double>(values[i]) - wanted[i], 2);
    size += std::pow(static_cast<double>(wanted[i]), 2);
  }
  return std::sqrt(difference / size);
}

class FixtureTest : public testing::TestWithParam<const char*> {};

TEST_P(FixtureTest, computes_the_same_from_gguf_a_folder_and_shards) {
  const UseExecutor executor("evaluator");
  const FixtureModel made = fixture(GetParam());
  const auto bytes = made.gguf();
  const auto wanted = logits_of(loaded(bytes));
  for (const bool shards : {false, true}) {
    const TemporaryFolder folder;
    made.write_folder(folder.path(), shards);
    expect_close(logits_of(Model::load(folder.path())), wanted);
  }
}

TEST_P(FixtureTest, computes_the_same_on_the_engine) {
  const auto bytes = fixture(GetParam()).gguf();
  const auto logits = [&](const char* name) {
    const UseExecutor executor(name);
    return logits_of(loaded(bytes));
  };
  expect_close(logits("engine"), logits("evaluator"));
}

TEST_P(FixtureTest, computes_token_after_token_as_all_at_once) {
  const UseExecutor executor("evaluator");
  const auto bytes = fixture(GetParam()).gguf();
  const Model model = loaded(bytes);
  const auto tokens = some_tokens(model, 12);
  const auto all = logits_of(model);
  const auto vocabulary = static_cast<std::size_t>(model.config().vocabulary);
  Session session(model, {.context = 16, .batch = 4});
  for (std::size_t i = 0; i < tokens.size(); ++i) {
    expect_close(session.advance({&tokens[i], 1}),
                 std::span(all).subspan(i * vocabulary, vocabulary));
  }
  session.rewind(3);  // the cache after the third token is overwritten
  expect_close(session.advance(std::span(tokens).subspan(3)), std::span(all).last(vocabulary));
}

TEST_P(FixtureTest, follows_the_likeliest_token_as_one_by_one) {
  const auto bytes = fixture(GetParam()).gguf();
  for (const char* name : {"evaluator", "engine"}) {
    const UseExecutor executor(name);
    const Model model = loaded(bytes);
    const auto prompt = some_tokens(model, 3);
    const auto likeliest = [](const std::vector<float>& logits) {
      return static_cast<TokenId>(std::max_element(logits.begin(), logits.end()) - logits.begin());
    };
    Session one_by_one(model, {.context = 16, .batch = 4});
    const TokenId first = likeliest(one_by_one.advance(prompt));
    std::vector<TokenId> wanted;
    for (TokenId token = first; one_by_one.position() < one_by_one.context();) {
      token = likeliest(one_by_one.advance({&token, 1}));
      wanted.push_back(token);
    }
    ASSERT_EQ(wanted.size(), 13U);

    Session session(model, {.context = 16, .batch = 4});
    session.advance(prompt);
    std::vector<TokenId> tokens;
    const auto follow = [&](TokenId token, std::int64_t most, std::size_t until) {
      session.follow_likeliest(token, most, [&](TokenId next) {
        tokens.push_back(next);
        EXPECT_EQ(session.position(), 3 + static_cast<std::int64_t>(tokens.size()));
        return tokens.size() < until;
      });
    };
    follow(first, 5, 99);           // so many
    follow(tokens.back(), 99, 8);   // until it is told to stop
    follow(tokens.back(), 99, 99);  // until the context is full
    EXPECT_EQ(tokens, wanted);
    EXPECT_EQ(session.position(), session.context());
    session.rewind(3);
    tokens.clear();
    follow(first, 2, 99);
    EXPECT_EQ(tokens, std::vector<TokenId>(wanted.begin(), wanted.begin() + 2));
  }
}

TEST_P(FixtureTest, names_the_tensor_that_is_missing) {
  const UseExecutor executor("evaluator");
  const FixtureModel made = fixture(GetParam());
  for (const auto& [key, tensor] : made.tensors) {
    if (key.part == "output" || key.suffix == "bias") continue;  // may be absent
    FixtureModel without = made;
    without.tensors.erase(key);
    const auto bytes = without.gguf();
    const std::string text = user_error_of([&] { loaded(bytes); });
    const std::string part = key.part.substr(0, key.part.find("_exps"));
    EXPECT_TRUE(text.starts_with("fixture: there is no tensor '")) << text;
    EXPECT_NE(text.find(part), std::string::npos) << text;
  }
}

INSTANTIATE_TEST_SUITE_P(architectures, FixtureTest, testing::ValuesIn(types),
                         [](const auto& info) { return std::string(info.param); });

class FixtureBlocksTest : public testing::TestWithParam<BlockType> {};

// The blocks against a file that holds their decoded values: on the evaluator bit by bit.
TEST_P(FixtureBlocksTest, computes_from_blocks_as_from_their_values) {
  FixtureModel made;
  made.width = 256, made.head_width = 64, made.ffn = 256, made.blocks = 1;
  made.make();
  const auto blocks = made.gguf(GetParam());
  const GgufFile file = GgufFile::parse(blocks, "blocks");
  GgufWriter writer;
  for (const GgufEntry& entry : file.metadata()) writer.add(entry.key, entry.value);
  std::vector<std::vector<float>> kept;
  for (const GgufTensor& tensor : file.tensors()) {
    const auto count = std::accumulate(tensor.shape.begin(), tensor.shape.end(), std::int64_t{1},
                                       std::multiplies<>());
    auto& values = kept.emplace_back(static_cast<std::size_t>(count));
    decode_block_row(tensor.type, tensor.bytes.data(), values.data(), count);
    writer.add_tensor(tensor.name, tensor.shape, BlockType::f32, std::as_bytes(std::span(values)));
  }
  const auto plain = writer.bytes();
  const auto logits = [&](const char* name, std::span<const std::byte> bytes, bool rounded) {
    const UseExecutor executor(name);
    return logits_of(loaded(bytes), 3, rounded);
  };
  const auto wanted = logits("evaluator", plain, false);
  EXPECT_EQ(logits("evaluator", blocks, false), wanted);
  expect_close(logits("engine", blocks, false), wanted);
  // Rounding what meets the blocks costs this much; of a value between two steps kernels may
  // take the other one.
  if (block_info(GetParam()).dtype != DType::none) return;
  const auto rounded = logits("evaluator", blocks, true);
  EXPECT_NE(rounded, wanted);
  EXPECT_LT(distance(rounded, wanted), 0.02);
  for (const char* name : {"engine", "groups"})
    EXPECT_LT(distance(logits(name, blocks, true), rounded), 0.002) << name;
}

INSTANTIATE_TEST_SUITE_P(types, FixtureBlocksTest,
                         testing::Values(BlockType::q4_0, BlockType::q4_1, BlockType::q5_0,
                                         BlockType::q5_1, BlockType::q8_0, BlockType::q2_k,
                                         BlockType::q3_k, BlockType::q4_k, BlockType::q5_k,
                                         BlockType::q6_k, BlockType::iq4_nl, BlockType::iq4_xs,
                                         BlockType::mxfp4, BlockType::f16, BlockType::bf16),
                         [](const auto& info) { return std::string(block_info(info.param).name); });

// The experts of early GGUF files, one a tensor, lie on the device as those of one tensor do.
class FixtureExpertsTest : public testing::TestWithParam<const char*> {
 protected:
  static std::vector<std::byte> apart(std::span<const std::byte> bytes) {
    const GgufFile file = GgufFile::parse(bytes, "whole");
    GgufWriter writer;
    for (const GgufEntry& entry : file.metadata()) writer.add(entry.key, entry.value);
    for (const GgufTensor& tensor : file.tensors()) {
      const std::size_t at = tensor.name.find("_exps");
      if (at == std::string::npos) {
        writer.add_tensor(tensor.name, tensor.shape, tensor.type, tensor.bytes);
        continue;
      }
      const std::vector<std::int64_t> one = {tensor.shape[1], tensor.shape[2]};
      const std::size_t size = tensor.bytes.size() / 4;
      for (std::size_t e = 0; e < 4; ++e) {
        writer.add_tensor(fmt::format("{}.{}.weight", tensor.name.substr(0, at), e), one,
                          tensor.type, tensor.bytes.subspan(e * size, size));
      }
    }
    return writer.bytes();
  }
};

TEST_P(FixtureExpertsTest, are_the_same_one_a_tensor) {
  const UseExecutor executor(GetParam());
  FixtureModel made = fixture("mixtral");
  made.ffn = 64;
  made.tensors.clear();
  made.make();
  for (const BlockType type : {BlockType::q4_0, BlockType::q8_0, BlockType::f16}) {
    const auto whole_bytes = made.gguf(type);
    const auto apart_bytes = apart(whole_bytes);
    const Model whole = loaded(whole_bytes);
    const Model parts = loaded(apart_bytes);
    for (std::size_t i = 0; i < whole.weights().blocks.size(); ++i) {
      for (const auto part :
           {&BlockWeights::gate_experts, &BlockWeights::up_experts, &BlockWeights::down_experts}) {
        const Weight& one = whole.weights().blocks[i].*part;
        const Weight& other = parts.weights().blocks[i].*part;
        ASSERT_EQ(one.layout, other.layout);
        ASSERT_EQ(one.shape, other.shape);
        EXPECT_EQ(one.stored.to_bytes(), other.stored.to_bytes()) << block_info(type).name;
      }
    }
  }
}

INSTANTIATE_TEST_SUITE_P(executors, FixtureExpertsTest,
                         testing::Values("evaluator", "engine", "groups"),
                         [](const auto& info) { return std::string(info.param); });

class FixtureErrorTest : public testing::Test {
 protected:
  // What loading says of a Llama whose metadata or tensors `change` has changed.
  template <typename Change>
  std::string refusal(const Change& change) {
    const FixtureModel made = fixture("llama");
    FixtureModel said = made;
    change(said);
    const auto bytes = made.gguf(BlockType::f32, &said);
    return user_error_of([&] { loaded(bytes); });
  }
  UseExecutor executor_{"evaluator"};
};

TEST_F(FixtureErrorTest, says_what_is_wrong_with_the_sizes) {
  EXPECT_EQ(refusal([](FixtureModel& m) { m.heads = 3; }),
            "fixture: the key heads do not divide the heads");
  EXPECT_EQ(refusal([](FixtureModel& m) { m.blocks = 0; }), "fixture: wants 1 to 4096 blocks");
  EXPECT_EQ(refusal([](FixtureModel& m) { m.width = 0; }),
            "fixture: a width of 0 is not between 1 and 1048576");
  EXPECT_EQ(refusal([](FixtureModel& m) { m.head_width = 7; }),
            "fixture: heads of odd width cannot be rotated");
  EXPECT_EQ(refusal([](FixtureModel& m) { m.context = 0; }),
            "fixture: the context length is wrong");
  EXPECT_EQ(refusal([](FixtureModel& m) { m.ffn = 49; }),
            "fixture: tensor 'blk.0.ffn_gate.weight' has the shape [48, 32], its model wants "
            "[49, 32]");
  EXPECT_EQ(refusal([](FixtureModel& m) { m.blocks = 3; }),
            "fixture: there is no tensor 'blk.2.attn_norm.weight'");
}

TEST_F(FixtureErrorTest, says_which_architectures_it_runs) {
  GgufWriter writer;
  writer.add("general.architecture", std::string_view("mamba\n"));
  const auto bytes = writer.bytes();
  EXPECT_EQ(user_error_of([&] { loaded(bytes); }),
            "fixture: brisk runs llama, mistral, mixtral, qwen2, qwen3, gemma2, gpt2, not "
            "'mamba\\x0a'");
}

TEST_F(FixtureErrorTest, says_what_config_json_lacks_or_has_wrong) {
  const auto refuse = [](std::string_view text) {
    return user_error_of([&] { config_from_json(text, "config.json"); });
  };
  EXPECT_EQ(refuse("[]"), "config.json: not a JSON object");
  EXPECT_EQ(refuse("{"), "config.json: not a JSON object");
  EXPECT_EQ(refuse("{}"),
            "config.json: brisk runs llama, mistral, mixtral, qwen2, qwen3, gemma2, gpt2, not ''");
  EXPECT_EQ(refuse(R"({"model_type":7})"), "config.json: \"model_type\" is not a string");
  EXPECT_EQ(refuse(R"({"model_type":"llama"})"), "config.json: \"vocab_size\" is missing");
  EXPECT_EQ(refuse(R"({"model_type":"llama","vocab_size":-1})"),
            "config.json: \"vocab_size\" is not a size");
  EXPECT_EQ(refuse(R"({"model_type":"llama","vocab_size":1e3})"),
            "config.json: \"vocab_size\" is not a size");
  const std::string llama =
      R"({"model_type":"llama","vocab_size":8,"hidden_size":8,"num_hidden_layers":1,)"
      R"("num_attention_heads":2,"intermediate_size":8)";
  EXPECT_EQ(refuse(llama + R"(,"rope_scaling":{"type":"yarn"}})"),
            "config.json: rotary scaling 'yarn' is not supported");
  EXPECT_EQ(refuse(llama + R"(,"rope_scaling":{"rope_type":"llama3","low_freq_factor":0,)"
                           R"("high_freq_factor":0,"factor":0}})"),
            "config.json: a rotary frequency is not finite");
  EXPECT_EQ(refuse(llama + R"(,"hidden_act":"relu"})"),
            "config.json: activation 'relu' is not supported");
  EXPECT_EQ(refuse(llama + R"(,"layer_types":[1]})"),
            "config.json: \"layer_types\" is not a name for each layer");
}

TEST_F(FixtureErrorTest, says_what_a_path_lacks) {
  const TemporaryFolder folder;
  const auto said = [&](const std::filesystem::path& path) {
    std::string text = user_error_of([&] { Model::load(path); });
    const std::string prefix = folder.path().string();
    return text.starts_with(prefix) ? text.substr(prefix.size()) : text;
  };
  EXPECT_EQ(said(folder.path() / "none"), "/none: there is no such file or folder");
  EXPECT_EQ(said(folder.path()),
            ": there is no config.json in it, so this is not a model's folder");
  fixture("llama").write_folder(folder.path());
  std::filesystem::remove(folder.path() / "model.safetensors");
  EXPECT_NE(said(folder.path()).find("model.safetensors"), std::string::npos);
}

TEST_F(FixtureErrorTest, keeps_a_session_as_it_was_when_it_refuses) {
  const auto bytes = fixture("llama").gguf();
  const Model model = loaded(bytes);
  Session session(model, {.context = 8, .batch = 4});
  const auto tokens = some_tokens(model, 9);
  session.advance(std::span(tokens).first(6));
  EXPECT_EQ(user_error_of([&] { session.advance(std::span(tokens).first(3)); }),
            "the context of 8 tokens is full: 6 are in it and 3 more do not fit");
  EXPECT_EQ(user_error_of([&] { session.advance({}); }), "a step wants at least one token");
  const TokenId wrong[] = {0, 40};
  EXPECT_EQ(user_error_of([&] { session.advance(wrong); }),
            "token 40 is outside the vocabulary of 40");
  EXPECT_EQ(session.position(), 6);
  session.advance(std::span(tokens).first(2));
  EXPECT_EQ(user_error_of([&] { session.rewind(9); }), "rewind to 9: the session holds 8 tokens");
  EXPECT_EQ(user_error_of([&] { Session(model, {.context = 0}); }),
            "a context of 0 tokens is too small");
}

TEST_F(FixtureErrorTest, says_that_logits_are_not_usable) {
  FixtureModel broken = fixture("llama");
  broken.tensors.at({"output", "weight", -1}).values.at(5) = std::nanf("");
  const auto bytes = broken.gguf();
  const Model model = loaded(bytes);
  Session session(model, {.context = 8, .batch = 4});
  EXPECT_EQ(user_error_of([&] { session.follow_likeliest(1, 3, [](TokenId) { return true; }); }),
            "a logit is not finite; the model's output is not usable");
  EXPECT_EQ(user_error_of([&] { session.follow_likeliest(40, 3, [](TokenId) { return true; }); }),
            "token 40 is outside the vocabulary of 40");
}

TEST_F(FixtureErrorTest, ends_a_text_where_it_is_asked_to) {
  const auto bytes = fixture("llama").gguf();
  const Model model = loaded(bytes);
  const auto tokens = some_tokens(model, 3);
  const auto run = [&](GenerateOptions options) {
    Session session(model, {.context = 10, .batch = 4});
    Sampler sampler({.temperature = 0});
    return generate(session, tokens, sampler, options);
  };
  const Generated none = run({.max_tokens = 0});
  EXPECT_TRUE(none.tokens.empty());
  EXPECT_EQ(none.ended, Ended::by_length);
  const Generated full = run({});
  EXPECT_EQ(full.ended, Ended::by_context);
  EXPECT_EQ(full.tokens.size(), 8U);  // the last one is made but not read
  int calls = 0;
  GenerateOptions stopped;
  stopped.on_text = [&](std::string_view) { return ++calls < 2; };
  const Generated called = run(stopped);
  EXPECT_EQ(called.ended, Ended::by_caller);
  EXPECT_EQ(called.tokens, std::vector<TokenId>(full.tokens.begin(), full.tokens.begin() + 2));
}

TEST_F(FixtureErrorTest, stops_between_the_batches_of_a_prompt_where_it_is_asked_to) {
  const auto bytes = fixture("llama").gguf();
  const Model model = loaded(bytes);
  Session session(model, {.context = 16, .batch = 4});
  Sampler sampler({.temperature = 0});
  const auto tokens = some_tokens(model, 12);
  session.advance(std::span(tokens).first(2));
  for (const int batches : {1, 2}) {
    int calls = 0;
    GenerateOptions stopped;
    stopped.on_text = [&](std::string_view text) {
      EXPECT_EQ(text, "");
      return ++calls < batches;
    };
    const Generated result = generate(session, tokens, sampler, stopped);
    EXPECT_EQ(result.ended, Ended::by_caller);
    EXPECT_EQ(calls, batches);
    EXPECT_EQ(result.prompt_tokens, 0);
    EXPECT_TRUE(result.tokens.empty());
    EXPECT_EQ(session.position(), 2);  // as it was
  }
}

}  // namespace
}  // namespace brisk
