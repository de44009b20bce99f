// Reading and writing at positions that are data.
#include "tensor/tensor_test.h"

namespace brisk {
namespace {

using IndexTest = TensorTest;

TEST_F(IndexTest, GatherReadsAlongAnAxisAndGivesZeroOutside) {
  const Tensor x = counting({3, 3}) + 1;
  const Tensor index = tensor<int>({{2, 0}, {1, 1}});
  expect_values(gather(x, 1, index), {2, 2}, {3, 1, 5, 5});
  expect_values(gather(x, 0, index), {2, 2}, {7, 2, 4, 5});
  expect_values(gather(x, 1, tensor<int>({{3, -1, 7}})), {1, 3}, {0, 0, 0});
  expect_values(take_along_axis(x, tensor<int>({{-1}}), 1), {3, 1}, {3, 6, 9});
  expect_values(take_along_axis(x, argsort(-x, 0), 0), {3, 3}, {7, 8, 9, 4, 5, 6, 1, 2, 3});
}

TEST_F(IndexTest, SelectsRowsAndElements) {
  const Tensor x = counting({3, 2});
  expect_values(index_select(x, 0, tensor<int>({2, 2, 0})), {3, 2}, {4, 5, 4, 5, 0, 1});
  expect_values(index_select(x, 1, tensor<int>({1})), {3, 1}, {1, 3, 5});
  expect_values(take(x, tensor<int>({{5, -6}, {1, 0}})), {2, 2}, {5, 0, 1, 0});
  expect_values(embedding(tensor<int>({{1, 0}}), x), {1, 2, 2}, {2, 3, 0, 1});
  expect_values(embedding(tensor<int>({7}), x), {1, 2}, {0, 0});
  expect_values(one_hot(tensor<int>({1, 0, 5}), 3), {3, 3}, {0, 1, 0, 1, 0, 0, 0, 0, 0});
}

TEST_F(IndexTest, ScatterReplacesAndTheLastOneWins) {
  const Tensor x = zeros({2, 4});
  const Tensor index = tensor<int>({{1, 1, 3}, {0, 2, 9}});
  const Tensor source = tensor<float>({{1, 2, 3}, {4, 5, 6}});
  expect_values(scatter(x, 1, index, source), {2, 4}, {0, 2, 0, 3, 4, 0, 5, 0});
  expect_values(scatter(x, 1, index, 7), {2, 4}, {0, 7, 0, 7, 7, 0, 7, 0});
  expect_values(x, {2, 4}, std::vector<double>(8, 0));
}

TEST_F(IndexTest, ScatterReducesInEveryWay) {
  const Tensor x = tensor<float>({10, 20, 30});
  const Tensor index = tensor<int>({0, 0, 1});
  const Tensor source = tensor<float>({1, 5, 4});
  const auto reduced = [&](ScatterReduce reduce, bool self) {
    return scatter_reduce(x, 0, index, source, reduce, self);
  };
  expect_values(scatter_add(x, 0, index, source), {3}, {16, 24, 30});
  expect_values(reduced(ScatterReduce::sum, false), {3}, {6, 4, 30});
  expect_values(reduced(ScatterReduce::prod, true), {3}, {50, 80, 30});
  expect_values(reduced(ScatterReduce::mean, true), {3}, {16.0 / 3, 12, 30}, 1e-6);
  expect_values(reduced(ScatterReduce::mean, false), {3}, {3, 4, 30});
  expect_values(reduced(ScatterReduce::amax, true), {3}, {10, 20, 30});
  expect_values(reduced(ScatterReduce::amax, false), {3}, {5, 4, 30});
  expect_values(reduced(ScatterReduce::amin, true), {3}, {1, 4, 30});
  expect_values(index_add(zeros({3, 2}), 0, tensor<int>({2, 0, 2}), counting({3, 2})), {3, 2},
                {2, 3, 0, 0, 4, 6});
  expect_values(scatter_add(tensor<int>({1, 1}), 0, tensor<int>({1, 1}), tensor<int>({5, 6})), {2},
                {1, 12});
}

TEST_F(IndexTest, MasksFillSelectAndCount) {
  const Tensor x = counting({2, 3});
  expect_values(masked_fill(x, x > 3, -1), {2, 3}, {0, 1, 2, 3, -1, -1});
  expect_values(masked_select(x, tensor<bool>({true, false, true})), {4}, {0, 2, 3, 5});
  expect_values(nonzero(x - 1), {5, 2}, {0, 0, 0, 2, 1, 0, 1, 1, 1, 2});
  expect_values(nonzero(zeros({3})), {0, 1}, {});
  expect_values(masked_fill(tensor<int>({1, 2}), tensor<bool>({true, false}), 2.9), {2}, {2, 2});
}

TEST_F(IndexTest, StoreWritesIntoTheMemoryOfARealizedTensor) {
  Tensor cache = zeros({4, 2}).realize();
  Tensor next = cache.store({1, 0}, counting({2, 2}) + 1);
  next = next.store({3, 1}, full({1, 1}, 9.0));
  expect_values(next, {4, 2}, {0, 0, 1, 2, 3, 4, 0, 9});
  expect_values(cache, {4, 2}, {0, 0, 1, 2, 3, 4, 0, 9});  // the same memory
}

TEST_F(IndexTest, AssignAndCopyFromKeepTheMemory) {
  Tensor weight = ones({3}).realize();
  const Tensor twice = weight * 2;
  weight.assign(weight - 0.5);
  expect_values(weight, {3}, {0.5, 0.5, 0.5});
  expect_values(twice, {3}, {1, 1, 1});  // reads the memory as it is by then
  const std::vector<float> values = {4, 5, 6};
  weight.copy_from(std::as_bytes(std::span(values)));
  expect_values(weight, {3}, {4, 5, 6});
  Tensor lazy = ones({2});
  lazy.assign(7);
  expect_values(lazy, {2}, {7, 7});
}

TEST_F(IndexTest, StoresHappenOnceHoweverManyGraphsReadThem) {
  Tensor weight = ones({2}).realize();
  weight.assign(weight + 1);
  const Tensor twice = weight * 2;  // built on the store before it is realized
  weight.realize();
  expect_values(twice, {2}, {4, 4});
  expect_values(weight, {2}, {2, 2});
  weight.assign(weight * 10);
  weight.assign(weight + 1);
  expect_values(weight, {2}, {21, 21});
}

TEST_F(IndexTest, AssignReadsTheOldValuesBeforeItWrites) {
  Tensor x = counting({3, 3}).realize();
  x.assign(x.transpose(0, 1));
  expect_values(x, {3, 3}, {0, 3, 6, 1, 4, 7, 2, 5, 8});
  x.assign(flip(x, 1) + sum(x, 0));
  expect_values(x, {3, 3}, {9, 15, 21, 10, 16, 22, 11, 17, 23});
}

TEST_F(IndexTest, WhatIsRealizedIsNotComputedAgainUnlessItsMemoryChanged) {
  Tensor x = rand({3}) + 1;
  const Tensor before = x * 2;
  const Tensor later = x * 3;
  x.realize();
  const std::vector<float> value = x.to_vector<float>();
  expect_values(before, {3}, {value[0] * 2, value[1] * 2, value[2] * 2});
  x.copy_from(std::as_bytes(std::span<const float>(std::vector<float>(3, 0.0F))));
  expect_values(later, {3}, {value[0] * 3, value[1] * 3, value[2] * 3});
}

TEST_F(IndexTest, CopiesOfAHandleShareTheResult) {
  const Tensor x = counting({4}) * 2;
  const Tensor copy = x;
  EXPECT_FALSE(copy.is_realized());
  x.realize();
  EXPECT_TRUE(copy.is_realized());
  expect_values(copy.contiguous(), {4}, {0, 2, 4, 6});
}

}  // namespace
}  // namespace brisk
