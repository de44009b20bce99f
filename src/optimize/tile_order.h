// In which order tasks take the tiles of a matrix of results, for strategies of products.
#pragma once

#include "kernel/kernel.h"

namespace brisk {

/// Which tile a task takes: its row and column among the tiles.
struct TileNumber {
  Node row, column;
};
constexpr std::int64_t usual_strip = 16;  // rows

/// Of `rows` by `columns` tiles: strips of a few rows of tiles, whose operands stay in the cache
/// together, and in each column after column.
TileNumber tile_in_strips(const Node& task, const Size& rows, const Size& columns,
                          std::int64_t rows_of_strip = usual_strip);

/// Which tile of which head a task takes.
struct TileOfHead {
  Node head, tile;
};
/// Sections of so many heads, whose operands stay in the cache together: in each tile after tile,
/// of every head of the section. A causal mask makes later tiles dearer than first ones: they come
/// first in one section and last in the next, so that groups, which take every n-th task, get as
/// much of one as of the other.
TileOfHead tile_of_head(const Node& task, const Size& tiles, const Size& heads,
                        std::int64_t section);

/// A size to decide by: what it is, or where that is not known until it runs, what is usual.
std::int64_t usual(const Size& size);

}  // namespace brisk
