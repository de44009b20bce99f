// Images with their channels last have the values that they had, and are stored that way.
#include <gtest/gtest.h>

#include <algorithm>
#include <random>
#include <unordered_map>

#include "base/target.h"
#include "graph/evaluate.h"
#include "graph/rules_simplify.h"
#include "schedule/channels_last.h"
#include "schedule/fuse.h"

namespace brisk {
namespace {

class ChannelsLast : public testing::Test {
 protected:
  static Array empty(const Node& node) {
    Array array{node.dtype(), {}, {}};
    std::size_t count = 1;
    for (const Size& size : node.shape()) {
      array.shape.push_back(size.value());
      count *= static_cast<std::size_t>(size.value());
    }
    array.bytes.resize(static_cast<std::size_t>(byte_size(node.dtype())) * count);
    return array;
  }

  Node memory(Shape shape) {
    const Node node = buffer(DType::bfloat16, std::move(shape), nullptr);
    Array array = empty(node);
    // Small whole numbers: sums are exact in any order.
    constexpr std::uint16_t numbers[] = {0x0000, 0x3f80, 0xbf80, 0x4000};
    for (std::size_t at = 0; at < array.bytes.size(); at += 2) {
      const std::uint16_t number = numbers[random_() % 4];
      std::copy_n(reinterpret_cast<const std::byte*>(&number), 2, array.bytes.data() + at);
    }
    arrays_.emplace(node, std::move(array));
    return node;
  }

  // x [n, c, h, w] and a kernel of one place [o, c] → [n, o, h, w].
  Node convolution(const Node& x, const Node& weight) {
    const Size n = x.shape()[0], c = x.shape()[1], h = x.shape()[2], w = x.shape()[3];
    const Size o = weight.shape()[0];
    const Shape cube = {n, o, h, w, c};
    const auto wide = [](const Node& node) { return cast(node, DType::float32); };
    const Node places = reshape(permute(x, {0, 2, 3, 1}), {n, 1, h, w, c});
    const Node filters = reshape(weight, {1, o, 1, 1, c});
    const Node products = mul(expand(wide(places), cube), expand(wide(filters), cube));
    return cast(reshape(reduce(ReduceOp::add, products, {4}), {n, o, h, w}), DType::bfloat16);
  }

  void expect_same(const std::vector<Node>& roots) {
    // What is stored into has nothing before.
    const Bindings bindings = {{}, [&](const Node& node) {
                                 const auto found = arrays_.find(node);
                                 return found != arrays_.end() ? found->second : empty(node);
                               }};
    const std::vector<Node> turned = simplify(with_channels_last(roots));
    const std::vector<Array> got = evaluate(turned, bindings);
    const std::vector<Array> want = evaluate(roots, bindings);
    for (std::size_t i = 0; i < roots.size(); ++i) {
      EXPECT_EQ(turned[i].shape(), roots[i].shape());
      EXPECT_EQ(got[i].bytes, want[i].bytes);
    }
  }

  // Of what is stored on the way to the roots, in an order of their sizes.
  static std::vector<Shape> stored(const std::vector<Node>& roots) {
    const KernelList list = fuse(simplify(with_channels_last(roots)), target_for("sm_90a"));
    std::vector<Shape> shapes;
    for (const Node& node : list.stored) {
      if (std::find(roots.begin(), roots.end(), node) == roots.end())
        shapes.push_back(node.shape());
    }
    return shapes;
  }

  std::mt19937 random_{1};
  std::unordered_map<Node, Array, NodeHash> arrays_;
};

TEST_F(ChannelsLast, holdsForWhatIsMadeOfConvolutions) {
  const Node x = memory({2, 16, 5, 6});
  const Node y = convolution(x, memory({24, 16}));
  const Node sum = reduce(ReduceOp::add, cast(y, DType::float32), {0, 2, 3});
  const Node other = memory({2, 24, 5, 6});  // lies as it does
  const Node centred =
      add(cast(y, DType::float32), mul(expand(sum, {2, 24, 5, 6}), constant_float(-0.5)));
  const Node mixed = max(add(centred, cast(other, DType::float32)), constant_float(0));
  const Node kept = store(buffer(DType::float32, mixed.shape(), nullptr), mixed);
  const Node padded = pad(kept, {0, 0, 0, 0, 1, 1, 0, 2});
  const Node cut = shrink(padded, {0, 2, 3, 20, 1, 5, 0, 8});
  const Node again =
      convolution(shrink(cast(cut, DType::bfloat16), {0, 2, 0, 16, 0, 4, 0, 8}), memory({8, 16}));
  expect_same({cut, sum, again});
}

TEST_F(ChannelsLast, isHowLargeResultsAreStored) {
  const Node y = convolution(memory({4, 64, 32, 32}), memory({96, 64}));
  const Node root = convolution(max(y, constant_float(0, DType::bfloat16)), memory({64, 96}));
  const std::vector<Shape> shapes = stored({root});
  EXPECT_NE(std::find(shapes.begin(), shapes.end(), Shape({4, 32, 32, 96})), shapes.end());
  EXPECT_EQ(std::find(shapes.begin(), shapes.end(), Shape({4, 96, 32, 32})), shapes.end());
}

// Its channels are of the operand that has the places.
// Windows are rearranged places.
TEST_F(ChannelsLast, holdsForPools) {
  const Node y = convolution(memory({2, 32, 8, 8}), memory({48, 32}));
  const Node halves = permute(reshape(y, {2, 48, 4, 2, 4, 2}), {0, 1, 2, 4, 3, 5});
  const Node pooled = reshape(reduce(ReduceOp::max, halves, {4, 5}), {2, 48, 4, 4});
  const std::vector<Node> roots = {convolution(pooled, memory({32, 48}))};
  expect_same(roots);
  const std::vector<Shape> shapes = stored(roots);
  EXPECT_EQ(std::count(shapes.begin(), shapes.end(), Shape({2, 4, 4, 1, 1, 48})), 1);
  // Not where channels are among what is rearranged.
  const Node mixed = permute(reshape(y, {2, 2, 24, 8, 8}), {0, 2, 1, 3, 4});
  expect_same({convolution(reshape(mixed, {2, 48, 8, 8}), memory({32, 48}))});
}

TEST_F(ChannelsLast, leavesTheGradientOfAWeightAlone) {
  const Node g = memory({24, 8}), x = memory({16, 9, 8});
  const Shape cube = {24, 16, 9, 8};
  const auto wide = [](const Node& node) { return cast(node, DType::float32); };
  const Node products = mul(expand(wide(reshape(g, {24, 1, 1, 8})), cube),
                            expand(wide(reshape(x, {1, 16, 9, 8})), cube));
  const Node root = reshape(reduce(ReduceOp::add, products, {3}), {24, 16, 3, 3});
  EXPECT_EQ(with_channels_last({{root}}), std::vector<Node>{root});
}

}  // namespace
}  // namespace brisk
