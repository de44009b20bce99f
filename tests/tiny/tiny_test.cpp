// The whole stack in a minute: tensors through the compiler, and a language model from a file to
// tokens. Where this fails, look here first.
#include <gtest/gtest.h>

#include "brisk/brisk.h"
#include "llm/generate.h"
#include "llm/model_fixture.h"

namespace brisk {
namespace {

TEST(Tiny, adds_on_the_device) {
  const Tensor a = tensor({1.0F, 2.0F, 3.0F});
  EXPECT_EQ((a + a * 2).to_vector<float>(), (std::vector<float>{3, 6, 9}));
}

TEST(Tiny, multiplies_matrices_and_normalises_rows) {
  const Tensor a = arange(6).reshape({2, 3}).cast(DType::float32);
  const Tensor product = matmul(a, a.transpose(0, 1));
  EXPECT_EQ(product.to_vector<float>(), (std::vector<float>{5, 14, 14, 50}));
  const auto rows = softmax(product, 1).sum(1).to_vector<float>();
  EXPECT_NEAR(rows[0], 1, 1e-6);
  EXPECT_NEAR(rows[1], 1, 1e-6);
}

TEST(Tiny, serves_every_size_with_one_variable) {
  const Dim size = Dim::variable("size", 1, 100);
  const Tensor total = arange(size).sum();
  EXPECT_EQ(total.item<std::int64_t>({{size, 4}}), 6);
  EXPECT_EQ(total.item<std::int64_t>({{size, 100}}), 4950);
}

TEST(Tiny, runs_a_language_model) {
  FixtureModel made;
  made.make();
  const auto bytes = made.gguf(BlockType::q8_0);
  const Model model = Model::load(ModelFile::parse_gguf(bytes, "tiny"));
  const auto tokens = [&] {
    Session session(model);
    Sampler sampler({.temperature = 0});
    const TokenId prompt[] = {1, 2, 3};
    return generate(session, prompt, sampler, {.max_tokens = 8}).tokens;
  };
  const auto once = tokens();
  EXPECT_EQ(once.size(), 8U);
  EXPECT_EQ(tokens(), once);
}

}  // namespace
}  // namespace brisk
