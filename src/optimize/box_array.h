// Arrays whose tiles have rows that run through boxes of several dimensions (kernel/tile.h): the
// windows of a convolution, permuted views. Input: an access of a lowered kernel; output: the array
// that it moves through, and where.
#pragma once

#include <optional>
#include <vector>

#include "kernel/tile.h"
#include "optimize/strategies/strategy.h"

namespace brisk {

/// The view's rows, columns and box (of a tile) are for its user to set: its dimensions are the
/// columns, those of the rows' ranges, the last of them first, and others.
struct BoxArray {
  TileView view;
  std::vector<Node> at;  // coordinates, over the ranges of the access
};

/// A load or store as boxes over `column` and `rows`, where its index is a sum of multiples of
/// ranges and each of these leads through one dimension, alone or with ranges that shift it (y · 2
/// + dy); its gate, if any, says no more than where dimensions begin and end. Nothing for any other
/// value, or where copies cannot make such steps. Where it may lie `anywhere`, columns need not be
/// contiguous, nor anything aligned: then it is for pack() only.
std::optional<BoxArray> box_array(const Node& access, const std::vector<Node>& rows,
                                  const Node& column, bool anywhere = false);

/// What lies at each place of an array: a value over ranges of its dimensions, the columns last.
struct PlacedValue {
  Node value;
  std::vector<Node> ranges;
};
/// `value`, over the ranges of the array's coordinates, if it depends on no more than where these
/// lead.
std::optional<PlacedValue> at_places(const Node& value, const BoxArray& array, Workshop& workshop);
/// The array in working memory, computed by phases of its own, with columns that are contiguous.
TileView pack(const PlacedValue& placed, const BoxArray& array, Workshop& workshop,
              Schedule& schedule);

/// Extents, within their limits, of boxes of no more than `most` elements of which as few as can be
/// cover a space of these sizes; the later extents are as large as they can be.
std::vector<std::int64_t> covering_box(const std::vector<std::int64_t>& sizes,
                                       const std::vector<std::int64_t>& limits, std::int64_t most);

}  // namespace brisk
