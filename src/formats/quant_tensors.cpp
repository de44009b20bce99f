#include "formats/quant_tensors.h"

#include "base/error.h"
#include "brisk/create.h"

#include <algorithm>

namespace brisk {

namespace {

// The blocks of a matrix, out of uint8 [rows, bytes of a row]. A field is [rows, blocks, bytes of
// it]; the letters are those of quant_blocks.h.
class Blocks {
 public:
  Blocks(const Tensor& raw, BlockType type, std::int64_t blocks, BlockLayout layout)
      : rows_(raw), type_(type), blocks_(blocks), layout_(layout) {}

  Tensor field(std::int64_t offset, std::int64_t length) const {
    std::int64_t begin = 0;
    std::int64_t end = block_info(type_).bytes;
    if (layout_ == BlockLayout::planes) {
      for (const std::int64_t plane : plane_offsets(type_)) {
        if (plane <= offset) begin = plane;
        if (plane > offset) end = std::min(end, plane);
      }
    }
    check(offset + length <= end, "a field lies in one plane");
    return rows_.narrow(1, blocks_ * begin, blocks_ * (end - begin))
        .reshape({rows_.size(0), blocks_, end - begin})
        .narrow(2, offset - begin, length);
  }
  Tensor word(std::int64_t offset) const {  // u16, [rows, blocks, 1]
    return field(offset, 1).cast(DType::uint16) | (field(offset + 1, 1).cast(DType::uint16) << 8);
  }
  Tensor half(std::int64_t offset) const {
    return word(offset).bitcast(DType::float16).cast(DType::float32);
  }

