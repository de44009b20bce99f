// Index arithmetic against plain C++: random expressions over ranges and variables, evaluated for
// every value of them; bounds hold, substitution commutes with evaluation, equal sums are one node.
#include "graph/integer.h"

#include <gtest/gtest.h>

#include <algorithm>
#include <functional>
#include <random>

#include "base/error.h"
#include "graph/movement.h"
#include "graph/print.h"

namespace brisk {
namespace {

// kernel/kernel.h has it for the folders above this one.
Node make_range(int id, const Size& size) {
  Attr attr;
  attr.ints = {id};
  return make_node(Op::range_, DType::int64, {size.node()}, std::move(attr));
}

bool contains(const std::vector<Node>& nodes, const Node& node) {
  return std::find(nodes.begin(), nodes.end(), node) != nodes.end();
}

using Values = std::unordered_map<const NodeData*, std::int64_t>;

std::int64_t quotient(std::int64_t a, std::int64_t b) { return b == 0 ? 0 : a / b; }
std::int64_t remainder(std::int64_t a, std::int64_t b) { return b == 0 ? a : a % b; }

std::int64_t value(const Node& node, const Values& values) {
  const auto src = [&](std::size_t i) { return value(node.src(i), values); };
  switch (node.op()) {
    case Op::constant_: return node.int_value();
    case Op::variable_:
    case Op::range_: return values.at(node.get());
    case Op::add_: return src(0) + src(1);
    case Op::mul_: return src(0) * src(1);
    case Op::max_: return std::max(src(0), src(1));
    case Op::idiv_: return quotient(src(0), src(1));
    case Op::mod_: return remainder(src(0), src(1));
    case Op::cmplt_: return src(0) < src(1);
    case Op::cmpne_: return src(0) != src(1);
    case Op::and_: return src(0) & src(1);
    case Op::where_: return src(0) != 0 ? src(1) : src(2);
    default: ADD_FAILURE() << "unexpected " << describe(node); return 0;
  }
}

// An expression as it was asked for, beside the node that the builders made of it.
struct Expression {
  Node node;
  std::function<std::int64_t(const Values&)> meaning;
  std::string text;
};

class Builder {
 public:
  explicit Builder(unsigned seed) : random_(seed) {
    n_ = variable("n", 1, 4);
    m_ = variable("m", 0, 3);
    ranges_ = {make_range(0, 3), make_range(1, 8), make_range(2, Size(n_))};
  }

  int below(int limit) { return static_cast<int>(random_() % static_cast<unsigned>(limit)); }

  Expression leaf() {
    switch (below(6)) {
      case 0: return number(below(13) - 3);
      case 1: return named(n_, "n");
      case 2: return named(m_, "m");
      default: {
        const int i = below(3);
        return named(ranges_[static_cast<std::size_t>(i)], fmt::format("r{}", i));
      }
    }
  }

  Expression make(int depth) {
    if (depth == 0) return leaf();
    const Expression a = make(depth - 1 - below(2) * (depth > 1));
    switch (below(10)) {
      case 0:
      case 1:
      case 2:
        return binary("+", a, make(depth - 1), integer_add, [](auto x, auto y) { return x + y; });
      case 3:
        return binary("-", a, make(depth - 1), integer_sub, [](auto x, auto y) { return x - y; });
      case 4: return binary("*", a, leaf(), integer_mul, [](auto x, auto y) { return x * y; });
      case 5:
        return binary("*", a, number(below(9) - 1), integer_mul,
                      [](auto x, auto y) { return x * y; });
      case 6: return binary("/", a, divisor(), integer_div, quotient);
      case 7: return binary("%", a, divisor(), integer_mod, remainder);
      case 8:
        return below(2) ? binary("min", a, make(depth - 1), integer_min,
                                 [](auto x, auto y) { return std::min(x, y); })
                        : binary("max", a, make(depth - 1), integer_max,
                                 [](auto x, auto y) { return std::max(x, y); });
      default: {
        const Expression less = binary("<", a, make(depth - 1), integer_less,
                                       [](auto x, auto y) { return std::int64_t{x < y}; });
        const Expression b = leaf();
        const Node node = less.node.is_constant() ? (less.node.int_value() != 0 ? a.node : b.node)
                                                  : where(less.node, a.node, b.node);
        return {node,
                [=](const Values& v) { return less.meaning(v) != 0 ? a.meaning(v) : b.meaning(v); },
                fmt::format("({} ? {} : {})", less.text, a.text, b.text)};
      }
    }
  }

