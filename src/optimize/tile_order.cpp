#include "optimize/tile_order.h"

#include <algorithm>

#include "graph/integer.h"

namespace brisk {

TileNumber tile_in_strips(const Node& task, const Size& rows, const Size& columns) {
  constexpr std::int64_t rows_of_strip = 16;
  const Node strip = (columns * rows_of_strip).node();
  const Node first = mul(idiv(task, strip), constant_int(rows_of_strip));
  const Node height = integer_max(
      constant_int(1), integer_min(integer_sub(rows.node(), first), constant_int(rows_of_strip)));
  const Node in_strip = mod(task, strip);
  return {add(first, mod(in_strip, height)), idiv(in_strip, height)};
}

std::int64_t usual(const Size& size) {
  constexpr std::int64_t unknown = 2048;
  return size.is_constant() ? size.value() : std::min(size.upper(), unknown);
}

}  // namespace brisk
