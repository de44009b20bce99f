// The rewriter and simplification as a whole: what comes out of graphs that people write, that
// random graphs keep their values, that nothing is left to do, and that rules without end are
// named.
#include <gtest/gtest.h>

#include <cmath>
#include <cstring>
#include <random>

#include "base/error.h"
#include "graph/evaluate.h"
#include "graph/integer.h"
#include "graph/print.h"
#include "graph/rules_simplify.h"
#include "graph/verify.h"

namespace brisk {
namespace {

Node floats(Shape shape) { return buffer(DType::float32, std::move(shape), nullptr); }

TEST(Rewrite, traceNamesEachRuleWithBeforeAndAfter) {
  const Node x = floats({2, 3});
  Trace trace;
  EXPECT_EQ(simplify(mul(add(x, constant_float(0)), constant_float(1)), &trace), x);
  EXPECT_EQ(print(trace),
            "add_zero: add float32[2, 3] -> buffer float32[2, 3]\n"
            "mul_one: mul float32[2, 3] -> buffer float32[2, 3]\n");
}

TEST(Rewrite, repeatedVariablesMatchOneNodeAndCommutativeOperationsEitherWay) {
  const Pattern x = any();
  const Pattern y = any();
  const Rule twice = rule("factor", (x * y) + x, x * (y + 1));
  const Node a = floats({4});
  const Node b = floats({4});
  const Node wanted = mul(a, add(b, constant_float(1)));
  EXPECT_EQ(apply_rule(twice, add(mul(a, b), a)), wanted);
  EXPECT_EQ(apply_rule(twice, add(mul(b, a), a)), wanted);
  EXPECT_EQ(apply_rule(twice, add(a, mul(b, a))), wanted);
  EXPECT_FALSE(apply_rule(twice, add(mul(a, a), b)));
}

TEST(Rewrite, untouchedGraphsStayTheSameNodes) {
  const Node x = floats({4});
  const Node y = exp2(max(x, mul(x, x)));
  EXPECT_EQ(simplify(y), y);
}

TEST(Rewrite, rulesWithoutEndAreNamed) {
  const Pattern x = any();
  const Pattern y = any();
  const std::vector<Rule> rules = {rule("grow", x + y, (x + y) + 1)};
  try {
    rewrite(add(floats({2}), floats({2})), rules);
    FAIL() << "no error";
  } catch (const InternalError& error) {
    EXPECT_NE(std::string(error.what()).find("no end"), std::string::npos) << error.what();
    EXPECT_NE(std::string(error.what()).find("'grow'"), std::string::npos) << error.what();
  }
}

TEST(Rewrite, aRuleThatChangesTheShapeOrDtypeIsNamed) {
  const Pattern x = any();
  const Rule bad = rule("bad", pattern(Op::reduce_, x), x);
  EXPECT_THROW(apply_rule(bad, reduce(ReduceOp::add, floats({2}), {0})), InternalError);
}

TEST(Rewrite, deepGraphsDoNotOverflowTheStack) {
  Node x = floats({2});
  const Node start = x;
  for (int i = 0; i < 100'000; ++i) x = add(exp2(x), constant_float(0));
  const Node y = simplify(x);
  EXPECT_TRUE(y.is(Op::exp2_));
  EXPECT_EQ(topological_order({&y, 1}).size(), 100'001U);
}

// ---- what people write
// ---------------------------------------------------------------------------

TEST(Simplify, scalarsLoseTheirMovement) {
  const Node x = floats({2, 3});
  const Node two = broadcast(constant_float(2), {2, 3});
  EXPECT_EQ(simplify(mul(x, two)), mul(x, constant_float(2)));
  EXPECT_EQ(simplify(mul(x, permute(broadcast(constant_float(2), {3, 2}), {1, 0}))),
            mul(x, constant_float(2)));
  EXPECT_EQ(simplify(exp2(two)), broadcast(constant_float(4), {2, 3}));
}

TEST(Simplify, aMeanOfARepeatedRowIsTheRowTimesItsCount) {
  const Node row = floats({1, 3});
  const Node sum = reduce(ReduceOp::add, expand(row, {8, 3}), {0});
  EXPECT_EQ(simplify(sum), mul(row, constant_float(8)));
  EXPECT_EQ(simplify(mul(sum, constant_float(0.125))),
            mul(mul(row, constant_float(8)), constant_float(0.125)));
  const Node n = variable("n", 1, 64);
  EXPECT_EQ(simplify(reduce(ReduceOp::add, expand(row, {Size(n), 3}), {0})),
            mul(row, cast(n, DType::float32)));
  // of nothing the sum is 0, not 0 times infinity
  const Node none = reduce(ReduceOp::add, expand(row, {Size(variable("m", 0, 4)), 3}), {0});
  EXPECT_EQ(simplify(none), none);
}

TEST(Simplify, movementsThatCancelAreGone) {
  const Node x = floats({2, 3});
  EXPECT_EQ(simplify(permute(permute(x, {1, 0}), {1, 0})), x);
  EXPECT_EQ(simplify(flip(flip(x, {0, 1}), {0, 1})), x);
  EXPECT_EQ(simplify(reshape(make_node(Op::reshape_, DType::float32, {reshape(x, {6})},
                                       reshape(x, {3, 2}).attr()),
                             {2, 3})),
            x);
  EXPECT_EQ(simplify(shrink(pad(x, {1, 2, 3, 4}), {1, 3, 3, 6})), x);
  EXPECT_EQ(simplify(shrink(pad(x, {1, 2, 3, 4}), {0, 2, 4, 8})),
            pad(shrink(x, {0, 1, 1, 3}), {1, 0, 0, 2}));
  const Node n = variable("n", 1, 9);
  const Node y = floats({Size(n), 3});
  EXPECT_EQ(simplify(shrink(pad(y, {1, 1, 0, 0}), {Size(1), Size(n) + 1, 0, 3})), y);
}

TEST(Simplify, integersWithKnownBoundsDecideComparisons) {
  const Node i = iota(10);
  const Node yes = broadcast(constant_int(1, DType::boolean), {10});
  EXPECT_EQ(simplify(cmplt(i, constant_int(10))), yes);
  EXPECT_EQ(simplify(cmpne(i, constant_int(-1))), yes);
  EXPECT_EQ(simplify(mod(i, constant_int(16))), i);
  const Node x = floats({10});
  EXPECT_EQ(simplify(where(cmplt(i, constant_int(10)), x, constant_float(0))), x);
}

TEST(Simplify, castsThatLoseNothingAreOne) {
  const Node h = buffer(DType::float16, {4}, nullptr);
  EXPECT_EQ(simplify(cast(cast(h, DType::float32), DType::float16)), h);
  EXPECT_EQ(simplify(cast(cast(h, DType::float32), DType::float64)), cast(h, DType::float64));
  const Node f = floats({4});
  const Node rounded = cast(cast(f, DType::float16), DType::float32);
  EXPECT_EQ(simplify(rounded), rounded);
}

TEST(Simplify, floatsKeepNanAndInfinity) {
  const Node x = floats({4});
  const Node zero = mul(x, constant_float(0));
  EXPECT_EQ(simplify(zero), zero);
  const Node difference = add(x, mul(x, constant_float(-1)));
  EXPECT_EQ(simplify(difference), difference);
  EXPECT_EQ(simplify(cmpne(x, x)), cmpne(x, x));  // this is how one asks for NaN
}

// ---- random graphs
// -------------------------------------------------------------------------------

class RandomGraph {
 public:
  explicit RandomGraph(unsigned seed) : random_(seed) {
    for (int i = 0; i < 3; ++i) leaf(i == 0 ? DType::int32 : DType::float32);
    for (int i = 0; i < 25; ++i) nodes_.push_back(step());
  }

  Node root() const { return nodes_.back(); }
  Array read(const Node& node) const { return arrays_.at(node); }

 private:
  int below(int limit) { return static_cast<int>(random_() % static_cast<unsigned>(limit)); }

  void leaf(DType dtype) {
    const Node node = buffer(dtype, {2, 3}, nullptr);
    Array array{dtype, {2, 3}, std::vector<std::byte>(24)};
    for (int i = 0; i < 6; ++i) {
      const float value = static_cast<float>(below(7) - 3);
      const int whole = below(7) - 3;
      std::memcpy(array.bytes.data() + 4 * i,
                  dtype == DType::int32 ? static_cast<const void*>(&whole) : &value, 4);
    }
    arrays_.emplace(node, std::move(array));
    nodes_.push_back(node);
  }

  Node number(DType dtype) {
    const double values[] = {0, 1, -1, 2, 3, 0.5};
    return constant_like(is_bool(dtype) ? below(2) : values[below(is_float(dtype) ? 6 : 5)], dtype);
  }

  Node other(DType dtype) {
    for (int i = 0; i < 10; ++i) {
      const Node node = nodes_[static_cast<std::size_t>(below(static_cast<int>(nodes_.size())))];
      if (node.dtype() == dtype) return node;
    }
    return broadcast(number(dtype), {2, 3});
  }

  // Every node has shape [2, 3].
  Node step() {
    const Node a = nodes_[nodes_.size() - 1 - static_cast<std::size_t>(below(4)) % nodes_.size()];
    const DType dtype = a.dtype();
    const Node b = below(2) ? other(dtype) : number(dtype);
    switch (below(14)) {
      case 0: return add(a, b);
      case 1: return mul(a, b);
      case 2: return max(a, b);
      case 3: return cmplt(a, b);
      case 4: return cmpne(a, b);
      case 5: return where(other(DType::boolean), a, b);
      case 6: return cast(a, below(2) ? DType::float32 : below(2) ? DType::int32 : DType::boolean);
      case 7: return is_integer(dtype) ? idiv(a, b) : a;
      case 8: return is_integer(dtype) ? mod(a, b) : a;
      case 9: return flip(a, below(2) ? std::vector<int>{0} : std::vector<int>{0, 1});
      case 10: return reshape(permute(permute(reshape(a, {3, 2}), {1, 0}), {1, 0}), {2, 3});
      case 11: return shrink(pad(a, {below(2), 1, 1, below(3)}), {0, 2, 0, 3});
      case 12:
        return expand(reduce(below(2) ? ReduceOp::add : ReduceOp::max, a, {below(2) ? 1 : 0}),
                      a.shape());
      default: {
        const Node row = shrink(a, {0, 1, 0, 3});
        return expand(row, {2, 3});
      }
    }
  }

  std::mt19937 random_;
  std::vector<Node> nodes_;
  std::unordered_map<Node, Array, NodeHash> arrays_;
};

TEST(Simplify, randomGraphsKeepTheirValuesAndNothingIsLeftToDo) {
  std::size_t before = 0;
  std::size_t after = 0;
  for (unsigned seed = 0; seed < 2000; ++seed) {
    const RandomGraph graph(seed);
    const Node left = graph.root();
    Trace trace;
    const Node right = simplify(left, &trace);
    SCOPED_TRACE(fmt::format("seed {}\n{}{}{}", seed, print(left), print(trace), print(right)));
    verify_graph({&right, 1}, "simplify");
    ASSERT_EQ(simplify(right), right);
    const Node both[] = {left, right};
    before += topological_order({both, 1}).size();
    after += topological_order({both + 1, 1}).size();
    const auto values = evaluate(both, {{}, [&](const Node& b) { return graph.read(b); }});
    ASSERT_EQ(values[0].shape, values[1].shape);
    for (std::size_t i = 0; i < values[0].bytes.size(); i += 4) {
      if (left.dtype() != DType::float32) {
        ASSERT_EQ(values[0].bytes, values[1].bytes);
        break;
      }
      float x = 0;
      float y = 0;
      std::memcpy(&x, &values[0].bytes[i], 4);
      std::memcpy(&y, &values[1].bytes[i], 4);
      if (std::isnan(x) && std::isnan(y)) continue;
      ASSERT_TRUE(x == y || std::fabs(x - y) <= 1e-6F * std::fabs(x)) << x << " " << y;
    }
  }
  EXPECT_LT(after, before / 2);
}

}  // namespace
}  // namespace brisk
