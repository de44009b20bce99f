// Reductions over any axes, positions of extremes, running reductions, and order.
#include <algorithm>
#include <limits>
#include <numeric>
#include <random>

#include "tensor/tensor_test.h"

namespace brisk {
namespace {

using ReduceTest = TensorTest;
constexpr float nan = std::numeric_limits<float>::quiet_NaN();
constexpr float inf = std::numeric_limits<float>::infinity();

TEST_F(ReduceTest, ReducesAnyAxesWithAndWithoutKeepingThem) {
  const Tensor x = counting({2, 3, 2});
  expect_values(x.sum(), {}, {66});
  expect_values(x.sum(1), {2, 2}, {6, 9, 24, 27});
  expect_values(x.sum({0, -1}, true), {1, 3, 1}, {14, 22, 30});
  expect_values(x.mean({0, 1}), {2}, {5, 6}, 1e-6);
  expect_values(x.amax({1, 2}), {2}, {5, 11});
  expect_values(x.amin(0), {3, 2}, {0, 1, 2, 3, 4, 5});
  expect_values((x + 1).prod({1}), {2, 2}, {15, 48, 693, 960});
  expect_values(x.var(1), {2, 2}, {4, 4, 4, 4});
  expect_values(x.var(1, 0), {2, 2}, {8.0 / 3, 8.0 / 3, 8.0 / 3, 8.0 / 3}, 1e-6);
  expect_values(x.std(1), {2, 2}, {2, 2, 2, 2});
  expect_values(zeros({0, 2}).sum(0), {2}, {0, 0});
  expect_values(zeros({0, 2}).prod(0), {2}, {1, 1});
}

TEST_F(ReduceTest, IntegersSumInInt64AndBoolsCount) {
  const Tensor x = full({1000}, 100, DType::int8);
  EXPECT_EQ(x.sum().dtype(), DType::int64);
  expect_values(x.sum(), {}, {100000});
  expect_values(tensor<bool>({true, false, true}).sum(), {}, {2});
  expect_values(any(tensor<int>({0, 0, 3})), {}, {1});
  expect_values(all(tensor<float>({1, nan, 0})), {}, {0});
  expect_values(any(tensor<float>({0, nan})), {}, {1});
  expect_values(all(zeros({0})), {}, {1});
  expect_values(any(zeros({0})), {}, {0});
  expect_values(count_nonzero(counting({2, 2}), 1), {2}, {1, 2});
  EXPECT_EQ(mean(tensor<int>({1, 2})).item<float>(), 1.5F);
}

TEST_F(ReduceTest, NaNWinsAndTheFirstOfEqualsIsTaken) {
  const Tensor x = tensor<float>({{1, 3, 3}, {nan, 7, nan}});
  expect_values(amax(x, 1), {2}, {3, nan});
  expect_values(amin(x, 1), {2}, {1, nan});
  expect_values(argmax(x, 1), {2}, {1, 0});
  expect_values(argmin(x, 1), {2}, {0, 0});
  expect_values(argmax(x), {}, {3});
  expect_values(argmin(tensor<float>({2, -inf, -inf})), {}, {1});
  expect_values(argmax(tensor<float>({-inf, -inf})), {}, {0});
  const auto [values, indices] = counting({2, 3}).max(1, true);
  expect_values(values, {2, 1}, {2, 5});
  expect_values(indices, {2, 1}, {2, 2});
  EXPECT_EQ(indices.dtype(), DType::int64);
  expect_values(argmax(tensor<bool>({false, true, true})), {}, {1});
}

TEST_F(ReduceTest, LogSumExpNeitherOverflowsNorLosesInfinity) {
  expect_values(logsumexp(tensor<float>({1000, 1000})), {}, {1000 + std::log(2.0)}, 1e-6);
  expect_values(logsumexp(tensor<float>({-inf, -inf})), {}, {-inf});
  expect_values(logsumexp(tensor<float>({1, inf})), {}, {inf});
  expect_values(softmax(tensor<float>({1000, 1000, -inf}), 0), {3}, {0.5, 0.5, 0}, 1e-6);
  expect_values(log_softmax(tensor<float>({0, 0}), 0), {2}, {-std::log(2.0), -std::log(2.0)}, 1e-6);
}

TEST_F(ReduceTest, NormsOfEveryOrder) {
  const Tensor x = tensor<float>({3, -4, 0});
  expect_values(norm(x), {}, {5});
  expect_values(norm(x, 1), {}, {7});
  expect_values(norm(x, 0), {}, {2});
  expect_values(norm(x, inf), {}, {4});
  expect_values(norm(x, -inf), {}, {0});
  expect_values(norm(x, 3), {}, {std::cbrt(91.0)}, 1e-6);
}

TEST_F(ReduceTest, RunningReductionsOfShortAndLongAxes) {
  for (const int n : {1, 5, 127, 129, 1300, 9000}) {
    std::vector<double> want(n);
    std::vector<int> x(n);
    for (int i = 0; i < n; ++i) x[i] = i * 7 % 11 - 5;
    std::partial_sum(x.begin(), x.end(), want.begin());
    expect_values(cumsum(tensor(x), 0), {n}, want);
    std::vector<double> highest(n), at(n);
    for (int i = 0; i < n; ++i) {
      highest[i] = i == 0 ? x[0] : std::max<double>(highest[i - 1], x[i]);
      at[i] = i == 0 || x[i] >= highest[i - 1] ? i : at[i - 1];
    }
    const auto [values, indices] = cummax(tensor(x), 0);
    expect_values(values, {n}, highest);
    expect_values(indices, {n}, at);
  }
  expect_values(cumsum(counting({2, 3}), 0), {2, 3}, {0, 1, 2, 3, 5, 7});
  expect_values(cumprod(counting({4}) + 1, 0), {4}, {1, 2, 6, 24});
  expect_values(cummin(tensor<float>({3, 1, 1, 2}), 0).indices, {4}, {0, 1, 2, 2});
  expect_values(cummax(tensor<float>({1, nan, 5}), 0).values, {3}, {1, nan, nan});
  expect_values(logcumsumexp(tensor<float>({0, 0, 0}), 0), {3}, {0, std::log(2.0), std::log(3.0)},
                1e-6);
}

TEST_F(ReduceTest, SortsRowsOfEveryLengthStably) {
  std::mt19937 random(3);
  for (const int n : {1, 2, 7, 64, 512, 513, 1000, 2048}) {
    std::vector<float> x(n);
    for (float& value : x) value = static_cast<float>(random() % 50) - 25;
    for (const bool descending : {false, true}) {
      std::vector<int> order(n);
      std::iota(order.begin(), order.end(), 0);
      std::stable_sort(order.begin(), order.end(),
                       [&](int a, int b) { return descending ? x[a] > x[b] : x[a] < x[b]; });
      std::vector<double> values, indices;
      for (const int i : order) {
        values.push_back(x[i]);
        indices.push_back(i);
      }
      const auto sorted = sort(tensor(x), 0, descending);
      expect_values(sorted.values, {n}, values);
      expect_values(sorted.indices, {n}, indices);
      if (n > 7) {
        const auto top = topk(tensor(x), 5, 0, descending);
        expect_values(top.values, {5}, {values.begin(), values.begin() + 5});
        expect_values(top.indices, {5}, {indices.begin(), indices.begin() + 5});
      }
    }
  }
}

TEST_F(ReduceTest, OrderOfSpecialValuesAndOfEveryDtype) {
  const Tensor x = tensor<float>({nan, 1, -0.0F, inf, 0, -inf, nan});
  expect_values(argsort(x, 0), {7}, {5, 2, 4, 1, 3, 0, 6});
  expect_values(argsort(x, 0, true), {7}, {0, 6, 3, 1, 2, 4, 5});
  expect_values(argsort(x.cast(DType::float64), 0), {7}, {5, 2, 4, 1, 3, 0, 6});
  expect_values(argsort(x.cast(DType::float16), 0), {7}, {5, 2, 4, 1, 3, 0, 6});
  expect_values(sort(tensor<std::uint8_t>({200, 3, 128}), 0).values, {3}, {3, 128, 200});
  expect_values(argsort(tensor<std::uint32_t>({0xffffffffU, 0, 0x80000000U}), 0), {3}, {1, 2, 0});
  expect_values(argsort(tensor<std::uint64_t>({~0ULL, 0, 1ULL << 63}), 0), {3}, {1, 2, 0});
  expect_values(argsort(tensor<std::int64_t>({INT64_MAX, INT64_MIN, -1, 0}), 0), {4}, {1, 2, 3, 0});
  expect_values(argsort(tensor<bool>({true, false, true, false}), 0), {4}, {1, 3, 0, 2});
  expect_values(sort(counting({2, 3}) * -1, 0).values, {2, 3}, {-3, -4, -5, 0, -1, -2});
  // 64-bit keys through the merging too.
  std::vector<std::int64_t> wide(600);
  for (std::size_t i = 0; i < wide.size(); ++i) {
    wide[i] = static_cast<std::int64_t>((i * 2654435761U) % 97) << 40;
  }
  std::vector<double> want(wide.begin(), wide.end());
  std::sort(want.begin(), want.end());
  expect_values(sort(tensor(wide), 0).values, {600}, want);
}

TEST_F(ReduceTest, LongRowsMergeAndMeetInSeveralLevels) {
  constexpr int n = 5000;
  std::vector<float> x(2 * n);
  for (int i = 0; i < 2 * n; ++i) x[i] = static_cast<float>((i * 7919) % 641);
  x[17] = nan;
  std::vector<double> order;
  for (int row = 0; row < 2; ++row) {
    std::vector<int> rows(n);
    std::iota(rows.begin(), rows.end(), 0);
    const auto key = [&](int i) {
      const float value = x[row * n + i];
      return std::isnan(value) ? inf : value;
    };
    std::stable_sort(rows.begin(), rows.end(), [&](int a, int b) { return key(a) > key(b); });
    order.insert(order.end(), rows.begin(), rows.end());
  }
  const Tensor rows = tensor(x).reshape({2, n});
  expect_values(argsort(rows, 1, true), {2, n}, order);
  for (const int k : {1, 40, 128, 200}) {
    std::vector<double> want(order.begin(), order.begin() + k);
    want.insert(want.end(), order.begin() + n, order.begin() + n + k);
    expect_values(topk(rows, k).indices, {2, k}, want);
  }
}

TEST_F(ReduceTest, MiddlesDifferencesAndSumsWithoutNaN) {
  const Tensor x = tensor<float>({{5, 1, 4, 2}, {3, nan, 0, 1}});
  const auto [values, indices] = median(x, 1);
  expect_values(values, {2}, {2, nan});
  expect_values(indices, {2}, {3, 1});
  expect_values(median(tensor<int>({9, 1, 5}), 0, true).values, {1}, {5});
  expect_values(nansum(x, 1), {2}, {12, 4});
  expect_values(nanmean(x, 1), {2}, {3, 4.0 / 3}, 1e-6);
  expect_values(diff(tensor<int>({1, 4, 9})), {2}, {3, 5});
  expect_values(diff(tensor<bool>({true, true, false})), {2}, {0, 1});
  expect_values(cosine_similarity(tensor<float>({{3, 4}, {0, 0}}), tensor<float>({{4, 3}, {1, 1}})),
                {2}, {24.0 / 25, 0}, 1e-6);
}

}  // namespace
}  // namespace brisk
