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
  ASSERT_EQ(names.size(), 1U);
  EXPECT_TRUE(names[0].starts_with("tiles_")) << names[0] << program.text;
  const Array wanted = program.wanted();
  const auto bytes = std::span(program.result.bytes, wanted.bytes.size());
  EXPECT_TRUE(std::equal(bytes.begin(), bytes.end(), wanted.bytes.begin())) << program.text;
}

INSTANTIATE_TEST_SUITE_P(Cases, Tiles, testing::ValuesIn(tile_cases()), name_of);

}  // namespace
}  // namespace brisk
