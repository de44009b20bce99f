// The evaluator against plain C++: every operation, the movement operations by hand-written
// results, memory operations, narrow floats, and that deep graphs and large products are no
// trouble.
#include "graph/evaluate.h"

#include <gtest/gtest.h>

#include <bit>
#include <chrono>
#include <cmath>
#include <limits>

#include "base/error.h"

namespace brisk {
namespace {

template <typename T>
Array array(DType dtype, std::vector<std::int64_t> shape, std::vector<T> values) {
  const auto* first = reinterpret_cast<const std::byte*>(values.data());
  return {dtype, std::move(shape), {first, first + values.size() * sizeof(T)}};
}

template <typename T>
std::vector<T> values(const Array& array) {
  const auto* first = reinterpret_cast<const T*>(array.bytes.data());
  return {first, first + array.bytes.size() / sizeof(T)};
}

// Buffers with content, for a graph.
class Inputs {
 public:
  template <typename T>
  Node add(DType dtype, std::vector<std::int64_t> shape, std::vector<T> content) {
    const Node node = buffer(dtype, Shape(shape.begin(), shape.end()), nullptr);
    arrays_.emplace(node, array(dtype, std::move(shape), std::move(content)));
    return node;
  }
  Node floats(std::vector<std::int64_t> shape, std::vector<float> content) {
    return add(DType::float32, std::move(shape), std::move(content));
  }
  Array run(const Node& root, Variables variables = {}) const {
    return evaluate(root, {std::move(variables), [this](const Node& b) { return arrays_.at(b); }});
  }

