// Arrays of which tiles are copied (kernel/tile.h). Input: an access of a lowered kernel; output:
// the array that it moves through, where copies of tiles can.
#pragma once

#include <functional>
#include <optional>
#include <vector>

#include "graph/integer.h"
#include "kernel/tile.h"
#include "optimize/strategies/strategy.h"

namespace brisk {

/// The view's rows and columns (of a tile) are for its user to set.
struct TileArray {
  TileView view;
  std::vector<Node> outside;  // coordinates beyond columns and rows
};

/// A load or store as boxes along two of its ranges, where it has no gate, its index moves
/// contiguously along `column` and by a constant along `row`, and all rows are aligned as copies
/// want them; nothing for any other value.
std::optional<TileArray> tile_array(const Node& access, const Node& row, const Node& column);

/// `value` computed into working memory, by phases of its own, in rows over `columns`, one for each
/// point of `rows`, for each point of those of `batch` that it depends on.
TileArray compute_array(const Node& value, const std::vector<Node>& batch,
                        const std::vector<Node>& rows, const std::vector<Node>& columns,
                        Workshop& workshop, Schedule& schedule);

/// Elements from one row of so many to the next in memory of our own, so that all are aligned as
/// copies want them.
std::int64_t aligned_pitch(DType dtype, std::int64_t length);

/// Shared memory for a tile.
Node make_tile(DType dtype, std::int64_t rows, std::int64_t columns, Workshop& workshop);

/// A tile of the array at this row and column, the coordinates beyond at these values.
Node load_of(const Node& tile, const TileArray& array, const Node& row, const Node& column,
             const Substitution& values);
Node store_of(const Node& tile, const TileArray& array, const Node& row, const Node& column,
              const Substitution& values);

/// An array, and the tile that one block of its rows after another is copied to.
struct TileOperand {
  TileArray array;
  Node tile;
};
/// `value` in blocks of so many rows, whole along `column`: from where it lies, or computed into
/// working memory.
TileOperand tile_operand(const Node& value, const Node& row, const Node& column, std::int64_t rows,
                         const std::vector<Node>& batch, Workshop& workshop, Schedule& schedule);

/// What a store of a lowered kernel means for an element of a tile: its counters, and whether it is
/// there at all.
struct TileElement {
  Substitution values;
  Node inside;
};
/// The elements of a tile to where the store puts them, by `threads` threads, neighbours in a row
/// (or, where rows_first, in a column) by neighbours; for outputs that store_of cannot reach.
Node write_tile(const Node& store, const Node& tile, std::int64_t rows, std::int64_t columns,
                std::int64_t threads, Workshop& workshop,
                const std::function<TileElement(const Node& row, const Node& column)>& element,
                bool rows_first = false);
/// A tile of the rows from row0 on, whole along `column`, to where the store puts them: copied as
/// it is where that can be.
Node write_rows(const Node& store, const Node& tile, const Node& row, const Node& column,
                std::int64_t rows, const Node& row0, const Substitution& outside,
                std::int64_t threads, Workshop& workshop);

}  // namespace brisk
