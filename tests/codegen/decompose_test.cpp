// The error of exp2, log2 and sin as generated code has it, against long double, over every
// exponent.
#include <gtest/gtest.h>

#include <bit>
#include <cmath>
#include <random>

#include "codegen/run_kernel.h"

namespace brisk {
namespace {

using test::kernel_of;

// Distance in units of the last place of the correctly rounded result.
template <typename T>
double ulps(T got, long double exact) {
  const T rounded = static_cast<T>(exact);
  if (std::isnan(rounded) || std::isnan(got))
    return std::isnan(rounded) == std::isnan(got) ? 0 : 1e9;
  if (std::isinf(rounded) || std::isinf(got)) return rounded == got ? 0 : 1e9;
  using Limits = std::numeric_limits<T>;
  int exponent = 0;
  std::frexp(rounded, &exponent);
  const int lowest = Limits::min_exponent - Limits::digits;
  const long double unit = std::ldexp(1.0L, std::max(exponent - Limits::digits, lowest));
  return static_cast<double>(std::fabs(static_cast<long double>(got) - exact) / unit);
}

// Every exponent and sign with `per_exponent` mantissas, and what is special.
template <typename T, typename Bits>
std::vector<T> samples(int per_exponent) {
  constexpr int mantissa = std::numeric_limits<T>::digits - 1;
  constexpr int exponents = 1 << (sizeof(T) * 8 - 1 - mantissa);
  std::mt19937_64 random(7);
  std::vector<T> all;
  for (Bits e = 0; e < exponents; ++e) {
    for (int i = 0; i < per_exponent; ++i) {
      Bits m = static_cast<Bits>(random()) & ((Bits{1} << mantissa) - 1);
      if (i == 0) m = 0;
      if (i == 1) m = (Bits{1} << mantissa) - 1;
      all.push_back(std::bit_cast<T>(static_cast<Bits>(e << mantissa | m)));
      all.push_back(-all.back());
    }
  }
  while (all.size() % 16 != 0) all.push_back(0);
  return all;
}

template <typename T>
struct Worst {
  double ulps = 0;
  T at = 0;
};

template <typename T, typename Exact>
Worst<T> worst(DType dtype, Node (*op)(const Node&), Exact&& exact, const std::vector<T>& x,
               const Target& target, double (*distance)(T, long double) = ulps<T>) {
  const Node in = make_param(0, dtype);
  const Node out = make_param(1, dtype);
  const Node i = make_range(0, static_cast<std::int64_t>(x.size() / 16));
  const Node at = mul(i, constant_int(16));
  const Kernel kernel =
      kernel_of("unary", {dtype, dtype},
                loop(LoopKind::parallel, i, store_to(out, at, op(load_from(in, at, {}, 16)))));
  std::vector<T> y(x.size());
  test::run(kernel, {{x, y}, {}}, target);
  Worst<T> result;
  for (std::size_t k = 0; k < x.size(); ++k) {
    const double error = distance(y[k], exact(static_cast<long double>(x[k])));
    if (error > result.ulps) result = {error, x[k]};
  }
  return result;
}

// As an exact exp2 would be where the operation promises one; below, the least it may be off by.
template <typename T>
double ulps_or_zero(T got, long double exact) {
  constexpr long double small = 2 * static_cast<long double>(std::numeric_limits<T>::min());
  if (exact < small) return got >= 0 && got <= small ? 0 : 1e9;
  return ulps(got, exact);
}

// GNU's sinl is exact to 1 ulp of long double over its whole range.
const auto exact_exp2 = [](long double v) { return exp2l(v); };
const auto exact_log2 = [](long double v) { return log2l(v); };
const auto exact_sin = [](long double v) { return std::isinf(v) ? NAN : sinl(v); };

class DecomposeTest : public testing::TestWithParam<const char*> {
 protected:
  void SetUp() override {
    const std::string missing = test::missing_for_aarch64();
    if (target().isa != host_target().isa && !missing.empty()) GTEST_SKIP() << missing;
  }
  static Target target() { return test::target_of(GetParam()); }
};

TEST_P(DecomposeTest, Float32StaysWithinTwoUlp) {
  const auto everywhere = samples<float, std::uint32_t>(2000);
  std::vector<float> near_one;
  for (std::uint32_t b = 0x3f000000; b < 0x40000000; b += 37)
    near_one.push_back(std::bit_cast<float>(b));
  while (near_one.size() % 16 != 0) near_one.push_back(1);
  std::vector<float> exponents;  // exp2's whole domain
  for (float v = -152; v < 129; v += 0.00013F) exponents.push_back(v);
  std::vector<float> turns;
  for (int k = 0; k < 30000; ++k) {
    for (int d = -2; d <= 2; ++d) {
      const float v = static_cast<float>(k * 1.57079632679489661923);
      turns.push_back(std::bit_cast<float>(std::bit_cast<std::int32_t>(v) + (k > 0 ? d : 0)));
    }
  }
  for (std::uint32_t b = 0x45000000; b < 0x46800000; b += 97) {  // where reduction is hardest
    turns.push_back(std::bit_cast<float>(b));
  }
  for (auto* list : {&exponents, &turns}) {
    while (list->size() % 16 != 0) list->push_back(0);
  }
  const auto check = [&](const char* what, Node (*op)(const Node&), auto&& exact,
                         const std::vector<float>& x) {
    const auto w = worst(DType::float32, op, exact, x, target());
    RecordProperty(what, std::to_string(w.ulps));
    EXPECT_LE(w.ulps, 2.0) << what << "(" << w.at << ")";
    if (getenv("BRISK_PRINT_ULPS"))
      printf("%s %.3f at %a\n", what, w.ulps, static_cast<double>(w.at));
  };
  check("exp2", exp2, exact_exp2, everywhere);
  check("exp2", exp2, exact_exp2, exponents);
  check("log2", log2, exact_log2, everywhere);
  check("log2", log2, exact_log2, near_one);
  check("sin", sin, exact_sin, everywhere);
  check("sin", sin, exact_sin, turns);
}

TEST_P(DecomposeTest, Exp2OrZeroIsRightDownToTwiceTheLeastNormalNumber) {
  auto x = samples<float, std::uint32_t>(500);
  for (float v = -152; v < 129; v += 0.00013F) x.push_back(v);
  while (x.size() % 16 != 0) x.push_back(0);
  const auto w = worst(DType::float32, exp2_or_zero, exact_exp2, x, target(), ulps_or_zero<float>);
  EXPECT_LE(w.ulps, 2.0) << w.at;
}

TEST_P(DecomposeTest, Float64StaysWithinFourUlp) {
  const auto everywhere = samples<double, std::uint64_t>(100);
  std::vector<double> near_one;
  std::vector<double> exponents;
  std::vector<double> turns;
  for (double v = 0.5; v < 2; v += 0.0000137) near_one.push_back(v);
  for (double v = -1080; v < 1026; v += 0.0137) exponents.push_back(v);
  for (double k = 0; k < 1e7; k += 313) turns.push_back(k * 1.57079632679489661923);
  for (auto* list : {&near_one, &exponents, &turns}) {
    while (list->size() % 16 != 0) list->push_back(1);
  }
  const auto check = [&](const char* what, Node (*op)(const Node&), auto&& exact,
                         const std::vector<double>& x) {
    const auto w = worst(DType::float64, op, exact, x, target());
    EXPECT_LE(w.ulps, 4.0) << what << "(" << w.at << ")";
    if (getenv("BRISK_PRINT_ULPS")) printf("%s64 %.3f at %a\n", what, w.ulps, w.at);
  };
  check("exp2", exp2, exact_exp2, everywhere);
  check("exp2", exp2, exact_exp2, exponents);
  check("log2", log2, exact_log2, everywhere);
  check("log2", log2, exact_log2, near_one);
  check("sin", sin, exact_sin, everywhere);
  check("sin", sin, exact_sin, turns);
}

TEST_P(DecomposeTest, WholePowersOfTwoAreExact) {
  std::vector<float> narrow;
  std::vector<double> wide;
  for (int k = -149; k < 155; ++k) narrow.push_back(static_cast<float>(k));
  for (int k = -1074; k < 1070; ++k) wide.push_back(k);
  EXPECT_EQ(worst(DType::float32, exp2, exact_exp2, narrow, target()).ulps, 0);
  EXPECT_EQ(worst(DType::float64, exp2, exact_exp2, wide, target()).ulps, 0);
}

INSTANTIATE_TEST_SUITE_P(Targets, DecomposeTest,
                         testing::Values("host", "x86-64-v2", "x86-64-v3", "neoverse-n1"));

}  // namespace
}  // namespace brisk
