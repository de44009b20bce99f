// Matrices of blocks turned into planes (formats/quant_blocks.h) by many threads, while the caller
// takes what is done elsewhere: onto a device. Input: the matrices' rows, where they lie in a
// mapped file; output: their planes, part by part and in order. It costs at most three parts of 64
// MiB (or of one row, where that is longer) of the host's memory, whatever the matrices' size.
#pragma once

#include "formats/quant_blocks.h"

#include <cstddef>
#include <functional>
#include <span>

namespace brisk {

/// Whole rows of `columns` values each, of a type that must be decoded.
struct BlockRows {
  BlockType type = BlockType::q4_0;
  std::int64_t columns = 0;
  std::span<const std::byte> bytes;
};

/// Takes planes of matrix `index`, of the bytes from `offset` on. They are gone when it returns.
using TakePlanes =
    std::function<void(std::size_t index, std::size_t offset, std::span<const std::byte> planes)>;

/// Calls `take`, in this thread, with the planes of each matrix from its first row to its last, one
/// matrix after the other, while `threads` others make them. What fails in any of them is thrown
/// here, once all have ended.
void stream_planes(std::span<const BlockRows> matrices, int threads, const TakePlanes& take);

}  // namespace brisk
