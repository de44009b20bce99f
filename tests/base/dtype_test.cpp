// base/dtype: every pattern of the narrow floating-point types, rounding at every midpoint between
// neighbours, and promotion against a table written out.
#include "base/dtype.h"

#include <gtest/gtest.h>

#include <algorithm>
#include <array>
#include <cmath>
#include <limits>
#include <sstream>
#include <string>

namespace brisk {
namespace {

constexpr float infinity = std::numeric_limits<float>::infinity();

struct Format {
  const char* name;
  std::uint32_t (*encode)(float);
  float (*decode)(std::uint32_t);
  std::uint32_t sign;      // the sign's bit; patterns below it are the positive half
  std::uint32_t largest;   // pattern of the largest finite value
  std::uint32_t overflow;  // pattern that takes its place past it
};

const std::array<Format, 4> formats = {{
    {"float16", [](float v) -> std::uint32_t { return float_to_half(v); },
     [](std::uint32_t b) { return half_to_float(static_cast<std::uint16_t>(b)); }, 0x8000, 0x7bff,
     0x7c00},
    {"bfloat16", [](float v) -> std::uint32_t { return float_to_bfloat16(v); },
     [](std::uint32_t b) { return bfloat16_to_float(static_cast<std::uint16_t>(b)); }, 0x8000,
     0x7f7f, 0x7f80},
    {"float8_e4m3", [](float v) -> std::uint32_t { return float_to_e4m3(v); },
     [](std::uint32_t b) { return e4m3_to_float(static_cast<std::uint8_t>(b)); }, 0x80, 0x7e, 0x7f},
    {"float8_e5m2", [](float v) -> std::uint32_t { return float_to_e5m2(v); },
     [](std::uint32_t b) { return e5m2_to_float(static_cast<std::uint8_t>(b)); }, 0x80, 0x7b, 0x7c},
}};

class NarrowFloat : public testing::TestWithParam<Format> {};
INSTANTIATE_TEST_SUITE_P(of, NarrowFloat, testing::ValuesIn(formats),
                         [](const auto& info) { return std::string(info.param.name); });

TEST_P(NarrowFloat, every_pattern_round_trips) {
  const Format& format = GetParam();
  for (std::uint32_t bits = 0; bits < 2 * format.sign; ++bits) {
    const float value = format.decode(bits);
    if (std::isnan(value)) {
      EXPECT_TRUE(std::isnan(format.decode(format.encode(value)))) << bits;
    } else {
      ASSERT_EQ(format.encode(value), bits) << value;
    }
  }
}

TEST_P(NarrowFloat, patterns_rise_with_their_values_and_mirror_under_the_sign) {
  const Format& format = GetParam();
  EXPECT_EQ(format.decode(0), 0.0F);
  for (std::uint32_t bits = 0; bits <= format.largest; ++bits) {
    ASSERT_TRUE(std::isfinite(format.decode(bits))) << bits;
    if (bits > 0) {
      ASSERT_LT(format.decode(bits - 1), format.decode(bits)) << bits;
    }
    ASSERT_EQ(format.decode(bits | format.sign), -format.decode(bits)) << bits;
  }
  for (std::uint32_t bits = format.largest + 1; bits < format.sign; ++bits) {
    ASSERT_FALSE(std::isfinite(format.decode(bits))) << bits;
  }
}

TEST_P(NarrowFloat, every_midpoint_goes_to_the_even_neighbour_and_all_beside_it_to_the_nearest) {
  const Format& format = GetParam();
  for (std::uint32_t below = 0; below < format.largest; ++below) {
    const std::uint32_t above = below + 1;
    // Both neighbours have at most 11 significant bits, so their mean is exact in float.
    const auto middle =
        static_cast<float>((static_cast<double>(format.decode(below)) + format.decode(above)) / 2);
    const std::uint32_t even = below % 2 == 0 ? below : above;
    ASSERT_EQ(format.encode(middle), even) << middle;
    ASSERT_EQ(format.encode(std::nextafter(middle, 0.0F)), below) << middle;
    ASSERT_EQ(format.encode(std::nextafter(middle, infinity)), above) << middle;
    ASSERT_EQ(format.encode(-middle), even | format.sign) << middle;
  }
}

TEST_P(NarrowFloat, values_overflow_from_half_a_step_past_the_largest) {
  const Format& format = GetParam();
  const float largest = format.decode(format.largest);
  const float step = largest - format.decode(format.largest - 1);
  const float middle = largest + step / 2;
  // The largest pattern of e4m3 is even, so there the tie stays finite.
  EXPECT_EQ(format.encode(middle), format.largest % 2 == 0 ? format.largest : format.overflow);
  EXPECT_EQ(format.encode(std::nextafter(middle, 0.0F)), format.largest);
  for (const float value : {std::nextafter(middle, infinity), largest + step / 2 * 1.5F, infinity,
                            std::numeric_limits<float>::max()}) {
    EXPECT_EQ(format.encode(value), format.overflow) << value;
    EXPECT_EQ(format.encode(-value), format.overflow | format.sign) << value;
  }
}

TEST_P(NarrowFloat, the_smallest_values_round_to_zero_or_to_the_smallest_pattern) {
  const Format& format = GetParam();
  EXPECT_EQ(format.encode(std::numeric_limits<float>::denorm_min()), 0U);
  EXPECT_EQ(format.encode(-std::numeric_limits<float>::denorm_min()), format.sign);
  EXPECT_EQ(format.encode(-0.0F), format.sign);
  EXPECT_TRUE(std::isnan(format.decode(format.encode(std::nanf("")))));
  EXPECT_TRUE(std::isnan(format.decode(format.encode(-std::nanf("")))));
}

TEST(DType, known_patterns_have_the_values_of_their_standards) {
  EXPECT_EQ(half_to_float(0x3c00), 1.0F);
  EXPECT_EQ(half_to_float(0x3555), 0.333251953125F);
  EXPECT_EQ(half_to_float(0x7bff), 65504.0F);
  EXPECT_EQ(half_to_float(0x0400), std::ldexp(1.0F, -14));
  EXPECT_EQ(half_to_float(0x0001), std::ldexp(1.0F, -24));
  EXPECT_EQ(half_to_float(0xfc00), -infinity);
  EXPECT_EQ(bfloat16_to_float(0x3f80), 1.0F);
  EXPECT_EQ(bfloat16_to_float(0x4049), 3.140625F);
  EXPECT_EQ(bfloat16_to_float(0x0001), std::ldexp(1.0F, -133));
  EXPECT_EQ(e4m3_to_float(0x38), 1.0F);
  EXPECT_EQ(e4m3_to_float(0x7e), 448.0F);
  EXPECT_EQ(e4m3_to_float(0x08), std::ldexp(1.0F, -6));
  EXPECT_EQ(e4m3_to_float(0x01), std::ldexp(1.0F, -9));
  EXPECT_EQ(e5m2_to_float(0x3c), 1.0F);
  EXPECT_EQ(e5m2_to_float(0x7b), 57344.0F);
  EXPECT_EQ(e5m2_to_float(0x01), std::ldexp(1.0F, -16));
  EXPECT_EQ(e5m2_to_float(0xfc), -infinity);
}

TEST(DType, names_and_dtypes_are_one_to_one) {
  for (int i = 0; i < dtype_count; ++i) {
    const auto dtype = static_cast<DType>(i);
    EXPECT_EQ(dtype_from_name(name(dtype)), dtype);
  }
  EXPECT_EQ(dtype_from_name("float31"), DType::none);
}

TEST(DType, ranges_of_integers_are_those_of_two_s_complement) {
  EXPECT_EQ(min_value(DType::int8), -128);
  EXPECT_EQ(max_value(DType::int8), 127);
  EXPECT_EQ(max_value(DType::uint8), 255);
  EXPECT_EQ(min_value(DType::uint32), 0);
  EXPECT_EQ(max_value(DType::uint32), 4294967295);
  EXPECT_EQ(min_value(DType::int64), std::numeric_limits<std::int64_t>::min());
  EXPECT_EQ(max_value(DType::int64), std::numeric_limits<std::int64_t>::max());
  EXPECT_EQ(max_value(DType::uint64), std::numeric_limits<std::int64_t>::max());
  EXPECT_EQ(min_value(DType::boolean), 0);
  EXPECT_EQ(max_value(DType::boolean), 1);
}

// Rows and columns in this order. As torch.promote_types of PyTorch 2.15 answers; it refuses the
// entries in brackets, which are brisk's own: uint16/32/64 with other integers and bool, and float8
// with anything else.
const char* const promotion = R"(
      b     i8    i16   i32   i64   u8    u16   u32   u64   e4m3  e5m2  f16   bf16  f32   f64
b     b     i8    i16   i32   i64   u8    (u16) (u32) (u64) (e4m3)(e5m2) f16  bf16  f32   f64
i8    i8    i8    i16   i32   i64   i16   (i32) (i64) (f32) (e4m3)(e5m2) f16  bf16  f32   f64
i16   i16   i16   i16   i32   i64   i16   (i32) (i64) (f32) (e4m3)(e5m2) f16  bf16  f32   f64
i32   i32   i32   i32   i32   i64   i32   (i32) (i64) (f32) (e4m3)(e5m2) f16  bf16  f32   f64
i64   i64   i64   i64   i64   i64   i64   (i64) (i64) (f32) (e4m3)(e5m2) f16  bf16  f32   f64
u8    u8    i16   i16   i32   i64   u8    (u16) (u32) (u64) (e4m3)(e5m2) f16  bf16  f32   f64
u16   (u16) (i32) (i32) (i32) (i64) (u16) u16   (u32) (u64) (e4m3)(e5m2) f16  bf16  f32   f64
u32   (u32) (i64) (i64) (i64) (i64) (u32) (u32) u32   (u64) (e4m3)(e5m2) f16  bf16  f32   f64
u64   (u64) (f32) (f32) (f32) (f32) (u64) (u64) (u64) u64   (e4m3)(e5m2) f16  bf16  f32   f64
e4m3  (e4m3)(e4m3)(e4m3)(e4m3)(e4m3)(e4m3)(e4m3)(e4m3)(e4m3) e4m3 (f32) (f16)(bf16)(f32)(f64)
e5m2  (e5m2)(e5m2)(e5m2)(e5m2)(e5m2)(e5m2)(e5m2)(e5m2)(e5m2)(f32)  e5m2 (f16)(bf16)(f32)(f64)
f16   f16   f16   f16   f16   f16   f16   f16   f16   f16   (f16) (f16)  f16  f32   f32   f64
bf16  bf16  bf16  bf16  bf16  bf16  bf16  bf16  bf16  bf16  (bf16)(bf16) f32  bf16  f32   f64
f32   f32   f32   f32   f32   f32   f32   f32   f32   f32   (f32) (f32)  f32  f32   f32   f64
f64   f64   f64   f64   f64   f64   f64   f64   f64   f64   (f64) (f64)  f64  f64   f64   f64
)";

TEST(DType, promotion_is_the_table) {
  std::string plain;
  for (const char c : std::string(promotion)) plain += c == '(' || c == ')' ? ' ' : c;
  std::istringstream words(plain);
  const std::array<DType, 15> columns = {
      DType::boolean,     DType::int8,    DType::int16,    DType::int32,   DType::int64,
      DType::uint8,       DType::uint16,  DType::uint32,   DType::uint64,  DType::float8_e4m3,
      DType::float8_e5m2, DType::float16, DType::bfloat16, DType::float32, DType::float64};
  std::array<std::string, 15> names;
  for (std::string& word : names) words >> word;
  for (std::size_t row = 0; row < columns.size(); ++row) {
    std::string word;
    words >> word;
    ASSERT_EQ(word, names[row]);
    for (std::size_t column = 0; column < columns.size(); ++column) {
      words >> word;
      const auto wanted = std::find(names.begin(), names.end(), word) - names.begin();
      ASSERT_LT(wanted, 15) << word;
      EXPECT_EQ(promote(columns[row], columns[column]), columns[static_cast<std::size_t>(wanted)])
          << names[row] << " with " << names[column];
    }
  }
}

}  // namespace
}  // namespace brisk
