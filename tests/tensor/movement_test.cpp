// Shapes, slices, joining, padding, repetition.
#include <numeric>

#include "tensor/tensor_test.h"

namespace brisk {
namespace {

using MovementTest = TensorTest;

TEST_F(MovementTest, ReshapeFindsTheOpenSize) {
  const Tensor x = counting({4, 6});
  EXPECT_EQ(x.reshape({3, -1}).shape(), (std::vector<std::int64_t>{3, 8}));
  EXPECT_EQ(x.reshape({-1}).shape(), (std::vector<std::int64_t>{24}));
  EXPECT_EQ(x.flatten().shape(), (std::vector<std::int64_t>{24}));
  EXPECT_EQ(counting({2, 3, 4, 5}).flatten(1, 2).shape(), (std::vector<std::int64_t>{2, 12, 5}));
  EXPECT_EQ(x.unflatten(1, {2, -1}).shape(), (std::vector<std::int64_t>{4, 2, 3}));
  EXPECT_EQ(counting({1, 3, 1}).squeeze().shape(), (std::vector<std::int64_t>{3}));
  EXPECT_EQ(counting({1, 3, 1}).squeeze(0).shape(), (std::vector<std::int64_t>{3, 1}));
  EXPECT_EQ(counting({3}).unsqueeze(-1).shape(), (std::vector<std::int64_t>{3, 1}));
  EXPECT_EQ(Tensor(1.0).flatten().shape(), (std::vector<std::int64_t>{1}));
}

TEST_F(MovementTest, TransposesAndPermutes) {
  const Tensor x = counting({2, 3});
  expect_values(x.transpose(0, 1), {3, 2}, {0, 3, 1, 4, 2, 5});
  expect_values(counting({1, 2, 2}).permute({2, 0, -2}), {2, 1, 2}, {0, 2, 1, 3});
}

TEST_F(MovementTest, SlicesFollowPython) {
  const Tensor x = counting({10});
  const auto part = [&](const Slice& slice) { return x[slice].to_vector<int>(); };
  using Values = std::vector<int>;
  EXPECT_EQ(part({2, 5}), (Values{2, 3, 4}));
  EXPECT_EQ(part({-3, {}}), (Values{7, 8, 9}));
  EXPECT_EQ(part({{}, -7}), (Values{0, 1, 2}));
  EXPECT_EQ(part({1, 9, 3}), (Values{1, 4, 7}));
  EXPECT_EQ(part({{}, {}, 4}), (Values{0, 4, 8}));
  EXPECT_EQ(part({{}, {}, -1}), (Values{9, 8, 7, 6, 5, 4, 3, 2, 1, 0}));
  EXPECT_EQ(part({8, 1, -3}), (Values{8, 5, 2}));
  EXPECT_EQ(part({5, 2, -1}), (Values{5, 4, 3}));
  EXPECT_EQ(part({-2, -6, -2}), (Values{8, 6}));
  EXPECT_EQ(part({5, 2}), (Values{}));
  EXPECT_EQ(part({100, 200}), (Values{}));
  EXPECT_EQ(part({-100, 3}), (Values{0, 1, 2}));
  EXPECT_EQ(part({{}, 100, 9}), (Values{0, 9}));
}

TEST_F(MovementTest, IndexMixesPositionsSlicesEllipsisAndNewAxes) {
  const Tensor x = counting({2, 3, 4});
  expect_values(x[1], {3, 4}, {12, 13, 14, 15, 16, 17, 18, 19, 20, 21, 22, 23});
  expect_values(x[{1, -1, Slice{{}, {}, 2}}], {2}, {20, 22});
  expect_values(x[{ellipsis, 0}], {2, 3}, {0, 4, 8, 12, 16, 20});
  expect_values(x[{0, newaxis, ellipsis, Slice{3, {}}}], {1, 3, 1}, {3, 7, 11});
  EXPECT_EQ((x[{newaxis, ellipsis, newaxis}].shape()), (std::vector<std::int64_t>{1, 2, 3, 4, 1}));
}

TEST_F(MovementTest, IndexTakesTensorsAndMasks) {
  const Tensor x = counting({3, 4});
  const Tensor rows = tensor<int>({2, 0, -1});
  expect_values(x[rows], {3, 4}, {8, 9, 10, 11, 0, 1, 2, 3, 8, 9, 10, 11});
  expect_values(x[{Slice{}, tensor<int>({3, 1})}], {3, 2}, {3, 1, 7, 5, 11, 9});
  expect_values(x[{rows, tensor<int>({0, 1, 2})}], {3}, {8, 1, 10});
  expect_values(x[{rows.unsqueeze(1), tensor<int>({0, 3})}], {3, 2}, {8, 11, 0, 3, 8, 11});
  expect_values(x[x > 8], {3}, {9, 10, 11});
  expect_values(x[{tensor<bool>({true, false, true}), 1}], {2}, {1, 9});
  // Apart, their axes come first.
  const Tensor cube = counting({2, 3, 2});
  expect_values(cube[{tensor<int>({1, 0}), Slice{}, tensor<int>({0, 1})}], {2, 3},
                {6, 8, 10, 1, 3, 5});
}

TEST_F(MovementTest, SetReplacesWhatTheIndexNames) {
  Tensor x = zeros({3, 4});
  const Tensor before = x + 0;
  x.set({1, Slice{1, 3}}, 5);
  expect_values(x, {3, 4}, {0, 0, 0, 0, 0, 5, 5, 0, 0, 0, 0, 0});
  x.set({Slice{{}, {}, 2}, Slice{{}, {}, -3}}, tensor<float>({1, 2}));
  expect_values(x, {3, 4}, {2, 0, 0, 1, 0, 5, 5, 0, 2, 0, 0, 1});
  x.set({tensor<int>({2, 0}), tensor<int>({1, 1})}, tensor<float>({7, 8}));
  expect_values(x, {3, 4}, {2, 8, 0, 1, 0, 5, 5, 0, 2, 7, 0, 1});
  x.set({x > 4}, -1);
  expect_values(x, {3, 4}, {2, -1, 0, 1, 0, -1, -1, 0, 2, -1, 0, 1});
  x.set({x < 0}, tensor<float>({1, 2, 3, 4}));
  expect_values(x, {3, 4}, {2, 1, 0, 1, 0, 2, 3, 0, 2, 4, 0, 1});
  x.set({ellipsis, -1}, counting({3}));
  expect_values(x, {3, 4}, {2, 1, 0, 0, 0, 2, 3, 1, 2, 4, 0, 2});
  expect_values(before, {3, 4}, std::vector<double>(12, 0));
  Tensor copy = x;
  copy.set({0, 0}, 9);
  expect_values(x[{0, 0}], {}, {9});
}

TEST_F(MovementTest, JoinsAndParts) {
  const Tensor a = counting({2, 2});
  expect_values(cat({a, a + 10, a[{Slice{}, Slice{0, 1}}]}, 1), {2, 5},
                {0, 1, 10, 11, 0, 2, 3, 12, 13, 2});
  expect_values(stack({a, a + 10}, -1), {2, 2, 2}, {0, 10, 1, 11, 2, 12, 3, 13});
  expect_values(cat({tensor<int>({1}), tensor<float>({2.5F})}), {2}, {1, 2.5});
  EXPECT_TRUE(
      std::signbit(cat({tensor<float>({-0.0F}), tensor<float>({1})}).to_vector<float>()[0]));
  const auto parts = counting({7}).split(3);
  ASSERT_EQ(parts.size(), 3U);
  expect_values(parts[2], {1}, {6});
  EXPECT_EQ(counting({7}).chunk(4).size(), 4U);
  expect_values(counting({7}).split(std::vector<std::int64_t>{1, 6})[1], {6}, {1, 2, 3, 4, 5, 6});
  expect_values(counting({2, 3}).unbind(1)[2], {2}, {2, 5});
}

TEST_F(MovementTest, PadsInEveryMode) {
  const Tensor x = counting({4}) + 1;
  expect_values(pad(x, {1, 2}), {7}, {0, 1, 2, 3, 4, 0, 0});
  expect_values(pad(x, {2, -1}, PadMode::constant, 9), {5}, {9, 9, 1, 2, 3});
  expect_values(pad(x, {-1, -2}), {1}, {2});
  expect_values(pad(x, {3, 2}, PadMode::reflect), {9}, {4, 3, 2, 1, 2, 3, 4, 3, 2});
  expect_values(pad(x, {2, 1}, PadMode::replicate), {7}, {1, 1, 1, 2, 3, 4, 4});
  expect_values(pad(x, {3, 4}, PadMode::circular), {11}, {2, 3, 4, 1, 2, 3, 4, 1, 2, 3, 4});
  expect_values(pad(counting({1, 2}), {0, 1, 1, 0}, PadMode::constant, -1), {2, 3},
                {-1, -1, -1, 0, 1, -1});
}

TEST_F(MovementTest, RepeatsAndRolls) {
  const Tensor x = counting({2, 2});
  expect_values(tile(x, {2}), {2, 4}, {0, 1, 0, 1, 2, 3, 2, 3});
  expect_values(repeat(x, {2, 1, 1}), {2, 2, 2}, {0, 1, 2, 3, 0, 1, 2, 3});
  expect_values(repeat_interleave(x, 2, 0), {4, 2}, {0, 1, 0, 1, 2, 3, 2, 3});
  expect_values(roll(counting({5}), {2}, 0), {5}, {3, 4, 0, 1, 2});
  expect_values(roll(counting({5}), {-7}, 0), {5}, {2, 3, 4, 0, 1});
  expect_values(roll(x, {1}, {}), {2, 2}, {3, 0, 1, 2});
  expect_values(roll(counting({2, 3}), {1, 1}, {0, 1}), {2, 3}, {5, 3, 4, 2, 0, 1});
  expect_values(flip(counting({2, 3}), {0, 1}), {2, 3}, {5, 4, 3, 2, 1, 0});
}

TEST_F(MovementTest, WindowsOfEverySizeStepAndLength) {
  for (int n = 1; n <= 9; ++n) {
    for (int size = 1; size <= n; ++size) {
      for (int step = 1; step <= 11; ++step) {
        const std::int64_t count = (n - size) / step + 1;
        std::vector<double> want;
        for (int window = 0; window < count; ++window) {
          for (int i = 0; i < size; ++i) want.push_back(window * step + i);
        }
        expect_values(unfold(counting({n}), 0, size, step), {count, size}, want);
      }
    }
  }
}

TEST_F(MovementTest, MatricesAndGrids) {
  const Tensor x = counting({3, 3}) + 1;
  expect_values(tril(x), {3, 3}, {1, 0, 0, 4, 5, 0, 7, 8, 9});
  expect_values(triu(x, 1), {3, 3}, {0, 2, 3, 0, 0, 6, 0, 0, 0});
  expect_values(diagonal(x), {3}, {1, 5, 9});
  expect_values(diagonal(counting({3, 5}), 2), {3}, {2, 8, 14});
  expect_values(diagonal(counting({3, 5}), -1), {2}, {5, 11});
  expect_values(diagonal(counting({2, 3}), 7), {0}, {});
  expect_values(diagonal(counting({2, 2, 2}), 0, 0, 2), {2, 2}, {0, 5, 2, 7});
  const auto grids = meshgrid({counting({2}), counting({3})});
  expect_values(grids[0], {2, 3}, {0, 0, 0, 1, 1, 1});
  expect_values(grids[1], {2, 3}, {0, 1, 2, 0, 1, 2});
  expect_values(meshgrid({counting({2}), counting({3})}, "xy")[0], {3, 2}, {0, 1, 0, 1, 0, 1});
  expect_values(eye(2, 3), {2, 3}, {1, 0, 0, 0, 1, 0});
  const Tensor image = counting({1, 4, 2, 2});
  expect_values(pixel_shuffle(image, 2), {1, 1, 4, 4},
                {0, 4, 1, 5, 8, 12, 9, 13, 2, 6, 3, 7, 10, 14, 11, 15});
  EXPECT_TRUE(allclose(pixel_unshuffle(pixel_shuffle(image, 2), 2), image));
}

TEST_F(MovementTest, SequencesEndWhereTheyShould) {
  expect_values(arange(1, 8, 3), {3}, {1, 4, 7});
  expect_values(arange(5, 0, -2), {3}, {5, 3, 1});
  expect_values(arange(5, 1), {0}, {});
  expect_values(arange(0.0, 1.0, 0.25, DType::float32), {4}, {0, 0.25, 0.5, 0.75});
  expect_values(linspace(0, 1, 5), {5}, {0, 0.25, 0.5, 0.75, 1});
  expect_values(linspace(-3, 0.7, 7)[Slice{-1, {}}], {1}, {0.7F});
  expect_values(linspace(3, 9, 1), {1}, {3});
  expect_values(full({2}, 7), {2}, {7, 7});
  EXPECT_EQ(full({2}, 7).dtype(), DType::int64);
}

TEST_F(MovementTest, MovesAxesAndMakesDiagonals) {
  EXPECT_EQ(movedim(zeros({2, 3, 4}), 0, -1).shape(), (std::vector<std::int64_t>{3, 4, 2}));
  EXPECT_EQ(movedim(zeros({2, 3, 4}), 2, 0).shape(), (std::vector<std::int64_t>{4, 2, 3}));
  expect_values(diag(counting({2}) + 1), {2, 2}, {1, 0, 0, 2});
  expect_values(diag(counting({2, 2})), {2}, {0, 3});
  expect_values(trace(counting({3, 3})), {}, {12});
}

}  // namespace
}  // namespace brisk
