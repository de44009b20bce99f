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
Tensor dequantise(const Tensor& raw, BlockType type, std::int64_t columns);

}  // namespace brisk
