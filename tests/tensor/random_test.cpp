// Random numbers: known answers of the generator, reproducibility, and their distributions.
#include <algorithm>
#include <numeric>

#include "tensor/tensor_test.h"

namespace brisk {
namespace {

using RandomTest = TensorTest;

// Known answers for Threefry-2x32 with 20 rounds: zero key and counter, from the authors'
// Random123.
TEST_F(RandomTest, GeneratesThreefrysKnownWords) {
  Generator generator(0);
  const auto first = randint(0, std::int64_t{1} << 32, {1}, DType::int64, generator);
  EXPECT_EQ(first.item<std::int64_t>(), 0x6b200159);
}

TEST_F(RandomTest, OneSeedGivesOneStreamHoweverItIsCut) {
  Generator a(42), b(42), c(43);
  const auto whole = rand({10}, DType::float32, a).to_vector<float>();
  const auto head = rand({4}, DType::float32, b).to_vector<float>();
  const auto tail = rand({6}, DType::float32, b).to_vector<float>();
  EXPECT_TRUE(std::equal(head.begin(), head.end(), whole.begin()));
  EXPECT_TRUE(std::equal(tail.begin(), tail.end(), whole.begin() + 4));
  EXPECT_EQ(a.counter(), 10U);
  EXPECT_NE(rand({10}, DType::float32, c).to_vector<float>(), whole);
  a.set_counter(0);
  EXPECT_EQ(rand({10}, DType::float32, a).to_vector<float>(), whole);
  manual_seed(42);
  EXPECT_EQ(rand({10}).to_vector<float>(), whole);
  EXPECT_NE(rand({10}).to_vector<float>(), whole);
}

struct Moments {
  double mean, variance, least, greatest;
};
Moments moments(const Tensor& x) {
  const std::vector<double> v = x.to_vector<double>();
  const double n = static_cast<double>(v.size());
  const double mean = std::accumulate(v.begin(), v.end(), 0.0) / n;
  double squares = 0;
  for (const double value : v) squares += (value - mean) * (value - mean);
  const auto [least, greatest] = std::minmax_element(v.begin(), v.end());
  return {mean, squares / n, *least, *greatest};
}

TEST_F(RandomTest, UniformFillsItsInterval) {
  Generator generator(1);
  for (const DType dtype : {DType::float32, DType::float64, DType::float16, DType::bfloat16}) {
    const Moments m = moments(rand({40000}, dtype, generator));
    EXPECT_NEAR(m.mean, 0.5, 0.01) << name(dtype);
    EXPECT_NEAR(m.variance, 1.0 / 12, 0.002) << name(dtype);
    EXPECT_GE(m.least, 0);
    EXPECT_LT(m.greatest, 1);
  }
  const Moments m = moments(uniform({40000}, -3, 5, DType::float32, generator));
  EXPECT_NEAR(m.mean, 1, 0.05);
  EXPECT_GE(m.least, -3);
  EXPECT_LE(m.greatest, 5);
}

TEST_F(RandomTest, NormalHasItsMomentsAndTails) {
  Generator generator(2);
  const std::vector<double> x = randn({60000}, DType::float32, generator).to_vector<double>();
  double sum = 0, squares = 0, cubes = 0, fourth = 0;
  int beyond = 0;
  for (const double v : x) {
    ASSERT_TRUE(std::isfinite(v));
    sum += v;
    squares += v * v;
    cubes += v * v * v;
    fourth += v * v * v * v;
    beyond += std::fabs(v) > 2 ? 1 : 0;
  }
  const double n = static_cast<double>(x.size());
  EXPECT_NEAR(sum / n, 0, 0.015);
  EXPECT_NEAR(squares / n, 1, 0.02);
  EXPECT_NEAR(cubes / n, 0, 0.05);
  EXPECT_NEAR(fourth / n, 3, 0.15);
  EXPECT_NEAR(beyond / n, 0.0455, 0.004);
}

TEST_F(RandomTest, IntegersAreEvenlySpread) {
  Generator generator(3);
  std::vector<int> counts(7);
  for (const auto v : randint(-3, 4, {70000}, DType::int64, generator).to_vector<std::int64_t>()) {
    ASSERT_GE(v, -3);
    ASSERT_LT(v, 4);
    ++counts[v + 3];
  }
  for (const int count : counts) EXPECT_NEAR(count, 10000, 400);
  EXPECT_EQ(randint(0, 5, {2}, DType::uint8, generator).dtype(), DType::uint8);
  for (const auto v :
       randint(INT64_MIN, INT64_MAX, {9}, DType::int64, generator).to_vector<std::int64_t>()) {
    EXPECT_LT(v, INT64_MAX);
  }
}

TEST_F(RandomTest, PermutationsHoldEachNumberOnce) {
  Generator generator(4);
  for (const int n : {0, 1, 10, 700}) {
    const auto order = randperm(n, generator).to_vector<int>();
    std::vector<int> sorted = order;
    std::sort(sorted.begin(), sorted.end());
    for (int i = 0; i < n; ++i) EXPECT_EQ(sorted[i], i);
    if (n > 5) {
      EXPECT_NE(order, sorted);
    }
  }
}

TEST_F(RandomTest, MasksKeepTheirShareAndDropoutItsMean) {
  Generator generator(5);
  EXPECT_NEAR(moments(bernoulli(full({40000}, 0.3), generator)).mean, 0.3, 0.01);
  const Tensor x = dropout(ones({40000}), 0.25, generator);
  const Moments m = moments(x);
  EXPECT_NEAR(m.mean, 1, 0.02);
  EXPECT_EQ(m.least, 0);
  EXPECT_NEAR(m.greatest, 4.0 / 3, 1e-6);
  expect_values(dropout(ones({2}), 0, generator), {2}, {1, 1});
  expect_values(dropout(ones({2}), 1, generator), {2}, {0, 0});
}

TEST_F(RandomTest, MultinomialFollowsItsWeights) {
  Generator generator(6);
  const Tensor weights = tensor<float>({{0, 1, 3}, {1, 0, 0}});
  const auto draws = multinomial(weights, 8000, generator).to_vector<int>();
  int twos = 0;
  for (int i = 0; i < 8000; ++i) {
    ASSERT_TRUE(draws[i] == 1 || draws[i] == 2);
    twos += draws[i] == 2 ? 1 : 0;
    ASSERT_EQ(draws[8000 + i], 0);
  }
  EXPECT_NEAR(twos / 8000.0, 0.75, 0.02);
}

}  // namespace
}  // namespace brisk
