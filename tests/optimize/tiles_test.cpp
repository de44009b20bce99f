// Products on matrix units, interpreted, against the evaluator.
#include "optimize/tile_program.h"

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
}

INSTANTIATE_TEST_SUITE_P(Cases, TilesOfAttention, testing::ValuesIn(attention_cases()),
                         [](const auto& info) { return name_of(info); });

}  // namespace
}  // namespace brisk
