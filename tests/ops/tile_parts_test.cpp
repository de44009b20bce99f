// A long sum of few results on matrix units: in parts, interpreted, against the evaluator; where
// there is a ptxas it takes the kernels.
#include <gtest/gtest.h>

#include <cmath>

#include "brisk/brisk.h"
#include "codegen/ptx.h"
#include "ops/interpreted.h"

namespace brisk::ops_test {
namespace {

std::vector<float> product_of_columns(Executor& executor) {
  Executor* before = use_executor(&executor);
  Generator generator(3);
  const auto random = [&](std::int64_t columns) {
    return randn({4096, columns}, DType::float32, generator).cast(DType::bfloat16).realize();
  };
  const Tensor a = random(64);
  const Tensor b = random(32);
  const Tensor y = relu(matmul(a.transpose(0, 1), b).cast(DType::float32)) * 0.5;
  std::vector<float> values = y.to_vector<float>();
  use_executor(before);
  return values;
}

TEST(TileParts, AddUpToTheWholeSum) {
  std::size_t phases = 0;
  Interpreted kernels("sm_90a", [&](const Kernel& kernel, const Target& target) {
    if (!kernel.name.starts_with("tiles_")) return;
    phases = phases_of(kernel).size();
    if (!test::ptxas().empty()) test::assemble(kernel, target);
  });
  const auto got = product_of_columns(kernels);
  const auto want = product_of_columns(*evaluator());
  EXPECT_EQ(phases, 2U);  // the parts, and what adds them up
  ASSERT_EQ(got.size(), want.size());
  for (std::size_t i = 0; i < got.size(); ++i)
    ASSERT_NEAR(got[i], want[i], 0.005 * std::abs(want[i]) + 0.3) << i;  // bfloat16 of about 64
}

}  // namespace
}  // namespace brisk::ops_test