 private:
  std::unordered_map<Node, Array, NodeHash> arrays_;
};

constexpr float inf = std::numeric_limits<float>::infinity();
constexpr float nan = std::numeric_limits<float>::quiet_NaN();

TEST(Evaluate, float32ArithmeticIsThatOfTheMachine) {
  Inputs in;
  const std::vector<float> x = {0, -0.0F, 1, -2.5F, inf, -inf, nan, 1e-40F, 3e38F};
  const std::vector<float> y = {3, -0.0F, nan, 2, inf, 1, 1, 1e-40F, 3e38F};
  const Node a = in.floats({9}, x);
  const Node b = in.floats({9}, y);
  const auto same = [](float p, float q) {
    return (std::isnan(p) && std::isnan(q)) || std::bit_cast<int>(p) == std::bit_cast<int>(q);
  };
  const auto sums = values<float>(in.run(add(a, b)));
  const auto products = values<float>(in.run(mul(a, b)));
  const auto larger = values<float>(in.run(max(a, b)));
  const auto less = values<std::uint8_t>(in.run(cmplt(a, b)));
  const auto differ = values<std::uint8_t>(in.run(cmpne(a, b)));
  const auto roots = values<float>(in.run(sqrt(a)));
  const auto inverse = values<float>(in.run(recip(a)));
  const auto powers = values<float>(in.run(exp2(a)));
  const auto logs = values<float>(in.run(log2(a)));
  const auto sines = values<float>(in.run(sin(a)));
  for (std::size_t i = 0; i < x.size(); ++i) {
    EXPECT_TRUE(same(sums[i], x[i] + y[i])) << i;
    EXPECT_TRUE(same(products[i], x[i] * y[i])) << i;
    EXPECT_EQ(std::isnan(larger[i]), std::isnan(x[i]) || std::isnan(y[i])) << i;
    if (!std::isnan(larger[i])) {
      EXPECT_EQ(larger[i], std::max(x[i], y[i])) << i;
    }
    EXPECT_EQ(less[i], x[i] < y[i]) << i;
    EXPECT_EQ(differ[i], x[i] != y[i]) << i;
    EXPECT_TRUE(same(roots[i], std::sqrt(x[i]))) << i;
    EXPECT_TRUE(same(inverse[i], 1 / x[i])) << i;
    EXPECT_TRUE(same(powers[i], static_cast<float>(std::exp2(static_cast<double>(x[i]))))) << i;
    EXPECT_TRUE(same(logs[i], static_cast<float>(std::log2(static_cast<double>(x[i]))))) << i;
    EXPECT_TRUE(same(sines[i], static_cast<float>(std::sin(static_cast<double>(x[i]))))) << i;
  }
}

template <typename T>
void check_integers(DType dtype) {
  using U = std::make_unsigned_t<T>;
  constexpr T low = std::numeric_limits<T>::min();
  constexpr T high = std::numeric_limits<T>::max();
  const int bits = sizeof(T) * 8;
  const std::vector<T> some = {0,
                               1,
                               static_cast<T>(-1),
                               low,
                               high,
                               7,
                               static_cast<T>(-7),
                               3,
                               static_cast<T>(bits),
                               static_cast<T>(bits - 1)};
  std::vector<T> x;
  std::vector<T> y;
  for (const T p : some) {
    for (const T q : some) {
      x.push_back(p);
      y.push_back(q);
    }
  }
  Inputs in;
  const auto n = static_cast<std::int64_t>(x.size());
  const Node a = in.add(dtype, {n}, x);
  const Node b = in.add(dtype, {n}, y);
  const auto of = [&](const Node& node) { return values<T>(in.run(node)); };
  const auto sums = of(add(a, b));
  const auto products = of(mul(a, b));
  const auto larger = of(max(a, b));
  const auto quotients = of(idiv(a, b));
  const auto rests = of(mod(a, b));
  const auto both = of(bit_and(a, b));
  const auto any = of(bit_or(a, b));
  const auto one = of(bit_xor(a, b));
  const auto left = of(shl(a, b));
  const auto right = of(shr(a, b));
  const auto less = values<std::uint8_t>(in.run(cmplt(a, b)));
  for (std::size_t i = 0; i < x.size(); ++i) {
    const T p = x[i];
    const T q = y[i];
    SCOPED_TRACE(fmt::format("{} {} {}", name(dtype), p, q));
    EXPECT_EQ(sums[i],
              static_cast<T>(static_cast<std::uint64_t>(p) + static_cast<std::uint64_t>(q)));
    EXPECT_EQ(products[i],
              static_cast<T>(static_cast<std::uint64_t>(p) * static_cast<std::uint64_t>(q)));
    EXPECT_EQ(larger[i], std::max(p, q));
    const bool wraps = std::is_signed_v<T> && p == low && q == static_cast<T>(-1);
    EXPECT_EQ(quotients[i], q == 0 ? T{0} : wraps ? low : static_cast<T>(p / q));
    EXPECT_EQ(rests[i], q == 0 ? p : wraps ? T{0} : static_cast<T>(p % q));
    EXPECT_EQ(both[i], static_cast<T>(p & q));
    EXPECT_EQ(any[i], static_cast<T>(p | q));
    EXPECT_EQ(one[i], static_cast<T>(p ^ q));
    const bool inside = q >= 0 && static_cast<std::uint64_t>(q) < static_cast<std::uint64_t>(bits);
    EXPECT_EQ(left[i],
              inside ? static_cast<T>(static_cast<U>(static_cast<std::uint64_t>(p) << q)) : T{0});
    EXPECT_EQ(right[i], inside ? static_cast<T>(p >> q) : p < 0 ? static_cast<T>(-1) : T{0});
    EXPECT_EQ(less[i], p < q);
  }
}

TEST(Evaluate, integersOfEveryWidthWrapDivideAndShiftAsDefined) {
  check_integers<std::int8_t>(DType::int8);
  check_integers<std::int16_t>(DType::int16);
  check_integers<std::int32_t>(DType::int32);
  check_integers<std::int64_t>(DType::int64);
  check_integers<std::uint8_t>(DType::uint8);
  check_integers<std::uint16_t>(DType::uint16);
  check_integers<std::uint32_t>(DType::uint32);
  check_integers<std::uint64_t>(DType::uint64);
}

TEST(Evaluate, boolIsLogic) {
  Inputs in;
  const Node a = in.add<std::uint8_t>(DType::boolean, {4}, {0, 0, 1, 1});
  const Node b = in.add<std::uint8_t>(DType::boolean, {4}, {0, 1, 0, 1});
  using Bits = std::vector<std::uint8_t>;
  const auto of = [&](const Node& node) { return values<std::uint8_t>(in.run(node)); };
  EXPECT_EQ(of(add(a, b)), (Bits{0, 1, 1, 1}));
  EXPECT_EQ(of(max(a, b)), (Bits{0, 1, 1, 1}));
  EXPECT_EQ(of(bit_or(a, b)), (Bits{0, 1, 1, 1}));
  EXPECT_EQ(of(mul(a, b)), (Bits{0, 0, 0, 1}));
  EXPECT_EQ(of(bit_and(a, b)), (Bits{0, 0, 0, 1}));
  EXPECT_EQ(of(bit_xor(a, b)), (Bits{0, 1, 1, 0}));
  EXPECT_EQ(of(cmpne(a, b)), (Bits{0, 1, 1, 0}));
  EXPECT_EQ(of(cmplt(a, b)), (Bits{0, 1, 0, 0}));
  EXPECT_EQ(of(reduce(ReduceOp::add, a, {0})), (Bits{1}));
  EXPECT_EQ(of(reduce(ReduceOp::mul, a, {0})), (Bits{0}));
}

TEST(Evaluate, whereTakesTheChosenOperandOnly) {
  Inputs in;
  const Node c = in.add<std::uint8_t>(DType::boolean, {3}, {1, 0, 1});
  const Node a = in.floats({3}, {1, nan, 3});
  EXPECT_EQ(values<float>(in.run(where(c, a, constant_float(9)))), (std::vector<float>{1, 9, 3}));
}

TEST(Evaluate, castsTruncateRoundAndWrap) {
  Inputs in;
  const Node f = in.floats({5}, {-1.9F, 1.9F, 300, 0, -0.5F});
  EXPECT_EQ(values<std::int32_t>(in.run(cast(f, DType::int32))),
            (std::vector<std::int32_t>{-1, 1, 300, 0, 0}));
  EXPECT_EQ(values<std::uint8_t>(in.run(cast(f, DType::boolean))),
            (std::vector<std::uint8_t>{1, 1, 1, 0, 1}));
  const Node i = in.add<std::int32_t>(DType::int32, {3}, {-1, 256, 16777217});
  EXPECT_EQ(values<std::uint8_t>(in.run(cast(i, DType::uint8))),
            (std::vector<std::uint8_t>{255, 0, 1}));
  EXPECT_EQ(values<float>(in.run(cast(i, DType::float32))),
            (std::vector<float>{-1, 256, 16777216}));
  EXPECT_EQ(values<std::uint64_t>(in.run(cast(i, DType::uint64)))[0], ~std::uint64_t{0});
}

TEST(Evaluate, narrowFloatsAreRoundedOnceAndToEven) {
  Inputs in;
  // 1 + 2^-11 + 2^-30 is above the tie between 1 and 1 + 2^-10, but rounds to the tie in float32.
  const Node d = in.add<double>(DType::float64, {2}, {1 + 0x1p-11 + 0x1p-30, 1 + 0x1p-11});
  EXPECT_EQ(values<std::uint16_t>(in.run(cast(d, DType::float16))),
            (std::vector<std::uint16_t>{0x3c01, 0x3c00}));
  const Node h = in.add<std::uint16_t>(DType::float16, {2}, {0x3c00, 0x7bff});  // 1, 65504
  EXPECT_EQ(values<std::uint16_t>(in.run(add(h, h))), (std::vector<std::uint16_t>{0x4000, 0x7c00}));
  const Node e = in.add<std::uint8_t>(DType::float8_e4m3, {2}, {0x38, 0x7e});  // 1, 448
  EXPECT_EQ(values<std::uint8_t>(in.run(mul(e, e))), (std::vector<std::uint8_t>{0x38, 0x7f}));
  const Node b = in.floats({2}, {1.00390625F, 1.01171875F});  // ties of bfloat16
  EXPECT_EQ(values<std::uint16_t>(in.run(cast(b, DType::bfloat16))),
            (std::vector<std::uint16_t>{0x3f80, 0x3f82}));
}

TEST(Evaluate, bitcastKeepsTheBits) {
  Inputs in;
  const Node f = in.floats({2}, {1, -2});
  EXPECT_EQ(values<std::uint32_t>(in.run(bitcast(f, DType::uint32))),
            (std::vector<std::uint32_t>{0x3f800000, 0xc0000000}));
}

TEST(Evaluate, reductionsOverAnyAxes) {
  Inputs in;
  std::vector<float> x(24);
  for (std::size_t i = 0; i < x.size(); ++i) x[i] = static_cast<float>(i % 7) - 3;
  const Node a = in.floats({2, 3, 4}, x);
  for (int mask = 0; mask < 8; ++mask) {
    std::vector<int> axes;
    for (int axis = 0; axis < 3; ++axis) {
      if (mask >> axis & 1) axes.push_back(axis);
    }
    const std::int64_t shape[] = {mask & 1 ? 1 : 2, mask & 2 ? 1 : 3, mask & 4 ? 1 : 4};
    std::vector<float> sum(static_cast<std::size_t>(shape[0] * shape[1] * shape[2]));
    std::vector<float> most(sum.size(), -inf);
    for (std::int64_t i = 0; i < 24; ++i) {
      const std::int64_t at =
          (i / 12 % shape[0] * shape[1] + i / 4 % 3 % shape[1]) * shape[2] + i % 4 % shape[2];
      sum[static_cast<std::size_t>(at)] += x[static_cast<std::size_t>(i)];
      most[static_cast<std::size_t>(at)] =
          std::max(most[static_cast<std::size_t>(at)], x[static_cast<std::size_t>(i)]);
    }
    EXPECT_EQ(values<float>(in.run(reduce(ReduceOp::add, a, axes))), sum) << mask;
    EXPECT_EQ(values<float>(in.run(reduce(ReduceOp::max, a, axes))), most) << mask;
  }
}

TEST(Evaluate, reductionsOfNothingGiveTheNeutralElement) {
  Inputs in;
  const Node a = in.floats({2, 0}, {});
  EXPECT_EQ(values<float>(in.run(reduce(ReduceOp::add, a, {1}))), (std::vector<float>{0, 0}));
  EXPECT_EQ(values<float>(in.run(reduce(ReduceOp::mul, a, {1}))), (std::vector<float>{1, 1}));
  EXPECT_EQ(values<float>(in.run(reduce(ReduceOp::max, a, {1}))), (std::vector<float>{-inf, -inf}));
  const Node i = in.add<std::int32_t>(DType::int32, {0}, {});
  EXPECT_EQ(values<std::int32_t>(in.run(reduce(ReduceOp::max, i, {0})))[0],
            std::numeric_limits<std::int32_t>::min());
}

TEST(Evaluate, reductionsPropagateNanAndWrapIntegers) {
  Inputs in;
  const Node a = in.floats({3}, {1, nan, 2});
  EXPECT_TRUE(std::isnan(values<float>(in.run(reduce(ReduceOp::max, a, {0})))[0]));
  const Node i = in.add<std::int8_t>(DType::int8, {3}, {100, 100, 100});
  EXPECT_EQ(values<std::int8_t>(in.run(reduce(ReduceOp::add, i, {0})))[0], 44);
}

TEST(Evaluate, longFloatSumsAreRoundedOnce) {
  Inputs in;
  std::vector<float> x(100'001, 0.1F);
  x[0] = 1e8F;
  const Node a = in.floats({100'001}, x);
  const double exact = 1e8 + 100'000 * static_cast<double>(0.1F);
  EXPECT_EQ(values<float>(in.run(reduce(ReduceOp::add, a, {0})))[0], static_cast<float>(exact));
}

TEST(Evaluate, movementsPutElementsWhereTheyBelong) {
  Inputs in;
  const Node a = in.add<std::int32_t>(DType::int32, {2, 3}, {1, 2, 3, 4, 5, 6});
  using Ints = std::vector<std::int32_t>;
  const auto of = [&](const Node& node) { return values<std::int32_t>(in.run(node)); };
  EXPECT_EQ(of(permute(a, {1, 0})), (Ints{1, 4, 2, 5, 3, 6}));
  EXPECT_EQ(of(reshape(permute(a, {1, 0}), {2, 3})), (Ints{1, 4, 2, 5, 3, 6}));
  EXPECT_EQ(of(flip(a, {1})), (Ints{3, 2, 1, 6, 5, 4}));
  EXPECT_EQ(of(flip(a, {0, 1})), (Ints{6, 5, 4, 3, 2, 1}));
  EXPECT_EQ(of(shrink(a, {0, 2, 1, 3})), (Ints{2, 3, 5, 6}));
  EXPECT_EQ(of(pad(a, {1, 0, 0, 1})), (Ints{0, 0, 0, 0, 1, 2, 3, 0, 4, 5, 6, 0}));
  EXPECT_EQ(of(expand(reshape(a, {2, 1, 3}), {2, 2, 3})),
            (Ints{1, 2, 3, 1, 2, 3, 4, 5, 6, 4, 5, 6}));
  EXPECT_EQ(of(reshape(expand(shrink(a, {0, 2, 2, 3}), {2, 2}), {4})), (Ints{3, 3, 6, 6}));
  EXPECT_EQ(of(shrink(flip(pad(a, {0, 0, 1, 1}), {1}), {0, 1, 0, 3})), (Ints{0, 3, 2}));
  EXPECT_EQ(of(add(permute(flip(a, {0}), {1, 0}), constant_int(10, DType::int32))),
            (Ints{14, 11, 15, 12, 16, 13}));
}

TEST(Evaluate, loadGathersAndGatesReadNothing) {
  Inputs in;
  const Node a = in.floats({2, 2}, {10, 11, 12, 13});
  const Node i = in.add<std::int64_t>(DType::int64, {3}, {3, 99, 0});
  const Node g = in.add<std::uint8_t>(DType::boolean, {3}, {1, 0, 1});
  EXPECT_EQ(values<float>(in.run(load(a, i, g))), (std::vector<float>{13, 0, 10}));
  EXPECT_THROW(in.run(load(a, i)), InternalError);
}

TEST(Evaluate, storesReplaceThroughViewsAndChain) {
  Inputs in;
  const Node a = in.add<std::int32_t>(DType::int32, {2, 3}, {1, 2, 3, 4, 5, 6});
  using Ints = std::vector<std::int32_t>;
  const auto of = [&](const Node& node) { return values<std::int32_t>(in.run(node)); };
  const Node column = shrink(a, {0, 2, 1, 2});
  const Node once = store(column, in.add<std::int32_t>(DType::int32, {2, 1}, {7, 8}));
  EXPECT_EQ(of(once), (Ints{1, 7, 3, 4, 8, 6}));
  const Node twice = store(permute(flip(once, {1}), {1, 0}),
                           in.add<std::int32_t>(DType::int32, {3, 2}, {1, 2, 3, 4, 5, 6}));
  EXPECT_EQ(of(twice), (Ints{5, 3, 1, 6, 4, 2}));
  EXPECT_EQ(of(add(once, a)), (Ints{2, 9, 6, 8, 13, 12}));  // the buffer itself is unchanged
  EXPECT_EQ(of(store(shrink(once, {0, 1, 0, 3}), constant_int(0, DType::int32))),
            (Ints{0, 0, 0, 4, 8, 6}));
}

TEST(Evaluate, scatterKeepsTheLastDropsTheOutsideAndAccumulates) {
  Inputs in;
  const Node a = in.floats({4}, {1, 2, 3, 4});
  const Node i = in.add<std::int64_t>(DType::int64, {5}, {0, 2, 2, -1, 4});
  const Node v = in.floats({5}, {10, 20, 2, 40, 50});
  const auto of = [&](StoreMode mode) { return values<float>(in.run(scatter(a, i, v, mode))); };
  using Floats = std::vector<float>;
  EXPECT_EQ(of(StoreMode::replace), (Floats{10, 2, 2, 4}));
  EXPECT_EQ(of(StoreMode::add), (Floats{11, 2, 25, 4}));
  EXPECT_EQ(of(StoreMode::mul), (Floats{10, 2, 120, 4}));
  EXPECT_EQ(of(StoreMode::max), (Floats{10, 2, 20, 4}));
  EXPECT_EQ(of(StoreMode::min), (Floats{1, 2, 2, 4}));
  const Node tail = shrink(a, {2, 4});
  EXPECT_EQ(values<float>(in.run(scatter(tail, i, v, StoreMode::replace))), (Floats{1, 2, 10, 4}));
}

TEST(Evaluate, variablesBindSizesAndValues) {
  Inputs in;
  const Node n = variable("n", 1, 8);
  const Node root = reduce(ReduceOp::add, add(iota(n), n), {0});
  EXPECT_EQ(values<std::int64_t>(in.run(root, {{"n", 4}}))[0], 0 + 1 + 2 + 3 + 16);
  EXPECT_EQ(values<std::int64_t>(in.run(root, {{"n", 1}}))[0], 1);
  EXPECT_THROW(in.run(root), UserError);
  EXPECT_THROW(in.run(root, {{"n", 9}}), UserError);
}

TEST(Evaluate, sharedNodesAreEvaluatedOnceAndDeepGraphsDoNotOverflow) {
  Inputs in;
  Node a = in.floats({4}, {0, 1, 2, 3});
  for (int i = 0; i < 60; ++i) a = mul(add(a, a), constant_float(0.5));  // 2^60 paths
  EXPECT_EQ(values<float>(in.run(a)), (std::vector<float>{0, 1, 2, 3}));
  for (int i = 0; i < 100'000; ++i) a = add(a, constant_float(1));
  EXPECT_EQ(values<float>(in.run(a))[0], 100'000);
}

TEST(Evaluate, aMatrixProductNeverHoldsItsProducts) {
  Inputs in;
  const std::int64_t m = 128;
  const std::int64_t n = 192;
  const std::int64_t k = 1024;
  std::vector<float> x(static_cast<std::size_t>(m * k));
  std::vector<float> y(static_cast<std::size_t>(k * n));
  for (std::size_t i = 0; i < x.size(); ++i) x[i] = static_cast<float>(i % 13) - 6;
  for (std::size_t i = 0; i < y.size(); ++i) y[i] = static_cast<float>(i % 11) - 5;
  const Node a = expand(reshape(in.floats({m, k}, x), {m, 1, k}), {m, n, k});
  const Node b = expand(reshape(permute(in.floats({k, n}, y), {1, 0}), {1, n, k}), {m, n, k});
  const auto start = std::chrono::steady_clock::now();
  const auto c = values<float>(in.run(reduce(ReduceOp::add, mul(a, b), {2})));
  const std::chrono::duration<double> took = std::chrono::steady_clock::now() - start;
  for (const std::int64_t at : {std::int64_t{0}, m * n / 2 + 17, m * n - 1}) {
    double sum = 0;
    for (std::int64_t i = 0; i < k; ++i) {
      sum += static_cast<double>(x[static_cast<std::size_t>(at / n * k + i)]) *
             y[static_cast<std::size_t>(i * n + at % n)];
    }
    EXPECT_EQ(c[static_cast<std::size_t>(at)], static_cast<float>(sum));
  }
  RecordProperty("mflops", static_cast<int>(2e-6 * static_cast<double>(m * n * k) / took.count()));
  EXPECT_LT(took.count(), 10);  // 50 MFLOP
}

}  // namespace
}  // namespace brisk
