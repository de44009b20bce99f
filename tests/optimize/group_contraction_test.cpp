// Products by groups of threads without matrix units, interpreted, against the evaluator.
#include "optimize/tile_program.h"

namespace brisk {
namespace {

using namespace test;

// As many processors as make tiles of each size the best ones somewhere.
class GroupContraction : public testing::TestWithParam<TileCase> {
 protected:
  static void expect_the_graphs_values(int processors) {
    TileProgram program(GetParam());
    Target target = target_for("sm_75");
    target.threads = processors;
    // Few results of long sums: parts of these first.
    const bool in_parts = GetParam().k >= 512;
    const auto names = program.run(target, [&](const Kernel& kernel, const auto& buffers) {
      EXPECT_EQ(phases_of(kernel).size(), in_parts ? 2U : 1U);
      interpret(kernel, buffers, {});
    });
    EXPECT_EQ(names.back(), in_parts ? "group_columns" : "group_contraction") << program.text;
    const Array wanted = program.wanted();
    const auto bytes = std::span(program.result.bytes, wanted.bytes.size());
    EXPECT_TRUE(std::equal(bytes.begin(), bytes.end(), wanted.bytes.begin())) << program.text;
  }
};

TEST_P(GroupContraction, kernelsHaveTheGraphsValuesOnFewProcessors) { expect_the_graphs_values(1); }

TEST_P(GroupContraction, kernelsHaveTheGraphsValuesOnMany) { expect_the_graphs_values(128); }

INSTANTIATE_TEST_SUITE_P(Cases, GroupContraction, testing::ValuesIn(group_cases()),
                         [](const auto& info) { return name_of(info); });

}  // namespace
}  // namespace brisk
