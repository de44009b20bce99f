// What the strategy for every part does beyond giving the right values.
#include <gtest/gtest.h>

#include "kernel/interpret.h"
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

// out[r] = Σ in[r, …] with rows of 4096.
Kernel sums_of_rows(std::int64_t rows) {
  const Node row = make_range(0, rows), along = make_range(1, 4096);
  const Node in =
      load_from(make_param(0, DType::float32), add(mul(row, constant_int(4096)), along));
  LoweredKernel lowered;
  lowered.params = {{DType::float32, false, true}, {DType::float32, true, false}};
  Part part;
  part.outer = {row};
  part.stages.push_back(
      {{},
       {store_to(make_param(1, DType::float32), row, reduce_over(ReduceOp::add, in, {along}))}});
  lowered.parts = {part};
  return optimize(lowered, target_for("x86-64-v4"));
}

TEST(Loops, SumsOverMoreThanCachesHoldAskOnwards) {
  EXPECT_GE(hints(sums_of_rows(8192)), 1U);
  EXPECT_EQ(hints(sums_of_rows(16)), 0U);
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

// Sums of 300 rows, the same in each of so many columns, as the target's kernel adds them up.
// `length` is the number of columns, or a variable that has it as its value.
std::vector<float> sums_of_alike(const Target& target, std::int64_t columns, const Size& length) {
  constexpr std::int64_t rows = 300;
  const Node column = make_range(0, length);
  const Node row = make_range(1, rows);
  const Node place = add(mul(row, length.node()), column);
  const Node sum =
      reduce_over(ReduceOp::add, load_from(make_param(0, DType::float32), place), {row});
  LoweredKernel lowered;
  lowered.params = {{DType::float32, false, true}, {DType::float32, true, false}};
  if (!length.is_constant()) lowered.variables = {length.node()};
  Part part;
  part.outer = {column};
  part.stages.push_back({{}, {store_to(make_param(1, DType::float32), column, sum)}});
  lowered.parts = {part};
  const Kernel kernel = optimize(lowered, target);
  EXPECT_EQ(kernel.name, "reduce_columns");

  std::vector<float> in;
  for (std::int64_t r = 0; r < rows; ++r)
    in.insert(in.end(), static_cast<std::size_t>(columns), 1 / static_cast<float>(r + 1));
  std::vector<float> out(static_cast<std::size_t>(columns));
  const auto memory = [](std::vector<float>& values) {
    return HostBuffer{reinterpret_cast<std::byte*>(values.data()),
                      static_cast<std::int64_t>(values.size() * sizeof(float))};
  };
  const std::vector<HostBuffer> buffers = {memory(in), memory(out)};
  const std::vector<std::int64_t> variables(lowered.variables.size(), columns);
  interpret(kernel, buffers, variables);
  return out;
}

// Whether a column is one of a vector or one of those that are left over.
TEST(Loops, ColumnsThatAreAlikeHaveOneSum) {
  const Size any(variable("columns", 4, 1003));
  for (const char* cpu : {"x86-64-v2", "x86-64-v3", "x86-64-v4"}) {
    for (const std::int64_t columns : {5, 15, 37, 1000, 1003}) {
      for (const Size& length : {Size(columns), any}) {
        const auto sums = sums_of_alike(target_for(cpu), columns, length);
        const auto other =
            std::find_if(sums.begin(), sums.end(), [&](float sum) { return sum != sums[0]; });
        EXPECT_TRUE(other == sums.end())
            << cpu << ", column " << other - sums.begin() << " of " << columns;
      }
    }
  }
}

}  // namespace
}  // namespace brisk
