// Mathematical functions out of exp2, log2, sin, sqrt, recip and polynomials. Computed in float32,
// or in float64 for float64. Each is arranged so that nothing cancels and no branch that is not
// taken overflows where the taken one does not (its gradient would be NaN).
//
// The polynomials are Chebyshev fits made for this file, lowest coefficient first; the relative
// error of the fit is below 4e-8 for float32 and 1e-16 for float64.
#include <cmath>
#include <limits>
#include <numbers>
#include <span>

#include "brisk/functions.h"
#include "tensor/in_float.h"
#include "tensor/own_gradient.h"

namespace brisk {

namespace {

constexpr double ln2 = std::numbers::ln2;
constexpr double log2e = std::numbers::log2e;
constexpr double pi = std::numbers::pi;
constexpr double infinity = std::numeric_limits<double>::infinity();

Tensor unary(Node (*op)(const Node&), const Tensor& x) {
  return in_float(x, [op](const Tensor& y) { return tensor_of(op(node_of(y))); });
}

// f in x's compute dtype, with a derivative in terms of x and of f(x).
template <typename F, typename D>
Tensor smooth(const Tensor& x, F f, D derivative) {
  return in_float(x, [&](const Tensor& y) { return with_derivative(y, f, derivative); });
}

struct Polynomial {
  std::span<const double> narrow;
  std::span<const double> wide;
  Tensor operator()(const Tensor& z) const {
    const std::span<const double> c = z.dtype() == DType::float64 ? wide : narrow;
    Tensor result = c.back();
    for (std::size_t i = c.size() - 1; i-- > 0;) result = result * z + c[i];
    return result;
  }
};

// sign(x)·magnitude, keeping NaN.
Tensor with_sign(const Tensor& magnitude, const Tensor& x) {
  return where(x < 0, -magnitude, magnitude);
}

}  // namespace

// ---- roots, exponentials, logarithms ------------------------------------------------------------

Tensor sqrt(const Tensor& x) {
  const Call call("sqrt");
  return unary(brisk::sqrt, x);
}
Tensor reciprocal(const Tensor& x) {
  const Call call("reciprocal");
  return unary(brisk::recip, x);
}
Tensor rsqrt(const Tensor& x) {
  const Call call("rsqrt");
  return in_float(x, [](const Tensor& y) { return reciprocal(sqrt(y)); });
}
Tensor exp2(const Tensor& x) {
  const Call call("exp2");
  return unary(brisk::exp2, x);
}
Tensor exp2_or_zero(const Tensor& x) { return unary(brisk::exp2_or_zero, x); }
Tensor exp(const Tensor& x) {
  const Call call("exp");
  return in_float(x, [](const Tensor& y) { return exp2(y * log2e); });
}
Tensor log2(const Tensor& x) {
  const Call call("log2");
  return unary(brisk::log2, x);
}
Tensor log(const Tensor& x) {
  const Call call("log");
  return in_float(x, [](const Tensor& y) { return log2(y) * ln2; });
}
Tensor log10(const Tensor& x) {
  const Call call("log10");
  return in_float(x, [](const Tensor& y) { return log2(y) * (ln2 / std::numbers::ln10); });
}

// Kahan's forms: with u the rounded 1 + x (or e^x), log(u)·x / (u - 1) has the errors of u in both
// factors, where they cancel (W. Kahan; Higham, "Accuracy and Stability of Numerical Algorithms",
// 1.14.1). Only near 0 are they needed.
Tensor log1p(const Tensor& x) {
  const Call call("log1p");
  return smooth(
      x,
      [](const Tensor& y) {
        const Tensor near = y.abs() < 0.5;
        const Tensor small = where(near, y, 0.25);
        const Tensor u = small + 1;
        const Tensor moved = u - 1;
        const Tensor kahan = where(moved == 0, small, log(u) * small / where(moved == 0, 1, moved));
        return where(near, kahan, log(y + 1));
      },
      [](const Tensor& y, const Tensor&) { return reciprocal(y + 1); });
}
Tensor expm1(const Tensor& x) {
  const Call call("expm1");
  return smooth(
      x,
      [](const Tensor& y) {
        const Tensor near = y.abs() < 0.5;
        const Tensor small = where(near, y, 0.25);
        const Tensor u = exp(small);
        const Tensor still = u == 1;
        const Tensor kahan = where(still, small, (u - 1) * small / log(where(still, 2, u)));
        return where(near, kahan, exp(y) - 1);
      },
      [](const Tensor&, const Tensor& f) { return f + 1; });
}

// ---- trigonometry -------------------------------------------------------------------------------

Tensor sin(const Tensor& x) {
  const Call call("sin");
  return unary(brisk::sin, x);
}

// 1 - 2 sin²(x/2) keeps the whole range of sin, which x + π/2 would lose to rounding.
Tensor cos(const Tensor& x) {
  const Call call("cos");
  return smooth(
      x,
      [](const Tensor& y) {
        const Tensor s = sin(y * 0.5);
        return 1 - (s + s) * s;
      },
      [](const Tensor& y, const Tensor&) { return -sin(y); });
}

// cos x = -(-1)ⁿ sin r with r = x - (n + 1/2)π, n = floor(x / π): exact near its zeros, where the
// form above would leave only the absolute error. π is subtracted in three parts (Cody and Waite),
// the first two short enough that their products with n are exact.
Tensor tan(const Tensor& x) {
  const Call call("tan");
  return smooth(
      x,
      [](const Tensor& y) {
        const bool wide = y.dtype() == DType::float64;
        const double high = wide ? 3.1415926218032837 : 3.140625;
        const double middle = wide ? 3.1786509424591713e-08 : 0.0009675025939941406;
        const double low = wide ? 1.2246467991473532e-16 : 1.5099579909783765e-07;
        const Tensor n = floor(y * (1 / pi));
        const Tensor half = n + 0.5;
        const Tensor r = ((y - half * high) - half * middle) - half * low;
        const Tensor cosine = sin(r);
        const Tensor odd = n - 2 * floor(n * 0.5);
        return sin(y) / (cosine * (2 * odd - 1));
      },
      [](const Tensor&, const Tensor& f) { return f * f + 1; });
}

namespace {

constexpr double atan_narrow[] = {1.0,          -0.333333225,   0.199995581,  -0.14278576,
                                  0.110507713,  -0.0878504328,  0.0668528152, -0.0439284107,
                                  0.0219129459, -0.00703066947, 0.00105760744};
constexpr double atan_wide[] = {1.0,
                                -0.33333333333333248,
                                0.19999999999986157,
                                -0.14285714284820429,
                                0.11111111080383853,
                                -0.090909084403388434,
                                0.07692298432985685,
                                -0.066665728062897632,
                                0.05881647236717415,
                                -0.052591037894858817,
                                0.047437059664321696,
                                -0.042828645702794474,
                                0.038129809754225042,
                                -0.032641162929770772,
                                0.025947105703956303,
                                -0.018386836817918876,
                                0.011122014669752633,
                                -0.0054847789718093558,
                                0.0020906335352636761,
                                -0.00057279257812920966,
                                9.9784108119530314e-5,
                                -8.2679958173371502e-6};
constexpr Polynomial atan_ratio{atan_narrow, atan_wide};  // atan(t) / t over t², t in 0 … 1

constexpr double asin_narrow[] = {1.0,          0.166666576, 0.0750057138, 0.0445087095,
                                  0.0318571889, 0.014295256, 0.0376771383};
constexpr double asin_wide[] = {1.0,
                                0.16666666666666795,
                                0.074999999999666106,
                                0.044642857176863219,
                                0.030381942642327186,
                                0.022372216106072146,
                                0.017351600625343435,
                                0.01398088299217101,
                                0.011398850408440756,
                                0.010778675120995992,
                                0.0037180577483250539,
                                0.021668058869056359,
                                -0.02093065831518245,
                                0.03257934796692842};
constexpr Polynomial asin_ratio{asin_narrow, asin_wide};  // asin(s) / s over s², s in 0 … 1/2

// For |x| > 1/2, asin |x| = π/2 - 2 asin(sqrt((1 - |x|) / 2)).
struct HalfAngle {
  Tensor far;   // |x| > 1/2
  Tensor core;  // asin of |x|, or of the square root
};
HalfAngle half_angle(const Tensor& x) {
  const Tensor a = x.abs();
  const Tensor far = a > 0.5;
  const Tensor z = where(far, (1 - a) * 0.5, a * a);
  const Tensor s = where(far, sqrt(where(far, z, 1)), a);
  return {far, s * asin_ratio(z)};
}

}  // namespace

Tensor asin(const Tensor& x) {
  const Call call("asin");
  return smooth(
      x,
      [](const Tensor& y) {
        const auto [far, core] = half_angle(y);
        return with_sign(where(far, pi / 2 - 2 * core, core), y);
      },
      [](const Tensor& y, const Tensor&) { return rsqrt(1 - y * y); });
}
Tensor acos(const Tensor& x) {
  const Call call("acos");
  return smooth(
      x,
      [](const Tensor& y) {
        const auto [far, core] = half_angle(y);
        const Tensor twice = core + core;
        return where(far, where(y < 0, pi - twice, twice), pi / 2 - with_sign(core, y));
      },
      [](const Tensor& y, const Tensor&) { return -rsqrt(1 - y * y); });
}
Tensor atan(const Tensor& x) {
  const Call call("atan");
  return smooth(
      x,
      [](const Tensor& y) {
        const Tensor a = y.abs();
        const Tensor far = a > 1;
        const Tensor t = where(far, reciprocal(where(far, a, 1)), a);
        const Tensor angle = t * atan_ratio(t * t);
        return with_sign(where(far, pi / 2 - angle, angle), y);
      },
      [](const Tensor& y, const Tensor&) { return reciprocal(y * y + 1); });
}

namespace {

Tensor angle_of(const Tensor& b, const Tensor& a) {
  const Tensor rise = b.abs();
  const Tensor run = a.abs();
  const Tensor steep = rise > run;
  const Tensor longer = maximum(rise, run);
  // inf / inf stands for 1, and 0 / 0 for 0.
  const Tensor both = isinf(rise) & isinf(run);
  const Tensor t = where(both, 1, minimum(rise, run) / where(longer == 0, 1, longer));
  const Tensor octant = t * atan_ratio(t * t);
  const Tensor quadrant = where(steep, pi / 2 - octant, octant);
  // The sign bit decides, so that -0 counts as negative.
  const bool wide = a.dtype() == DType::float64;
  const auto negative = [&](const Tensor& v) {
    return v.bitcast(wide ? DType::int64 : DType::int32) < 0;
  };
  const Tensor angle = where(negative(a), pi - quadrant, quadrant);
  return where(negative(b), -angle, angle);
}

}  // namespace

Tensor atan2(const Tensor& y, const Tensor& x) {
  const Call call("atan2");
  const DType dtype = float_result(result_type({&y, &x}));
  const std::vector<Tensor> both =
      broadcast_tensors({y.cast(compute_dtype(dtype)), x.cast(compute_dtype(dtype))});
  return with_own_gradient(
             both, [&] { return angle_of(both[0], both[1]); },
             [](const Tensor&, const std::vector<Tensor>& in, const Tensor& g) {
               const Tensor share = g / (square(in[0]) + square(in[1]));
               return std::vector<Tensor>{share * in[1], -share * in[0]};
             })
      .cast(dtype);
}

// ---- hyperbolic ---------------------------------------------------------------------------------

namespace {

constexpr double sinh_narrow[] = {1.0, 0.166666664, 0.00833335321, 0.000198357139, 2.81901879e-6};
constexpr double sinh_wide[] = {1.0,
                                0.16666666666666667,
                                0.0083333333333333336,
                                0.0001984126984126956,
                                2.7557319224130423e-6,
                                2.5052108343703008e-8,
                                1.6059050915662823e-10,
                                7.6464643282108857e-13,
                                2.8486822384154119e-15};
constexpr Polynomial sinh_ratio{sinh_narrow, sinh_wide};  // sinh(x) / x over x², |x| < 1

constexpr double tanh_narrow[] = {0.999999963, -0.333327398, 0.133178147, -0.0525254003,
                                  0.0161973167};
constexpr double tanh_wide[] = {
    0.99999999999999998,    -0.33333333333331413,    0.13333333333084939,   -0.05396825384264057,
    0.021869485269589369,   -0.0088631857982785464,  0.0035916536149754802, -0.0014529045982125511,
    0.00057824321770758469, -0.00020888323493631493, 5.0063076358166978e-5};
constexpr Polynomial tanh_ratio{tanh_narrow, tanh_wide};  // tanh(x) / x over x², |x| < 0.55

}  // namespace

Tensor sinh(const Tensor& x) {
  const Call call("sinh");
  return smooth(
      x,
      [](const Tensor& y) {
        const Tensor a = y.abs();
        const Tensor near = a < 1;
        const Tensor small = where(near, a, 0);
        const Tensor half = exp(where(near, 1, a) - ln2);  // e^a / 2, which overflows last
        return with_sign(where(near, small * sinh_ratio(small * small), half - 0.25 / half), y);
      },
      [](const Tensor& y, const Tensor&) { return cosh(y); });
}
Tensor cosh(const Tensor& x) {
  const Call call("cosh");
  return smooth(
      x,
      [](const Tensor& y) {
        const Tensor half = exp(y.abs() - ln2);
        return half + 0.25 / half;
      },
      [](const Tensor& y, const Tensor&) { return sinh(y); });
}
Tensor tanh(const Tensor& x) {
  const Call call("tanh");
  return smooth(
      x,
      [](const Tensor& y) {
        const Tensor a = y.abs();
        const Tensor near = a < 0.55;
        const Tensor small = where(near, y, 0);
        const Tensor e = exp2_or_zero(a * (-2 * log2e));
        return where(near, small * tanh_ratio(small * small), with_sign((1 - e) / (1 + e), y));
      },
      [](const Tensor&, const Tensor& f) { return 1 - f * f; });
}

namespace {
constexpr double far_out = 1e9;  // beyond, x² + 1 is x² and log(2x) is exact enough
}

Tensor asinh(const Tensor& x) {
  const Call call("asinh");
  return smooth(
      x,
      [](const Tensor& y) {
        const Tensor a = y.abs();
        const Tensor far = a > far_out;
        const Tensor b = where(far, 1, a);
        const Tensor z = b * b;
        const Tensor near = log1p(b + z / (1 + sqrt(z + 1)));
        return with_sign(where(far, log(where(far, a, 1)) + ln2, near), y);
      },
      [](const Tensor& y, const Tensor&) { return rsqrt(y * y + 1); });
}
Tensor acosh(const Tensor& x) {
  const Call call("acosh");
  return smooth(
      x,
      [](const Tensor& y) {
        const Tensor far = y > far_out;
        const Tensor t = where(far, 1, y) - 1;
        return where(far, log(where(far, y, 1)) + ln2, log1p(t + sqrt(t * (t + 2))));
      },
      [](const Tensor& y, const Tensor&) { return rsqrt(y * y - 1); });
}
Tensor atanh(const Tensor& x) {
  const Call call("atanh");
  return smooth(
      x,
      [](const Tensor& y) {
        const Tensor a = y.abs();
        return with_sign(0.5 * log1p((a + a) / (1 - a)), y);
      },
      [](const Tensor& y, const Tensor&) { return reciprocal(1 - y * y); });
}

// ---- error function -----------------------------------------------------------------------------

namespace {

constexpr double erf_narrow[] = {1.12837917,    -0.376126267,    0.112835947,  -0.026854212,
                                 0.00518908742, -0.000801686429, 7.87587506e-5};
constexpr double erf_wide[] = {
    1.1283791670955126,    -0.37612638903183748,    0.11283791670954879,    -0.026866170645076793,
    0.0052239776248180145, -0.00085483269808337899, 0.00012055331111642711, -1.4925595266831182e-5,
    1.6461000484121368e-6, -1.6350312701054695e-7,  1.4659775274047436e-8,  -1.1372848856791674e-9,
    5.9571761477489114e-11};
constexpr Polynomial erf_ratio{erf_narrow, erf_wide};  // erf(x) / x over x², |x| < 1

constexpr double erfcx_narrow[] = {0.282092989,  0.282168598,  0.245628733,
                                   0.186616523,  0.0326311316, 0.146917492,
                                   -0.315514137, 0.162142147,  -0.0224327128};
constexpr double erfcx_wide[] = {
    0.28209479177467068,   0.28209479169612765,    0.24683294628431352,   0.1763091502735505,
    0.083748637006986017,  -0.0044309652649177609, -0.056518762738182933, -0.055187451088168018,
    0.0063066611323210877, 0.0051702239739116105,  0.19872274320924856,   -0.32433587642030796,
    0.1941884345636557,    0.91462210838357205,    -5.0655799343892932,   12.819737359415609,
    -19.91199308843641,    20.546885052646018,     -14.324889719616863,   6.5546580876539248,
    -1.7913563206388955,   0.22292186249606479};
// erfc(x) exp(x²) / t over t = 1 / (1 + x/2), x in 0.8 … 28
constexpr Polynomial erfcx_ratio{erfcx_narrow, erfcx_wide};

// erf for |x| < 1 and erfc for x >= 1, of x's magnitude.
struct ErrorParts {
  Tensor near;
  Tensor inner;  // erf(|x|) where near
  Tensor outer;  // erfc(|x|) where not
};
ErrorParts error_parts(const Tensor& x) {
  const Tensor a = x.abs();
  const Tensor near = a < 1;
  const Tensor small = where(near, a, 0);
  const Tensor large = minimum(where(near, 1, a), 28);  // erfc(28) is 0 in float64 too
  const Tensor t = reciprocal(1 + 0.5 * large);
  return {near, small * erf_ratio(small * small),
          exp2(large * large * -log2e) * t * erfcx_ratio(t)};
}

// 2/sqrt(π) e^(-x²), the slope of erf.
Tensor bell(const Tensor& x) { return exp2(x * x * -log2e) * std::numbers::inv_sqrtpi * 2; }

}  // namespace

Tensor erf(const Tensor& x) {
  const Call call("erf");
  return smooth(
      x,
      [](const Tensor& y) {
        const auto [near, inner, outer] = error_parts(y);
        return with_sign(where(near, inner, 1 - outer), y);
      },
      [](const Tensor& y, const Tensor&) { return bell(y); });
}
Tensor erfc(const Tensor& x) {
  const Call call("erfc");
  return smooth(
      x,
      [](const Tensor& y) {
        const auto [near, inner, outer] = error_parts(y);
        const Tensor below = where(near, 1 + inner, 2 - outer);
        return where(y < 0, below, where(near, 1 - inner, outer));
      },
      [](const Tensor& y, const Tensor&) { return -bell(y); });
}

}  // namespace brisk
