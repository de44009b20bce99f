// Interning and lifetime of nodes: equal nodes are one object, nodes die with their last handle,
// also under several threads.
#include "graph/node.h"

#include <gtest/gtest.h>

#include <random>
#include <thread>

namespace brisk {
namespace {

TEST(Node, equalNodesAreOneObject) {
  const Node a = buffer(DType::float32, {2, 3}, nullptr);
  EXPECT_EQ(add(a, constant_float(1)), add(a, constant_float(1)));
  EXPECT_EQ(reshape(a, {6}), reshape(a, {6}));
  EXPECT_EQ(variable("n", 1, 4), variable("n", 1, 4));
  EXPECT_NE(variable("n", 1, 4), variable("n", 1, 5));
  EXPECT_NE(reduce(ReduceOp::add, a, {0}), reduce(ReduceOp::max, a, {0}));
  EXPECT_NE(constant_float(0.0), constant_float(-0.0));
  EXPECT_NE(constant_int(1, DType::int32), constant_int(1, DType::int64));
  EXPECT_NE(cast(a, DType::int8), cast(a, DType::uint8));
}

TEST(Node, buffersAreNeverEqual) {
  EXPECT_NE(buffer(DType::float32, {2}, nullptr), buffer(DType::float32, {2}, nullptr));
}

TEST(Node, constantsAreRoundedAndWrapped) {
  EXPECT_EQ(constant_int(257, DType::uint8), constant_int(1, DType::uint8));
  EXPECT_EQ(constant_int(200, DType::int8).int_value(), -56);
  EXPECT_EQ(constant_int(7, DType::boolean).int_value(), 1);
  EXPECT_EQ(constant_float(0.1, DType::float32).float_value(), static_cast<double>(0.1F));
  EXPECT_EQ(constant_float(1 + 0x1p-9, DType::bfloat16).float_value(), 1);
}

TEST(Node, nodesDieWithTheirLastHandle) {
  const std::int64_t before = live_nodes();
  {
    Node x = buffer(DType::float32, {2}, nullptr);
    for (int i = 0; i < 200'000; ++i) x = add(x, constant_float(1));  // dropped without recursion
    EXPECT_GE(live_nodes(), before + 200'000);
  }
  EXPECT_EQ(live_nodes(), before);
}

TEST(Node, aBufferKeepsItsStorageAliveAndLetsItGo) {
  const auto storage = std::make_shared<Storage>();
  {
    const Node view = reshape(buffer(DType::float32, {4}, storage), {2, 2});
    EXPECT_EQ(storage.use_count(), 2);
  }
  EXPECT_EQ(storage.use_count(), 1);
}

TEST(Node, severalThreadsBuildAndDropTheSameNodes) {
  const std::int64_t before = live_nodes();
  {
    const Node shared = buffer(DType::float32, {4}, nullptr);
    std::vector<std::vector<Node>> kept(8);
    std::vector<std::thread> threads;
    for (unsigned t = 0; t < 8; ++t) {
      threads.emplace_back([&, t] {
        std::mt19937 random(t);
        for (int round = 0; round < 300; ++round) {
          Node x = shared;
          // Few different nodes, so that threads meet at the moment of birth and death.
          for (int i = 0; i < 30; ++i) {
            x = random() % 2 == 0 ? add(x, constant_float(random() % 3)) : mul(x, x);
            if (random() % 16 == 0) x = shared;
          }
          if (round % 50 == 0) kept[t].push_back(x);
        }
        Node fixed = shared;
        for (int i = 0; i < 100; ++i) fixed = exp2(add(fixed, constant_float(i)));
        kept[t].push_back(fixed);
      });
    }
    for (std::thread& thread : threads) thread.join();
    for (const auto& nodes : kept) EXPECT_EQ(nodes.back(), kept[0].back());
  }
  EXPECT_EQ(live_nodes(), before);
}

}  // namespace
}  // namespace brisk
