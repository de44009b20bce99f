// What several parts of a kernel make of the same input is made once.
#include <gtest/gtest.h>

#include "kernel/interpret.h"
#include "optimize/optimize.h"

namespace brisk {
namespace {

// Rows of `matrix` (512 × 256 bytes) times a vector that must be computed first: its numbers
// divided by the greatest, in bytes.
Part product(int vector, int matrix, int result, int first_range) {
  const Node row = make_range(first_range, 512), i = make_range(first_range + 1, 256);
  const Node j = make_range(first_range + 2, 256);
  const auto element = [&](const Node& at) {
    return load_from(make_param(vector, DType::float32), at);
  };
  const Node most = reduce_over(ReduceOp::max, element(j), {j});
  const Node x = cast(mul(mul(element(i), recip(most)), constant_float(100)), DType::int8);
  const Node at = add(mul(row, constant_int(256)), i);
  const Node y = load_from(make_param(matrix, DType::int8), at);
  const Node sum =
      reduce_over(ReduceOp::add, mul(cast(x, DType::int32), cast(y, DType::int32)), {i});
  Part part;
  part.outer = {row};
  part.stages.push_back({{}, {store_to(make_param(result, DType::int32), row, sum)}});
  return part;
}

// Σ over the workspaces of their bytes, and the results of two products.
struct Outcome {
  std::int64_t workspace = 0;
  std::size_t phases = 0;
  std::vector<std::int32_t> first, second;
};

Outcome products_of(bool same_vector) {
  LoweredKernel lowered;
  lowered.params = {{DType::float32, false, true}, {DType::float32, false, true},
                    {DType::int8, false, true},    {DType::int8, false, true},
                    {DType::int32, true, false},   {DType::int32, true, false}};
  lowered.parts = {product(0, 2, 4, 0), product(same_vector ? 0 : 1, 3, 5, 3)};
  const Kernel kernel = optimize(lowered, target_for("x86-64-v4"));
  Outcome outcome;
  for (const Kernel::Workspace& each : kernel.workspace)
    outcome.workspace += each.elements.value() * byte_size(each.dtype);
  outcome.phases = phases_of(kernel).size();
  std::vector<float> u(256), v(256);
  for (std::size_t i = 0; i < 256; ++i) u[i] = v[i] = static_cast<float>(i * 37 % 101) - 50;
  std::vector<std::int8_t> a(512 * 256), b(512 * 256);
  for (std::size_t i = 0; i < a.size(); ++i) {
    a[i] = static_cast<std::int8_t>(i * 31 % 251);
    b[i] = static_cast<std::int8_t>(i * 17 % 241);
  }
  outcome.first.resize(512);
  outcome.second.resize(512);
  const auto memory = [](auto& values) {
    return HostBuffer{reinterpret_cast<std::byte*>(values.data()),
                      static_cast<std::int64_t>(values.size() * sizeof(values[0]))};
  };
  const std::vector<HostBuffer> buffers = {
      memory(u), memory(v), memory(a), memory(b), memory(outcome.first), memory(outcome.second)};
  interpret(kernel, buffers, {});
  return outcome;
}

TEST(KnownPhases, AVectorThatTwoProductsShareIsMadeOnce) {
  const Outcome shared = products_of(true), apart = products_of(false);
  EXPECT_EQ(shared.first, apart.first);
  EXPECT_EQ(shared.second, apart.second);
  EXPECT_NE(shared.first, shared.second);
  EXPECT_LT(shared.workspace, apart.workspace * 2 / 3);
  EXPECT_EQ(shared.phases, apart.phases);
}

}  // namespace
}  // namespace brisk
