// Products on matrix units, interpreted, against the evaluator.
#include "optimize/tile_program.h"

#include "optimize/box_array.h"

namespace brisk {
namespace {

using namespace test;

class Tiles : public testing::TestWithParam<TileCase> {};

TEST_P(Tiles, kernelsHaveTheGraphsValues) {
  TileProgram program(GetParam());
  const auto names = program.run(
      target_for("sm_90a"),
      [](const Kernel& kernel, const auto& buffers) { interpret(kernel, buffers, {}); });
  // What is computed of an operand before its product goes to memory.
  ASSERT_EQ(names.size(), GetParam().fused ? 2U : 1U);
  EXPECT_TRUE(names.back().starts_with("tiles_")) << names.back() << program.text;
  const Array wanted = program.wanted();
  const auto bytes = std::span(program.result.bytes, wanted.bytes.size());
  EXPECT_TRUE(std::equal(bytes.begin(), bytes.end(), wanted.bytes.begin())) << program.text;
}

INSTANTIATE_TEST_SUITE_P(Cases, Tiles, testing::ValuesIn(tile_cases()),
                         [](const auto& info) { return name_of(info); });

class TilesOfConvolution : public testing::TestWithParam<ConvolutionCase> {};

TEST_P(TilesOfConvolution, kernelsHaveTheGraphsValues) {
  TileProgram program(GetParam());
  const auto names =
      program.run(target_for("sm_90a"), [](const Kernel& kernel, const auto& buffers) {
        interpret(kernel, buffers, {});
        if (!kernel.name.starts_with("tiles_")) return;
        const ConvolutionCase& c = GetParam();
        // Those before the product make what is not there, contiguous along the channels.
        const int copies = (c.filters_turned ? 1 : 0) + (c.channels_first && !c.computed ? 1 : 0);
        const int wanted = c.copied_first ? 3 : 1 + copies;
        EXPECT_EQ(phases_of(kernel).size(), static_cast<std::size_t>(wanted));
      });
  // What windows read several times is in memory.
  ASSERT_EQ(names.size(), GetParam().computed ? 2U : 1U);
  EXPECT_TRUE(names.back().starts_with("tiles_")) << names.back() << program.text;
  const Array wanted = program.wanted();
  const auto bytes = std::span(program.result.bytes, wanted.bytes.size());
  EXPECT_TRUE(std::equal(bytes.begin(), bytes.end(), wanted.bytes.begin())) << program.text;
}

INSTANTIATE_TEST_SUITE_P(Cases, TilesOfConvolution, testing::ValuesIn(convolution_cases()),
                         [](const auto& info) { return name_of(info); });

TEST(CoveringBox, isOfFewBoxes) {
  const std::vector<std::int64_t> any = {256, 256, 256};
  EXPECT_EQ(covering_box({64, 56, 56}, any, 128), (std::vector<std::int64_t>{2, 8, 8}));
  EXPECT_EQ(covering_box({64, 14, 14}, any, 128), (std::vector<std::int64_t>{32, 2, 2}));
  EXPECT_EQ(covering_box({1, 5, 300}, any, 128), (std::vector<std::int64_t>{1, 5, 25}));
  EXPECT_EQ(covering_box({1, 1, 300}, {256, 256, 64}, 128), (std::vector<std::int64_t>{1, 1, 64}));
  EXPECT_EQ(covering_box({0, 3, 3}, any, 128), (std::vector<std::int64_t>{1, 3, 3}));
}

class TilesOfAttention : public testing::TestWithParam<AttentionCase> {};

// Weights are rounded before they are divided by their sum, not after.
TEST_P(TilesOfAttention, kernelsHaveTheGraphsValues) {
  TileProgram program(GetParam());
  const auto names = program.run(
      target_for("sm_90a"),
      [](const Kernel& kernel, const auto& buffers) { interpret(kernel, buffers, {}); });
  ASSERT_EQ(names.size(), 1U);
  EXPECT_EQ(names[0], "tiles_attention") << program.text;
  EXPECT_LE(largest_difference(program.result, program.wanted()), 0.016) << program.text;
  if (!program.totals) return;
  const Array totals = program.wanted(program.totals);
  EXPECT_LE(largest_difference(program.result_totals, totals), 1e-3) << program.text;
}

INSTANTIATE_TEST_SUITE_P(Cases, TilesOfAttention, testing::ValuesIn(attention_cases()),
                         [](const auto& info) { return name_of(info); });

}  // namespace
}  // namespace brisk
