// Rounding to integers, and powers.
#include <cmath>
#include <limits>
#include <numbers>

#include "brisk/create.h"
#include "tensor/in_float.h"
#include "tensor/own_gradient.h"

namespace brisk {

// ---- rounding -----------------------------------------------------------------------------------

namespace {

// Magnitudes from here on are integers.
double integers_from(DType dtype) { return dtype == DType::float64 ? 0x1p52 : 0x1p23; }

template <typename F>
Tensor rounded(const Tensor& x, F f) {
  want_defined(x, "the tensor");
  if (!is_float(x.dtype())) return x;
  return in_float(x, [&f](const Tensor& wide) {
    return with_no_slope(wide, [&f](const Tensor& y) {
      const Tensor fractional = y.abs() < integers_from(y.dtype());  // false for NaN
      const DType integer = y.dtype() == DType::float64 ? DType::int64 : DType::int32;
      const Tensor whole = where(fractional, y, 0).cast(integer);
      return where(fractional, f(y, whole, whole.cast(y.dtype())), y);
    });
  });
}

}  // namespace

Tensor trunc(const Tensor& x) {
  const Call call("trunc");
  return rounded(x, [](const Tensor&, const Tensor&, const Tensor& t) { return t; });
}
Tensor floor(const Tensor& x) {
  const Call call("floor");
  return rounded(x, [](const Tensor& y, const Tensor&, const Tensor& t) {
    return t - (y < t).cast(t.dtype());
  });
}
Tensor ceil(const Tensor& x) {
  const Call call("ceil");
  return rounded(x, [](const Tensor& y, const Tensor&, const Tensor& t) {
    return t + (y > t).cast(t.dtype());
  });
}
Tensor round(const Tensor& x) {
  const Call call("round");
  return rounded(x, [](const Tensor& y, const Tensor& whole, const Tensor& t) {
    const Tensor rest = (y - t).abs();
    const Tensor up = (rest > 0.5) | ((rest == 0.5) & ((whole & 1) != 0));
    return t + where(up, where(y < 0, -1.0, 1.0), 0.0).cast(t.dtype());
  });
}
Tensor frac(const Tensor& x) {
  const Call call("frac");
  return x - trunc(x);
}

// ---- powers -------------------------------------------------------------------------------------

namespace {

// x^n for a whole n >= 0, by squaring.
Tensor power(const Tensor& x, std::int64_t n) {
  Tensor result;
  Tensor square = x;
  for (; n > 0; n >>= 1) {
    if ((n & 1) != 0) result = result.defined() ? result * square : square;
    if (n > 1) square = square * square;
  }
  return result.defined() ? result : ones_like(x);
}

// Integers to integers: 0 where the exponent is negative and the base neither 1 nor -1.
Tensor integer_power(const Tensor& a, const Tensor& b, DType dtype) {
  Tensor base = a.cast(dtype);
  const Tensor exponent = b.cast(dtype);
  const Tensor odd = (exponent & 1) != 0;
  Tensor negative =
      where(base == 1, 1, where(odd & (base == constant_of(-1, base)), base, 0)).cast(dtype);
  if (is_signed(dtype)) negative = where((base == -1) & ~odd, 1, negative).cast(dtype);
  Tensor result = ones_like(base);
  for (int bit = 0; bit < bit_size(dtype); ++bit) {
    const Tensor set = ((exponent >> bit) & 1) != 0;
    result = where(set, result * base, result);
    if (bit == 5) break;  // a base other than 0, 1, -1 is beyond 64 bits by then
    base = base * base;
  }
  // Larger exponents: what is left of the base after 2^6 squarings only depends on parity.
  if (!is_signed(dtype)) return result;
  return where(exponent < 0, negative, result);
}

Tensor any_power(const Tensor& x, const Tensor& y) {
  const Tensor size = x.abs();
  // 1^y and x^0 are 1 even for NaN and infinity.
  const Tensor one = (y == 0) | (x == 1);
  const Tensor magnitude = exp2(where(one, 0, y) * log2(where(one, 1, size)));
  const Tensor half = y * 0.5;
  const Tensor is_whole = floor(y) == y;
  const Tensor odd = is_whole & (floor(half) != half);
  Tensor result = where((x < 0) & odd, -magnitude, magnitude);
  const Tensor undefined = (x < 0) & ~is_whole & isfinite(x);
  result = where(undefined, std::numeric_limits<double>::quiet_NaN(), result);
  // (-1)^±inf is 1.
  result = where((size == 1) & isinf(y), 1, result);
  return result;
}

// With an exponent that is a number.
Tensor known_power(const Tensor& x, double exponent) {
  const bool whole = exponent == std::trunc(exponent);
  if (whole && exponent >= 0 && exponent <= 16) return power(x, static_cast<int>(exponent));
  if (whole && exponent < 0 && exponent >= -4) {
    return reciprocal(power(x, static_cast<int>(-exponent)));
  }
  if (exponent == 0.5) return sqrt(x);
  if (exponent == -0.5) return rsqrt(x);
  return any_power(x, constant_of(exponent, x));
}

}  // namespace

Tensor pow(const Tensor& a, const Tensor& b) {
  const Call call("pow");
  want_defined(a, "the base");
  want_defined(b, "the exponent");
  const DType dtype = result_type({&a, &b});
  if (is_bool(dtype)) call_error("wants numbers, got bool");
  const Node exponent = b.state()->node;
  const bool known = exponent.is_constant();
  const double value = known ? exponent.float_value() : 0;
  const bool whole = known && value == std::trunc(value);
  if (!is_float(dtype)) {
    if (whole && value >= 0 && value <= 64) return power(a.cast(dtype), static_cast<int>(value));
    if (known && value < 0 && b.state()->number) {
      call_error("integers to a negative power are not integers: cast the base to a float");
    }
    return integer_power(a, b, dtype);
  }
  const Tensor x = a.cast(compute_dtype(dtype));
  if (known) {
    return with_derivative(
               x, [=](const Tensor& base) { return known_power(base, value); },
               [=](const Tensor& base, const Tensor&) {
                 return value == 0 ? zeros_like(base) : value * pow(base, value - 1);
               })
        .cast(dtype);
  }
  const std::vector<Tensor> both = broadcast_tensors({x, b.cast(compute_dtype(dtype))});
  return with_own_gradient(
             both, [&] { return any_power(x, b.cast(compute_dtype(dtype))); },
             [](const Tensor& y, const std::vector<Tensor>& in, const Tensor& g) {
               // x^0 and 0^y with y >= 0 are constant.
               const Tensor& base = in[0];
               const Tensor& exponent = in[1];
               const Tensor one = exponent == 0;
               const Tensor by_base = exponent * pow(base, exponent - 1);
               const Tensor still = (base == 0) & (exponent >= 0);
               const Tensor by_exponent = y * log(where(still, 1, base));
               return std::vector<Tensor>{where(one, 0, g * by_base),
                                          where(still, 0, g * by_exponent)};
             })
      .cast(dtype);
}

Tensor hypot(const Tensor& a, const Tensor& b) {
  const Call call("hypot");
  const DType dtype = float_result(result_type({&a, &b}));
  const std::vector<Tensor> both =
      broadcast_tensors({a.cast(compute_dtype(dtype)), b.cast(compute_dtype(dtype))});
  const auto length = [&] {
    const Tensor x = both[0].abs();
    const Tensor y = both[1].abs();
    const Tensor longer = maximum(x, y);
    const Tensor ratio = minimum(x, y) / where(longer == 0, 1, longer);
    return where(isinf(x) | isinf(y), std::numeric_limits<double>::infinity(),
                 longer * sqrt(1 + ratio * ratio));
  };
  return with_own_gradient(both, length,
                           [](const Tensor& y, const std::vector<Tensor>& in, const Tensor& g) {
                             return std::vector<Tensor>{g * (in[0] / y), g * (in[1] / y)};
                           })
      .cast(dtype);
}

Tensor logaddexp(const Tensor& a, const Tensor& b) {
  const Call call("logaddexp");
  const DType dtype = float_result(result_type({&a, &b}));
  const std::vector<Tensor> both =
      broadcast_tensors({a.cast(compute_dtype(dtype)), b.cast(compute_dtype(dtype))});
  const auto gap_of = [](const Tensor& x, const Tensor& y) {
    return where(x == y, 0, x - y);  // equal infinities too
  };
  const auto value = [&] {
    const Tensor& x = both[0];
    const Tensor& y = both[1];
    return where(x == y, x + std::numbers::ln2, maximum(x, y) + log1p(exp(-gap_of(x, y).abs())));
  };
  return with_own_gradient(both, value,
                           [gap_of](const Tensor&, const std::vector<Tensor>& in, const Tensor& g) {
                             const Tensor gap = gap_of(in[0], in[1]);
                             return std::vector<Tensor>{g * sigmoid(gap), g * sigmoid(-gap)};
                           })
      .cast(dtype);
}

}  // namespace brisk
