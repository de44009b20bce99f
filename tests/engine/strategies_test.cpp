// Each strategy on graphs of its class: the engine's values against the evaluator's, and which
// strategy took the kernel.
#include <gtest/gtest.h>

#include <cmath>
#include <cstring>
#include <functional>
#include <random>

#include "engine/engine.h"
#include "graph/evaluate.h"

namespace brisk {
namespace {

// Of kernels. On other devices than the CPU other strategies take them: there only values count.
class Names {
 public:
  Names(std::initializer_list<std::string> names) : names_(names) {}
  explicit Names(const Plan& plan) {
    for (const auto& kernel : plan.kernels()) names_.push_back(kernel.name);
  }
  friend bool operator==(const Names& a, const Names& b) {
    return Engine::shared().device().info().id != "cpu" || a.names_ == b.names_;
  }
  friend void PrintTo(const Names& names, std::ostream* out) {
    *out << testing::PrintToString(names.names_);
  }

 private:
  std::vector<std::string> names_;
};

class Strategies : public testing::Test {
 protected:
  Engine& engine_ = Engine::shared();
  std::mt19937 random_{7};

  Node normal(const Shape& shape, DType dtype = DType::float32) {
    std::vector<float> values(static_cast<std::size_t>(element_count(shape).value()));
    std::normal_distribution<float> distribution;
    for (float& value : values) value = distribution(random_);
    const Node node =
        engine_.upload(DType::float32, shape, std::as_bytes(std::span(values)), nullptr);
    return dtype == DType::float32 ? node
                                   : engine_.realize(std::vector<Node>{cast(node, dtype)})[0];
  }

  template <typename T>
  Node integers(const Shape& shape, DType dtype, int least, int greatest) {
    std::vector<T> values(static_cast<std::size_t>(element_count(shape).value()));
    std::uniform_int_distribution<int> distribution(least, greatest);
    for (T& value : values) value = static_cast<T>(distribution(random_));
    return engine_.upload(dtype, shape, std::as_bytes(std::span(values)), nullptr);
  }

