// The order of kernels, and what shares a launch.
#include "schedule/launches.h"

#include <gtest/gtest.h>

#include <algorithm>

namespace brisk {
namespace {

using Launches = std::vector<std::vector<std::size_t>>;

Node memory(Shape shape) { return buffer(DType::float32, std::move(shape), nullptr); }

// Reads memory of its own, and what the kernels that it waits for give.
PlannedKernel kernel(Shape shape, std::vector<std::size_t> before = {}) {
  return {memory(std::move(shape)), {memory({1})}, std::move(before), {}};
}

TEST(Launches, smallOutputsComeSoonAfterWhatTheyRead) {
  const Shape large = {1000, 1000};
  // 4 sums up what 0 gives; 5 wants all.
  const Launches order =
      launches({kernel(large), kernel(large, {0}), kernel(large, {1}), kernel(large, {2}),
                kernel({1000}, {0}), kernel({1000}, {3, 4})});
  EXPECT_EQ(order, (Launches{{0}, {4}, {1}, {2}, {3}, {5}}));
}

TEST(Launches, largeOutputsComeWhenTheyAreWanted) {
  const Shape large = {1000, 1000};
  const Launches order = launches({kernel(large), kernel(large, {0}), kernel(large, {1}),
                                   kernel(large, {0}), kernel(large, {2, 3})});
  EXPECT_EQ(order, (Launches{{0}, {1}, {2}, {3}, {4}}));
}

TEST(Launches, whatMakesTheSameProductComesTogether) {
  const Node product = memory({64, 64});
  const Node common = memory({8});
  std::vector<PlannedKernel> kernels = {kernel({64}), kernel({64}), kernel({64}, {1}),
                                        kernel({64}, {0, 2})};
  for (const std::size_t i : {0, 2}) {
    kernels[i].products = {product};
    kernels[i].inputs = {common};
  }
  const Launches order = launches(kernels);
  ASSERT_EQ(order.size(), 3U);
  EXPECT_EQ(order[0], std::vector<std::size_t>{1});
  std::vector<std::size_t> both = order[1];
  std::sort(both.begin(), both.end());
  EXPECT_EQ(both, (std::vector<std::size_t>{0, 2}));
  EXPECT_EQ(order[2], std::vector<std::size_t>{3});
}

// Far from it in the order in which they were named.
TEST(Launches, whatNeedNotWaitComesWithTheFirstThatMakesTheProduct) {
  constexpr std::size_t many = 40;
  const Node common = memory({8});
  std::vector<PlannedKernel> kernels = {kernel({64})};
  for (std::size_t i = 1; i < many; ++i) kernels.push_back(kernel({64}, {i - 1}));
  kernels.push_back(kernel({64}));
  kernels.push_back(kernel({64}, {many - 1, many}));
  for (const std::size_t i : {std::size_t{0}, many}) {
    kernels[i].products = {common};
    kernels[i].inputs = {common};
  }
  const Launches order = launches(kernels);
  EXPECT_EQ(order[0], (std::vector<std::size_t>{0, many}));
  EXPECT_EQ(order.size(), many + 1);
}

}  // namespace
}  // namespace brisk
