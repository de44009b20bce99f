// Accuracy of the mathematical functions against the C library in double precision, over ranges
// that hold their zeros, poles, cancellations and overflows.
#include <functional>
#include <limits>
#include <random>

#include "tensor/tensor_test.h"

namespace brisk {
namespace {

using MathTest = TensorTest;

struct Function {
  const char* name;
  Tensor (*ours)(const Tensor&);
  double (*theirs)(double);
  std::vector<std::pair<double, double>> ranges;
  double relative;      // in float32
  double absolute = 0;  // where the function crosses 0 and the arguments' own rounding counts
};

double inverse_sqrt(double x) { return 1 / std::sqrt(x); }
double inverse(double x) { return 1 / x; }
double logistic(double x) { return 1 / (1 + std::exp(-x)); }
double gelu_exact(double x) { return 0.5 * x * std::erfc(-x / std::sqrt(2.0)); }
double softplus_exact(double x) { return x > 20 ? x : std::log1p(std::exp(x)); }
double log_sigmoid(double x) {
  return x < 0 ? x - std::log1p(std::exp(x)) : -std::log1p(std::exp(-x));
}
double silu_exact(double x) { return x * logistic(x); }
double mish_exact(double x) { return x * std::tanh(std::log1p(std::exp(x))); }
double elu_exact(double x) { return x > 0 ? x : std::expm1(x); }
Tensor gelu_default(const Tensor& x) { return gelu(x); }
Tensor softplus_default(const Tensor& x) { return softplus(x); }
Tensor elu_default(const Tensor& x) { return elu(x); }

constexpr double tiny = 1e-30;
const std::vector<Function> functions = {
    {"exp", exp, std::exp, {{-1, 1}, {-20, 20}}, 2e-6},
    {"exp2", exp2, std::exp2, {{-120, 120}}, 2e-7},
    {"expm1", expm1, std::expm1, {{-1e-6, 1e-6}, {-1, 1}, {-20, 20}}, 2e-6},
    {"log", log, std::log, {{1e-30, 1e-20}, {0.5, 1.5}, {1, 1e30}}, 3e-7},
    {"log2", log2, std::log2, {{1e-30, 1e-20}, {0.5, 1.5}, {1, 1e30}}, 2e-7},
    {"log10", log10, std::log10, {{0.5, 1.5}, {1, 1e30}}, 3e-7},
    {"log1p", log1p, std::log1p, {{-1e-6, 1e-6}, {-0.999, 1}, {1, 1e10}}, 5e-7},
    {"sqrt", sqrt, std::sqrt, {{0, 1}, {1, 1e30}}, 1e-7},
    {"rsqrt", rsqrt, inverse_sqrt, {{1e-3, 1}, {1, 1e30}}, 2e-7},
    {"reciprocal", reciprocal, inverse, {{1e-3, 1}, {-1e30, -1}}, 1e-7},
    {"sin", sin, std::sin, {{-1e-3, 1e-3}, {-10, 10}, {-1e5, 1e5}}, 2e-7, 1e-30},
    {"cos", cos, std::cos, {{-10, 10}, {-1e5, 1e5}}, 2e-7, 3e-7},
    {"tan", tan, std::tan, {{-1e-3, 1e-3}, {-1.57, 1.57}, {-10, 10}, {-1000, 1000}}, 2e-6, 1e-7},
    {"asin", asin, std::asin, {{-1e-3, 1e-3}, {-1, 1}}, 4e-7},
    {"acos", acos, std::acos, {{-1, 1}}, 6e-7, 1e-7},
    {"atan", atan, std::atan, {{-1e-3, 1e-3}, {-2, 2}, {-1e10, 1e10}}, 4e-7},
    {"sinh", sinh, std::sinh, {{-1e-3, 1e-3}, {-2, 2}, {-20, 20}}, 2e-6},
    {"cosh", cosh, std::cosh, {{-20, 20}}, 2e-6},
    {"tanh", tanh, std::tanh, {{-1e-3, 1e-3}, {-2, 2}, {-100, 100}}, 6e-7},
    {"asinh", asinh, std::asinh, {{-1e-3, 1e-3}, {-2, 2}, {-1e20, 1e20}}, 8e-7},
    {"acosh", acosh, std::acosh, {{1.001, 3}, {1, 1e20}}, 1e-6},
    {"atanh", atanh, std::atanh, {{-1e-3, 1e-3}, {-0.99, 0.99}}, 1e-6},
    {"erf", erf, std::erf, {{-1e-3, 1e-3}, {-2, 2}, {-10, 10}}, 5e-7},
    {"erfc", erfc, std::erfc, {{-5, 0.9}, {0.9, 4}}, 3e-6},
    {"sigmoid", sigmoid, logistic, {{-20, 20}}, 2e-6},
    {"silu", silu, silu_exact, {{-20, 20}}, 2e-6},
    {"gelu", gelu_default, gelu_exact, {{-4, 4}}, 4e-6, tiny},
    {"softplus", softplus_default, softplus_exact, {{-20, 30}}, 2e-6},
    {"logsigmoid", logsigmoid, log_sigmoid, {{-30, 20}}, 2e-6},
    {"mish", mish, mish_exact, {{-20, 20}}, 3e-6},
    {"elu", elu_default, elu_exact, {{-1e-6, 1e-6}, {-20, 5}}, 2e-6},
};

TEST_F(MathTest, MatchesTheCLibraryOverItsRange) {
  std::mt19937 random(7);
  for (const Function& f : functions) {
    for (const auto& [from, to] : f.ranges) {
      std::uniform_real_distribution<double> draw(from, to);
      std::vector<float> x(2000);
      for (float& value : x) value = static_cast<float>(draw(random));
      const std::vector<double> got = f.ours(tensor(x)).to_vector<double>();
      double worst = 0;
      float at = 0;
      for (std::size_t i = 0; i < x.size(); ++i) {
        const double want = f.theirs(x[i]);
        const double error = std::fabs(got[i] - want) / (std::fabs(want) + f.absolute / f.relative);
        if (error > worst || std::isnan(error)) {
          worst = error;
          at = x[i];
        }
      }
      EXPECT_LE(worst, f.relative) << f.name << " at " << at << ", from " << from << " to " << to;
    }
  }
}

TEST_F(MathTest, Float64ReachesDoublePrecision) {
  std::mt19937 random(8);
  for (const Function& f : functions) {
    if (f.absolute > 0) continue;  // zeros away from 0, where the argument's rounding counts: below
    for (const auto& [from, to] : f.ranges) {
      std::uniform_real_distribution<double> draw(from, to);
      std::vector<double> x(500);
      for (double& value : x) value = draw(random);
      const std::vector<double> got = f.ours(tensor(x)).to_vector<double>();
      for (std::size_t i = 0; i < x.size(); ++i) {
        const double want = f.theirs(x[i]);
        const double error = std::fabs(got[i] - want) / (std::fabs(want) + 1e-9);
        ASSERT_LE(error, 3e-14) << f.name << " at " << x[i];
      }
    }
  }
}

TEST_F(MathTest, Float64AnglesReachDoublePrecision) {
  std::vector<double> x;
  for (int i = -200; i <= 200; ++i) x.push_back(i * 0.0731);
  const Tensor angles = tensor(x);
  std::vector<double> sines, cosines, tangents;
  for (const double v : x) {
    sines.push_back(std::sin(v));
    cosines.push_back(std::cos(v));
    tangents.push_back(std::tan(v));
  }
  const auto n = static_cast<std::int64_t>(x.size());
  expect_values(sin(angles), {n}, sines, 1e-15);
  expect_values(cos(angles), {n}, cosines, 1e-15);
  expect_values(tan(angles), {n}, tangents, 1e-14);
}

TEST_F(MathTest, KeepsInfinityAndNaN) {
  const float inf = std::numeric_limits<float>::infinity();
  const float nan = std::numeric_limits<float>::quiet_NaN();
  const double no = nan;
  const Tensor x = tensor<float>({inf, -inf, nan});
  const auto expect = [&](const Tensor& y, double a, double b) {
    expect_values(y, {3}, {a, b, no});
  };
  expect(exp(x), inf, 0);
  expect(expm1(x), inf, -1);
  expect(log(x), inf, no);
  expect(log1p(x), inf, no);
  expect(tanh(x), 1, -1);
  expect(sinh(x), inf, -inf);
  expect(cosh(x), inf, inf);
  expect(asinh(x), inf, -inf);
  expect(acosh(x), inf, no);
  expect(erf(x), 1, -1);
  expect(erfc(x), 0, 2);
  expect(sigmoid(x), 1, 0);
  expect(floor(x), inf, -inf);
  expect(round(x), inf, -inf);
  expect(trunc(x), inf, -inf);
  expect(relu(x), inf, 0);
  expect(abs(x), inf, inf);
  expect(softplus(x), inf, 0);
  expect(gelu(x), inf, no);
  expect_values(atan(x), {3}, {std::atan(inf), std::atan(-inf), no}, 1e-6);
  expect_values(sign(x), {3}, {1, -1, 0});
  expect_values(atanh(tensor<float>({1, -1, 2})), {3}, {inf, -inf, no});
  expect_values(log(tensor<float>({0, -1})), {2}, {-inf, no});
  expect_values(isnan(x), {3}, {0, 0, 1});
  expect_values(isinf(x), {3}, {1, 1, 0});
  expect_values(isfinite(x), {3}, {0, 0, 0});
}

TEST_F(MathTest, RoundsHalfToEven) {
  const Tensor x = tensor<float>({-2.5, -1.5, -0.5, 0.5, 1.5, 2.5, 0.49999997F, 8388609, -7.7F});
  expect_values(round(x), {9}, {-2, -2, 0, 0, 2, 2, 0, 8388609, -8});
  expect_values(floor(x), {9}, {-3, -2, -1, 0, 1, 2, 0, 8388609, -8});
  expect_values(ceil(x), {9}, {-2, -1, 0, 1, 2, 3, 1, 8388609, -7});
  expect_values(trunc(x), {9}, {-2, -1, 0, 0, 1, 2, 0, 8388609, -7});
  expect_values(round(tensor<int>({3, -4})), {2}, {3, -4});
}

TEST_F(MathTest, PowerFollowsPyTorchsSpecialCases) {
  const double inf = std::numeric_limits<double>::infinity();
  const double nan = std::numeric_limits<double>::quiet_NaN();
  std::vector<float> bases, exponents;
  std::vector<double> want;
  const std::vector<double> values = {0, 1, -1, 2, -2, 0.5, 3, -3, inf, -inf, nan, 2.5, -0.5};
  for (const double a : values) {
    for (const double b : values) {
      bases.push_back(static_cast<float>(a));
      exponents.push_back(static_cast<float>(b));
      want.push_back(std::pow(a, b));
    }
  }
  const auto n = static_cast<std::int64_t>(want.size());
  expect_values(pow(tensor(bases), tensor(exponents)), {n}, want, 1e-6);
  expect_values(pow(tensor<int>({2, -3, 0}), 3), {3}, {8, -27, 0});
  expect_values(pow(tensor<int>({2, -3, 1, -1}), tensor<int>({5, 4, -2, -3})), {4},
                {32, 81, 1, -1});
  expect_values(pow(tensor<float>({2, 9}), 0.5), {2}, {std::sqrt(2.0F), 3});
  expect_values(pow(2.0, tensor<float>({-1, 10})), {2}, {0.5, 1024}, 1e-6);
}

TEST_F(MathTest, RemaindersAreExact) {
  std::mt19937 random(9);
  std::uniform_real_distribution<float> draw(-1000, 1000);
  std::vector<float> a(3000), b(3000);
  std::vector<double> want_fmod, want_remainder, want_floor;
  for (std::size_t i = 0; i < a.size(); ++i) {
    a[i] = draw(random) * (i % 3 == 0 ? 1000.0F : 1.0F);
    b[i] = draw(random) / (i % 2 == 0 ? 100.0F : 1.0F);
    if (std::fabs(a[i] / b[i]) >= 0x1p23F) b[i] = 7;
    const float rest = std::fmod(a[i], b[i]);
    want_fmod.push_back(rest);
    want_remainder.push_back(rest != 0 && (rest < 0) != (b[i] < 0) ? rest + b[i] : rest);
    want_floor.push_back(std::floor(static_cast<double>(a[i]) / b[i]));
  }
  expect_values(fmod(tensor(a), tensor(b)), {3000}, want_fmod);
  expect_values(remainder(tensor(a), tensor(b)), {3000}, want_remainder);
  expect_values(floor_divide(tensor(a), tensor(b)), {3000}, want_floor);
  const Tensor x = tensor<int>({7, -7, 7, -7});
  const Tensor y = tensor<int>({3, 3, -3, -3});
  expect_values(fmod(x, y), {4}, {1, -1, 1, -1});
  expect_values(remainder(x, y), {4}, {1, 2, -2, -1});
  expect_values(floor_divide(x, y), {4}, {2, -3, -3, 2});
}

TEST_F(MathTest, Atan2KnowsEveryQuadrantAndSign) {
  const double inf = std::numeric_limits<double>::infinity();
  std::vector<float> ys, xs;
  std::vector<double> want;
  for (const double y : {0.0, -0.0, 1.0, -1.0, 0.3, -3.0, inf, -inf}) {
    for (const double x : {0.0, -0.0, 1.0, -1.0, 0.3, -3.0, inf, -inf}) {
      ys.push_back(static_cast<float>(y));
      xs.push_back(static_cast<float>(x));
      want.push_back(std::atan2(y, x));
    }
  }
  const auto n = static_cast<std::int64_t>(want.size());
  expect_values(atan2(tensor(ys), tensor(xs)), {n}, want, 4e-7);
}

TEST_F(MathTest, NarrowFloatsAreComputedInFloat32) {
  const Tensor x = tensor<float>({0.1F, 3, -2, 7});
  for (const DType dtype : {DType::float16, DType::bfloat16}) {
    const Tensor narrow = x.cast(dtype);
    const Tensor got = gelu(narrow);
    EXPECT_EQ(got.dtype(), dtype);
    expect_values(got, {4}, gelu(narrow.cast(DType::float32)).cast(dtype).to_vector<double>());
  }
  // 4096 ones: a sum in float16 would stop at 2048.
  expect_values(sum(ones({4096}, DType::float16)), {}, {4096});
  expect_values(mean(full({5000}, 3, DType::float16)), {}, {3});
}

}  // namespace
}  // namespace brisk
