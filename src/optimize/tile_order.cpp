#include "optimize/tile_order.h"

#include <algorithm>

#include "graph/integer.h"

namespace brisk {

TileNumber tile_in_strips(const Node& task, const Size& rows, const Size& columns,
                          std::int64_t rows_of_strip) {
  const Node strip = (columns * rows_of_strip).node();
  const Node first = mul(idiv(task, strip), constant_int(rows_of_strip));
  const Node height = integer_max(
      constant_int(1), integer_min(integer_sub(rows.node(), first), constant_int(rows_of_strip)));
  const Node in_strip = mod(task, strip);
  return {add(first, mod(in_strip, height)), idiv(in_strip, height)};
}

TileOfHead tile_of_head(const Node& task, const Size& tiles, const Size& heads,
                        std::int64_t section) {
  const Node section_tasks = (tiles * section).node();
  const Node first = mul(idiv(task, section_tasks), constant_int(section));
  const Node side = integer_max(
      constant_int(1), integer_min(integer_sub(heads.node(), first), constant_int(section)));
  const Node in_section = mod(task, section_tasks);
  const Node up = idiv(in_section, side);
  const Node down = integer_sub((tiles - 1).node(), up);
  const Node odd = mod(idiv(task, section_tasks), constant_int(2));
  return {add(first, mod(in_section, side)), add(down, mul(odd, integer_sub(up, down)))};
}

std::int64_t usual(const Size& size) {
  constexpr std::int64_t unknown = 2048;
  return size.is_constant() ? size.value() : std::min(size.upper(), unknown);
}

}  // namespace brisk
