// Attention whose result meets another reduction in the same kernel: on the engine as on the
// evaluator.
#include <gtest/gtest.h>

#include <cmath>

#include "brisk/functional.h"
#include "tensor/realize.h"

namespace brisk::ops_test {
namespace {

// Rows that see no key give 0.
std::vector<float> masked_attention(std::unique_ptr<Executor> executor) {
  Executor* before = use_executor(executor.get());
  Generator generator(3);
  const auto random = [&](const Dims& shape) {
    return randn(shape, DType::float32, generator).realize();
  };
  const Tensor query = random({1, 2, 4, 8}), key = random({1, 2, 6, 8}),
               value = random({1, 2, 6, 8});
  const Tensor mask = where(arange(4).unsqueeze(1) == 2, -INFINITY, random({4, 6}));
  AttentionOptions options;
  options.mask = mask;
  const Tensor y = scaled_dot_product_attention(query, key, value, options);
  const auto result = where(amax(mask, -1, true) > -INFINITY, y, 0.0).to_vector<float>();
  use_executor(before);
  return result;
}

TEST(AttentionRest, another_reduction_beside_the_result) {
  const auto want = masked_attention(evaluator());
  const auto got = masked_attention(engine_executor());
  ASSERT_EQ(got.size(), want.size());
  for (std::size_t i = 0; i < want.size(); ++i) EXPECT_NEAR(got[i], want[i], 1e-5) << i;
  EXPECT_EQ(got[2 * 8], 0);
}

}  // namespace
}  // namespace brisk::ops_test
