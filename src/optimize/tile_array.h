// Arrays of which tiles are copied (kernel/tile.h). Input: an access of a lowered kernel; output:
// the array that it moves through, where copies of tiles can.
#pragma once

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

/// The access as boxes along two of its ranges, where its index moves contiguously along `column`,
/// by a constant along `row`, and all rows are aligned as copies want them.
std::optional<TileArray> tile_array(const Node& pointer, const Node& index, const Node& row,
                                    const Node& column);

/// `value` computed into working memory, by phases of its own, in rows over `columns`, one for each
/// point of `rows`, for each point of those of `batch` that it depends on.
TileArray compute_array(const Node& value, const std::vector<Node>& batch,
                        const std::vector<Node>& rows, const std::vector<Node>& columns,
                        Workshop& workshop, Schedule& schedule);

/// A tile of the array at this row and column, the coordinates beyond at these values.
Node load_of(const Node& tile, const TileArray& array, const Node& row, const Node& column,
             const Substitution& values);
Node store_of(const Node& tile, const TileArray& array, const Node& row, const Node& column,
              const Substitution& values);

}  // namespace brisk