  /// Calls f for every value of the variables and ranges.
  template <typename F>
  void for_values(F f) const {
    Values values;
    for (std::int64_t n = 1; n <= 4; ++n) {
      for (std::int64_t m = 0; m <= 3; ++m) {
        values[n_.get()] = n;
        values[m_.get()] = m;
        for (std::int64_t i = 0; i < 3; ++i) {
          for (std::int64_t j = 0; j < 8; ++j) {
            for (std::int64_t k = 0; k < n; ++k) {
              values[ranges_[0].get()] = i;
              values[ranges_[1].get()] = j;
              values[ranges_[2].get()] = k;
              if (!f(values)) return;
            }
          }
        }
      }
    }
  }

  const Node& range(int i) const { return ranges_[static_cast<std::size_t>(i)]; }

 private:
  static Expression number(std::int64_t value) {
    return {constant_int(value), [=](const Values&) { return value; }, std::to_string(value)};
  }
  static Expression named(const Node& node, std::string text) {
    return {node, [node](const Values& v) { return v.at(node.get()); }, std::move(text)};
  }
  Expression divisor() {
    const int kind = below(12);
    if (kind == 0) return leaf();
    if (kind == 1) return named(n_, "n");
    if (kind == 3)
      return binary("*", named(n_, "n"), number(1 + below(4)), integer_mul,
                    [](std::int64_t a, std::int64_t b) { return a * b; });
    return number(kind == 2 ? -below(4) : 1 + below(12));
  }
  template <typename Build, typename Meaning>
  static Expression binary(const char* sign, const Expression& a, const Expression& b, Build build,
                           Meaning meaning) {
    return {build(a.node, b.node),
            [=](const Values& v) -> std::int64_t { return meaning(a.meaning(v), b.meaning(v)); },
            fmt::format("({} {} {})", a.text, sign, b.text)};
  }

