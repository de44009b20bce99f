// Values that are computed again: fewer bytes, the same results, and nothing from memory that is
// not what it was.
#include "schedule/rematerialize.h"

#include <gtest/gtest.h>

#include <algorithm>
#include <cstring>
#include <random>
#include <unordered_map>

#include "graph/evaluate.h"

namespace brisk {
namespace {

constexpr std::int64_t rows = 32;
constexpr std::int64_t bytes_of_one = rows * rows * 4;

Node memory() { return buffer(DType::float32, {rows, rows}, nullptr); }

Node product(const Node& a, const Node& b) {
  const Shape cube = {rows, rows, rows};
  const Node terms =
      mul(expand(reshape(a, {rows, 1, rows}), cube), expand(reshape(b, {1, rows, rows}), cube));
  return reshape(reduce(ReduceOp::add, terms, {2}), {rows, rows});
}

// Products one after the other, then as many that read them, the last ones first.
struct ThereAndBack {
  Node x = memory();
  Node w = memory();
  std::vector<Node> there = {x};
  std::vector<Node> back;

  explicit ThereAndBack(int depth, bool overwrites = false) {
    for (int i = 0; i < depth; ++i) there.push_back(product(there.back(), w));
    back.push_back(overwrites ? store(x, there.back()) : there.back());
    for (int i = depth; i-- > 1;)
      back.push_back(product(add(back.back(), there[static_cast<std::size_t>(i)]), w));
  }
};

// Most bytes of values alive at one kernel, but for those of roots.
std::int64_t peak(const std::vector<Node>& roots, const KernelList& list) {
  std::unordered_map<Node, std::pair<std::size_t, std::size_t>, NodeHash> lives;
  for (std::size_t i = 0; i < list.kernels.size(); ++i) {
    for (const Node& output : list.kernels[i].outputs) lives[output] = {i, i};
    for (const Node& input : list.kernels[i].inputs) {
      if (const auto life = lives.find(input); life != lives.end()) life->second.second = i;
    }
  }
  for (const Node& root : roots) lives.erase(root);
  std::int64_t most = 0;
  for (std::size_t i = 0; i < list.kernels.size(); ++i) {
    const auto alive = std::count_if(lives.begin(), lives.end(), [&](const auto& life) {
      return life.second.first <= i && i <= life.second.second;
    });
    most = std::max<std::int64_t>(most, alive * bytes_of_one);
  }
  return most;
}

// As the evaluator has them, where every buffer holds random numbers of its own.
std::vector<std::vector<std::byte>> values(const std::vector<Node>& roots) {
  Bindings bindings;
  bindings.read = [](const Node& node) {
    std::mt19937 random(static_cast<unsigned>(node.ints(0)));
    std::vector<float> numbers(rows * rows);
    for (float& number : numbers) number = static_cast<float>(random() % 1000) / 16000;
    Array array{DType::float32, {rows, rows}, std::vector<std::byte>(bytes_of_one)};
    std::memcpy(array.bytes.data(), numbers.data(), array.bytes.size());
    return array;
  };
  std::vector<std::vector<std::byte>> result;
  for (Array& array : evaluate(roots, bindings)) result.push_back(std::move(array.bytes));
  return result;
}

TEST(Rematerialize, ValuesReadLateAreComputedAgainWithinTheBytes) {
  const ThereAndBack graph(16);
  const std::vector<Node> roots = {graph.back.back()};
  const KernelList list = fuse(roots);
  const std::int64_t whole = peak(roots, list);
  ASSERT_GE(whole, 15 * bytes_of_one);
  std::size_t nodes = topological_order(roots).size();
  for (const int count : {12, 8}) {
    const auto again = rematerialize(roots, list, {}, count * bytes_of_one);
    EXPECT_TRUE(again.within);
    const KernelList late = fuse(again.roots, {}, again.sequence);
    EXPECT_LE(peak(again.roots, late), count * bytes_of_one);
    const std::size_t more = topological_order(again.roots).size();
    EXPECT_GT(more, nodes) << "the fewer bytes, the more is computed again";
    nodes = more;
    EXPECT_EQ(values(again.roots), values(roots));
  }
}

TEST(Rematerialize, WhatFitsStaysAsItIs) {
  const ThereAndBack graph(6);
  const std::vector<Node> roots = {graph.back.back()};
  const KernelList list = fuse(roots);
  const auto again = rematerialize(roots, list, {}, peak(roots, list));
  EXPECT_TRUE(again.within);
  EXPECT_EQ(again.roots, roots);
}

TEST(Rematerialize, WhereNoChoiceIsWithinTheBytesTheLeastIsGiven) {
  const ThereAndBack graph(16);
  const std::vector<Node> roots = {graph.back.back()};
  const KernelList list = fuse(roots);
  const auto again = rematerialize(roots, list, {}, 1);
  EXPECT_FALSE(again.within);
  EXPECT_LE(peak(again.roots, fuse(again.roots, {}, again.sequence)), peak(roots, list) / 2);
  EXPECT_EQ(values(again.roots), values(roots));
}

TEST(Rematerialize, WhatIsReadFromMemoryThatAStoreHasOverwrittenIsKept) {
  // The first product is made of memory that the way back begins with overwriting.
  const ThereAndBack graph(8, true);
  const std::vector<Node> roots = {graph.back.front(), graph.back.back()};
  const KernelList list = fuse(roots);
  ASSERT_TRUE(list.overwritten.empty());
  const auto again = rematerialize(roots, list, {}, 1);
  EXPECT_TRUE(fuse(again.roots, {}, again.sequence).overwritten.empty())
      << "no copy of it must be kept either";
  EXPECT_EQ(values(again.roots), values(roots));
}

TEST(Rematerialize, KernelsComeInTheSequence) {
  const Node a = product(memory(), memory());
  const Node b = product(memory(), memory());
  for (const auto& sequence : {std::vector<Node>{a, b}, std::vector<Node>{b, a}}) {
    const KernelList list = fuse({{a, b}}, {}, sequence);
    ASSERT_EQ(list.kernels.size(), 2U);
    EXPECT_EQ(list.kernels[0].outputs[0], sequence[0]);
  }
}

}  // namespace
}  // namespace brisk
