// Dequantisation as a tensor expression. Input: the raw blocks of a matrix's rows, as they lie in
// the file; output: their float32 values, lazy, equal bit for bit to decode_block_row's. The
// expression is a dozen nodes that read each byte where it is, so a product or a gather that reads
// it decodes what it needs on the way and nothing is stored.
#pragma once

#include "brisk/tensor.h"
#include "formats/quant_blocks.h"

#include <cstdint>

namespace brisk {

/// `raw`: uint8 [rows, bytes of a row], of any type but the plain integers and f64; gives float32
/// [rows, columns]. `columns` is a multiple of the block's values.
Tensor dequantise(const Tensor& raw, BlockType type, std::int64_t columns,
                  BlockLayout layout = BlockLayout::blocks);

/// Rows rounded to 8 bits, each 32 neighbours under one scale: x ≈ scale * q with |q| <= 127, half
/// a step (1/254 of the largest magnitude among the 32) off at most.
struct RoundedRows {
  static constexpr std::int64_t group = 32;
  Tensor q;      // int8 [rows, groups, 32]
  Tensor scale;  // float32 [rows, groups, 1]
};
/// `x`: float32 [rows, a multiple of 32].
RoundedRows round_rows(const Tensor& x);

/// x times the transpose of the matrix in `raw` (as above, of a quantised type): float32 [rows of
/// x, rows of the matrix]. Within a group the sums are of integers and exact, so that a machine's
/// dot products of bytes compute them; between groups they are of float32.
Tensor quantised_linear(const RoundedRows& x, const Tensor& raw, BlockType type,
                        BlockLayout layout = BlockLayout::blocks);

}  // namespace brisk
