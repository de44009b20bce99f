// Encoding of float32 rows into the block types of quant_blocks.h: values in, blocks out, chosen
// for the least squared error that a small search of the scales finds. The result depends on
// nothing but the row.
#pragma once

#include "formats/quant_blocks.h"

#include <cstddef>
#include <cstdint>

namespace brisk {

/// Encodes `n` values, a multiple of the block's, as n / values * bytes bytes at `blocks`. Types:
/// F32, F16, BF16 and all that are decoded from blocks. A UserError for a value that is not finite
/// or too large for the type's scale.
void encode_block_row(BlockType type, const float* values, std::byte* blocks, std::int64_t n);

}  // namespace brisk
