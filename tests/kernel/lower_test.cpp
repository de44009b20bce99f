// What lowering makes of small graphs, word for word: movement vanishes into indices and gates.
#include "kernel/lower.h"

#include <gtest/gtest.h>

#include "kernel/print.h"
#include "kernel/verify.h"

namespace brisk {
namespace {

Node memory(Shape shape, DType dtype = DType::float32) {
  return buffer(dtype, std::move(shape), nullptr);
}

std::string lowered(const std::vector<Node>& outputs, NodeSet stored = {}) {
  for (const Node& output : outputs) stored.insert(output);
  const LoweredKernel kernel = lower(outputs, stored).kernel;
  verify_kernel(kernel, "lower");
  return print(kernel);
}

TEST(Lower, AnElementwiseChainIsOneStore) {
  const Node a = memory({4, 8});
  EXPECT_EQ(lowered({add(mul(a, a), a)}),
            "lowered(in float32 p0, out float32 p1)\n"
            "  part r0 < 4 r1 < 8:\n"
            "    stage:\n"
            "      t0: float32 = p0[((r0 * 8) + r1)]\n"
            "      p1[((r0 * 8) + r1)] = ((t0 * t0) + t0)\n");
}

TEST(Lower, MovementVanishesIntoTheIndexAndTheGate) {
  const Node a = memory({4, 8});
  const Node moved = pad(flip(permute(shrink(a, {1, 3, 0, 8}), {1, 0}), {0}), {1, 0, 0, 0});
  EXPECT_EQ(lowered({moved}),
            "lowered(in float32 p0, out float32 p1)\n"
            "  part r0 < 9 r1 < 2:\n"
            "    stage:\n"
            "      p1[((r0 * 2) + r1)] = p0[(((r0 * -1) + (r1 * 8)) + 16) if (0 < r0)]\n");
}

TEST(Lower, AConvertedLoadIsZeroWhereItsGateIsClosed) {
  const Node a = memory({8}, DType::int8);
  EXPECT_EQ(lowered({pad(cast(a, DType::int32), {1, 0})}),
            "lowered(in int8 p0, out int32 p1)\n"
            "  part r0 < 9:\n"
            "    stage:\n"
            "      p1[r0] = cast<int32>(p0[(r0 + -1) if (0 < r0)])\n");
}

TEST(Lower, ASplitAndAJoinOfAxesNeedDivisionsOnlyWhereDigitsMix) {
  const Node a = memory({6, 4});
  EXPECT_EQ(lowered({reshape(a, {3, 2, 4})}),
            "lowered(in float32 p0, out float32 p1)\n"
            "  part r0 < 3 r1 < 2 r2 < 4:\n"
            "    stage:\n"
            "      t0: int64 = (((r0 * 8) + (r1 * 4)) + r2)\n"
            "      p1[t0] = p0[t0]\n");
  EXPECT_EQ(lowered({reshape(permute(a, {1, 0}), {24})}),
            "lowered(in float32 p0, out float32 p1)\n"
            "  part r0 < 24:\n"
            "    stage:\n"
            "      p1[r0] = p0[((r0 / 6) + ((r0 % 6) * 4))]\n");
}

TEST(Lower, AReductionIsAnExpressionOverItsRanges) {
  const Node a = memory({4, 8});
  const Node total = reduce(ReduceOp::add, a, {1});
  EXPECT_EQ(lowered({mul(a, expand(recip(total), {4, 8}))}),
            "lowered(in float32 p0, out float32 p1)\n"
            "  part r0 < 4 r1 < 8:\n"
            "    stage:\n"
            "      p1[((r0 * 8) + r1)] = (p0[((r0 * 8) + r1)] * recip(add[r2 < 8](p0[((r0 * 8) + "
            "r2)])))\n");
}

TEST(Lower, AStoreWritesThroughItsViewAndNamesItsMemoryOnce) {
  const Node a = memory({10});
  const Node window = shrink(a, {2, 6});
  EXPECT_EQ(lowered({store(window, mul(window, constant_float(2)))}),
            "lowered(inout float32 p0)\n"
            "  part r0 < 4:\n"
            "    stage:\n"
            "      p0[(r0 + 2)] = (p0[(r0 + 2)] * 2)\n");
}

TEST(Lower, AScatterReadsWhatItAddsToAndDropsWhatIsOutside) {
  const Node index = memory({5}, DType::int64);
  EXPECT_EQ(lowered({scatter(memory({10}), index, memory({5}), StoreMode::add)}),
            "lowered(in int64 p0, inout float32 p1, in float32 p2)\n"
            "  part r0 < 5:\n"
            "    stage:\n"
            "      t0: bool = ((0 < (p0[r0] + 1)) & (p0[r0] < 10))\n"
            "      p1[p0[r0] if t0] = (p1[p0[r0] if t0] + p2[r0])\n");
}

}  // namespace
}  // namespace brisk
