// The element and block types of GGUF: their sizes, and exact scalar decoding to float32. This is
// the reference that the fused dequantisation is tested against; the layouts below are complete, so
// that tensor expressions can be written from them.
//
// A row of n values is n / values blocks one after another. Notation: all numbers little-endian;
// f16 is IEEE binary16; bytes of a block are listed in order; x[i] is value i of the block; lo(b)
// and hi(b) are the low and high four bits of byte b; i/k is integer division, i%k its remainder.
//
// Blocks of 32 values. With a nibble q[i] = i < 16 ? lo(qs[i]) : hi(qs[i - 16]):
//   Q4_0    18 bytes  f16 d; u8 qs[16]                  x[i] = d * (q[i] - 8)
//   Q4_1    20 bytes  f16 d; f16 m; u8 qs[16]           x[i] = d * q[i] + m
//   Q5_0    22 bytes  f16 d; u32 qh; u8 qs[16]          x[i] = d * (q[i] + h[i] - 16)
//   Q5_1    24 bytes  f16 d; f16 m; u32 qh; u8 qs[16]   x[i] = d * (q[i] + h[i]) + m
//                                                       with h[i] = 16 * (bit i of qh)
//   Q8_0    34 bytes  f16 d; i8 qs[32]                  x[i] = d * qs[i]
//   IQ4_NL  18 bytes  f16 d; u8 qs[16]                  x[i] = d * iq4_levels[q[i]]
//   MXFP4   17 bytes  u8 e; u8 qs[16]                   x[i] = 2^(e - 128) * fp4_doubled[q[i]]
//
// Blocks of 256 values.
//   Q2_K    84 bytes  u8 scales[16]; u8 qs[64]; f16 d; f16 dmin
//     q = qs[32*(i/128) + i%32] >> 2*(i/32%4) & 3          (two bits; four values 32 apart a byte)
//     x[i] = (d * lo(scales[i/16])) * q - dmin * hi(scales[i/16])
//   Q3_K   110 bytes  u8 hmask[32]; u8 qs[64]; u8 scales[12]; f16 d
//     q = as in Q2_K, minus 4 where bit i/32 of hmask[i%32] is clear
//     s = scale j = i/16: low four bits j < 8 ? lo(scales[j]) : hi(scales[j - 8]),
//         high two bits scales[8 + j%4] >> 2*(j/4) & 3
//     x[i] = (d * (s - 32)) * q
//   Q4_K   144 bytes  f16 d; f16 dmin; u8 scales[12]; u8 qs[128]
//     b = qs[32*(i/64) + i%32];  q = i/32 even ? lo(b) : hi(b)
//     for j = i/32, with c = scales:
//       j < 4: s = c[j] & 63,                         m = c[j+4] & 63
//       else:  s = lo(c[j+4]) | (c[j-4] >> 6) << 4,   m = hi(c[j+4]) | (c[j] >> 6) << 4
//     x[i] = (d * s) * q - dmin * m
//   Q5_K   176 bytes  f16 d; f16 dmin; u8 scales[12]; u8 qh[32]; u8 qs[128]
//     as Q4_K with q increased by 16 where bit i/32 of qh[i%32] is set
//   Q6_K   210 bytes  u8 ql[128]; u8 qh[64]; i8 scales[16]; f16 d
//     b = ql[64*(i/128) + i%64];  low = i/64 even ? lo(b) : hi(b)
//     high = qh[32*(i/128) + i%32] >> 2*(i/32%4) & 3
//     x[i] = (d * scales[i/16]) * ((low | high << 4) - 32)
//   IQ4_XS 136 bytes  f16 d; u16 scales_h; u8 scales_l[4]; u8 qs[128]
//     j = i/32;  q = i%32 < 16 ? lo(qs[16*j + i%16]) : hi(qs[16*j + i%16])
//     s = (j even ? lo(scales_l[j/2]) : hi(scales_l[j/2])) | (scales_h >> 2*j & 3) << 4
//     x[i] = (d * (s - 32)) * iq4_levels[q]
//
// Every product is exact in float32 (11 bits of d, at most 6 of a scale, at most 7 of a level), but
// for the last one of Q6_K and those of MXFP4 outside float32's range, which round once; so neither
// the order of the factors nor contraction into multiply-add changes a bit.
#pragma once

#include "base/dtype.h"

#include <array>
#include <cstddef>
#include <cstdint>
#include <span>
#include <string_view>
#include <vector>

namespace brisk {

/// The enumerators' values are GGUF's type ids.
enum class BlockType : std::uint32_t {
  f32 = 0,
  f16 = 1,
  q4_0 = 2,
  q4_1 = 3,
  q5_0 = 6,
  q5_1 = 7,
  q8_0 = 8,
  q2_k = 10,
  q3_k = 11,
  q4_k = 12,
  q5_k = 13,
  q6_k = 14,
  iq4_nl = 20,
  iq4_xs = 23,
  i8 = 24,
  i16 = 25,
  i32 = 26,
  i64 = 27,
  f64 = 28,
  bf16 = 30,
  mxfp4 = 39,
};

struct BlockInfo {
  BlockType type;
  std::string_view name;  // as GGUF tools write it: "Q4_K"
  std::int64_t values;    // values a block
  std::int64_t bytes;     // bytes a block
  DType dtype;            // of plain elements; DType::none where a block must be decoded
};

/// Levels of IQ4_NL and IQ4_XS by nibble.
inline constexpr std::array<std::int8_t, 16> iq4_levels = {
    -127, -104, -83, -65, -49, -35, -22, -10, 1, 13, 25, 38, 53, 69, 89, 113};
/// Twice the value of an FP4 (E2M1) nibble; the sign bit of zero is dropped.
inline constexpr std::array<std::int8_t, 16> fp4_doubled = {0, 1,  2,  3,  4,  6,  8,  12,
                                                            0, -1, -2, -3, -4, -6, -8, -12};

const BlockInfo& block_info(BlockType type);
/// By GGUF's id; nullptr for a type that brisk does not decode.
const BlockInfo* find_block_type(std::uint32_t id);
/// By name, in upper or lower case; nullptr when unknown.
const BlockInfo* find_block_type(std::string_view name);
/// GGUF's name of an id, also of types that brisk does not decode; empty when unknown.
std::string_view gguf_type_name(std::uint32_t id);

/// How the blocks of a row lie in memory: one after another, as in files; or their fields apart,
/// field after field, each of all blocks, so that wide reads of a field are aligned. A row has as
/// many bytes either way.
enum class BlockLayout : std::uint8_t { blocks, planes };

/// Where the fields of a block begin that planes keep apart; ascending, the first at 0.
std::span<const std::int64_t> plane_offsets(BlockType type);
/// Whole rows of `columns` values each, out of blocks into planes, which are as many bytes. For
/// types that must be decoded.
void split_planes(BlockType type, std::span<const std::byte> rows, std::int64_t columns,
                  std::span<std::byte> planes);
std::vector<std::byte> split_planes(BlockType type, std::span<const std::byte> rows,
                                    std::int64_t columns);

/// Decodes `n` values, a multiple of the block's: reads n / values * bytes bytes at `blocks` (any
/// alignment), writes n floats. Integers and f64 are rounded to the nearest float.
void decode_block_row(BlockType type, const std::byte* blocks, float* out, std::int64_t n);

}  // namespace brisk
