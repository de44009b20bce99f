// What the strategy for every part does beyond giving the right values.
#include <gtest/gtest.h>

#include "optimize/optimize.h"

namespace brisk {
namespace {

// out[i] = f(in[i]) for 2^20 numbers.
Kernel map_of(Node (*f)(const Node&)) {
  const Node range = make_range(0, 1 << 20);
  const Node in = load_from(make_param(0, DType::float32), range);
  LoweredKernel lowered;
  lowered.params = {{DType::float32}, {DType::float32}};
  Part part;
  part.outer = {range};
  part.stages.push_back({{}, {store_to(make_param(1, DType::float32), range, f(in))}});
  lowered.parts = {part};
  return optimize(lowered, target_for("x86-64-v3"));
}

std::size_t hints(const Kernel& kernel) {
  const std::vector<Node> nodes = topological_order({&kernel.body, 1});
  return static_cast<std::size_t>(std::count_if(
      nodes.begin(), nodes.end(), [](const Node& node) { return node.is(Op::prefetch_); }));
}

TEST(Loops, OnlyADearMapAsksForWhatItReadsNext) {
  EXPECT_EQ(hints(map_of(exp2)), 1U);
  EXPECT_EQ(hints(map_of(recip)), 0U);
}

// As a gather by random numbers has: without what is remembered, 2^64 visits.
TEST(Loops, AnIndexOfPartsThatAreSharedOverAndOverIsWalkedOnce) {
  const Node range = make_range(0, 1 << 10);
  Node at = range;
  for (int i = 0; i < 64; ++i) at = bit_xor(mul(at, constant_int(5)), at);
  const Node place = bit_and(at, constant_int((1 << 10) - 1));
  LoweredKernel lowered;
  lowered.params = {{DType::float32}, {DType::float32}};
  Part part;
  part.outer = {range};
  const Node value = load_from(make_param(0, DType::float32), place);
  part.stages.push_back({{}, {store_to(make_param(1, DType::float32), range, value)}});
  lowered.parts = {part};
  EXPECT_EQ(optimize(lowered, target_for("x86-64-v3")).name, "map");
}

}  // namespace
}  // namespace brisk
