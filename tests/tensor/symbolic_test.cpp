// Shapes with variables: built once, computed for any value within the bounds.
#include "tensor/tensor_test.h"

namespace brisk {
namespace {

using SymbolicTest = TensorTest;
using Shape = std::vector<std::int64_t>;

TEST_F(SymbolicTest, OneGraphServesEveryLength) {
  const Dim T = Dim::variable("T", 1, 16);
  const Tensor table = counting({20, 3}).realize();
  const Tensor x = softmax(table.narrow(0, 2, T) * 0.5, 0) + arange(T).unsqueeze(1);
  EXPECT_THROW(x.shape(), UserError);
  for (const std::int64_t length : {1, 5, 16}) {
    const Tensor rows = table[Slice{2, 2 + length}];
    const Tensor want = softmax(rows * 0.5, 0) + arange(length).unsqueeze(1);
    EXPECT_EQ(x.to_vector<float>({{T, length}}), want.to_vector<float>());
  }
  EXPECT_THROW(x.to_vector<float>({{T, 17}}), UserError);
  EXPECT_THROW(x.to_vector<float>(), UserError);
}

TEST_F(SymbolicTest, ReshapesDivideSymbolicSizes) {
  const Dim T = Dim::variable("T", 1, 8);
  const Tensor x = counting({8, 6}).narrow(0, 0, T);
  const Tensor heads = x.reshape({T, 2, 3}).transpose(0, 1);
  EXPECT_EQ(heads.reshape({2, -1}).dims()[1], T * 3);
  EXPECT_EQ(x.flatten().reshape({-1, 6}).dims()[0], T);
  // What is there on both sides is not divided by.
  const Tensor more = counting({9, 4}).narrow(0, 0, T + 1);
  EXPECT_EQ(more.unsqueeze(1).reshape({T + 1, -1, 2}).dims()[1], Dim(2));
  const Tensor total = sum(heads, {0, 2});
  EXPECT_EQ(total.to_vector<int>({{T, 2}}), (std::vector<int>{15, 51}));
  EXPECT_EQ(mean(x, 0).to_vector<float>({{T, 3}}), (std::vector<float>{6, 7, 8, 9, 10, 11}));
}

// A decode step as language models make it: new rows go into a cache at a position, attention reads
// all rows so far, and one graph runs again and again.
TEST_F(SymbolicTest, CacheIsWrittenAndReadByOneGraph) {
  const Dim position = Dim::variable("position", 0, 7);
  Tensor cache = zeros({8, 2}).realize();
  Tensor input = zeros({1, 2}).realize();
  const Tensor stored = cache.store({position, 0}, input * 10);
  const Tensor seen = stored.narrow(0, 0, position + 1);
  const Tensor out = matmul(input, seen.transpose(0, 1));
  for (std::int64_t step = 0; step < 4; ++step) {
    const std::vector<float> row = {static_cast<float>(step + 1), 1};
    input.copy_from(std::as_bytes(std::span(row)));
    const auto got = compute({out, stored}, {{position, step}});
    std::vector<double> want;
    for (std::int64_t earlier = 0; earlier <= step; ++earlier) {
      want.push_back(10.0 * static_cast<double>(step + 1) * static_cast<double>(earlier + 1) + 10);
    }
    expect_values(got[0], {1, step + 1}, want);
  }
  expect_values(cache, {8, 2}, {10, 10, 20, 10, 30, 10, 40, 10, 0, 0, 0, 0, 0, 0, 0, 0});
}

TEST_F(SymbolicTest, AttentionTakesSymbolicLengths) {
  const Dim T = Dim::variable("T", 1, 4);
  const Dim past = Dim::variable("past", 0, 8);
  manual_seed(3);
  const Tensor q = randn({2, 4, 8}).realize();
  const Tensor k = randn({1, 12, 8}).realize();
  const Tensor v = randn({1, 12, 8}).realize();
  AttentionOptions options;
  options.causal_end = true;
  const Tensor y = scaled_dot_product_attention(q.narrow(1, 0, T), k.narrow(1, 0, past + T),
                                                v.narrow(1, 0, past + T), options);
  const Tensor want = scaled_dot_product_attention(
      q[{Slice{}, Slice{0, 3}}], k[{Slice{}, Slice{0, 8}}], v[{Slice{}, Slice{0, 8}}], options);
  EXPECT_EQ(y.to_vector<float>({{T, 3}, {past, 5}}), want.to_vector<float>());
}

TEST_F(SymbolicTest, RealizeUnderBoundVariablesGivesFixedShapes) {
  const Dim T = Dim::variable("T", 1, 4);
  Tensor x = arange(T);
  EXPECT_EQ(x.numel(), T);
  x.realize({{T, 3}});
  EXPECT_EQ(x.shape(), (Shape{3}));
  EXPECT_EQ(Dim::variable("T", 1, 4), T);
  EXPECT_EQ(T.lower(), 1);
  EXPECT_EQ((T * 2 + 1).upper(), 9);
  EXPECT_THROW(T.value(), UserError);
}

}  // namespace
}  // namespace brisk
