// Products on matrix units whose operands lie in ways of their own, and long sums of few results,
// which come in parts: interpreted, against the evaluator; where there is a ptxas it takes the
// kernels.
#include <gtest/gtest.h>

#include <cmath>
#include <functional>

#include "brisk/brisk.h"
#include "codegen/ptx.h"
#include "ops/interpreted.h"

namespace brisk::ops_test {
namespace {

using Random = std::function<Tensor(const Dims&)>;

struct Case {
  const char* name;
  Tensor (*make)(const Random& random);
  std::size_t phases;  // of the kernel that multiplies
};

const Case cases[] = {
    {"a long sum: parts, and what adds them up",
     [](const Random& random) {
       const Tensor y = matmul(random({4096, 64}).transpose(0, 1), random({4096, 32}));
       return relu(y.cast(DType::float32)) * 0.5;
     },
     2},
    {"rows that lie by heads: a copy of them first",
     [](const Random& random) {
       const Tensor rows = random({8, 2, 512, 32}).transpose(1, 2).reshape({4096, 64});
       return matmul(rows.transpose(0, 1), random({4096, 32})).cast(DType::float32);
     },
     3},
    {"images, channels first: each as it lies",
     [](const Random& random) {
       return matmul(random({32, 64}), random({2, 64, 2304})).cast(DType::float32);
     },
     1},
    {"a convolution's gradient, two rows and columns at once: images and weights first",
     [](const Random& random) {
       const Tensor images = random({2, 32, 8, 8}), weights = random({32, 32, 3, 3});
       return conv_transpose2d(images, weights, {},
                               {.stride = {2}, .padding = {1}, .output_padding = {1}})
           .cast(DType::float32);
     },
     3},
};

std::vector<float> values_of(const Case& each, Executor& executor) {
  Executor* before = use_executor(&executor);
  Generator generator(3);
  const Tensor y = each.make([&](const Dims& dims) {
    return randn(dims, DType::float32, generator).cast(DType::bfloat16).realize();
  });
  std::vector<float> values = y.to_vector<float>();
  use_executor(before);
  return values;
}

TEST(TileParts, AddUpToTheWholeSum) {
  for (const Case& each : cases) {
    SCOPED_TRACE(each.name);
    std::size_t phases = 0;
    Interpreted kernels("sm_90a", [&](const Kernel& kernel, const Target& target) {
      if (!kernel.name.starts_with("tiles_")) return;
      phases = phases_of(kernel).size();
      if (!test::ptxas().empty()) test::assemble(kernel, target);
    });
    const auto got = values_of(each, kernels);
    const auto want = values_of(each, *evaluator());
    EXPECT_EQ(phases, each.phases);
    ASSERT_EQ(got.size(), want.size());
    for (std::size_t i = 0; i < got.size(); ++i)
      ASSERT_NEAR(got[i], want[i], 0.005 * std::abs(want[i]) + 0.3) << i;  // bfloat16 of about 64
  }
}

}  // namespace
}  // namespace brisk::ops_test
