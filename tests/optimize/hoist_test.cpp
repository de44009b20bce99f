// A reduction within another one that is the same for many results is computed once.
#include <gtest/gtest.h>

#include <algorithm>
#include <cmath>

#include "kernel/interpret.h"
#include "optimize/optimize.h"

namespace brisk {
namespace {

constexpr std::int64_t results = 64, rows = 32, columns = 256;

// y[i] = Σ over rows of max(Σ of the row of x + bias[i], 0); with `own` the sums of rows are of
// x + bias[i], another number for each result.
LoweredKernel nested(bool own) {
  const Node i = make_range(0, results), row = make_range(1, rows), column = make_range(2, columns);
  const Node bias = load_from(make_param(1, DType::float32), i);
  const Node at = add(mul(row, constant_int(columns)), column);
  const Node x = load_from(make_param(0, DType::float32), at);
  const Node sum = reduce_over(ReduceOp::add, own ? mul(x, bias) : x, {column});
  const Node all = reduce_over(ReduceOp::add, max(add(sum, bias), constant_float(0)), {row});
  LoweredKernel lowered;
  lowered.params = {
      {DType::float32, false, true}, {DType::float32, false, true}, {DType::float32, true, false}};
  Part part;
  part.outer = {i};
  part.stages.push_back({{}, {store_to(make_param(2, DType::float32), i, all)}});
  lowered.parts = {part};
  return lowered;
}

TEST(Hoist, AFactorOfEachRowDoesNotTurnWhatIsSummedByColumn) {
  constexpr std::int64_t depth = 4096, width = 512;
  const Node column = make_range(0, width), row = make_range(1, depth);
  const Node x =
      load_from(make_param(0, DType::bfloat16), add(mul(row, constant_int(width)), column));
  const Node factor = load_from(make_param(1, DType::float32), row);
  const Node total = reduce_over(ReduceOp::add, mul(cast(x, DType::float32), factor), {row});
  LoweredKernel lowered;
  lowered.params = {
      {DType::bfloat16, false, true}, {DType::float32, false, true}, {DType::float32, true, false}};
  Part part;
  part.outer = {column};
  part.stages.push_back({{}, {store_to(make_param(2, DType::float32), column, total)}});
  lowered.parts = {part};
  const Kernel kernel = optimize(lowered, target_for("sm_90a"));
  // In parts of the rows, so that there are groups for all processors.
  ASSERT_EQ(kernel.workspace.size(), 1U);
  EXPECT_GE(kernel.workspace[0].elements.value(), 4 * width);
}

// y = Σ over rows of the logarithm of Σ 2^x: the mean loss of many rows is such.
TEST(Hoist, GroupsReduceLongRowsBeforeWhatIsMadeOfThem) {
  constexpr std::int64_t count = 96, length = 300;
  const Node row = make_range(0, count), column = make_range(1, length);
  const Node x =
      load_from(make_param(0, DType::float32), add(mul(row, constant_int(length)), column));
  const Node inner = log2(reduce_over(ReduceOp::add, exp2(x), {column}));
  LoweredKernel lowered;
  lowered.params = {{DType::float32, false, true}, {DType::float32, true, false}};
  Part part;
  part.stages.push_back({{},
                         {store_to(make_param(1, DType::float32), constant_int(0),
                                   reduce_over(ReduceOp::add, inner, {row}))}});
  lowered.parts = {part};
  const Kernel kernel = optimize(lowered, target_for("sm_90a"));
  EXPECT_EQ(kernel.name, "group_rows");
  ASSERT_FALSE(kernel.workspace.empty());
  EXPECT_EQ(kernel.workspace[0].elements.value(), count);
  std::vector<float> values(count * length), y(1);
  for (std::size_t i = 0; i < values.size(); ++i) values[i] = static_cast<float>(i * 31 % 17) - 8;
  interpret(kernel,
            std::vector<HostBuffer>{{reinterpret_cast<std::byte*>(values.data()),
                                     static_cast<std::int64_t>(values.size() * sizeof(float))},
                                    {reinterpret_cast<std::byte*>(y.data()), sizeof(float)}},
            {});
  double wanted = 0;
  for (std::int64_t r = 0; r < count; ++r) {
    double sum = 0;
    for (std::int64_t c = 0; c < length; ++c)
      sum += std::exp2(values[static_cast<std::size_t>(r * length + c)]);
    wanted += std::log2(sum);
  }
  EXPECT_NEAR(y[0], wanted, 1e-4 * wanted);
}

TEST(Hoist, ASumWithinASumThatAllResultsShareIsMadeOnce) {
  std::vector<float> x(rows * columns), bias(results), y(results);
  for (std::size_t i = 0; i < x.size(); ++i) x[i] = static_cast<float>(i * 31 % 17) - 8;
  for (std::size_t i = 0; i < bias.size(); ++i) bias[i] = static_cast<float>(i * 7 % 23) - 11;
  const auto memory = [](std::vector<float>& values) {
    return HostBuffer{reinterpret_cast<std::byte*>(values.data()),
                      static_cast<std::int64_t>(values.size() * sizeof(float))};
  };
  for (const char* cpu : {"x86-64-v4", "sm_90a"}) {
    for (const bool own : {false, true}) {
      SCOPED_TRACE(cpu);
      const Kernel kernel = optimize(nested(own), target_for(cpu));
      std::int64_t kept = 0;
      for (const Kernel::Workspace& each : kernel.workspace) kept += each.elements.value();
      if (!own) {
        EXPECT_EQ(kept, rows);
      }
      interpret(kernel, std::vector<HostBuffer>{memory(x), memory(bias), memory(y)}, {});
      for (std::int64_t i = 0; i < results; ++i) {
        float wanted = 0;
        for (std::int64_t row = 0; row < rows; ++row) {
          float sum = 0;
          for (std::int64_t column = 0; column < columns; ++column)
            sum += x[static_cast<std::size_t>(row * columns + column)] *
                   (own ? bias[static_cast<std::size_t>(i)] : 1);
          wanted += std::max(sum + bias[static_cast<std::size_t>(i)], 0.F);
        }
        EXPECT_NEAR(y[static_cast<std::size_t>(i)], wanted, 1e-4F * std::max(1.F, wanted)) << i;
      }
    }
  }
}

}  // namespace
}  // namespace brisk