  // Computes on both, compares, and gives the names of the kernels.
  Names compare(const Node& root, double tolerance, const VariableValues& values = {}) {
    Bindings bindings{values, [&](const Node& node) {
                        return Array{node.dtype(), static_shape(node.shape()), engine_.read(node)};
                      }};
    const Array wanted = evaluate(root, bindings);
    const Node computed = engine_.realize({&root, 1}, values)[0];
    const std::vector<std::byte> bytes = engine_.read(computed);
    EXPECT_EQ(bytes.size(), wanted.bytes.size());
    if (root.dtype() == DType::float32) {
      std::vector<float> a(bytes.size() / 4);
      std::vector<float> b(bytes.size() / 4);
      std::memcpy(a.data(), wanted.bytes.data(), bytes.size());
      std::memcpy(b.data(), bytes.data(), bytes.size());
      for (std::size_t i = 0; i < a.size(); ++i) {
        const double error = std::fabs(a[i] - b[i]);
        if (!(error <= tolerance * std::max(1.0F, std::fabs(a[i])))) {
          ADD_FAILURE() << "element " << i << ": " << b[i] << " instead of " << a[i];
          break;
        }
      }
    } else {
      EXPECT_EQ(bytes, wanted.bytes);
    }
    return Names(Plan({&root, 1}, engine_));
  }
};

Node product(const Node& a, const Node& b) {  // [M, K] · [K, N]
  const Shape cube = {a.shape()[0], b.shape()[1], a.shape()[1]};
  const Node left = expand(reshape(a, {cube[0], 1, cube[2]}), cube);
  const Node right = expand(reshape(permute(b, {1, 0}), {1, cube[1], cube[2]}), cube);
  return reshape(reduce(ReduceOp::add, mul(left, right), {2}), {cube[0], cube[1]});
}

Node negative(const Node& x) { return mul(x, constant_float(-1)); }

Node softmax(const Node& x, int axis) {
  const Node top = expand(negative(reduce(ReduceOp::max, x, {axis})), x.shape());
  const Node e = exp2(add(x, top));
  return mul(e, expand(recip(reduce(ReduceOp::add, e, {axis})), x.shape()));
}

Node rms_norm(const Node& x) {
  const Node mean = mul(reduce(ReduceOp::add, mul(x, x), {1}),
                        constant_float(1.0 / static_cast<double>(x.shape()[1].value())));
  return mul(x, expand(recip(sqrt(add(mean, constant_float(1e-5)))), x.shape()));
}

TEST_F(Strategies, ContractionTakesEveryLayoutAndRaggedSize) {
  const Names one = {"contraction"};
  EXPECT_EQ(compare(product(normal({64, 128}), normal({128, 96})), 1e-5), one);
  EXPECT_EQ(compare(product(normal({67, 131}), normal({131, 101})), 1e-5), one);
  EXPECT_EQ(compare(product(normal({67, 128}), permute(normal({99, 128}), {1, 0})), 1e-5), one);
  EXPECT_EQ(compare(product(permute(normal({128, 70}), {1, 0}), normal({128, 96})), 1e-5), one);
  EXPECT_EQ(compare(product(normal({3, 200}), normal({200, 515})), 1e-5), one);
}

TEST_F(Strategies, MatrixVectorTakesAnyFewRows) {
  const Node rows = variable("rows", 1, 8);
  const Node x = shrink(normal({8, 128}), {0, Size(rows), 0, 128});
  const Node y = product(x, permute(normal({97, 128}), {1, 0}));
  for (std::int64_t count = 1; count <= 8; ++count) {
    EXPECT_EQ(compare(y, 1e-5, {{"rows", count}}), Names{"matrix_vector"});
  }
}

// Two products of one vector: what is made of the sums is dear, and comes in vectors, for numbers
// of rows that fill tasks and vectors or do not.
TEST_F(Strategies, DearResultsOfAMatrixTimesAVectorComeInVectors) {
  for (const std::int64_t n : {28, 37, 100, 512, 1001}) {
    SCOPED_TRACE(n);
    const Node x = normal({1, 160});
    const auto of_matrix = [&] { return product(x, permute(normal({n, 160}), {1, 0})); };
    const Node gate = of_matrix(), shifted = add(of_matrix(), normal({1, n}));
    const Node squashed = recip(add(exp2(mul(gate, constant_float(-1.5))), constant_float(1)));
    const Node wave = sqrt(add(mul(shifted, shifted), constant_float(1)));
    EXPECT_EQ(compare(add(mul(squashed, wave), normal({1, n})), 1e-5), Names{"matrix_vector"});
  }
}

TEST_F(Strategies, ContractionTakesSymbolicRows) {
  const Node rows = variable("rows", 1, 64);
  const Node x = shrink(normal({64, 128}), {0, Size(rows), 0, 128});
  const Node y = product(x, normal({128, 96}));
  for (const std::int64_t count : {1, 13, 14, 15, 64}) {
    EXPECT_EQ(compare(y, 1e-5, {{"rows", count}}), Names{"contraction"});
  }
}

TEST_F(Strategies, ContractionFusesBiasAndActivation) {
  const Node sum = product(normal({64, 128}), normal({128, 96}));
  const Node biased = add(sum, expand(reshape(normal({96}), {1, 96}), sum.shape()));
  EXPECT_EQ(compare(max(biased, constant_float(0)), 1e-5), Names{"contraction"});
}

TEST_F(Strategies, ContractionRunsTwoProductsOfOneInputSideBySide) {
  const Node x = normal({20, 64});
  const Node gate = product(x, normal({64, 80}));
  const Node up = product(x, normal({64, 80}));
  const Node sigmoid = recip(add(exp2(negative(gate)), constant_float(1)));
  EXPECT_EQ(compare(mul(mul(gate, sigmoid), up), 2e-5), Names{"contraction"});
}

TEST_F(Strategies, ContractionUsesDotProductsOfBytes) {
  for (const bool turned : {false, true}) {
    const Node a = cast(integers<std::int8_t>({67, 128}, DType::int8, -128, 127), DType::int32);
    const Node b =
        turned
            ? permute(cast(integers<std::int8_t>({101, 128}, DType::int8, -128, 127), DType::int32),
                      {1, 0})
            : cast(integers<std::int8_t>({128, 101}, DType::int8, -128, 127), DType::int32);
    const std::string name = engine_.target().has_tile_dot          ? "contraction_tiles_int8"
                             : !engine_.target().has_int8_dot       ? "contraction_int16"
                             : engine_.target().isa == Isa::aarch64 ? "contraction_int8"
                                                                    : "contraction_uint8";
    EXPECT_EQ(compare(product(a, b), 0), Names{std::string(name)});
  }
}

TEST_F(Strategies, ContractionUsesDotProductsOfBfloat16WhereTheMachineHasThem) {
  const std::string name = engine_.target().has_tile_dot       ? "contraction_tiles_bfloat16"
                           : engine_.target().has_bfloat16_dot ? "contraction_bfloat16"
                                                               : "contraction";
  for (const bool turned : {false, true}) {
    const Node a = cast(normal({67, 128}, DType::bfloat16), DType::float32);
    const Node b = turned
                       ? permute(cast(normal({101, 128}, DType::bfloat16), DType::float32), {1, 0})
                       : cast(normal({128, 101}, DType::bfloat16), DType::float32);
    EXPECT_EQ(compare(product(a, b), 1e-5), Names{std::string(name)});
  }
}

TEST_F(Strategies, NormBeforeAProductIsOneKernel) {
  EXPECT_EQ(compare(product(rms_norm(normal({30, 256})), normal({256, 200})), 2e-5),
            Names{"contraction"});
}

TEST_F(Strategies, AttentionIsOneKernel) {
  const Node q = normal({40, 32});
  const Node k = normal({50, 32});
  const Node v = normal({50, 32});
  EXPECT_EQ(compare(product(softmax(product(q, permute(k, {1, 0})), 1), v), 1e-5),
            Names{"attention"});
}

TEST_F(Strategies, AttentionTakesSymbolicKeys) {
  const Node keys = variable("keys", 1, 50);
  const Node q = normal({7, 32});
  const Node k = shrink(normal({50, 32}), {0, Size(keys), 0, 32});
  const Node v = shrink(normal({50, 48}), {0, Size(keys), 0, 48});
  const Node y = product(softmax(product(q, permute(k, {1, 0})), 1), v);
  for (const std::int64_t count : {1, 15, 16, 17, 50}) {
    EXPECT_EQ(compare(y, 1e-5, {{"keys", count}}), Names{"attention"});
  }
}

// They would be computed again for every key and row.
TEST_F(Strategies, AttentionReadsItsValuesAndSumsNone) {
  const Node q = normal({3, 8});
  const Node k = normal({3, 8});
  const Node v = product(normal({3, 24}), normal({24, 8}));
  compare(product(softmax(product(q, permute(k, {1, 0})), 1), v), 1e-5);
}

TEST_F(Strategies, RowsAndColumnsOfASoftmaxAreOneKernelEach) {
  EXPECT_EQ(compare(softmax(normal({9, 1003}), 1), 1e-6), Names{"reduce_rows"});
  EXPECT_EQ(compare(softmax(normal({37, 100}), 0), 1e-6), Names{"reduce_columns"});
}

// More than a GPU's processor holds: few of them, and more than run at once.
TEST_F(Strategies, RowsOfASoftmaxMayBeVeryLong) {
  for (const std::int64_t rows : {3, 90}) compare(softmax(normal({rows, 65536}), 1), 1e-6);
}

TEST_F(Strategies, SumsOfWideColumnsAreOneKernel) {
  const Node x = normal({67, 2100});
  EXPECT_EQ(compare(reduce(ReduceOp::add, x, {0}), 1e-5), Names{"reduce_columns"});
  EXPECT_EQ(compare(reduce(ReduceOp::max, mul(x, x), {0}), 1e-6), Names{"reduce_columns"});
  const Node mean = mul(reduce(ReduceOp::add, x, {0}), constant_float(1.0 / 67));
  const Node square = mul(reduce(ReduceOp::add, mul(x, x), {0}), constant_float(1.0 / 67));
  EXPECT_EQ(compare(add(square, mul(mul(mean, mean), constant_float(-1))), 1e-4),
            Names{"reduce_columns"});
  const Node rows = variable("rows", 16, 67);
  const Node some = reduce(ReduceOp::add, shrink(x, {0, Size(rows), 0, 2100}), {0});
  for (const std::int64_t count : {16, 23, 67}) {
    EXPECT_EQ(compare(some, 1e-5, {{"rows", count}}), Names{"reduce_columns"});
  }
}

// Over all j of x[.., j] where j <= i, along the last axis.
Node running(ReduceOp op, const Node& x, const Node& identity) {
  const Size n = x.shape()[1];
  const Shape cube = {x.shape()[0], n, n};
  const Node i = expand(reshape(iota(n), {1, n, 1}), cube);
  const Node j = expand(reshape(iota(n), {1, 1, n}), cube);
  const Node value = expand(reshape(x, {x.shape()[0], 1, n}), cube);
  return reshape(reduce(op, where(cmplt(i, j), identity, value), {2}), x.shape());
}

TEST_F(Strategies, RunningReductionsAreOnePass) {
  const Node x = normal({13, 70});
  const Node zero = constant_float(0);
  EXPECT_EQ(compare(running(ReduceOp::add, x, zero), 1e-5), Names{"reduce_rows"});
  EXPECT_EQ(compare(running(ReduceOp::add, permute(normal({70, 60}), {1, 0}), zero), 1e-5),
            Names{"reduce_columns"});
  EXPECT_EQ(compare(running(ReduceOp::max, x, constant_float(-INFINITY)), 1e-6),
            Names{"reduce_rows"});
  // With work before and after it, and a sum of the row in both.
  const Node weights = softmax(x, 1);
  compare(mul(running(ReduceOp::add, weights, zero), weights), 1e-5);
  // A mask that looks like it but starts elsewhere; a sum of running sums.
  EXPECT_EQ(compare(running(ReduceOp::add, x, constant_float(0.5)), 1e-5), Names{"reduce_rows"});
  const Node sums = reshape(reduce(ReduceOp::add, normal({5, 40, 30}), {2}), {5, 40});
  compare(running(ReduceOp::add, sums, zero), 1e-4);
  compare(reshape(running(ReduceOp::add, x, zero), {910}), 1e-5);
  compare(reduce(ReduceOp::max, running(ReduceOp::add, x, zero), {1}), 1e-5);
  compare(product(running(ReduceOp::add, normal({20, 30}), zero), normal({30, 40})), 1e-4);
  compare(running(ReduceOp::add, product(normal({20, 30}), normal({30, 40})), zero), 1e-4);
}

// How many keys of the row come before each, equal ones by position.
Node places(const Node& key) {
  const Size rows = key.shape()[0];
  const Size n = key.shape()[1];
  const Shape cube = {rows, n, n};
  const Node own = expand(reshape(key, {rows, n, 1}), cube);
  const Node other = expand(reshape(key, {rows, 1, n}), cube);
  const Node earlier =
      cmplt(expand(reshape(iota(n), {1, 1, n}), cube), expand(reshape(iota(n), {1, n, 1}), cube));
  const Node not_after = cmpne(cmplt(own, other), constant_int(1, DType::boolean));
  const Node before = bit_or(cmplt(other, own), bit_and(earlier, not_after));
  return reshape(reduce(ReduceOp::add, cast(before, DType::int32), {2}), {rows, n});
}

TEST_F(Strategies, RankingSortsLongRowsOfEveryKey) {
  const Names one = {"ranking"};
  for (const int n : {64, 100, 700}) {
    SCOPED_TRACE(n);
    EXPECT_EQ(compare(places(integers<std::int32_t>({3, n}, DType::int32, -50, 50)), 0), one);
    EXPECT_EQ(
        compare(places(integers<std::int32_t>({3, n}, DType::int32, INT32_MIN, INT32_MAX)), 0),
        one);
    EXPECT_EQ(compare(places(integers<std::uint32_t>({1, n}, DType::uint32, 0, INT32_MAX)), 0),
              one);
    const Node low =
        cast(integers<std::int32_t>({2, n}, DType::int32, INT32_MIN, INT32_MAX), DType::int64);
    const Node high = cast(integers<std::int32_t>({2, n}, DType::int32, -2, 2), DType::int64);
    const Node wide = add(mul(high, constant_int(std::int64_t{1} << 40)), low);
    EXPECT_EQ(compare(places(wide), 0), one);
  }
  const Node key = integers<std::int32_t>({4, 90}, DType::int32, -9, 9);
  EXPECT_EQ(compare(places(integers<std::int32_t>({2, 30}, DType::int32, -9, 9)), 0),
            Names{"reduce_columns"});
  // Columns; what is made of the places; another order, which is not one of keys.
  EXPECT_EQ(
      compare(places(permute(integers<std::int32_t>({90, 4}, DType::int32, -9, 9), {1, 0})), 0),
      one);
  EXPECT_EQ(compare(mul(places(key), key), 0), one);
  const Node rows = variable("rows", 1, 4);
  for (const std::int64_t count : {1, 4}) {
    EXPECT_EQ(compare(places(shrink(key, {0, Size(rows), 0, 90})), 0, {{"rows", count}}), one);
  }
}

TEST_F(Strategies, LargeSumsToOneResultAreOneKernel) {
  EXPECT_EQ(compare(reduce(ReduceOp::add, normal({300, 1003}), {0, 1}), 1e-4),
            Names{"reduce_rows"});
}

TEST_F(Strategies, MovementsVanishIntoIndices) {
  const Node x = normal({5, 9});
  const Node y = add(pad(x, {1, 2, 3, 0}), shrink(pad(x, {4, 4, 4, 4}), {1, 9, 2, 14}));
  EXPECT_EQ(compare(y, 0), Names{"map"});
  EXPECT_EQ(compare(flip(permute(normal({5, 9, 4}), {2, 0, 1}), {0, 2}), 0), Names{"map"});
  const Node every_second = shrink(reshape(normal({10, 32}), {10, 16, 2}), {0, 10, 0, 16, 1, 2});
  EXPECT_EQ(compare(reshape(every_second, {10, 16}), 0), Names{"map"});
}

TEST_F(Strategies, TranspositionTurnsSquaresAndOverlapsThemAtTheEdges) {
  const Names one = {"transposition"};
  const auto swapped = [&](const Shape& shape, DType dtype = DType::float32) {
    return permute(normal(shape, dtype), {1, 0});
  };
  EXPECT_EQ(compare(swapped({64, 128}), 0), one);
  EXPECT_EQ(compare(swapped({131, 67}), 0), one);
  EXPECT_EQ(compare(swapped({16, 1001}), 0), one);
  EXPECT_EQ(compare(swapped({131, 67}, DType::float16), 0), one);
  EXPECT_EQ(compare(permute(normal({3, 40, 5, 50}), {1, 2, 3, 0}), 0), Names{"map"});  // 3 of 4
  EXPECT_EQ(compare(permute(normal({3, 40, 5, 50}), {0, 2, 3, 1}), 0), one);
  EXPECT_EQ(compare(permute(normal({30, 2, 50}), {2, 1, 0}), 0), one);
  const Node both = add(normal({90, 70}), permute(normal({70, 90}), {1, 0}));
  EXPECT_EQ(compare(both, 1e-6), one);
}

TEST_F(Strategies, TranspositionTakesSymbolicRows) {
  const Node rows = variable("rows", 32, 100);
  const Node y = permute(shrink(normal({100, 40}), {0, Size(rows), 0, 40}), {1, 0});
  for (const std::int64_t count : {32, 33, 47, 100}) {
    EXPECT_EQ(compare(y, 0, {{"rows", count}}), Names{"transposition"});
  }
}

TEST_F(Strategies, DequantisationFusesIntoTheProduct) {
  const Node raw = integers<std::uint8_t>({64, 8, 18}, DType::uint8, 0, 0x3b);
  const Shape fields = {64, 8, 2, 16};
  const auto byte = [&](int i) {
    return cast(reshape(shrink(raw, {0, 64, 0, 8, i, i + 1}), {64, 8, 1, 1}), DType::uint16);
  };
  const Node bits = bit_or(byte(0), shl(byte(1), constant_int(8, DType::uint16)));
  const Node scale = expand(cast(bitcast(bits, DType::float16), DType::float32), fields);
  const Node nibbles = expand(reshape(shrink(raw, {0, 64, 0, 8, 2, 18}), {64, 8, 1, 16}), fields);
  const Node shift =
      expand(reshape(cast(mul(iota(2), constant_int(4)), DType::uint8), {1, 1, 2, 1}), fields);
  const Node value =
      cast(bit_and(shr(nibbles, shift), constant_int(15, DType::uint8)), DType::float32);
  const Node weight = reshape(mul(add(value, constant_float(-8)), scale), {64, 256});
  EXPECT_EQ(compare(product(normal({1, 256}), permute(weight, {1, 0})), 2e-5),
            Names{"matrix_vector"});
  EXPECT_EQ(compare(product(normal({37, 256}), permute(weight, {1, 0})), 2e-5),
            Names{"contraction"});
}

TEST_F(Strategies, QuotientsAndRemaindersByPowersOfTwoRoundTowardsZero) {
  const auto by = [](const Node& x, std::int64_t divisor) {
    const Node all = expand(reshape(constant_int(divisor, x.dtype()), {1}), x.shape());
    return std::pair(idiv(x, all), mod(x, all));
  };
  for (const std::int64_t divisor : {1, 2, 16, 64}) {
    const Node wide = integers<std::int32_t>({1003}, DType::int32, -5000, 5000);
    const Node narrow = integers<std::int8_t>({1003}, DType::int8, -128, 127);
    const Node bytes = integers<std::uint8_t>({1003}, DType::uint8, 0, 255);
    for (const Node& x : {wide, cast(wide, DType::int64), narrow, bytes}) {
      SCOPED_TRACE(std::string(name(x.dtype())) + " by " + std::to_string(divisor));
      const auto [quotient, rest] = by(x, divisor);
      compare(cast(quotient, DType::int32), 0);
      compare(cast(rest, DType::int32), 0);
    }
  }
}

}  // namespace
}  // namespace brisk
