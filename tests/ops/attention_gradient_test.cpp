// Gradients of attention in 16 bits as matrix units compute them, interpreted, against the
// evaluator; where there is a ptxas it takes the kernels.
#include <gtest/gtest.h>

#include <algorithm>
#include <cmath>
#include <utility>

#include "brisk/autograd.h"
#include "brisk/functional.h"
#include "codegen/ptx.h"
#include "ops/interpreted.h"

namespace brisk::ops_test {
namespace {

struct Case {
  const char* name;
  std::int64_t heads, key_heads, queries, keys, width;
  bool causal = false;
  bool causal_end = false;
  double softcap = 0;
  bool mask = false;  // of floats, which has a gradient too
};

class AttentionGradient : public testing::TestWithParam<Case> {};

// Of the inputs; and, with it, the result.
std::vector<std::vector<float>> gradients(Executor& executor, const Case& c,
                                          bool with_result = false) {
  Executor* before = use_executor(&executor);
  Generator generator(5);
  const auto random = [&](const Dims& shape) {
    return randn(shape, DType::float32, generator).cast(DType::bfloat16).realize();
  };
  std::vector<Tensor> in = {random({2, c.heads, c.queries, c.width}),
                            random({2, c.key_heads, c.keys, c.width}),
                            random({2, c.key_heads, c.keys, c.width})};
  if (c.mask) in.push_back(randn({c.queries, c.keys}, DType::float32, generator).realize());
  const Tensor g = random({2, c.heads, c.queries, c.width});
  for (const Tensor& x : in) x.requires_grad_();
  AttentionOptions options = {.causal = c.causal, .causal_end = c.causal_end, .softcap = c.softcap};
  if (c.mask) options.mask = in[3];
  const Tensor y = scaled_dot_product_attention(in[0], in[1], in[2], options);
  std::vector<std::vector<float>> result;
  std::vector<Tensor> by = grad({y}, in, {g});
  if (with_result) by.push_back(y.detach());
  for (Tensor& each : by) each = each.cast(DType::float32);
  realize(by);
  for (const Tensor& each : by) result.push_back(each.to_vector<float>());
  use_executor(before);
  return result;
}

void expect_near(const std::vector<std::vector<float>>& got,
                 const std::vector<std::vector<float>>& want) {
  ASSERT_EQ(got.size(), want.size());
  for (std::size_t i = 0; i < got.size(); ++i) {
    ASSERT_EQ(got[i].size(), want[i].size());
    double worst = 0;
    double most = 0;
    for (std::size_t k = 0; k < got[i].size(); ++k) {
      ASSERT_TRUE(std::isfinite(got[i][k])) << "input " << i << ", element " << k;
      worst = std::max(worst, std::abs(static_cast<double>(got[i][k]) - want[i][k]));
      most = std::max(most, std::abs(static_cast<double>(want[i][k])));
    }
    EXPECT_GT(most, 0);
    EXPECT_LE(worst, 0.01 * most) << "input " << i;  // of weights rounded to 8 bits
  }
}

TEST_P(AttentionGradient, isThatOfTheEvaluator) {
  Interpreted kernels("sm_90a", [](const Kernel& kernel, const Target& target) {
    if (test::ptxas().empty()) return;
    const std::string said = test::assemble(kernel, target);
    for (std::size_t at = said.find(" bytes spill stores"); at != std::string::npos;
         at = said.find(" bytes spill stores", at + 1)) {
      const std::size_t from = said.find_last_of(", ", at - 1) + 1;
      EXPECT_LE(std::stoi(said.substr(from, at - from)), 256) << kernel.name << "\n" << said;
    }
  });
  const auto got = gradients(kernels, GetParam());
  const auto want = gradients(*evaluator(), GetParam());
  expect_near(got, want);
  const auto& names = kernels.names();
  const auto count = [&](const char* part) {
    return std::count_if(names.begin(), names.end(), [&](const std::string& name) {
      return name.find(part) != std::string::npos;
    });
  };
  EXPECT_GE(count("tiles_chain"), 1);
  EXPECT_EQ(count("tiles_softmax"), 0);  // the result's kernel stores the totals
}

// The softmax's totals come with the result, and the gradients of keys and values share a product.
TEST(AttentionGradients, makeNoProductTwiceThatTheyShare) {
  const Case c = {"both", 2, 2, 256, 256, 64, true};
  std::ptrdiff_t products = 0;
  Interpreted kernels("sm_90a", [&](const Kernel& kernel, const Target&) {
    if (kernel.name.find("tiles_chain") == std::string::npos) return;
    const std::vector<Node> nodes = topological_order({&kernel.body, 1});
    products += std::count_if(nodes.begin(), nodes.end(),
                              [](const Node& node) { return node.is(Op::matrix_step_); });
  });
  expect_near(gradients(kernels, c, true), gradients(*evaluator(), c, true));
  EXPECT_EQ(products, 3 + 4);
  for (const std::string& name : kernels.names())
    EXPECT_EQ(name.find("tiles_softmax"), std::string::npos) << name;
}

// So they do where no matrix units take tiles.
TEST(AttentionGradients, takeTotalsFromTheKernelOfTheResult) {
  const Case c = {"both", 4, 2, 40, 40, 64, true};
  for (const auto& [cpu, attention] :
       {std::pair("sm_75", "group_attention"), std::pair("x86-64-v3", "attention")}) {
    Interpreted kernels(cpu, [](const Kernel&, const Target&) {});
    expect_near(gradients(kernels, c, true), gradients(*evaluator(), c, true));
    const auto& names = kernels.names();
    EXPECT_EQ(std::count(names.begin(), names.end(), attention), 1) << cpu;
  }
}

const Case cases[] = {
    {"full", 2, 2, 128, 128, 64},
    {"causal", 2, 2, 256, 256, 64, true},
    {"ragged_causal", 1, 1, 200, 200, 64, true},
    {"ragged_lengths", 1, 1, 70, 150, 32},
    {"later_queries", 1, 1, 100, 180, 64, false, true},
    {"grouped_heads", 4, 2, 128, 128, 64, true},
    {"wide_heads", 1, 1, 130, 130, 128, true},
    {"softcap", 1, 1, 64, 64, 64, true, false, 2},
    {"mask", 2, 2, 64, 96, 64, false, false, 0, true},
};
INSTANTIATE_TEST_SUITE_P(Cases, AttentionGradient, testing::ValuesIn(cases),
                         [](const auto& info) { return std::string(info.param.name); });

}  // namespace
}  // namespace brisk::ops_test
