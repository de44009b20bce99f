// Element types: their sizes, ranges, names and PyTorch's promotion; conversions of the narrow
// floating-point types to and from float, rounding to nearest, ties to even.
#pragma once

#include <cstdint>
#include <string_view>

namespace brisk {

enum class DType : std::uint8_t {
  none,  // nodes without a value (statements)
  boolean,
  int8,
  int16,
  int32,
  int64,
  uint8,
  uint16,
  uint32,
  uint64,
  float8_e4m3,  // OCP E4M3FN: no infinity, NaN 0x7f/0xff, largest finite 448
  float8_e5m2,  // OCP E5M2: IEEE-like, largest finite 57344
  float16,
  bfloat16,
  float32,
  float64,
};

inline constexpr int dtype_count = 16;

/// Bytes of one stored element (bool is stored in one byte).
int byte_size(DType dtype);
inline int bit_size(DType dtype) { return byte_size(dtype) * 8; }

bool is_float(DType dtype);    // any floating-point type
bool is_integer(DType dtype);  // any integer type, without bool
bool is_signed(DType dtype);   // floating point or signed integer
inline bool is_bool(DType dtype) { return dtype == DType::boolean; }

/// NumPy-style name: "float32", "bool", "float8_e4m3", …
std::string_view name(DType dtype);
/// Inverse of name(); DType::none when unknown.
DType dtype_from_name(std::string_view text);

/// The dtype that holds both operands, as torch.promote_types gives it. uint16/32/64 with a signed
/// type of the same or smaller width go to the next wider signed type (uint64: to float32).
DType promote(DType a, DType b);

/// The dtype in which sums and products of `dtype` are accumulated: float32 for the narrow floats,
/// int64 for integers and bool, the dtype itself otherwise.
DType accumulate_dtype(DType dtype);

/// Range of an integer dtype (bool: 0..1) as int64; uint64's maximum saturates at INT64_MAX.
std::int64_t min_value(DType dtype);
std::int64_t max_value(DType dtype);

// Conversions by bits. Overflow: float16, bfloat16 and e5m2 go to infinity, e4m3 to NaN
// (the non-saturating mode of the OCP standard).
std::uint16_t float_to_half(float value);
float half_to_float(std::uint16_t bits);
std::uint16_t float_to_bfloat16(float value);
float bfloat16_to_float(std::uint16_t bits);
std::uint8_t float_to_e4m3(float value);
float e4m3_to_float(std::uint8_t bits);
std::uint8_t float_to_e5m2(float value);
float e5m2_to_float(std::uint8_t bits);

}  // namespace brisk