  std::mt19937 random_;
  Node n_;
  Node m_;
  std::vector<Node> ranges_;
};

TEST(Integer, normalFormsHaveTheValueAndBoundsOfWhatWasAsked) {
  for (unsigned seed = 0; seed < 30'000; ++seed) {
    Builder builder(seed);
    const Expression expression = builder.make(2 + builder.below(4));
    const Bounds limits = bounds(expression.node);
    std::string wrong;
    builder.for_values([&](const Values& values) {
      const std::int64_t wanted = expression.meaning(values);
      const std::int64_t got = value(expression.node, values);
      if (wanted != got) wrong = fmt::format("wanted {}, got {}", wanted, got);
      if (got < limits.least || got > limits.greatest) {
        wrong = fmt::format("{} is outside of {} … {}", got, limits.least, limits.greatest);
      }
      return wrong.empty();
    });
    ASSERT_EQ(wrong, "") << "seed " << seed << "\n"
                         << expression.text << "\n"
                         << print(expression.node);
  }
}

TEST(Integer, substitutionCommutesWithEvaluation) {
  for (unsigned seed = 0; seed < 5'000; ++seed) {
    Builder builder(seed);
    const Expression expression = builder.make(4);
    // r1 < 8 becomes (r0 * 2 + 1) or a constant, which stay below 8.
    const Node by = builder.below(2) ? add(mul(builder.range(0), constant_int(2)), constant_int(1))
                                     : constant_int(builder.below(8));
    Substitution map = {{builder.range(1), by}};
    const Node replaced = substitute(expression.node, map);
    std::string wrong;
    builder.for_values([&](Values values) {
      const std::int64_t got = value(replaced, values);
      values[builder.range(1).get()] = value(by, values);
      const std::int64_t wanted = expression.meaning(values);
      if (wanted != got) wrong = fmt::format("wanted {}, got {}", wanted, got);
      return wrong.empty();
    });
    ASSERT_EQ(wrong, "") << "seed " << seed << "\n" << expression.text << "\n" << print(replaced);
  }
}

TEST(Integer, substitutionKeepsTheLanesOfWhatItFolds) {
  const Node i = make_range(0, 4);
  const Node vector = make_node(Op::splat_, DType::float32, {constant_float(2)}, {}, 4);
  const Node chosen = where(cmplt(i, constant_int(2)), vector, constant_float(0));
  ASSERT_EQ(chosen.lanes(), 4);
  Substitution map = {{i, constant_int(3)}};
  EXPECT_EQ(substitute(chosen, map).lanes(), 4);
}

TEST(Integer, equalSumsAreOneNodeWhateverTheOrder) {
  const Node x = make_range(10, 5);
  const Node y = make_range(11, 6);
  const Node n = variable("n", 1, 9);
  const Node c = constant_int(3);
  EXPECT_EQ(add(add(x, y), c), add(x, add(c, y)));
  EXPECT_EQ(mul(add(x, n), c), add(mul(n, c), mul(c, x)));
  EXPECT_EQ(mul(add(x, c), n), add(mul(n, x), mul(n, c)));
  EXPECT_EQ(integer_sub(add(x, y), y), x);
  EXPECT_EQ(integer_sub(x, x), constant_int(0));
}

TEST(Integer, equalProductsAreOneNodeWhateverTheOrder) {
  const Node a = variable("a", 1, 9);
  const Node b = variable("b", 1, 9);
  const Node c = variable("c", 1, 9);
  const Node product = integer_mul(integer_mul(a, b), c);
  EXPECT_EQ(integer_mul(a, integer_mul(b, c)), product);
  EXPECT_EQ(integer_mul(integer_mul(c, a), b), product);
  EXPECT_EQ(integer_div(product, integer_mul(c, a)), b);
  EXPECT_EQ(integer_mod(product, integer_mul(c, a)), constant_int(0));
}

TEST(Integer, multiplesDivideByNumbersAndVariablesAtOnce) {
  const Node a = variable("a", 1, 9);
  const Node b = variable("b", 1, 9);
  const Node rows = integer_mul(integer_mul(a, b), constant_int(48));
  const Node divisor = integer_mul(b, constant_int(12));
  EXPECT_EQ(integer_div(rows, divisor), integer_mul(a, constant_int(4)));
  EXPECT_EQ(integer_mod(rows, divisor), constant_int(0));
  EXPECT_FALSE(integer_mod(integer_mul(a, constant_int(48)), divisor).is_constant());
}

TEST(Integer, theLesserOfTwoThatMayBeEqualIsKnown) {
  const Node a = variable("a", 1, 9);
  EXPECT_EQ(integer_min(a, constant_int(9)), a);
  EXPECT_EQ(integer_min(constant_int(1), a), constant_int(1));
  EXPECT_EQ(integer_max(a, constant_int(9)), constant_int(9));
  EXPECT_EQ(integer_max(constant_int(1), a), a);
}

TEST(Integer, quotientsOfRowMajorPositionsComeApart) {
  const Node i = make_range(10, 5);
  const Node j = make_range(11, 6);
  const Node six = constant_int(6);
  const Node at = add(mul(i, six), j);
  EXPECT_EQ(idiv(at, six), i);
  EXPECT_EQ(mod(at, six), j);
  EXPECT_EQ(add(mul(idiv(at, constant_int(4)), constant_int(4)), mod(at, constant_int(4))), at);
  const Node n = variable("n", 1, 64);
  const Node k = make_range(12, Size(n));
  const Node symbolic = add(mul(i, n), k);
  EXPECT_EQ(idiv(symbolic, n), i);
  EXPECT_EQ(mod(symbolic, n), k);
  EXPECT_TRUE(cmplt(k, n).is_constant(1));
  EXPECT_TRUE(cmplt(at, constant_int(30)).is_constant(1));
}

TEST(Integer, positionsThatEndBeforeASymbolicSizeAreTheirOwnRemainders) {
  const Node n = variable("n", 3, 64);
  const auto expect_below = [](const Node& at, const Node& size) {
    EXPECT_EQ(idiv(at, size), constant_int(0));
    EXPECT_EQ(mod(at, size), at);
    EXPECT_TRUE(cmplt(at, size).is_constant(1));
  };
  const Node k = make_range(10, 3);
  const Node start = make_range(11, Size(n) - 2);
  expect_below(add(start, k), n);  // windows of 3
  const Node strided = make_range(12, (Size(n) - 3) / 2 + 1);
  expect_below(add(mul(strided, constant_int(2)), k), n);  // one every 2
  const Node row = make_range(13, Size(n));
  const Node column = make_range(14, 12);
  const Node twelve = constant_int(12);
  expect_below(add(mul(row, twelve), column), mul(n, twelve));
  EXPECT_FALSE(mod(add(start, make_range(15, 4)), n) == add(start, make_range(15, 4)));
}

TEST(Integer, comparisonsOfRowMajorPositionsWithWholeRowsAreOfRows) {
  const Node row = make_range(0, 36), column = make_range(1, 64);
  const Node position = add(mul(row, constant_int(64)), column);
  EXPECT_EQ(integer_less(position, constant_int(768)), integer_less(row, constant_int(12)));
  EXPECT_EQ(integer_less(constant_int(1535), position), integer_less(constant_int(23), row));
  const Node partly = integer_less(position, constant_int(770));
  EXPECT_TRUE(contains(topological_order({&partly, 1}), column));
}

// The rows of a tensor that lies behind another one: there a position counts only from it on.
TEST(Integer, positionsBehindPaddingComeApart) {
  const Node row = make_range(0, 36), column = make_range(1, 64);
  const Node position = add(add(mul(row, constant_int(64)), column), constant_int(-1536));
  const Index index = unflatten(position, {12, 64});
  EXPECT_EQ(index[0], add(row, constant_int(-24)));
  EXPECT_EQ(index[1], column);
}

TEST(Integer, boundsOfSharedExpressionsTakeNoTimeToSpeakOf) {
  Node x = cast(buffer(DType::int8, {4}, nullptr), DType::int64);
  for (int i = 0; i < 60; ++i) x = max(add(x, x), x);  // 3^60 paths
  const Bounds limits = bounds(x);
  EXPECT_LE(limits.least, -128);
  EXPECT_GE(limits.greatest, 127);
}

TEST(Integer, boundsOfBitsPutTogetherAreThoseOfTheirMasks) {
  const Node x = buffer(DType::uint8, {4}, nullptr);
  const auto number = [](int value) { return constant_int(value, DType::uint8); };
  const Node six = bit_or(bit_and(x, number(15)), shl(bit_and(x, number(3)), number(4)));
  EXPECT_EQ(bounds(six).least, 0);
  EXPECT_EQ(bounds(six).greatest, 63);
  EXPECT_EQ(bounds(bit_or(bit_and(x, number(2)), number(4))).least, 4);
  EXPECT_EQ(bounds(bit_or(bit_and(x, number(2)), number(4))).greatest, 7);
  EXPECT_EQ(bounds(shl(x, number(1))).greatest, 255);  // the upper bit is lost
  EXPECT_EQ(bounds(shl(cast(x, DType::int32), constant_int(1, DType::int32))).greatest, 510);
}

TEST(Integer, boundsOfNarrowIntegersHoldWhereTheyWrap) {
  const Node x = buffer(DType::int8, {4}, nullptr);
  const Bounds sum = bounds(add(x, x));
  EXPECT_EQ(sum.least, -128);
  EXPECT_EQ(sum.greatest, 127);
  const Node wide = cast(x, DType::int32);
  EXPECT_EQ(bounds(add(wide, wide)).greatest, 254);
  EXPECT_EQ(bounds(add(wide, wide)).least, -256);
  EXPECT_EQ(bounds(cast(wide, DType::uint8)).least, 0);
  EXPECT_EQ(bounds(cast(wide, DType::uint8)).greatest, 255);
}

}  // namespace
}  // namespace brisk
