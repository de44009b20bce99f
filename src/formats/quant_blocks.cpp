#include "formats/quant_blocks.h"

#include "base/error.h"

#include <algorithm>
#include <bit>
#include <cstring>
#include <utility>

namespace brisk {
namespace {

static_assert(std::endian::native == std::endian::little, "the formats are read in place");

constexpr BlockInfo block_infos[] = {
    {BlockType::f32, "F32", 1, 4, DType::float32},
    {BlockType::f16, "F16", 1, 2, DType::float16},
    {BlockType::q4_0, "Q4_0", 32, 18, DType::none},
    {BlockType::q4_1, "Q4_1", 32, 20, DType::none},
    {BlockType::q5_0, "Q5_0", 32, 22, DType::none},
    {BlockType::q5_1, "Q5_1", 32, 24, DType::none},
    {BlockType::q8_0, "Q8_0", 32, 34, DType::none},
    {BlockType::q2_k, "Q2_K", 256, 84, DType::none},
    {BlockType::q3_k, "Q3_K", 256, 110, DType::none},
    {BlockType::q4_k, "Q4_K", 256, 144, DType::none},
    {BlockType::q5_k, "Q5_K", 256, 176, DType::none},
    {BlockType::q6_k, "Q6_K", 256, 210, DType::none},
    {BlockType::iq4_nl, "IQ4_NL", 32, 18, DType::none},
    {BlockType::iq4_xs, "IQ4_XS", 256, 136, DType::none},
    {BlockType::i8, "I8", 1, 1, DType::int8},
    {BlockType::i16, "I16", 1, 2, DType::int16},
    {BlockType::i32, "I32", 1, 4, DType::int32},
    {BlockType::i64, "I64", 1, 8, DType::int64},
    {BlockType::f64, "F64", 1, 8, DType::float64},
    {BlockType::bf16, "BF16", 1, 2, DType::bfloat16},
    {BlockType::mxfp4, "MXFP4", 32, 17, DType::none},
};

// Types that files may hold and brisk does not decode; named so that the error can say which.
constexpr std::pair<std::uint32_t, std::string_view> other_types[] = {
    {9, "Q8_1"},   {15, "Q8_K"},  {16, "IQ2_XXS"}, {17, "IQ2_XS"}, {18, "IQ3_XXS"}, {19, "IQ1_S"},
    {21, "IQ3_S"}, {22, "IQ2_S"}, {29, "IQ1_M"},   {34, "TQ1_0"},  {35, "TQ2_0"},   {40, "NVFP4"},
};

template <typename T>
T load(const std::uint8_t* bytes) {
  T value;
  std::memcpy(&value, bytes, sizeof value);
  return value;
}

float load_half(const std::uint8_t* bytes) { return half_to_float(load<std::uint16_t>(bytes)); }

int lo(std::uint8_t byte) { return byte & 15; }
int hi(std::uint8_t byte) { return byte >> 4; }
int nibble(const std::uint8_t* qs, int i) { return i < 16 ? lo(qs[i]) : hi(qs[i - 16]); }

void decode_q4_0(const std::uint8_t* b, float* x) {
  const float d = load_half(b);
  for (int i = 0; i < 32; ++i) x[i] = d * static_cast<float>(nibble(b + 2, i) - 8);
}

void decode_q4_1(const std::uint8_t* b, float* x) {
  const float d = load_half(b), m = load_half(b + 2);
  for (int i = 0; i < 32; ++i) x[i] = d * static_cast<float>(nibble(b + 4, i)) + m;
}

int five_bits(const std::uint8_t* qs, std::uint32_t qh, int i) {
  return nibble(qs, i) | static_cast<int>(qh >> i & 1) << 4;
}

void decode_q5_0(const std::uint8_t* b, float* x) {
  const float d = load_half(b);
  const auto qh = load<std::uint32_t>(b + 2);
  for (int i = 0; i < 32; ++i) x[i] = d * static_cast<float>(five_bits(b + 6, qh, i) - 16);
}

void decode_q5_1(const std::uint8_t* b, float* x) {
  const float d = load_half(b), m = load_half(b + 2);
  const auto qh = load<std::uint32_t>(b + 4);
  for (int i = 0; i < 32; ++i) x[i] = d * static_cast<float>(five_bits(b + 8, qh, i)) + m;
}

void decode_q8_0(const std::uint8_t* b, float* x) {
  const float d = load_half(b);
  for (int i = 0; i < 32; ++i) x[i] = d * static_cast<float>(static_cast<std::int8_t>(b[2 + i]));
}

void decode_iq4_nl(const std::uint8_t* b, float* x) {
  const float d = load_half(b);
  for (int i = 0; i < 32; ++i) x[i] = d * static_cast<float>(iq4_levels[nibble(b + 2, i)]);
}

// 2^(e - 128) by bits; e = 0 and 1 give float32 subnormals.
float mxfp4_scale(std::uint8_t e) {
  return std::bit_cast<float>(e < 2 ? 0x200000u << e : (e - 1u) << 23);
}

void decode_mxfp4(const std::uint8_t* b, float* x) {
  const float d = mxfp4_scale(b[0]);
  for (int i = 0; i < 32; ++i) x[i] = d * static_cast<float>(fp4_doubled[nibble(b + 1, i)]);
}

int two_bits(const std::uint8_t* qs, int i) {
  return qs[32 * (i / 128) + i % 32] >> 2 * (i / 32 % 4) & 3;
}

void decode_q2_k(const std::uint8_t* b, float* x) {
  const std::uint8_t* qs = b + 16;
  const float d = load_half(b + 80), dmin = load_half(b + 82);
  for (int i = 0; i < 256; ++i) {
    const float scale = d * static_cast<float>(lo(b[i / 16]));
    const float minimum = dmin * static_cast<float>(hi(b[i / 16]));
    x[i] = scale * static_cast<float>(two_bits(qs, i)) - minimum;
  }
}

void decode_q3_k(const std::uint8_t* b, float* x) {
  const std::uint8_t *hmask = b, *qs = b + 32, *scales = b + 96;
  const float d = load_half(b + 108);
  for (int i = 0; i < 256; ++i) {
    const int j = i / 16;
    const int s =
        (j < 8 ? lo(scales[j]) : hi(scales[j - 8])) | (scales[8 + j % 4] >> 2 * (j / 4) & 3) << 4;
    const int q = two_bits(qs, i) - (hmask[i % 32] >> i / 32 & 1 ? 0 : 4);
    x[i] = d * static_cast<float>(s - 32) * static_cast<float>(q);
  }
}

struct ScaleAndMin {
  float scale, minimum;
};

// The eight pairs of six bits packed in twelve bytes that Q4_K and Q5_K share.
ScaleAndMin scale_and_min(const std::uint8_t* c, int j) {
  if (j < 4) return {static_cast<float>(c[j] & 63), static_cast<float>(c[j + 4] & 63)};
  return {static_cast<float>(lo(c[j + 4]) | c[j - 4] >> 6 << 4),
          static_cast<float>(hi(c[j + 4]) | c[j] >> 6 << 4)};
}

int four_bits(const std::uint8_t* qs, int i) {
  const std::uint8_t byte = qs[32 * (i / 64) + i % 32];
  return i / 32 % 2 == 0 ? lo(byte) : hi(byte);
}

void decode_q4_k(const std::uint8_t* b, float* x) {
  const float d = load_half(b), dmin = load_half(b + 2);
  for (int i = 0; i < 256; ++i) {
    const auto [scale, minimum] = scale_and_min(b + 4, i / 32);
    x[i] = d * scale * static_cast<float>(four_bits(b + 16, i)) - dmin * minimum;
  }
}

void decode_q5_k(const std::uint8_t* b, float* x) {
  const std::uint8_t *qh = b + 16, *qs = b + 48;
  const float d = load_half(b), dmin = load_half(b + 2);
  for (int i = 0; i < 256; ++i) {
    const auto [scale, minimum] = scale_and_min(b + 4, i / 32);
    const int q = four_bits(qs, i) | (qh[i % 32] >> i / 32 & 1) << 4;
    x[i] = d * scale * static_cast<float>(q) - dmin * minimum;
  }
}

void decode_q6_k(const std::uint8_t* b, float* x) {
  const std::uint8_t *ql = b, *qh = b + 128, *scales = b + 192;
  const float d = load_half(b + 208);
  for (int i = 0; i < 256; ++i) {
    const std::uint8_t byte = ql[64 * (i / 128) + i % 64];
    const int q = (i / 64 % 2 == 0 ? lo(byte) : hi(byte)) | two_bits(qh, i) << 4;
    const float scale = d * static_cast<float>(static_cast<std::int8_t>(scales[i / 16]));
    x[i] = scale * static_cast<float>(q - 32);
  }
}

void decode_iq4_xs(const std::uint8_t* b, float* x) {
  const std::uint8_t *scales_l = b + 4, *qs = b + 8;
  const float d = load_half(b);
  const auto scales_h = load<std::uint16_t>(b + 2);
  for (int j = 0; j < 8; ++j) {
    const std::uint8_t low = scales_l[j / 2];
    const int s = (j % 2 == 0 ? lo(low) : hi(low)) | (scales_h >> 2 * j & 3) << 4;
    const float scale = d * static_cast<float>(s - 32);
    for (int i = 0; i < 32; ++i) {
      x[32 * j + i] = scale * static_cast<float>(iq4_levels[nibble(qs + 16 * j, i)]);
    }
  }
}

template <typename T>
void decode_plain(const std::uint8_t* b, float* x) {
  *x = static_cast<float>(load<T>(b));
}

void decode_f16(const std::uint8_t* b, float* x) { *x = load_half(b); }
void decode_bf16(const std::uint8_t* b, float* x) {
  *x = bfloat16_to_float(load<std::uint16_t>(b));
}

using Decoder = void (*)(const std::uint8_t* block, float* values);

Decoder decoder_of(BlockType type) {
  switch (type) {
    case BlockType::f32: return decode_plain<float>;
    case BlockType::f16: return decode_f16;
    case BlockType::q4_0: return decode_q4_0;
    case BlockType::q4_1: return decode_q4_1;
    case BlockType::q5_0: return decode_q5_0;
    case BlockType::q5_1: return decode_q5_1;
    case BlockType::q8_0: return decode_q8_0;
    case BlockType::q2_k: return decode_q2_k;
    case BlockType::q3_k: return decode_q3_k;
    case BlockType::q4_k: return decode_q4_k;
    case BlockType::q5_k: return decode_q5_k;
    case BlockType::q6_k: return decode_q6_k;
    case BlockType::iq4_nl: return decode_iq4_nl;
    case BlockType::iq4_xs: return decode_iq4_xs;
    case BlockType::i8: return decode_plain<std::int8_t>;
    case BlockType::i16: return decode_plain<std::int16_t>;
    case BlockType::i32: return decode_plain<std::int32_t>;
    case BlockType::i64: return decode_plain<std::int64_t>;
    case BlockType::f64: return decode_plain<double>;
    case BlockType::bf16: return decode_bf16;
    case BlockType::mxfp4: return decode_mxfp4;
  }
  unreachable("a BlockType outside its enumerators");
}

bool same_letters(std::string_view a, std::string_view b) {
  const auto upper = [](char c) { return c >= 'a' && c <= 'z' ? static_cast<char>(c - 32) : c; };
  return std::ranges::equal(a, b, {}, upper, upper);
}

}  // namespace

const BlockInfo* find_block_type(std::uint32_t id) {
  const auto found = std::ranges::find(block_infos, static_cast<BlockType>(id), &BlockInfo::type);
  return found == std::end(block_infos) ? nullptr : found;
}

const BlockInfo* find_block_type(std::string_view name) {
  const auto found = std::ranges::find_if(
      block_infos, [&](const BlockInfo& info) { return same_letters(info.name, name); });
  return found == std::end(block_infos) ? nullptr : found;
}

const BlockInfo& block_info(BlockType type) {
  const BlockInfo* info = find_block_type(static_cast<std::uint32_t>(type));
  check(info != nullptr, "a BlockType outside its enumerators");
  return *info;
}

std::span<const std::int64_t> plane_offsets(BlockType type) {
  static constexpr std::int64_t two[] = {0, 2};               // d, qs
  static constexpr std::int64_t four[] = {0, 4};              // d and m, qs
  static constexpr std::int64_t q5_0[] = {0, 2, 6};           // d, qh, qs
  static constexpr std::int64_t q5_1[] = {0, 4, 8};           // d and m, qh, qs
  static constexpr std::int64_t q2_k[] = {0, 16, 80};         // scales, qs, d and dmin
  static constexpr std::int64_t q3_k[] = {0, 32, 96, 108};    // hmask, qs, scales, d
  static constexpr std::int64_t q4_k[] = {0, 16};             // d, dmin and scales, qs
  static constexpr std::int64_t q5_k[] = {0, 16, 48};         // the same, qh, qs
  static constexpr std::int64_t q6_k[] = {0, 128, 192, 208};  // ql, qh, scales, d
  static constexpr std::int64_t iq4_xs[] = {0, 8};            // d and scales, qs
  static constexpr std::int64_t mxfp4[] = {0, 1};             // e, qs
  switch (type) {
    case BlockType::q4_1: return four;
    case BlockType::q5_0: return q5_0;
    case BlockType::q5_1: return q5_1;
    case BlockType::q2_k: return q2_k;
    case BlockType::q3_k: return q3_k;
    case BlockType::q4_k: return q4_k;
    case BlockType::q5_k: return q5_k;
    case BlockType::q6_k: return q6_k;
    case BlockType::iq4_xs: return iq4_xs;
    case BlockType::mxfp4: return mxfp4;
    default: return two;
  }
}

namespace {

// A field of so many bytes out of `count` blocks, `stride` bytes apart.
template <std::size_t size>
void gather_field(std::byte* to, const std::byte* from, std::size_t stride, std::size_t count) {
  for (std::size_t i = 0; i < count; ++i) std::memcpy(to + i * size, from + i * stride, size);
}

using GatherField = void (*)(std::byte*, const std::byte*, std::size_t, std::size_t);

// The copies have sizes that the compiler knows, so each is a move or two.
GatherField gather_of(std::size_t size) {
  switch (size) {
    case 1: return gather_field<1>;
    case 2: return gather_field<2>;
    case 4: return gather_field<4>;
    case 8: return gather_field<8>;
    case 12: return gather_field<12>;
    case 16: return gather_field<16>;
    case 32: return gather_field<32>;
    case 64: return gather_field<64>;
    case 128: return gather_field<128>;
    default: unreachable("no field of a block has other sizes");
  }
}

}  // namespace

void split_planes(BlockType type, std::span<const std::byte> rows, std::int64_t columns,
                  std::span<std::byte> planes) {
  const BlockInfo& info = block_info(type);
  check(columns > 0 && columns % info.values == 0, "a row is a whole number of blocks");
  const auto stride = static_cast<std::size_t>(info.bytes);
  const auto blocks = static_cast<std::size_t>(columns / info.values);
  check(rows.size() % (blocks * stride) == 0, "whole rows");
  check(planes.size() == rows.size(), "planes are as large as blocks");
  const auto offsets = plane_offsets(type);
  for (std::size_t row = 0; row < rows.size(); row += blocks * stride) {
    for (std::size_t i = 0; i < offsets.size(); ++i) {
      const auto begin = static_cast<std::size_t>(offsets[i]);
      const auto end = i + 1 < offsets.size() ? static_cast<std::size_t>(offsets[i + 1]) : stride;
      gather_of(end - begin)(&planes[row + blocks * begin], &rows[row + begin], stride, blocks);
    }
  }
}

std::vector<std::byte> split_planes(BlockType type, std::span<const std::byte> rows,
                                    std::int64_t columns) {
  std::vector<std::byte> planes(rows.size());
  split_planes(type, rows, columns, planes);
  return planes;
}

std::string_view gguf_type_name(std::uint32_t id) {
  if (const BlockInfo* info = find_block_type(id)) return info->name;
  for (const auto& [other, name] : other_types) {
    if (other == id) return name;
  }
  return {};
}

void decode_block_row(BlockType type, const std::byte* blocks, float* out, std::int64_t n) {
  const BlockInfo& info = block_info(type);
  check(n >= 0 && n % info.values == 0, "a row is a whole number of blocks");
  const Decoder decode = decoder_of(type);
  const auto* block = reinterpret_cast<const std::uint8_t*>(blocks);
  for (const float* end = out + n; out != end; out += info.values, block += info.bytes) {
    decode(block, out);
  }
}

}  // namespace brisk
