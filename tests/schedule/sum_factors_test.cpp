// What is the same all along a sum is multiplied after it.
#include <gtest/gtest.h>

#include <algorithm>
#include <cstring>
#include <unordered_map>

#include "graph/evaluate.h"
#include "graph/rules_simplify.h"
#include "schedule/sum_factors.h"

namespace brisk {
namespace {

class SumFactors : public testing::Test {
 protected:
  Node memory(const std::vector<std::int64_t>& sizes) {
    const Node node = buffer(DType::float32, Shape(sizes.begin(), sizes.end()), nullptr);
    Array array{DType::float32, sizes, {}};
    std::int64_t count = 1;
    for (const std::int64_t size : sizes) count *= size;
    std::vector<float> values(static_cast<std::size_t>(count));
    for (float& value : values) value = static_cast<float>(++state_ * 37 % 101) / 50 - 1;
    array.bytes.resize(values.size() * sizeof(float));
    std::memcpy(array.bytes.data(), values.data(), array.bytes.size());
    arrays_.emplace(node, std::move(array));
    return node;
  }

  // Of one value a channel, in [batch, channels, places].
  Node all_along(const Node& channels) const {
    return expand(reshape(channels, {1, channels.shape()[0], 1}), shape_);
  }

  std::vector<Node> outside(const std::vector<Node>& roots) const {
    const std::vector<Node> result = with_factors_outside(roots);
    const Bindings bindings = {{}, [&](const Node& node) { return arrays_.at(node); }};
    const std::vector<Array> got = evaluate(result, bindings);
    const std::vector<Array> want = evaluate(roots, bindings);
    for (std::size_t i = 0; i < roots.size(); ++i) {
      EXPECT_EQ(result[i].shape(), roots[i].shape());
      std::vector<float> a(got[i].bytes.size() / 4), b(want[i].bytes.size() / 4);
      std::memcpy(a.data(), got[i].bytes.data(), got[i].bytes.size());
      std::memcpy(b.data(), want[i].bytes.data(), want[i].bytes.size());
      EXPECT_EQ(a.size(), b.size());
      for (std::size_t j = 0; j < a.size(); ++j) EXPECT_NEAR(a[j], b[j], 1e-5) << i << ", " << j;
    }
    return result;
  }

  static std::vector<Node> sums_of(const Node& root) {
    std::vector<Node> sums;
    for (const Node& node : topological_order({&root, 1})) {
      if (node.is(Op::reduce_)) sums.push_back(node);
    }
    return sums;
  }

  const Shape shape_ = {4, 3, 5};

 private:
  std::unordered_map<Node, Array, NodeHash> arrays_;
  int state_ = 0;
};

TEST_F(SumFactors, SumsThatDifferInAChannelsFactorsAreOne) {
  const Node x = memory({4, 3, 5}), y = memory({4, 3, 5});
  const Node scale = all_along(memory({3})), other = all_along(memory({3}));
  const Node plain = reduce(ReduceOp::add, mul(x, y), {0, 2});
  const Node scaled = reduce(ReduceOp::add, mul(mul(x, scale), mul(y, other)), {0, 2});
  const std::vector<Node> result = outside({plain, scaled});
  EXPECT_EQ(result[0], plain);
  EXPECT_EQ(sums_of(result[1]), std::vector<Node>{plain});
}

TEST_F(SumFactors, WhatMovesAlongTheSumStaysInIt) {
  const Node x = memory({4, 3, 5});
  const Node along = expand(reshape(memory({5}), {1, 1, 5}), shape_);
  for (const Node& sum : {reduce(ReduceOp::add, mul(x, along), {0, 2}),
                          reduce(ReduceOp::max, mul(x, all_along(memory({3}))), {0, 2}),
                          reduce(ReduceOp::add, mul(x, all_along(memory({3}))), {1})}) {
    EXPECT_EQ(outside({sum})[0], sum);
  }
}

TEST_F(SumFactors, ProductsOfMatricesStayAsTheyAre) {
  const Shape cube = {4, 6, 5};
  const Node a = expand(reshape(memory({4, 5}), {4, 1, 5}), cube);
  const Node b = expand(reshape(memory({6, 5}), {1, 6, 5}), cube);
  const Node scale = expand(reshape(memory({6}), {1, 6, 1}), cube);
  const Node product = reduce(ReduceOp::add, mul(mul(a, scale), b), {2});
  EXPECT_EQ(outside({product})[0], product);
}

}  // namespace
}  // namespace brisk