 private:
  Tensor rows_;
  BlockType type_;
  std::int64_t blocks_;
  BlockLayout layout_;
};

// A vector along the axis before the last of [rows, blocks, groups, count, inner].
Tensor along_fields(std::int64_t count, std::int64_t step, DType dtype) {
  return (arange(count) * step).cast(dtype).reshape({1, 1, 1, count, 1});
}

// Packed fields of 1, 2 or 4 bits: every group of `inner` bytes holds its first `inner` values in
// the lowest bits of its bytes, the next ones above them. uint8 [rows, blocks, values].
Tensor unpack(const Tensor& bytes, std::int64_t inner, std::int64_t bits) {
  const Dim groups = bytes.size(2) / inner;
  const std::int64_t count = 8 / bits;
  const Tensor split = bytes.reshape({bytes.size(0), bytes.size(1), groups, 1, inner});
  const Tensor fields = split >> along_fields(count, bits, DType::uint8);
  return (fields & ((1 << bits) - 1))
      .reshape({bytes.size(0), bytes.size(1), bytes.size(2) * count});
}

// [rows, blocks, n] under [rows, blocks, n / inner, inner], to meet one scale a group.
Tensor grouped(const Tensor& values, std::int64_t inner) {
  return values.reshape({values.size(0), values.size(1), values.size(2) / inner, inner});
}

Tensor to_float(const Tensor& values) { return values.cast(DType::float32); }
Tensor to_int(const Tensor& values) { return values.cast(DType::int8); }

// The level of each nibble, out of two registers of eight levels each.
Tensor iq4_level(const Tensor& nibble) {
  std::uint64_t halves[2] = {};
  for (std::size_t i = 0; i < iq4_levels.size(); ++i) {
    halves[i / 8] |= std::uint64_t{static_cast<std::uint8_t>(iq4_levels[i])} << 8 * (i % 8);
  }
  const auto levels = [](std::uint64_t half) {
    return Tensor(static_cast<std::int64_t>(half)).cast(DType::int64);
  };
  const Tensor packed = where(nibble < 8, levels(halves[0]), levels(halves[1]));
  const Tensor shift = (nibble & 7).cast(DType::int64) * 8;
  return (packed >> shift).cast(DType::int8);
}

// fp4_doubled of each nibble: the magnitudes are the nibbles of one register.
Tensor fp4_level(const Tensor& nibble) {
  std::uint32_t magnitudes = 0;
  for (std::size_t i = 0; i < 8; ++i) {
    magnitudes |= static_cast<std::uint32_t>(fp4_doubled[i]) << 4 * i;
  }
  const Tensor packed = Tensor(static_cast<std::int64_t>(magnitudes)).cast(DType::uint32);
  const Tensor shift = (nibble & 7).cast(DType::uint32) * 4;
  const Tensor magnitude = to_int((packed >> shift) & 15);
  return where(nibble < 8, magnitude, -magnitude);
}

// 2^(e - 128) by its bits: half of 2^(e - 127), which e - 1 in the exponent's place is; below the
// normal numbers (e = 0 and 1) it is 2^-128 and 2^-127, whose bits are 1 << 21 and 1 << 22.
Tensor half_of_power(const Tensor& exponent) {
  const Tensor e = exponent.cast(DType::uint32);
  const Tensor low = Tensor(1 << 21) << e;
  return where(e < 2, low.cast(DType::uint32), (e - 1) << 23).bitcast(DType::float32);
}

// How a type's blocks hold their values: scale * q + offset, each group of neighbours under one
// scale.
struct Groups {
  Tensor scale;   // float32 [rows, blocks, groups, 1]
  Tensor q;       // int8 or uint8 [rows, blocks, groups, values of a group]
  Tensor offset;  // like scale; undefined for none
};

// The 6-bit scales and minima of Q4_K and Q5_K: float32 [rows, blocks, 8, 1] each. Both halves of
// the eight are masks and shifts of the same bytes; `second` is 0 in the first half, 1 in the
// other.
struct ScalesMinima {
  Tensor scales;
  Tensor minima;
};
ScalesMinima k_scales(const Tensor& bytes) {
  const auto part = [&](int i) {
    return bytes.narrow(2, 4 * i, 4).reshape({bytes.size(0), bytes.size(1), 1, 4});
  };
  const Tensor a = part(0);
  const Tensor b = part(1);
  const Tensor c = part(2);
  const Tensor second = arange(2).cast(DType::uint8).reshape({1, 1, 2, 1});
  const Tensor first_mask = 63 - 63 * second;
  const Tensor second_mask = 15 * second;
  const Tensor high_mask = 48 * second;
  const auto join = [&](const Tensor& low, const Tensor& rest, const Tensor& high) {
    const Tensor six = (low & first_mask) | (rest & second_mask) | ((high >> 2) & high_mask);
    return to_float(six).reshape({bytes.size(0), bytes.size(1), 8, 1});
  };
  return {join(a, c, a), join(b, c >> 4, b)};
}

Groups k_groups(const Blocks& x, const Tensor& q) {
  const ScalesMinima s = k_scales(x.field(4, 12));
  const auto each = [](const Tensor& d) { return d.unsqueeze(-1); };
  return {each(x.half(0)) * s.scales, grouped(q, 32), -(each(x.half(2)) * s.minima)};
}

Tensor high_bits_5(const Blocks& x, std::int64_t offset) {
  return unpack(x.field(offset, 4), 1, 1) << 4;
}

// Blocks that are one group.
Groups single(const Tensor& scale, const Tensor& q, const Tensor& offset = {}) {
  return {scale.unsqueeze(-1), q.unsqueeze(2), offset.defined() ? offset.unsqueeze(-1) : offset};
}

Groups groups_of(const Blocks& x, BlockType type) {
  switch (type) {
    case BlockType::q4_0: return single(x.half(0), to_int(unpack(x.field(2, 16), 16, 4)) - 8);
    case BlockType::q4_1: return single(x.half(0), unpack(x.field(4, 16), 16, 4), x.half(2));
    case BlockType::q5_0:
      return single(x.half(0), to_int(unpack(x.field(6, 16), 16, 4) | high_bits_5(x, 2)) - 16);
    case BlockType::q5_1:
      return single(x.half(0), unpack(x.field(8, 16), 16, 4) | high_bits_5(x, 4), x.half(2));
    case BlockType::q8_0: return single(x.half(0), x.field(2, 32).bitcast(DType::int8));
    case BlockType::iq4_nl: return single(x.half(0), iq4_level(unpack(x.field(2, 16), 16, 4)));
    case BlockType::mxfp4:
      return single(half_of_power(x.field(0, 1)), fp4_level(unpack(x.field(1, 16), 16, 4)));
    case BlockType::q2_k: {
      const Tensor scales = x.field(0, 16);
      const Tensor scale = (x.half(80) * to_float(scales & 15)).unsqueeze(-1);
      const Tensor least = (x.half(82) * to_float(scales >> 4)).unsqueeze(-1);
      return {scale, grouped(unpack(x.field(16, 64), 32, 2), 16), -least};
    }
    case BlockType::q3_k: {
      const Tensor low = unpack(x.field(96, 8), 8, 4);
      const Tensor high = unpack(x.field(104, 4), 4, 2) << 4;
      const Tensor scale = x.half(108) * to_float(to_int(low | high) - 32);
      const Tensor q = unpack(x.field(32, 64), 32, 2) | (unpack(x.field(0, 32), 32, 1) << 2);
      return {scale.unsqueeze(-1), grouped(to_int(q) - 4, 16), {}};
    }
    case BlockType::q4_k: return k_groups(x, unpack(x.field(16, 128), 32, 4));
    case BlockType::q5_k:
      return k_groups(x, unpack(x.field(48, 128), 32, 4) | (unpack(x.field(16, 32), 32, 1) << 4));
    case BlockType::q6_k: {
      const Tensor scale = x.half(208) * to_float(x.field(192, 16).bitcast(DType::int8));
      const Tensor q = unpack(x.field(0, 128), 64, 4) | (unpack(x.field(128, 64), 32, 2) << 4);
      return {scale.unsqueeze(-1), grouped(to_int(q) - 32, 16), {}};
    }
    case BlockType::iq4_xs: {
      const Tensor low = unpack(x.field(4, 4), 1, 4);
      const Tensor high = unpack(x.field(2, 2), 1, 2) << 4;
      const Tensor scale = x.half(0) * to_float(to_int(low | high) - 32);
      return {scale.unsqueeze(-1), grouped(iq4_level(unpack(x.field(8, 128), 16, 4)), 32), {}};
    }
    default: user_error("{} is not a type of quantised weights", block_info(type).name);
  }
}

Tensor decode(const Blocks& x, BlockType type) {
  switch (type) {
    case BlockType::f16: return x.half(0);
    case BlockType::bf16: return x.word(0).bitcast(DType::bfloat16).cast(DType::float32);
    case BlockType::f32: {
      const Tensor high = x.word(2).cast(DType::uint32) << 16;
      return (x.word(0).cast(DType::uint32) | high).bitcast(DType::float32);
    }
    default: break;
  }
  const Groups groups = groups_of(x, type);
  const Tensor values = groups.scale * to_float(groups.q);
  return groups.offset.defined() ? values + groups.offset : values;
}

Blocks blocks_of(const char* call, const Tensor& raw, BlockType type, std::int64_t columns,
                 BlockLayout layout) {
  const BlockInfo& info = block_info(type);
  if (raw.rank() != 2 || raw.dtype() != DType::uint8 || columns % info.values != 0 ||
      raw.size(1) != Dim(columns / info.values * info.bytes)) {
    user_error("{}: {} columns of {} do not lie in {} of shape {}", call, columns, info.name,
               name(raw.dtype()), to_string(raw.dims()));
  }
  return {raw, type, columns / info.values, layout};
}

}  // namespace

Tensor dequantise(const Tensor& raw, BlockType type, std::int64_t columns, BlockLayout layout) {
  return decode(blocks_of("dequantise", raw, type, columns, layout), type)
      .reshape({raw.size(0), columns});
}

RoundedRows round_rows(const Tensor& x) {
  constexpr std::int64_t inner = RoundedRows::group;
  if (x.rank() != 2 || x.dtype() != DType::float32 || !(x.size(1) % inner == Dim(0))) {
    user_error("round_rows: wants float32 [rows, a multiple of {}], got {} of shape {}", inner,
               name(x.dtype()), to_string(x.dims()));
  }
  const Tensor values = x.reshape({x.size(0), x.size(1) / inner, inner});
  const Tensor most = values.abs().amax({2}, true);
  // Below it 127 / most would overflow.
  const Tensor factor = where(most < 1e-36, 0.0, 127 / most);
  const Tensor steps = values * factor;  // at most 127, whose half steps go outward
  return {(steps + where(steps < 0, -0.5, 0.5)).cast(DType::int8), most * (1.0 / 127)};
}

Tensor quantised_linear(const RoundedRows& x, const Tensor& raw, BlockType type,
                        BlockLayout layout) {
  const Dim rows = x.q.size(0);
  const Dim columns = x.q.size(1) * RoundedRows::group;
  const Groups w =
      groups_of(blocks_of("quantised_linear", raw, type, columns.value(), layout), type);
  const Dim inner = w.q.size(3);
  const Dim groups = columns / inner;
  const Dim out = raw.size(0);
  // One for 32 values of x, repeated for each group of the matrix.
  const Tensor x_scale = x.scale.expand({rows, x.scale.size(1), Dim(RoundedRows::group) / inner})
                             .reshape({rows, groups});
  const Tensor x_q = x.q.reshape({rows, groups, inner}).cast(DType::int32);
  const auto of_rows = [&](const Tensor& each) { return each.unsqueeze(1); };
  const auto of_matrix = [&](const Tensor& each) { return each.reshape({1, out, groups}); };
  const Tensor sums = (w.q.reshape({1, out, groups, inner}).cast(DType::int32) * of_rows(x_q))
                          .sum({3}, false, DType::int32);
  Tensor terms = to_float(sums) * (of_matrix(w.scale) * of_rows(x_scale));
  if (w.offset.defined()) {
    terms = terms +
            of_matrix(w.offset) * of_rows(x_scale * to_float(x_q.sum({2}, false, DType::int32)));
  }
  return terms.sum({2});
}

}  // namespace brisk
