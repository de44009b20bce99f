#include "kernel/print.h"

#include <gtest/gtest.h>

namespace brisk {
namespace {

// As a recurrence has that is computed within one kernel: written out in full, 2^40 loads.
TEST(Print, ReductionsWithinReductionsDoNotDoubleTheText) {
  constexpr int levels = 40;
  const Node memory = make_param(0, DType::float32);
  Node value = load_from(memory, make_range(0, 3));
  for (int i = 0; i < levels; ++i) {
    const Node sum = reduce_over(ReduceOp::add, mul(value, value), {make_range(i, 3)});
    value = add(load_from(memory, make_range(i + 1, 3)), sum);
  }
  LoweredKernel lowered;
  lowered.params = {{DType::float32, false, true}, {DType::float32, true, false}};
  Part part;
  part.outer = {make_range(levels, 3)};
  part.stages.push_back(
      {{}, {store_to(make_param(1, DType::float32), make_range(levels, 3), value)}});
  lowered.parts = {part};
  const std::string text = print(lowered);
  EXPECT_LT(text.size(), 100'000U);
  for (int i = 0; i < levels; ++i)
    EXPECT_NE(text.find("add[r" + std::to_string(i) + " < 3]"), std::string::npos) << text;
}

}  // namespace
}  // namespace brisk
