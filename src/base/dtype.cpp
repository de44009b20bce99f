#include "base/dtype.h"

#include <array>
#include <bit>
#include <cmath>
#include <limits>

#include "base/error.h"

namespace brisk {

namespace {

enum class Kind : std::uint8_t { none, boolean, sint, uint, real };

struct Info {
  std::string_view name;
  int bytes;
  Kind kind;
};

constexpr std::array<Info, dtype_count> table = {{
    {"none", 0, Kind::none},
    {"bool", 1, Kind::boolean},
    {"int8", 1, Kind::sint},
    {"int16", 2, Kind::sint},
    {"int32", 4, Kind::sint},
    {"int64", 8, Kind::sint},
    {"uint8", 1, Kind::uint},
    {"uint16", 2, Kind::uint},
    {"uint32", 4, Kind::uint},
    {"uint64", 8, Kind::uint},
    {"float8_e4m3", 1, Kind::real},
    {"float8_e5m2", 1, Kind::real},
    {"float16", 2, Kind::real},
    {"bfloat16", 2, Kind::real},
    {"float32", 4, Kind::real},
    {"float64", 8, Kind::real},
}};

const Info& info(DType dtype) { return table[static_cast<std::size_t>(dtype)]; }

// Rounds a float to a narrow format with `exponent_bits` and `mantissa_bits`, to nearest even,
// subnormals included. `overflow` is the result (without sign) past the largest finite value.
std::uint32_t narrow(float value, int exponent_bits, int mantissa_bits, std::uint32_t largest,
                     std::uint32_t overflow, std::uint32_t nan) {
  const auto bits = std::bit_cast<std::uint32_t>(value);
  const std::uint32_t sign = bits >> 31 << (exponent_bits + mantissa_bits);
  if (std::isnan(value)) return sign | nan;
  if (std::isinf(value)) return sign | overflow;
  const int bias = (1 << (exponent_bits - 1)) - 1;
  int exponent = 0;
  const double magnitude = std::fabs(static_cast<double>(value));
  if (magnitude == 0) return sign;
  std::frexp(magnitude, &exponent);                        // magnitude in [2^(e-1), 2^e)
  const int lowest = 1 - bias;                             // exponent of the smallest normal
  const int e = std::max(exponent - 1, lowest);            // exponent of the unit's binade
  const double unit = std::ldexp(1.0, e - mantissa_bits);  // distance of neighbours there
  const double steps = std::nearbyint(magnitude / unit);   // ties to even in the default mode
  // steps counts units from zero: in the normal range 2^m … 2^(m+1).
  const auto count = static_cast<std::uint32_t>(steps);
  const std::uint32_t encoded = count + (static_cast<std::uint32_t>(e - lowest) << mantissa_bits);
  return sign | (encoded > largest ? overflow : encoded);
}

float widen(std::uint32_t bits, int exponent_bits, int mantissa_bits, bool has_infinity) {
  const int bias = (1 << (exponent_bits - 1)) - 1;
  const std::uint32_t mantissa = bits & ((1U << mantissa_bits) - 1);
  const int exponent = static_cast<int>(bits >> mantissa_bits) & ((1 << exponent_bits) - 1);
  const bool negative = (bits >> (exponent_bits + mantissa_bits)) & 1;
  float value = 0;
  const bool top = exponent == (1 << exponent_bits) - 1;
  if (top && has_infinity) {
    value =
        mantissa ? std::numeric_limits<float>::quiet_NaN() : std::numeric_limits<float>::infinity();
  } else if (top && mantissa == (1U << mantissa_bits) - 1) {
    value = std::numeric_limits<float>::quiet_NaN();
  } else if (exponent == 0) {
    value = std::ldexp(static_cast<float>(mantissa), 1 - bias - mantissa_bits);
  } else {
    value = std::ldexp(static_cast<float>(mantissa | (1U << mantissa_bits)),
                       exponent - bias - mantissa_bits);
  }
  return negative ? -value : value;
}

}  // namespace

int byte_size(DType dtype) { return info(dtype).bytes; }
bool is_float(DType dtype) { return info(dtype).kind == Kind::real; }
bool is_integer(DType dtype) {
  return info(dtype).kind == Kind::sint || info(dtype).kind == Kind::uint;
}
bool is_signed(DType dtype) {
  return info(dtype).kind == Kind::sint || info(dtype).kind == Kind::real;
}
std::string_view name(DType dtype) { return info(dtype).name; }

DType dtype_from_name(std::string_view text) {
  for (int i = 0; i < dtype_count; ++i) {
    if (table[static_cast<std::size_t>(i)].name == text) return static_cast<DType>(i);
  }
  return DType::none;
}

DType promote(DType a, DType b) {
  if (a == b) return a;
  if (a == DType::none || b == DType::none) return a == DType::none ? b : a;
  if (is_bool(a) || is_bool(b)) return is_bool(a) ? b : a;
  if (is_float(a) != is_float(b)) return is_float(a) ? a : b;
  if (is_float(a)) {
    if (byte_size(a) != byte_size(b)) return byte_size(a) > byte_size(b) ? a : b;
    return DType::float32;  // float16 with bfloat16, e4m3 with e5m2
  }
  if (is_signed(a) == is_signed(b)) return byte_size(a) > byte_size(b) ? a : b;
  const DType s = is_signed(a) ? a : b;
  const DType u = is_signed(a) ? b : a;
  if (byte_size(s) > byte_size(u)) return s;
  switch (byte_size(u)) {
    case 1: return DType::int16;
    case 2: return DType::int32;
    case 4: return DType::int64;
    default: return DType::float32;
  }
}

DType accumulate_dtype(DType dtype) {
  if (dtype == DType::float64) return dtype;
  if (is_float(dtype)) return DType::float32;
  return DType::int64;
}

std::int64_t min_value(DType dtype) {
  if (!is_signed(dtype)) return 0;
  return std::numeric_limits<std::int64_t>::min() >> (64 - bit_size(dtype));
}

std::int64_t max_value(DType dtype) {
  if (is_bool(dtype)) return 1;
  if (dtype == DType::uint64) return std::numeric_limits<std::int64_t>::max();
  const int bits = is_signed(dtype) ? bit_size(dtype) - 1 : bit_size(dtype);
  return bits == 63 ? std::numeric_limits<std::int64_t>::max() : (std::int64_t{1} << bits) - 1;
}

std::uint16_t float_to_half(float value) {
  return static_cast<std::uint16_t>(narrow(value, 5, 10, 0x7bff, 0x7c00, 0x7e00));
}
float half_to_float(std::uint16_t bits) { return widen(bits, 5, 10, true); }

std::uint16_t float_to_bfloat16(float value) {
  const auto bits = std::bit_cast<std::uint32_t>(value);
  if (std::isnan(value)) return static_cast<std::uint16_t>((bits >> 16) | 0x40);
  return static_cast<std::uint16_t>((bits + 0x7fff + ((bits >> 16) & 1)) >> 16);
}
float bfloat16_to_float(std::uint16_t bits) {
  return std::bit_cast<float>(static_cast<std::uint32_t>(bits) << 16);
}

std::uint8_t float_to_e4m3(float value) {
  return static_cast<std::uint8_t>(narrow(value, 4, 3, 0x7e, 0x7f, 0x7f));
}
float e4m3_to_float(std::uint8_t bits) { return widen(bits, 4, 3, false); }
std::uint8_t float_to_e5m2(float value) {
  return static_cast<std::uint8_t>(narrow(value, 5, 2, 0x7b, 0x7c, 0x7e));
}
float e5m2_to_float(std::uint8_t bits) { return widen(bits, 5, 2, true); }

}  // namespace brisk
