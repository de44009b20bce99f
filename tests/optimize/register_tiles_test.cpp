// Products in tiles of registers, interpreted for a processor that has them, against the evaluator.
#include "optimize/tile_program.h"

namespace brisk {
namespace {

using namespace test;

class RegisterTiles : public testing::TestWithParam<TileCase> {};

TEST_P(RegisterTiles, kernelsHaveTheGraphsValues) {
  TileProgram program(GetParam());
  const auto names = program.run(
      target_for("sapphirerapids"),
      [](const Kernel& kernel, const auto& buffers) { interpret(kernel, buffers, {}); });
  EXPECT_TRUE(names.back().starts_with("contraction_tiles_")) << names.back() << program.text;
  const Array wanted = program.wanted();
  const auto bytes = std::span(program.result.bytes, wanted.bytes.size());
  EXPECT_TRUE(std::equal(bytes.begin(), bytes.end(), wanted.bytes.begin())) << program.text;
}

INSTANTIATE_TEST_SUITE_P(Cases, RegisterTiles, testing::ValuesIn(register_tile_cases()),
                         [](const auto& info) { return name_of(info); });

TEST(RegisterTiles, AreNotForSumsThatDoNotFillThem) {
  for (const std::int64_t k : {34, 68, 92}) {  // groups of 2: 17, 34, 46
    TileProgram program(TileCase{.name = "thin", .k = k});
    const auto names = program.run(target_for("sapphirerapids"), [](const auto&, const auto&) {});
    EXPECT_FALSE(names.back().starts_with("contraction_tiles_")) << k;
  }
}

}  // namespace
}  // namespace brisk
