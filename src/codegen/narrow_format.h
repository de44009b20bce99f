// The floats of 16 and 8 bits that generators convert by integer arithmetic: where their bits lie
// and what they mean.
#pragma once

#include <cstdint>

#include "base/error.h"
#include "brisk/dtype.h"

namespace brisk {

/// 1 sign bit, then these.
struct NarrowFormat {
  int exponent_bits;
  int mantissa_bits;
  std::uint32_t largest;   // bits of the largest finite value
  std::uint32_t overflow;  // what is beyond it
  std::uint32_t nan;
  bool has_infinity;
  int bias() const { return (1 << (exponent_bits - 1)) - 1; }
  int total() const { return 1 + exponent_bits + mantissa_bits; }
};

inline NarrowFormat narrow_format(DType dtype) {
  switch (dtype) {
    case DType::float16: return {5, 10, 0x7bff, 0x7c00, 0x7e00, true};
    case DType::float8_e5m2: return {5, 2, 0x7b, 0x7c, 0x7e, true};
    case DType::float8_e4m3: return {4, 3, 0x7e, 0x7f, 0x7f, false};
    default: unreachable("a narrow float with a format");
  }
}

}  // namespace brisk
