#include "formats/quantise.h"

#include "base/error.h"

#include <algorithm>
#include <array>
#include <bit>
#include <cmath>
#include <cstring>
#include <limits>

namespace brisk {
namespace {

// Relative distances from the obvious scale at which the fits below look for a better one.
constexpr float search_step = 0.0125f;
constexpr int search_steps = 9;  // on either side

/// The whole numbers lowest…highest as levels.
struct Integers {
  float lowest, highest;
  float nearest(float v) const {
    v = v > lowest ? v : lowest;  // also for a NaN
    v = v < highest ? v : highest;
    constexpr float round = 0x1.8p23f;  // pushes the fraction out of the significand
    return (v + round) - round;
  }
};

/// The levels of IQ4_NL and IQ4_XS.
struct Iq4 {
  static constexpr float lowest = -127, highest = 113;

  static int index(float v) {
    const float twice = 2 * (v > lowest ? (v < highest ? v : highest) : lowest);
    const int down = static_cast<int>(twice);
    const int up = twice > static_cast<float>(down) ? down + 1 : down;
    return table[up + 254];
  }
  static float nearest(float v) { return iq4_levels[static_cast<std::size_t>(index(v))]; }

 private:
  // By 254 + ⌈2v⌉: the midpoints between levels are multiples of one half.
  static constexpr auto table = [] {
    std::array<std::uint8_t, 2 * (127 + 113) + 1> out{};
    for (std::size_t k = 0, i = 0; k < out.size(); ++k) {
      while (i < 15 && static_cast<int>(k) - 254 > iq4_levels[i] + iq4_levels[i + 1]) ++i;
      out[k] = static_cast<std::uint8_t>(i);
    }
    return out;
  }();
};

float inverse(float v) { return v != 0 ? 1 / v : 0; }

/// The d for which d * levels.nearest(x / d) is nearest to the n values x, by least squares.
template <typename Levels>
float fit_scale(const float* x, int n, const Levels& levels) {
  const float extreme =
      *std::max_element(x, x + n, [](float a, float b) { return std::fabs(a) < std::fabs(b); });
  float best = 0, most = 0;
  if (extreme == 0) return best;
  for (const float level : {levels.lowest, levels.highest}) {
    for (int step = -search_steps; step <= search_steps; ++step) {
      const float by = level * (1 + search_step * static_cast<float>(step)) / extreme;
      float xq = 0, qq = 0;
      for (int i = 0; i < n; ++i) {
        const float q = levels.nearest(x[i] * by);
        xq += x[i] * q;
        qq += q * q;
      }
      // Σ(x - d q)² is least for d = xq / qq, where it is Σx² - xq² / qq.
      if (qq > 0 && xq * xq > most * qq) {
        most = xq * xq / qq;
        best = xq / qq;
      }
    }
  }
  return best;
}

struct Affine {
  float scale = 0, minimum = 0;
};

/// The d and m for which d * q + m, q in 0…highest, is nearest to x. With `below_zero` m is at most
/// 0.
Affine fit_affine(const float* x, int n, float highest, bool below_zero) {
  const auto [low, high] = std::minmax_element(x, x + n);
  const float start = below_zero ? std::min(*low, 0.0f) : *low;
  const float range = std::max(*high, start) - start;
  Affine best{0, start};
  if (range == 0) return best;
  const Integers levels{0, highest};
  float least = std::numeric_limits<float>::infinity();
  for (int step = -search_steps; step <= search_steps; ++step) {
    const float by = highest * (1 + search_step * static_cast<float>(step)) / range;
    float sum_x = 0, sum_q = 0, xq = 0, qq = 0;
    for (int i = 0; i < n; ++i) {
      const float q = levels.nearest((x[i] - start) * by);
      sum_x += x[i];
      sum_q += q;
      xq += x[i] * q;
      qq += q * q;
    }
    const auto count = static_cast<float>(n);
    const float determinant = count * qq - sum_q * sum_q;
    Affine fit;
    if (determinant > 0) {
      fit = {(count * xq - sum_x * sum_q) / determinant, (qq * sum_x - sum_q * xq) / determinant};
    }
    if (below_zero && (determinant <= 0 || fit.minimum > 0)) fit = {xq * inverse(qq), 0};
    float error = 0;
    for (int i = 0; i < n; ++i) {
      const float q = levels.nearest((x[i] - start) * by);
      const float difference = fit.scale * q + fit.minimum - x[i];
      error += difference * difference;
    }
    if (error < least) {
      least = error;
      best = fit;
    }
  }
  return best;
}

/// A block's scale does not fit in an f16.
struct TooLarge {};

/// Writes `value` as an f16 and returns what it became.
float put_half(std::uint8_t* at, float value) {
  const std::uint16_t bits = float_to_half(value);
  std::memcpy(at, &bits, sizeof bits);
  const float kept = half_to_float(bits);
  if (!std::isfinite(kept)) throw TooLarge{};
  return kept;
}

// The encoders fill blocks that are zero before; the layouts are in quant_blocks.h.

void put_nibble(std::uint8_t* qs, int i, int q) {
  qs[i % 16] |= static_cast<std::uint8_t>(i < 16 ? q : q << 4);
}

/// Five bits: the nibble, and the fifth as bit i of the four bytes at qh.
void put_five_bits(std::uint8_t* qs, std::uint8_t* qh, int i, int q) {
  put_nibble(qs, i, q & 15);
  qh[i / 8] |= static_cast<std::uint8_t>(q >> 4 << i % 8);
}

void encode_q4_0(const float* x, std::uint8_t* b) {
  const Integers levels{-8, 7};
  const float by = inverse(put_half(b, fit_scale(x, 32, levels)));
  for (int i = 0; i < 32; ++i)
    put_nibble(b + 2, i, static_cast<int>(levels.nearest(x[i] * by)) + 8);
}

void encode_q5_0(const float* x, std::uint8_t* b) {
  const Integers levels{-16, 15};
  const float by = inverse(put_half(b, fit_scale(x, 32, levels)));
  for (int i = 0; i < 32; ++i) {
    put_five_bits(b + 6, b + 2, i, static_cast<int>(levels.nearest(x[i] * by)) + 16);
  }
}

void encode_q4_1(const float* x, std::uint8_t* b) {
  const Integers levels{0, 15};
  const Affine fit = fit_affine(x, 32, levels.highest, false);
  const float by = inverse(put_half(b, fit.scale)), m = put_half(b + 2, fit.minimum);
  for (int i = 0; i < 32; ++i) {
    put_nibble(b + 4, i, static_cast<int>(levels.nearest((x[i] - m) * by)));
  }
}

void encode_q5_1(const float* x, std::uint8_t* b) {
  const Integers levels{0, 31};
  const Affine fit = fit_affine(x, 32, levels.highest, false);
  const float by = inverse(put_half(b, fit.scale)), m = put_half(b + 2, fit.minimum);
  for (int i = 0; i < 32; ++i) {
    put_five_bits(b + 8, b + 4, i, static_cast<int>(levels.nearest((x[i] - m) * by)));
  }
}

void encode_q8_0(const float* x, std::uint8_t* b) {
  float largest = 0;
  for (int i = 0; i < 32; ++i) largest = std::max(largest, std::fabs(x[i]));
  const float by = inverse(put_half(b, largest / 127));
  const Integers levels{-127, 127};
  for (int i = 0; i < 32; ++i) {
    b[2 + i] = static_cast<std::uint8_t>(static_cast<int>(levels.nearest(x[i] * by)));
  }
}

void encode_iq4_nl(const float* x, std::uint8_t* b) {
  const float by = inverse(put_half(b, fit_scale(x, 32, Iq4{})));
  for (int i = 0; i < 32; ++i) put_nibble(b + 2, i, Iq4::index(x[i] * by));
}

// Four-bit code of the FP4 value nearest to v / 2.
int fp4_index(float v) {
  const float magnitude = std::fabs(v);
  int i = 0;
  while (i < 7 && 2 * magnitude > static_cast<float>(fp4_doubled[i] + fp4_doubled[i + 1])) ++i;
  return v < 0 && i > 0 ? i + 8 : i;
}

void encode_mxfp4(const float* x, std::uint8_t* b) {
  float largest = 0;
  for (int i = 0; i < 32; ++i) largest = std::max(largest, std::fabs(x[i]));
  if (largest == 0) return;
  // In units of 2^e the largest value is in 1…2; among the doubled levels it belongs between 4 and
  // 16, so the scale is 2^(e - shift) for one of these shifts.
  const int e = std::ilogb(largest);
  float least = std::numeric_limits<float>::infinity();
  int best = 0;
  for (int shift = 1; shift <= 3; ++shift) {
    float error = 0;
    for (int i = 0; i < 32; ++i) {
      const float v = std::ldexp(x[i], shift - e);
      const float difference = static_cast<float>(fp4_doubled[fp4_index(v)]) - v;
      error += std::ldexp(difference * difference, -2 * shift);
    }
    if (error < least) {
      least = error;
      best = shift;
    }
  }
  const int stored = std::clamp(e - best + 128, 0, 254);
  b[0] = static_cast<std::uint8_t>(stored);
  for (int i = 0; i < 32; ++i) put_nibble(b + 1, i, fp4_index(std::ldexp(x[i], 128 - stored)));
}

/// The integers nearest to `scales` / d for the d, written at `at`, that suits their range.
template <std::size_t N>
float put_scales(std::uint8_t* at, const std::array<float, N>& scales, const Integers& levels,
                 std::array<int, N>& out) {
  const float d = put_half(at, fit_scale(scales.data(), N, levels));
  const float by = inverse(d);
  for (std::size_t j = 0; j < N; ++j) out[j] = static_cast<int>(levels.nearest(scales[j] * by));
  return d;
}

void put_two_bits(std::uint8_t* qs, int i, int q) {
  qs[32 * (i / 128) + i % 32] |= static_cast<std::uint8_t>(q << 2 * (i / 32 % 4));
}

/// The scales and minimums of N parts of 256 values, as the K types with minimums hold them.
template <std::size_t N>
struct Parts {
  float d, dmin;
  std::array<int, N> scales, minimums;

