// Elements of small tensors as expressions over variables, against the evaluator's numbers.
#include "graph/symbolic.h"

#include <gtest/gtest.h>

#include "graph/evaluate.h"

namespace brisk {
namespace {

std::span<const std::byte> nothing(const Node&) { return {}; }

// The elements for each value of n agree with what the evaluator gives.
void expect_elements(const Node& tensor) {
  const auto elements = symbolic_elements(tensor, nothing);
  ASSERT_TRUE(elements);
  for (const std::int64_t n : {1, 2, 5, 9}) {
    const Variables values = {{"n", n}};
    const Array want = evaluate(cast(tensor, DType::int64), {values, {}});
    ASSERT_EQ(elements->size() * sizeof(std::int64_t), want.bytes.size());
    const auto* numbers = reinterpret_cast<const std::int64_t*>(want.bytes.data());
    for (std::size_t i = 0; i < elements->size(); ++i)
      EXPECT_EQ(evaluate_scalar((*elements)[i], values), numbers[i]) << "element " << i;
  }
}

const Node n = variable("n", 1, 9);

Node number(std::int64_t value) { return constant_int(value); }
// a, b, c as [3], by what joining is made of.
Node vector(const Node& a, const Node& b, const Node& c) {
  const auto wide = [](const Node& x) { return expand(reshape(x, {1}), {3}); };
  const Node at = iota(3);
  return where(cmplt(at, wide(number(1))), wide(a),
               where(cmplt(at, wide(number(2))), wide(b), wide(c)));
}

TEST(Symbolic, elements_of_moved_vectors) {
  const Node v = vector(n, number(7), mul(n, number(2)));
  expect_elements(v);
  expect_elements(shrink(v, {1, 3}));
  expect_elements(flip(v, {0}));
  expect_elements(pad(v, {2, 1}));
  expect_elements(expand(reshape(v, {3, 1}), {3, 4}));
  expect_elements(permute(expand(reshape(v, {3, 1}), {3, 2}), {1, 0}));
  expect_elements(load(v, vector(number(2), number(0), number(2))));
}

TEST(Symbolic, arithmetic_on_elements) {
  const Node v = vector(n, number(7), mul(n, number(2)));
  const Node w = vector(number(3), n, number(4));
  for (const auto f : {add, mul, max, idiv, mod}) expect_elements(f(v, w));
  const auto reduced = [&](ReduceOp op) { return reduce(op, v, {0}); };
  for (const ReduceOp op : {ReduceOp::add, ReduceOp::mul, ReduceOp::max})
    expect_elements(reduced(op));
  expect_elements(where(cmplt(v, w), v, w));
  expect_elements(cast(cmplt(v, w), DType::int32));
  // What bounds decide: n is never 0.
  const Node zeros = expand(reshape(number(0), {1}), {3});
  expect_elements(where(cmpne(v, zeros), w, v));
}

TEST(Symbolic, sizes_in_normal_form_are_found_equal) {
  const auto elements = symbolic_elements(vector(n, number(1), add(n, n)), nothing);
  ASSERT_TRUE(elements);
  EXPECT_EQ((*elements)[0], n);
  EXPECT_EQ((*elements)[1], number(1));
  EXPECT_EQ(Size((*elements)[2]), Size(n) * Size(2));
}

TEST(Symbolic, what_is_no_expression_of_sizes_is_not_known) {
  const Node v = vector(n, number(7), n);
  EXPECT_FALSE(symbolic_elements(cast(v, DType::float32), nothing));
  EXPECT_FALSE(symbolic_elements(cast(cast(v, DType::float32), DType::int64), nothing));
  EXPECT_FALSE(symbolic_elements(iota(n), nothing));
  EXPECT_FALSE(symbolic_elements(iota(1000), nothing));
  EXPECT_FALSE(symbolic_elements(buffer(DType::int64, {3}, nullptr), nothing));
  EXPECT_FALSE(symbolic_elements(load(v, v), nothing));
  // Whether n is 3, and what an int8 makes of 100 n.
  EXPECT_FALSE(symbolic_elements(cmpne(v, vector(number(3), n, n)), nothing));
  EXPECT_FALSE(symbolic_elements(cast(mul(v, expand(reshape(number(100), {1}), {3})), DType::int8),
                                 nothing));
}

}  // namespace
}  // namespace brisk
