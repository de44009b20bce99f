// In which order tasks take the tiles of a matrix of results, for strategies of products.
#pragma once

#include "kernel/kernel.h"

namespace brisk {

/// Which tile a task takes: its row and column among the tiles.
struct TileNumber {
  Node row, column;
};
/// Of `rows` by `columns` tiles: strips of a few rows of tiles, whose operands stay in the cache
/// together, and in each column after column.
TileNumber tile_in_strips(const Node& task, const Size& rows, const Size& columns);

/// A size to decide by: what it is, or where that is not known until it runs, what is usual.
std::int64_t usual(const Size& size);

}  // namespace brisk
