// Kernels that differ only in where their memory begins are one.
#include "engine/offsets.h"

#include <gtest/gtest.h>

#include <cstring>
#include <set>

#include "engine/engine.h"
#include "engine/plan_record.h"
#include "engine/structure.h"
#include "graph/evaluate.h"

namespace brisk {
namespace {

// out[i + to] = in[i + from] + in[i + from + 3], float32.
LoweredKernel sum_of_two(std::int64_t from, std::int64_t to, const Node& gate = {}) {
  const Node i = make_range(0, 100);
  const Node in = make_param(0, DType::float32);
  const auto at = [&](std::int64_t offset) { return add(i, constant_int(offset)); };
  const Node value = add(load_from(in, at(from), gate), load_from(in, at(from + 3), gate));
  LoweredKernel kernel;
  kernel.params = {{DType::float32, false, true}, {DType::float32, true, false}};
  Part part;
  part.outer = {i};
  part.stages.push_back({{}, {store_to(make_param(1, DType::float32), at(to), value)}});
  kernel.parts = {part};
  return kernel;
}

using Bytes = std::vector<std::int64_t>;

TEST(Offsets, are_taken_out_in_steps_that_keep_memory_aligned) {
  LoweredKernel plain = sum_of_two(0, 0);
  LoweredKernel later = sum_of_two(160, 32);
  EXPECT_EQ(take_offsets(plain), (Bytes{0, 0}));
  EXPECT_EQ(take_offsets(later), (Bytes{640, 128}));
  EXPECT_EQ(structure_of(later), structure_of(plain));
  LoweredKernel between = sum_of_two(165, 7);
  EXPECT_EQ(take_offsets(between), (Bytes{640, 0}));
  EXPECT_NE(structure_of(between), structure_of(plain));
}

TEST(Offsets, below_zero_stay) {
  LoweredKernel before = sum_of_two(-32, 0, cmplt(constant_int(40), make_range(0, 100)));
  EXPECT_EQ(take_offsets(before), (Bytes{0, 0}));
}

TEST(Offsets, of_what_is_read_backwards_or_by_an_index_from_memory) {
  const Node i = make_range(0, 100);
  const Node index = load_from(make_param(0, DType::int64), add(i, constant_int(8)));
  const Node turned = add(mul(i, constant_int(-1)), constant_int(131));
  LoweredKernel kernel;
  kernel.params = {
      {DType::int64, false, true}, {DType::float32, false, true}, {DType::float32, true, false}};
  Part part;
  part.outer = {i};
  const Node value = load_from(make_param(1, DType::float32), add(index, constant_int(64)));
  part.stages.push_back({{}, {store_to(make_param(2, DType::float32), turned, value)}});
  kernel.parts = {part};
  EXPECT_EQ(take_offsets(kernel), (Bytes{64, 0, 128}));
  const Node store = kernel.parts[0].stages[0].stores[0];
  EXPECT_EQ(store.src(1), add(turned, constant_int(-32)));
  const Node moved = load_from(make_param(0, DType::int64), i);
  EXPECT_EQ(store.src(2), load_from(make_param(1, DType::float32), add(moved, constant_int(64))));
}

// Steps that each read their own row of one array and what the step before has made.
TEST(Offsets, let_the_steps_of_a_recurrence_be_one_kernel) {
  constexpr std::int64_t width = 64;
  constexpr std::int64_t steps = 12;
  Engine& engine = Engine::shared();
  std::vector<float> values(width * width);
  for (std::size_t i = 0; i < values.size(); ++i)
    values[i] = static_cast<float>(i * 7 % 17) / 170.0F - 0.05F;
  const auto upload = [&](const Shape& shape) {
    const auto count = static_cast<std::size_t>(element_count(shape).value());
    return engine.upload(DType::float32, shape, std::as_bytes(std::span(values).first(count)),
                         nullptr);
  };
  const Node x = upload({steps, width});
  const Node w = upload({width, width});
  Node state = shrink(x, {0, 1, 0, width});
  for (std::int64_t t = 1; t < steps; ++t) {
    const Node product = mul(expand(reshape(state, {width, 1}), {width, width}), w);
    const Node row = shrink(x, {t, t + 1, 0, width});
    state = max(add(reduce(ReduceOp::add, product, {0}), row), constant_float(0));
  }
  std::string key;
  std::vector<Node> buffers;
  append_structure(key, {&state, 1}, buffers);
  std::vector<LoweredKernel> lowered;
  const PlanRecord record = schedule_graph({&state, 1}, buffers, engine.target(), lowered);
  std::set<std::string> keys;
  for (const PlanRecord::Step& step : record.steps) keys.insert(step.key);
  EXPECT_GE(record.steps.size(), static_cast<std::size_t>(steps) / 2);
  EXPECT_LE(keys.size(), 3U);

  const Bindings bindings{
      {}, [&](const Node& node) {
        return Array{node.dtype(), static_shape(node.shape()), engine.read(node)};
      }};
  const auto floats = [](const std::vector<std::byte>& bytes) {
    std::vector<float> list(bytes.size() / sizeof(float));
    std::memcpy(list.data(), bytes.data(), bytes.size());
    return list;
  };
  const auto wanted = floats(evaluate(state, bindings).bytes);
  const auto got = floats(engine.read(engine.realize({&state, 1})[0]));
  ASSERT_EQ(got.size(), wanted.size());
  for (std::size_t i = 0; i < got.size(); ++i) ASSERT_NEAR(got[i], wanted[i], 1e-4) << i;
}

}  // namespace
}  // namespace brisk
