// What a step of training becomes on matrix units: every product of matrices comes in tiles, and
// the gradients are the evaluator's.
#include <gtest/gtest.h>

#include <algorithm>
#include <cmath>

#include "brisk/autograd.h"
#include "brisk/functional.h"
#include "brisk/nn.h"
#include "brisk/precision.h"
#include "kernel/tile.h"
#include "ops/interpreted.h"

namespace brisk::ops_test {
namespace {

// A block of a Llama over 2 rows of 64 tokens, with rotary positions, and its loss.
struct Block {
  static constexpr std::int64_t length = 64, width = 64, heads = 2, inner = 160, vocabulary = 96;
  nn::RMSNorm norm{{width}}, second_norm{{width}};
  nn::Linear query{width, width, false}, key{width, width, false}, value{width, width, false};
  nn::Linear output{width, width, false}, gate{width, inner, false}, up{width, inner, false};
  nn::Linear down{inner, width, false};
  nn::Embedding embedding{vocabulary, width};
  Tensor cosines, sines;

  void visit(nn::Fields& fields) {
    fields("norm", norm);
    fields("second_norm", second_norm);
    fields("query", query);
    fields("key", key);
    fields("value", value);
    fields("output", output);
    fields("gate", gate);
    fields("up", up);
    fields("down", down);
    fields("embedding", embedding);
  }
  Tensor turned(const Tensor& x) const {
    const Tensor pairs = x.reshape({2, heads, length, width / heads / 2, 2});
    const Tensor a = pairs.select(-1, 0);
    const Tensor b = pairs.select(-1, 1);
    return stack({a * cosines - b * sines, a * sines + b * cosines}, -1).reshape(x.dims());
  }
  Tensor loss(const Tensor& tokens, const Tensor& next) const {
    const Autocast narrow(DType::bfloat16);
    const auto split = [](const Tensor& y) {
      return y.reshape({2, length, heads, width / heads}).permute({0, 2, 1, 3});
    };
    const Tensor x = embedding(tokens);
    const Tensor n = norm(x);
    const Tensor mixed = scaled_dot_product_attention(
        turned(split(query(n))), turned(split(key(n))), split(value(n)), {.causal = true});
    const Tensor y = x + output(mixed.permute({0, 2, 1, 3}).reshape(x.dims()));
    const Tensor m = second_norm(y);
    const Tensor z = y + down(silu(gate(m)) * up(m));
    return cross_entropy(linear(z, embedding.weight).reshape({2 * length, vocabulary}),
                         next.flatten(0));
  }
};

std::vector<std::vector<float>> gradients(Executor& executor) {
  Executor* before = use_executor(&executor);
  manual_seed(4);
  Block block;
  block.cosines = cos(arange(Block::length).cast(DType::float32).unsqueeze(1) *
                      rand({1, Block::width / Block::heads / 2}))
                      .realize();
  block.sines = sqrt(1 - block.cosines * block.cosines).realize();
  const std::vector<Tensor> parameters = nn::parameters(block);
  for (const Tensor& parameter : parameters) Tensor(parameter).realize();
  const Tensor tokens = randint(0, Block::vocabulary, {2, Block::length}).realize();
  const Tensor next = randint(0, Block::vocabulary, {2, Block::length}).realize();
  const std::vector<Tensor> by = grad({block.loss(tokens, next)}, parameters);
  realize(by);
  std::vector<std::vector<float>> result;
  for (const Tensor& each : by) result.push_back(each.to_vector<float>());
  use_executor(before);
  return result;
}

// The bytes that intermediate values took.
std::int64_t expect_tiles_and_gradients(std::int64_t memory) {
  std::vector<std::string> others;
  const auto look = [&](const Kernel& kernel, const Target& target) {
    const auto phases = phases_of(kernel);
    const bool tiles = std::any_of(phases.begin(), phases.end(), has_tiles);
    for (const Node& phase : phases) {
      if (has_tiles(phase)) {
        EXPECT_LE(phase_memory(phase).bytes, target.tile_bytes) << kernel.name;
      }
    }
    for (const char* slow : {"group_contraction", "group_matrix_vector", "map", "reduce_rows"}) {
      if (!tiles && kernel.name == slow) others.push_back(kernel.name);
    }
  };
  Interpreted kernels("sm_90a", look, memory);
  const auto got = gradients(kernels);
  EXPECT_TRUE(others.empty()) << others.size() << " as " << others[0];
  const auto& names = kernels.names();
  const auto tiles = std::count_if(names.begin(), names.end(), [](const std::string& name) {
    return name.find("tiles_") != std::string::npos;
  });
  EXPECT_GE(tiles, 18);

  const auto want = gradients(*evaluator());
  EXPECT_EQ(got.size(), want.size());
  for (std::size_t i = 0; i < got.size(); ++i) {
    double worst = 0;
    double most = 0;
    EXPECT_EQ(got[i].size(), want[i].size());
    for (std::size_t k = 0; k < got[i].size(); ++k) {
      worst = std::max(worst, std::abs(static_cast<double>(got[i][k]) - want[i][k]));
      most = std::max(most, std::abs(static_cast<double>(want[i][k])));
    }
    EXPECT_GT(most, 0) << i;
    EXPECT_LE(worst, 0.03 * most) << "parameter " << i;  // products of bfloat16, one after another
  }
  return kernels.bytes();
}

TEST(TrainingKernels, MultiplyMatricesInTiles) {
  const std::int64_t bytes = expect_tiles_and_gradients(0);
  const std::int64_t budget = bytes * 6 / 10;
  EXPECT_LE(expect_tiles_and_gradients(budget), budget) << "with values computed again";
}

}  // namespace
}  // namespace brisk::ops_test
