// Which nodes are stored and in which order kernels run, on graphs small enough to say it by hand.
#include <gtest/gtest.h>

#include <algorithm>

#include "base/target.h"
#include "schedule/fuse.h"
#include "schedule/versions.h"

namespace brisk {
namespace {

Node memory(Shape shape) { return buffer(DType::float32, std::move(shape), nullptr); }
Node sum(const Node& x, std::vector<int> axes) { return reduce(ReduceOp::add, x, std::move(axes)); }
Node negative(const Node& x) { return mul(x, constant_float(-1)); }

std::size_t kernel_of(const KernelList& list, const Node& output) {
  for (std::size_t i = 0; i < list.kernels.size(); ++i) {
    const auto& outputs = list.kernels[i].outputs;
    if (std::find(outputs.begin(), outputs.end(), output) != outputs.end()) return i;
  }
  return list.kernels.size();
}

TEST(Fuse, WhatIsReadOnceAtEachElementIsNotStored) {
  const Node x = memory({100, 100});
  const Node root = sqrt(negative(exp2(x)));
  const KernelList list = fuse({{root}});
  ASSERT_EQ(list.kernels.size(), 1U);
  EXPECT_EQ(list.stored, NodeSet{root});
  EXPECT_EQ(list.kernels[0].inputs, std::vector<Node>{x});
}

TEST(Fuse, AChainReadBySeveralLoopsIsComputedInEachWhereThatIsCheaper) {
  const Node x = memory({512, 512});
  const Node y = negative(x);
  const Node centred = add(y, expand(negative(reduce(ReduceOp::max, y, {1})), {512, 512}));
  EXPECT_EQ(fuse({{centred}}).stored, NodeSet{centred});
}

TEST(Fuse, AProductReadByTwoLoopsIsStoredOnce) {
  const Node a = memory({256, 256, 1});
  const Node b = memory({1, 256, 256});
  const Node product = sum(mul(expand(a, {256, 256, 256}), expand(b, {256, 256, 256})), {1});
  const Node flat = reshape(product, {256, 256});
  const Node root = add(flat, expand(negative(reduce(ReduceOp::max, flat, {1})), {256, 256}));
  const KernelList list = fuse({{root}});
  EXPECT_EQ(list.stored, (NodeSet{product, root}));
  EXPECT_LT(kernel_of(list, product), kernel_of(list, root));
}

TEST(Fuse, AProductIsStoredBeforeMovementMakesMoreOfIt) {
  const auto product = [](const Node& a, const Node& b, std::int64_t rows) {
    const Shape cube = {rows, 256, 256};
    return sum(
        mul(expand(reshape(a, {rows, 1, 256}), cube), expand(reshape(b, {1, 256, 256}), cube)),
        {2});
  };
  const Node first = cast(product(memory({256, 256}), memory({256, 256}), 256), DType::bfloat16);
  const Node repeated = reshape(expand(reshape(first, {1, 256, 256}), {9, 256, 256}), {2304, 256});
  const Node root = product(cast(repeated, DType::float32), memory({256, 256}), 2304);
  EXPECT_EQ(fuse({{root}}).stored, (NodeSet{first, root}));
}

// a [rows, depth] · b [columns, depth] → [rows, columns, 1].
Node product_of_rows(const Node& a, const Node& b) {
  const Size rows = a.shape()[0];
  const Size columns = b.shape()[0];
  const Size depth = a.shape()[1];
  const Shape cube = {rows, columns, depth};
  return sum(mul(expand(reshape(a, {rows, 1, depth}), cube),
                 expand(reshape(b, {1, columns, depth}), cube)),
             {2});
}

TEST(Fuse, AProductOfMatricesIsStoredBeforeItsResultsAreSummed) {
  const Node product = product_of_rows(memory({64, 32}), memory({64, 32}));
  const Node root = sum(max(product, constant_float(0)), {1});
  EXPECT_EQ(fuse({{root}}).stored, (NodeSet{max(product, constant_float(0)), root}));
}

TEST(Fuse, ASmallProductIsSummedOnItsWay) {
  const Node root = sum(product_of_rows(memory({8, 16}), memory({8, 16})), {1});
  EXPECT_EQ(fuse({{root}}).stored, NodeSet{root});
}

TEST(Fuse, AProductInTilesIsNoOutputOfWhatReadsItsResults) {
  const Node product = reshape(product_of_rows(memory({256, 256}), memory({256, 256})), {256, 256});
  const Node value = add(product, memory({256, 256}));
  const Node total = sum(mul(value, value), {1});
  const Node norm = mul(value, expand(recip(total), {256, 256}));
  for (const char* cpu : {"x86-64-v3", "sm_90a"}) {
    const KernelList list = fuse({{value, total, norm}}, target_for(cpu));
    EXPECT_NE(kernel_of(list, value), kernel_of(list, norm)) << cpu;
  }
}

TEST(Fuse, GroupsSumColumnsAndFindTheirGreatestInOneKernel) {
  const Node x = memory({4096, 512});
  const Node total = sum(x, {0});
  const Node scaled = mul(x, expand(memory({4096, 1}), {4096, 512}));
  const Node greatest = reduce(ReduceOp::max, scaled, {0});
  const Node root = mul(scaled, expand(recip(greatest), {4096, 512}));
  const KernelList list = fuse({{total, root}}, target_for("sm_90a"));
  ASSERT_LT(kernel_of(list, greatest), list.kernels.size());
  EXPECT_EQ(kernel_of(list, greatest), kernel_of(list, total));
  EXPECT_NE(kernel_of(list, root), kernel_of(list, total));
}

TEST(Fuse, TheGreatestOfColumnsThatTheirSumsAreMadeOfIsNoReasonToStoreEither) {
  const Node x = memory({4096, 512});
  const Node greatest = reduce(ReduceOp::max, x, {0});
  const Node below = exp2(add(x, expand(negative(greatest), {4096, 512})));
  const Node root = mul(below, expand(recip(sum(below, {0})), {4096, 512}));
  EXPECT_EQ(fuse({{root}}, target_for("sm_90a")).kernels.size(), 1U);
}

TEST(Fuse, AReductionIsStoredBeforeAProductOfMatricesReadsItsResults) {
  const Node greatest = reduce(ReduceOp::max, memory({256, 256, 9}), {2});
  const Node root = product_of_rows(reshape(greatest, {256, 256}), memory({256, 256}));
  EXPECT_EQ(fuse({{root}}).stored, (NodeSet{greatest, root}));
}

TEST(Fuse, AProductIsStoredBeforeEachOfItsResultsIsReadTwice) {
  const Node a = memory({256, 256, 1});
  const Node b = memory({1, 256, 256});
  const Node product = sum(mul(expand(a, {256, 256, 256}), expand(b, {256, 256, 256})), {1});
  const Node twice = expand(reshape(product, {256, 1, 256}), {256, 2, 256});
  const Node root = mul(reshape(twice, {512, 256}), memory({512, 256}));
  EXPECT_EQ(fuse({{root}}).stored, (NodeSet{product, root}));
}

// Strategies cut a concatenation into its pieces (optimize/pieces.h) where tasks are threads.
TEST(Fuse, ProductsThatAreConcatenatedAreComputedInTheirPlaces) {
  const Node a = product_of_rows(memory({256, 64}), memory({128, 64}));
  const Node b = product_of_rows(memory({300, 64}), memory({128, 64}));
  const Node above = pad(reshape(a, {256, 128}), {0, 300, 0, 0});
  const Node below = pad(reshape(b, {300, 128}), {256, 0, 0, 0});
  const Node first = expand(cmplt(reshape(iota(556), {556, 1}), constant_int(256)), {556, 128});
  const Node root = where(first, above, below);
  EXPECT_EQ(fuse({{root}}).stored, (NodeSet{root}));
}

TEST(Fuse, WhatIsPooledIsStoredBeforeAConvolutionReadsItsWindows) {
  const Node pooled = reduce(ReduceOp::max, memory({8, 16, 32, 33, 4}), {4});
  const Node image = reshape(pooled, {8, 1, 16, 32, 33, 1});
  const Node row = shrink(image, {0, 8, 0, 1, 0, 16, 0, 32, 0, 32, 0, 1});
  const Node next = shrink(image, {0, 8, 0, 1, 0, 16, 0, 32, 1, 33, 0, 1});
  const Node windows = add(pad(row, {0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 1}),
                           pad(next, {0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 1, 0}));
  const Shape all = {8, 32, 16, 32, 32, 2};
  const Node weight = expand(memory({1, 32, 16, 1, 1, 2}), all);
  const Node root = sum(mul(expand(windows, all), weight), {2, 5});
  EXPECT_EQ(fuse({{root}}).stored, (NodeSet{pooled, root}));
}

TEST(Fuse, WhatIsPaddedWithANumberIsStoredWithoutItsPadding) {
  const Node product = product_of_rows(memory({256, 64}), memory({256, 64}));
  const Node image = reshape(product, {256, 256});
  const Node inside = cmplt(constant_int(0), reshape(iota(257), {1, 257}));
  const Node padded =
      where(expand(inside, {256, 257}), pad(image, {0, 0, 1, 0}), constant_float(-1));
  const Node root = sum(expand(reshape(padded, {1, 256, 257}), {9, 256, 257}), {2});
  EXPECT_EQ(fuse({{root}}).stored, (NodeSet{product, root}));
}

TEST(Fuse, WhatAWholeTableIsMadeOfIsStoredBeforeItIsGathered) {
  const Node table = sum(memory({64, 32}), {1});
  const Node index = buffer(DType::int64, {1000}, nullptr);
  const Node root = load(table, index);
  EXPECT_EQ(fuse({{root}}).stored, (NodeSet{table, root}));
}

TEST(Fuse, ATableThatIsReadLateStaysWhereItIs) {
  const Node table = memory({64});
  const Node first = sum(memory({64, 32}), {1});
  const Node root = load(after(table, first), buffer(DType::int64, {1000}, nullptr));
  EXPECT_EQ(fuse({{root}}).stored, (NodeSet{first, root}));
}

TEST(Fuse, ASumLooksForProductsOnceInWhatSeveralOfItsTermsAreMadeOf) {
  Node x = memory({64, 64});
  for (int i = 0; i < 60; ++i) x = add(x, after(x, memory({1})));  // 2^60 ways through it
  EXPECT_EQ(fuse({{sum(x, {1})}}).kernels.size(), 1U);
}

TEST(Fuse, IndependentReadersOfOneInputShareALaunch) {
  const Node x = memory({64, 64});
  const Node rows = sum(x, {1});
  const Node columns = sum(x, {0});
  const Node other = negative(memory({10}));
  const KernelList list = fuse({{rows, other, columns}});
  EXPECT_EQ(list.kernels.size(), 2U);
  EXPECT_EQ(kernel_of(list, rows), kernel_of(list, columns));
}

TEST(Fuse, AReaderOfTheOldVersionComesBeforeTheStore) {
  const Node x = memory({64});
  const Node changed = store(x, negative(x));
  const Node old = sum(x, {0});
  for (const auto& roots : {std::vector<Node>{changed, old}, std::vector<Node>{old, changed}}) {
    const KernelList list = fuse(roots);
    EXPECT_TRUE(list.overwritten.empty());
    EXPECT_LT(kernel_of(list, old), kernel_of(list, changed));
  }
}

TEST(Fuse, AStoreThatShiftsItsOwnMemoryComputesTheValueFirst) {
  const Node x = memory({64});
  const Node shifted = shrink(x, {0, 63});
  const Node root = store(shrink(x, {1, 64}), shifted);
  EXPECT_EQ(fuse({{root}}).stored, (NodeSet{shifted, root}));
  const Node same = store(shrink(x, {1, 64}), negative(shrink(x, {1, 64})));
  EXPECT_EQ(fuse({{same}}).stored, NodeSet{same}) << "the same element needs no copy";
}

TEST(Fuse, AVersionReadAfterItIsOverwrittenIsReadFromACopy) {
  const Node x = memory({64});
  const Node changed = store(x, negative(x));
  const Node root = add(x, changed);
  const KernelList list = fuse({{root}});
  ASSERT_EQ(list.overwritten, std::vector<Node>{x});
  const std::vector<Node> safe = read_copies({{root}}, list.overwritten);
  const KernelList again = fuse(safe);
  EXPECT_TRUE(again.overwritten.empty());
  const Node copy = copy_to(x, "");
  EXPECT_EQ(safe[0], add(copy, store(x, negative(copy))));
  EXPECT_EQ(kernel_of(again, copy), 0U);
}

}  // namespace
}  // namespace brisk
