#include "graph/elementwise.h"

#include <algorithm>
#include <bit>
#include <cmath>
#include <cstring>
#include <limits>
#include <type_traits>

#include "base/error.h"

namespace brisk {

namespace {

bool is_narrow(DType dtype) { return is_float(dtype) && byte_size(dtype) < 4; }

// ---- by type
// -------------------------------------------------------------------------------------

template <typename F>
decltype(auto) with_integer(DType dtype, F f) {
  switch (dtype) {
    case DType::int8: return f(std::int8_t{});
    case DType::int16: return f(std::int16_t{});
    case DType::int32: return f(std::int32_t{});
    case DType::int64: return f(std::int64_t{});
    case DType::boolean:
    case DType::uint8: return f(std::uint8_t{});
    case DType::uint16: return f(std::uint16_t{});
    case DType::uint32: return f(std::uint32_t{});
    case DType::uint64: return f(std::uint64_t{});
    default: unreachable("an integer dtype");
  }
}

template <typename F>
decltype(auto) with_bytes(int size, F f) {
  switch (size) {
    case 1: return f(std::uint8_t{});
    case 2: return f(std::uint16_t{});
    case 4: return f(std::uint32_t{});
    default: return f(std::uint64_t{});
  }
}

template <typename T>
const T* as(const Operand& operand) {
  return reinterpret_cast<const T*>(operand.bytes);
}

template <typename T, typename F>
void map(const Operand& a, std::int64_t count, std::byte* result, F f) {
  using R = std::invoke_result_t<F, T>;
  const T* x = as<T>(a);
  auto* out = reinterpret_cast<R*>(result);
  for (std::int64_t i = 0; i < count; ++i) out[i] = f(x[i * a.step]);
}

template <typename T, typename F>
void map(const Operand& a, const Operand& b, std::int64_t count, std::byte* result, F f) {
  using R = std::invoke_result_t<F, T, T>;
  const T* x = as<T>(a);
  const T* y = as<T>(b);
  auto* out = reinterpret_cast<R*>(result);
  if (a.step == 1 && b.step == 1) {
    for (std::int64_t i = 0; i < count; ++i) out[i] = f(x[i], y[i]);
  } else {
    for (std::int64_t i = 0; i < count; ++i) out[i] = f(x[i * a.step], y[i * b.step]);
  }
}

// ---- conversions
// ---------------------------------------------------------------------------------

template <typename F>
std::vector<float> table_of(int size, F decode) {
  std::vector<float> table(static_cast<std::size_t>(size));
  for (int i = 0; i < size; ++i) table[static_cast<std::size_t>(i)] = decode(i);
  return table;
}

void widen(const Operand& a, std::int64_t count, float* result) {
  static const auto half = table_of(1 << 16, [](int bits) { return half_to_float(bits); });
  static const auto e4m3 = table_of(1 << 8, [](int bits) { return e4m3_to_float(bits); });
  static const auto e5m2 = table_of(1 << 8, [](int bits) { return e5m2_to_float(bits); });
  auto* out = reinterpret_cast<std::byte*>(result);
  switch (a.dtype) {
    case DType::float16:
      return map<std::uint16_t>(a, count, out, [](std::uint16_t bits) { return half[bits]; });
    case DType::bfloat16:
      return map<std::uint16_t>(a, count, out,
                                [](std::uint16_t bits) { return bfloat16_to_float(bits); });
    case DType::float8_e4m3:
      return map<std::uint8_t>(a, count, out, [](std::uint8_t bits) { return e4m3[bits]; });
    case DType::float8_e5m2:
      return map<std::uint8_t>(a, count, out, [](std::uint8_t bits) { return e5m2[bits]; });
    default: unreachable("a narrow float");
  }
}

void narrow(DType dtype, const float* values, std::int64_t count, std::byte* result) {
  const Operand a{DType::float32, reinterpret_cast<const std::byte*>(values), 1};
  switch (dtype) {
    case DType::float16: return map<float>(a, count, result, float_to_half);
    case DType::bfloat16: return map<float>(a, count, result, float_to_bfloat16);
    case DType::float8_e4m3: return map<float>(a, count, result, float_to_e4m3);
    case DType::float8_e5m2: return map<float>(a, count, result, float_to_e5m2);
    default: unreachable("a narrow float");
  }
}

// float32 rounded to odd: rounding that once more, to 22 bits or fewer, is as rounding `value`
// once.
float round_to_odd(long double value) {
  const auto nearest = static_cast<float>(value);
  if (static_cast<long double>(nearest) == value || std::isnan(nearest)) return nearest;
  const auto bits = std::bit_cast<std::uint32_t>(nearest);
  if (bits & 1) return nearest;
  const bool outward = std::fabs(static_cast<long double>(nearest)) < std::fabs(value);
  return std::bit_cast<float>(outward ? bits + 1 : bits - 1);
}

// A float's value as a 64-bit integer, truncated; NaN gives 0, what is out of range the nearest.
template <typename Wide>
std::uint64_t truncate(double value) {
  constexpr double below = std::is_signed_v<Wide> ? -0x1p63 : 0.0;
  constexpr double above = std::is_signed_v<Wide> ? 0x1p63 : 0x1p64;
  if (std::isnan(value)) return 0;
  if (value <= below) return static_cast<std::uint64_t>(std::numeric_limits<Wide>::min());
  if (value >= above) return static_cast<std::uint64_t>(std::numeric_limits<Wide>::max());
  return static_cast<std::uint64_t>(static_cast<Wide>(value));
}

// The last stage of a cast: to `dtype` from elements of one of the three wide types.
template <typename Wide>
void cast_from(const Wide* values, DType dtype, std::int64_t count, std::byte* result) {
  const Operand a{DType::none, reinterpret_cast<const std::byte*>(values), 1};
  if (is_bool(dtype)) {
    map<Wide>(a, count, result, [](Wide x) { return static_cast<std::uint8_t>(x != 0); });
  } else if (is_narrow(dtype)) {
    std::vector<float> rounded(static_cast<std::size_t>(count));
    map<Wide>(a, count, reinterpret_cast<std::byte*>(rounded.data()),
              [](Wide x) { return round_to_odd(static_cast<long double>(x)); });
    narrow(dtype, rounded.data(), count, result);
  } else if (dtype == DType::float32) {
    map<Wide>(a, count, result, [](Wide x) { return static_cast<float>(x); });
  } else if (dtype == DType::float64) {
    map<Wide>(a, count, result, [](Wide x) { return static_cast<double>(x); });
  } else {
    with_integer(dtype, [&](auto zero) {
      using T = decltype(zero);
      map<Wide>(a, count, result, [](Wide x) {
        if constexpr (std::is_floating_point_v<Wide>) {
          using Whole = std::conditional_t<std::is_same_v<T, std::uint64_t>, T, std::int64_t>;
          return static_cast<T>(truncate<Whole>(x));
        } else {
          return static_cast<T>(x);
        }
      });
    });
  }
}

template <typename Wide, typename T>
void cast_by(const Operand& a, DType dtype, std::int64_t count, std::byte* result) {
  std::vector<Wide> wide(static_cast<std::size_t>(a.step == 0 ? 1 : count));
  std::copy_n(as<T>(a), wide.size(), wide.begin());
  if (a.step != 0) return cast_from(wide.data(), dtype, count, result);
  alignas(8) std::byte one[8];
  cast_from(wide.data(), dtype, 1, one);
  with_bytes(byte_size(dtype), [&](auto zero) {
    using T1 = decltype(zero);
    map<T1>({dtype, one, 0}, count, result, [](T1 x) { return x; });
  });
}

void cast_elements(const Operand& a, DType dtype, std::int64_t count, std::byte* result) {
  if (is_narrow(a.dtype)) {
    std::vector<float> wide(static_cast<std::size_t>(a.step == 0 ? 1 : count));
    widen(a, static_cast<std::int64_t>(wide.size()), wide.data());
    const Operand b{DType::float32, reinterpret_cast<const std::byte*>(wide.data()), a.step};
    return cast_by<double, float>(b, dtype, count, result);
  }
  if (a.dtype == DType::float32) return cast_by<double, float>(a, dtype, count, result);
  if (a.dtype == DType::float64) return cast_by<double, double>(a, dtype, count, result);
  if (a.dtype == DType::uint64)
    return cast_by<std::uint64_t, std::uint64_t>(a, dtype, count, result);
  if (is_bool(a.dtype)) {
    std::vector<std::uint8_t> truth(static_cast<std::size_t>(a.step == 0 ? 1 : count));
    for (std::size_t i = 0; i < truth.size(); ++i) truth[i] = as<std::uint8_t>(a)[i] != 0;
    const Operand b{DType::uint8, reinterpret_cast<const std::byte*>(truth.data()), a.step};
    return cast_by<std::int64_t, std::uint8_t>(b, dtype, count, result);
  }
  with_integer(a.dtype,
               [&](auto zero) { cast_by<std::int64_t, decltype(zero)>(a, dtype, count, result); });
}

// ---- operations
// ----------------------------------------------------------------------------------

std::uint8_t truth(bool value) { return static_cast<std::uint8_t>(value); }

void apply_bool(Op op, const Operand& a, const Operand& b, std::int64_t count, std::byte* result) {
  const auto with = [&](auto f) {
    map<std::uint8_t>(a, b, count, result,
                      [f](std::uint8_t x, std::uint8_t y) { return truth(f(x != 0, y != 0)); });
  };
  switch (op) {
    case Op::add_:
    case Op::max_:
    case Op::or_: return with([](bool x, bool y) { return x || y; });
    case Op::mul_:
    case Op::and_: return with([](bool x, bool y) { return x && y; });
    case Op::xor_:
    case Op::cmpne_: return with([](bool x, bool y) { return x != y; });
    case Op::cmplt_: return with([](bool x, bool y) { return !x && y; });
    default: unreachable("an operation of bool");
  }
}

template <typename T>
T wrapping_shift(T x, T by, bool left) {
  using U = std::make_unsigned_t<T>;
  constexpr int bits = sizeof(T) * 8;
  const bool inside = std::is_signed_v<T> ? by >= 0 && by < bits : by < static_cast<U>(bits);
  if (left) return inside ? static_cast<T>(static_cast<std::uint64_t>(x) << by) : T{0};
  if (inside) return static_cast<T>(x >> by);
  return x < 0 ? static_cast<T>(-1) : T{0};
}

template <typename T>
void apply_integer(Op op, const Operand& a, const Operand& b, std::int64_t count,
                   std::byte* result) {
  using U = std::conditional_t<sizeof(T) == 8, std::uint64_t, std::uint32_t>;  // wraps
  const auto with = [&](auto f) { map<T>(a, b, count, result, f); };
  switch (op) {
    case Op::add_: return with([](T x, T y) { return static_cast<T>(U(x) + U(y)); });
    case Op::mul_: return with([](T x, T y) { return static_cast<T>(U(x) * U(y)); });
    case Op::max_: return with([](T x, T y) { return x < y ? y : x; });
    case Op::cmplt_: return with([](T x, T y) { return truth(x < y); });
    case Op::cmpne_: return with([](T x, T y) { return truth(x != y); });
    case Op::idiv_:
      return with([](T x, T y) {
        if (y == 0) return T{0};
        if (y == static_cast<T>(-1) && std::is_signed_v<T>) return static_cast<T>(U(0) - U(x));
        return static_cast<T>(x / y);
      });
    case Op::mod_:
      return with([](T x, T y) {
        if (y == 0) return x;
        if (y == static_cast<T>(-1) && std::is_signed_v<T>) return T{0};
        return static_cast<T>(x % y);
      });
    case Op::and_: return with([](T x, T y) { return static_cast<T>(x & y); });
    case Op::or_: return with([](T x, T y) { return static_cast<T>(x | y); });
    case Op::xor_: return with([](T x, T y) { return static_cast<T>(x ^ y); });
    case Op::shl_: return with([](T x, T y) { return wrapping_shift(x, y, true); });
    case Op::shr_: return with([](T x, T y) { return wrapping_shift(x, y, false); });
    default: unreachable("an operation of integers");
  }
}

// NaN if either is; 0 is larger than -0, so that the order of operands does not matter.
template <typename T>
T larger(T x, T y) {
  if (std::isnan(x) || std::isnan(y)) return x + y;
  return x < y || (x == y && std::signbit(x)) ? y : x;
}

// float32's transcendental functions are computed in float64.
template <typename T>
void apply_float(Op op, std::span<const Operand> srcs, std::int64_t count, std::byte* result) {
  const Operand& a = srcs[0];
  const auto one = [&](auto f) { map<T>(a, count, result, f); };
  const auto two = [&](auto f) { map<T>(a, srcs[1], count, result, f); };
  switch (op) {
    case Op::add_: return two([](T x, T y) { return x + y; });
    case Op::mul_: return two([](T x, T y) { return x * y; });
    case Op::max_: return two([](T x, T y) { return larger(x, y); });
    case Op::cmplt_: return two([](T x, T y) { return truth(x < y); });
    case Op::cmpne_: return two([](T x, T y) { return truth(x != y); });
    case Op::exp2_:
      return one([](T x) { return static_cast<T>(std::exp2(static_cast<double>(x))); });
    case Op::log2_:
      return one([](T x) { return static_cast<T>(std::log2(static_cast<double>(x))); });
    case Op::sin_: return one([](T x) { return static_cast<T>(std::sin(static_cast<double>(x))); });
    case Op::sqrt_: return one([](T x) { return std::sqrt(x); });
    case Op::recip_: return one([](T x) { return T{1} / x; });
    default: unreachable("an operation of floats");
  }
}

void choose(DType dtype, std::span<const Operand> srcs, std::int64_t count, std::byte* result) {
  with_bytes(byte_size(dtype), [&](auto zero) {
    using T = decltype(zero);
    const auto* condition = as<std::uint8_t>(srcs[0]);
    const T* x = as<T>(srcs[1]);
    const T* y = as<T>(srcs[2]);
    auto* out = reinterpret_cast<T*>(result);
    for (std::int64_t i = 0; i < count; ++i) {
      out[i] = condition[i * srcs[0].step] != 0 ? x[i * srcs[1].step] : y[i * srcs[2].step];
    }
  });
}

// Calls f with the operands as float32, and rounds its result to `dtype` unless that is bool.
template <typename F>
void in_float32(DType dtype, std::span<const Operand> srcs, std::int64_t count, std::byte* result,
                F f) {
  std::vector<std::vector<float>> wide(srcs.size());
  std::vector<Operand> operands;
  for (std::size_t i = 0; i < srcs.size(); ++i) {
    const std::int64_t n = srcs[i].step == 0 ? 1 : count;
    wide[i].resize(static_cast<std::size_t>(n));
    widen(srcs[i], n, wide[i].data());
    operands.push_back(
        {DType::float32, reinterpret_cast<const std::byte*>(wide[i].data()), srcs[i].step});
  }
  if (is_bool(dtype)) return f(operands, result);
  std::vector<float> values(static_cast<std::size_t>(count));
  f(operands, reinterpret_cast<std::byte*>(values.data()));
  narrow(dtype, values.data(), count, result);
}

}  // namespace

void apply(Op op, DType dtype, std::span<const Operand> srcs, std::int64_t count,
           std::byte* result) {
  if (count == 0) return;
  if (op == Op::where_) return choose(dtype, srcs, count, result);
  if (op == Op::cast_) return cast_elements(srcs[0], dtype, count, result);
  if (op == Op::bitcast_) {
    if (is_bool(dtype)) {  // true is 1, whatever the bits
      return map<std::uint8_t>(srcs[0], count, result,
                               [](std::uint8_t x) { return truth(x != 0); });
    }
    return with_bytes(byte_size(dtype), [&](auto zero) {
      using T = decltype(zero);
      map<T>(srcs[0], count, result, [](T x) { return x; });
    });
  }
  const DType in = srcs[0].dtype;
  if (is_bool(in)) return apply_bool(op, srcs[0], srcs[1], count, result);
  if (is_narrow(in)) {
    return in_float32(dtype, srcs, count, result, [&](const auto& operands, std::byte* out) {
      apply_float<float>(op, operands, count, out);
    });
  }
  if (in == DType::float32) return apply_float<float>(op, srcs, count, result);
  if (in == DType::float64) return apply_float<double>(op, srcs, count, result);
  with_integer(
      in, [&](auto zero) { apply_integer<decltype(zero)>(op, srcs[0], srcs[1], count, result); });
}

std::vector<double> reals(DType dtype, std::span<const std::byte> bytes) {
  const auto count = static_cast<std::int64_t>(bytes.size()) / byte_size(dtype);
  std::vector<double> values(static_cast<std::size_t>(count));
  const Operand source{dtype, bytes.data(), 1};
  apply(Op::cast_, DType::float64, {&source, 1}, count,
        reinterpret_cast<std::byte*>(values.data()));
  return values;
}

void apply_min(DType dtype, Operand a, Operand b, std::int64_t count, std::byte* result) {
  if (is_bool(dtype)) return apply_bool(Op::and_, a, b, count, result);
  if (is_narrow(dtype)) {
    const Operand srcs[] = {a, b};
    return in_float32(dtype, srcs, count, result, [&](const auto& operands, std::byte* out) {
      apply_min(DType::float32, operands[0], operands[1], count, out);
    });
  }
  const auto smaller = [](auto x, auto y) { return -larger(-x, -y); };
  if (dtype == DType::float32) return map<float>(a, b, count, result, smaller);
  if (dtype == DType::float64) return map<double>(a, b, count, result, smaller);
  with_integer(dtype, [&](auto zero) {
    using T = decltype(zero);
    map<T>(a, b, count, result, [](T x, T y) { return y < x ? y : x; });
  });
}

void write_constant(const Node& constant, std::byte* result) {
  alignas(8) std::byte bits[8];
  const std::int64_t value = constant.ints(0);
  std::memcpy(bits, &value, 8);
  cast_elements({is_float(constant.dtype()) ? DType::float64 : DType::int64, bits, 0},
                constant.dtype(), 1, result);
}

Node read_constant(DType dtype, const std::byte* element) {
  alignas(8) std::byte bits[8];
  const Operand a{dtype, element, 0};
  if (is_float(dtype)) {
    cast_elements(a, DType::float64, 1, bits);
    double value = 0;
    std::memcpy(&value, bits, 8);
    return constant_float(value, dtype);
  }
  cast_elements(a, DType::int64, 1, bits);
  std::int64_t value = 0;
  std::memcpy(&value, bits, 8);
  return constant_int(value, dtype);
}

// ---- reductions
// ----------------------------------------------------------------------------------

Accumulators::Accumulators(ReduceOp op, DType dtype, std::size_t count) : op_(op), dtype_(dtype) {
  if (is_float(dtype)) {
    // e4m3 has no infinity; its lowest value is -448.
    const double least =
        dtype == DType::float8_e4m3 ? -448 : -std::numeric_limits<double>::infinity();
    reals_.assign(count, op == ReduceOp::add ? 0.0 : op == ReduceOp::mul ? 1.0 : least);
  } else {
    const auto least = static_cast<std::uint64_t>(min_value(dtype));
    whole_.assign(count, op == ReduceOp::add ? 0 : op == ReduceOp::mul ? 1 : least);
  }
}

namespace {

// A run of elements into one value (step 0) or into a value each.
template <typename Acc, typename T, typename F>
void fold(Acc* values, std::int64_t step, Acc neutral, const T* x, std::int64_t count, F f) {
  if (step == 0) {
    Acc block = neutral;
    for (std::int64_t i = 0; i < count; ++i) block = f(block, static_cast<Acc>(x[i]));
    *values = f(*values, block);
  } else {
    for (std::int64_t i = 0; i < count; ++i) {
      values[i * step] = f(values[i * step], static_cast<Acc>(x[i]));
    }
  }
}

template <typename Acc, typename T, typename Larger>
void fold(ReduceOp op, Acc* values, std::int64_t step, Acc least, const T* x, std::int64_t count,
          Larger larger_of) {
  switch (op) {
    case ReduceOp::add:
      return fold(values, step, Acc{0}, x, count, [](Acc a, Acc b) { return a + b; });
    case ReduceOp::mul:
      return fold(values, step, Acc{1}, x, count, [](Acc a, Acc b) { return a * b; });
    case ReduceOp::max: return fold(values, step, least, x, count, larger_of);
  }
}

}  // namespace

void Accumulators::take(std::int64_t first, std::int64_t step, const std::byte* elements,
                        std::int64_t count) {
  if (is_float(dtype_)) {
    double* values = reals_.data() + first;
    const double least = -std::numeric_limits<double>::infinity();
    if (dtype_ == DType::float64) {
      return fold(op_, values, step, least, reinterpret_cast<const double*>(elements), count,
                  larger<double>);
    }
    std::vector<float> wide;
    const auto* x = reinterpret_cast<const float*>(elements);
    if (is_narrow(dtype_)) {
      wide.resize(static_cast<std::size_t>(count));
      widen({dtype_, elements, 1}, count, wide.data());
      x = wide.data();
    }
    return fold(op_, values, step, least, x, count, larger<double>);
  }
  std::uint64_t* values = whole_.data() + first;
  if (is_bool(dtype_)) {  // add and max are or, mul is and
    const auto* x = reinterpret_cast<const std::uint8_t*>(elements);
    for (std::int64_t i = 0; i < count; ++i) {
      std::uint64_t& value = values[i * step];
      value = op_ == ReduceOp::mul ? (value & (x[i] != 0)) : (value | (x[i] != 0));
    }
    return;
  }
  with_integer(dtype_, [&](auto zero) {
    using T = decltype(zero);
    fold(op_, values, step, static_cast<std::uint64_t>(std::numeric_limits<T>::min()),
         reinterpret_cast<const T*>(elements), count, [](std::uint64_t a, std::uint64_t b) {
           return static_cast<T>(a) < static_cast<T>(b) ? b : a;
         });
  });
}

void Accumulators::finish(std::byte* result) const {
  if (is_float(dtype_)) {
    return cast_from(reals_.data(), dtype_, static_cast<std::int64_t>(reals_.size()), result);
  }
  cast_from(whole_.data(), dtype_, static_cast<std::int64_t>(whole_.size()), result);
}

}  // namespace brisk