  Parts(const float* x, float highest, float highest_scale, std::uint8_t* d_at) {
    constexpr int size = 256 / N;
    std::array<float, N> s, m;
    for (std::size_t j = 0; j < N; ++j) {
      const Affine fit = fit_affine(x + size * j, size, highest, true);
      s[j] = fit.scale;
      m[j] = -fit.minimum;
    }
    const Integers levels{0, highest_scale};
    d = put_scales(d_at, s, levels, scales);
    dmin = put_scales(d_at + 2, m, levels, minimums);
  }

  int nearest(float x, std::size_t j, float highest) const {
    const float by = inverse(d * static_cast<float>(scales[j]));
    const float above = x + dmin * static_cast<float>(minimums[j]);
    return static_cast<int>(Integers{0, highest}.nearest(above * by));
  }
};

void encode_q2_k(const float* x, std::uint8_t* b) {
  const Parts<16> parts(x, 3, 15, b + 80);
  for (int j = 0; j < 16; ++j) {
    b[j] = static_cast<std::uint8_t>(parts.scales[j] | parts.minimums[j] << 4);
  }
  for (int i = 0; i < 256; ++i) put_two_bits(b + 16, i, parts.nearest(x[i], i / 16, 3));
}

void put_scales_and_minimums(std::uint8_t* c, const Parts<8>& parts) {
  for (int j = 0; j < 4; ++j) {
    const int s = parts.scales[j], m = parts.minimums[j];
    const int s4 = parts.scales[j + 4], m4 = parts.minimums[j + 4];
    c[j] = static_cast<std::uint8_t>(s | s4 >> 4 << 6);
    c[j + 4] = static_cast<std::uint8_t>(m | m4 >> 4 << 6);
    c[j + 8] = static_cast<std::uint8_t>((s4 & 15) | (m4 & 15) << 4);
  }
}

void put_four_bits(std::uint8_t* qs, int i, int q) {
  qs[32 * (i / 64) + i % 32] |= static_cast<std::uint8_t>(i / 32 % 2 == 0 ? q : q << 4);
}

void encode_q4_k(const float* x, std::uint8_t* b) {
  const Parts<8> parts(x, 15, 63, b);
  put_scales_and_minimums(b + 4, parts);
  for (int i = 0; i < 256; ++i) put_four_bits(b + 16, i, parts.nearest(x[i], i / 32, 15));
}

void encode_q5_k(const float* x, std::uint8_t* b) {
  const Parts<8> parts(x, 31, 63, b);
  put_scales_and_minimums(b + 4, parts);
  for (int i = 0; i < 256; ++i) {
    const int q = parts.nearest(x[i], i / 32, 31);
    put_four_bits(b + 48, i, q & 15);
    b[16 + i % 32] |= static_cast<std::uint8_t>(q >> 4 << i / 32);
  }
}

/// Fits N parts of 256 values with signed scales; out: 1 / (d * scale) of each part, or 0.
template <std::size_t N, typename Levels>
std::array<float, N> fit_parts(const float* x, const Levels& levels, const Integers& scale_levels,
                               std::uint8_t* d_at, std::array<int, N>& scales) {
  constexpr int size = 256 / N;
  std::array<float, N> s, by;
  for (std::size_t j = 0; j < N; ++j) s[j] = fit_scale(x + size * j, size, levels);
  const float d = put_scales(d_at, s, scale_levels, scales);
  for (std::size_t j = 0; j < N; ++j) by[j] = inverse(d * static_cast<float>(scales[j]));
  return by;
}

void encode_q3_k(const float* x, std::uint8_t* b) {
  std::uint8_t *hmask = b, *qs = b + 32, *packed = b + 96;
  const Integers levels{-4, 3};
  std::array<int, 16> scales;
  const auto by = fit_parts<16>(x, levels, {-32, 31}, b + 108, scales);
  for (int j = 0; j < 16; ++j) {
    const int s = scales[j] + 32;
    packed[j % 8] |= static_cast<std::uint8_t>((s & 15) << (j < 8 ? 0 : 4));
    packed[8 + j % 4] |= static_cast<std::uint8_t>(s >> 4 << 2 * (j / 4));
  }
  for (int i = 0; i < 256; ++i) {
    const int q = static_cast<int>(levels.nearest(x[i] * by[i / 16])) + 4;
    put_two_bits(qs, i, q & 3);
    hmask[i % 32] |= static_cast<std::uint8_t>(q >> 2 << i / 32);
  }
}

void encode_q6_k(const float* x, std::uint8_t* b) {
  std::uint8_t *ql = b, *qh = b + 128;
  const Integers levels{-32, 31};
  std::array<int, 16> scales;
  const auto by = fit_parts<16>(x, levels, {-128, 127}, b + 208, scales);
  for (int j = 0; j < 16; ++j) b[192 + j] = static_cast<std::uint8_t>(scales[j]);
  for (int i = 0; i < 256; ++i) {
    const int q = static_cast<int>(levels.nearest(x[i] * by[i / 16])) + 32;
    ql[64 * (i / 128) + i % 64] |= static_cast<std::uint8_t>((q & 15) << (i / 64 % 2 == 0 ? 0 : 4));
    put_two_bits(qh, i, q >> 4);
  }
}

void encode_iq4_xs(const float* x, std::uint8_t* b) {
  std::array<int, 8> scales;
  const auto by = fit_parts<8>(x, Iq4{}, {-32, 31}, b, scales);
  for (int j = 0; j < 8; ++j) {
    const int s = scales[j] + 32;
    b[2 + j / 4] |= static_cast<std::uint8_t>(s >> 4 << 2 * (j % 4));
    b[4 + j / 2] |= static_cast<std::uint8_t>((s & 15) << (j % 2 == 0 ? 0 : 4));
  }
  for (int i = 0; i < 256; ++i) {
    put_nibble(b + 8 + 16 * (i / 32), i % 32, Iq4::index(x[i] * by[i / 32]));
  }
}

void encode_f32(const float* x, std::uint8_t* b) { std::memcpy(b, x, sizeof *x); }
void encode_f16(const float* x, std::uint8_t* b) {
  const std::uint16_t bits = float_to_half(*x);
  std::memcpy(b, &bits, sizeof bits);
}
void encode_bf16(const float* x, std::uint8_t* b) {
  const std::uint16_t bits = float_to_bfloat16(*x);
  std::memcpy(b, &bits, sizeof bits);
}

using Encoder = void (*)(const float* values, std::uint8_t* block);

Encoder encoder_of(BlockType type) {
  switch (type) {
    case BlockType::f32: return encode_f32;
    case BlockType::f16: return encode_f16;
    case BlockType::bf16: return encode_bf16;
    case BlockType::q4_0: return encode_q4_0;
    case BlockType::q4_1: return encode_q4_1;
    case BlockType::q5_0: return encode_q5_0;
    case BlockType::q5_1: return encode_q5_1;
    case BlockType::q8_0: return encode_q8_0;
    case BlockType::q2_k: return encode_q2_k;
    case BlockType::q3_k: return encode_q3_k;
    case BlockType::q4_k: return encode_q4_k;
    case BlockType::q5_k: return encode_q5_k;
    case BlockType::q6_k: return encode_q6_k;
    case BlockType::iq4_nl: return encode_iq4_nl;
    case BlockType::iq4_xs: return encode_iq4_xs;
    case BlockType::mxfp4: return encode_mxfp4;
    default: user_error("cannot quantise to {}", block_info(type).name);
  }
}

void check_values(const BlockInfo& info, const float* values) {
  // Beyond all that blocks with f16 scales hold, and far from where the fits would overflow; the
  // levels of MXFP4 nearest to larger values might be infinite.
  const float largest = info.type == BlockType::mxfp4 ? 0x1p126f : 0x1p32f;
  for (int i = 0; i < info.values; ++i) {
    if (!std::isfinite(values[i]))
      user_error("cannot quantise to {}: a value is not finite", info.name);
    if (std::fabs(values[i]) > largest) throw TooLarge{};
  }
}

}  // namespace

void encode_block_row(BlockType type, const float* values, std::byte* blocks, std::int64_t n) {
  const BlockInfo& info = block_info(type);
  check(n >= 0 && n % info.values == 0, "a row is a whole number of blocks");
  const Encoder encode = encoder_of(type);
  std::memset(blocks, 0, static_cast<std::size_t>(n / info.values * info.bytes));
  auto* block = reinterpret_cast<std::uint8_t*>(blocks);
  for (const float* end = values + n; values != end; values += info.values, block += info.bytes) {
    try {
      if (info.dtype == DType::none) check_values(info, values);
      encode(values, block);
    } catch (const TooLarge&) {
      user_error("cannot quantise to {}: a value is too large", info.name);
    }
  }
}

}  // namespace brisk
