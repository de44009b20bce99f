// The product of some rows of a matrix with a panel of another, as one statement of a thread, for
// processors that multiply tiles of registers.
//
// Rows lie in order in memory, equally far apart. A panel holds, for each group of neighbours along
// the sum (4 bytes), the group's elements of every column side by side (optimize/panel.h). With
// g < count, r < rows, c < columns:
//   sums[(g · rows + r) · columns + c] =
//       Σ over k < depth of a[first + r · apart + g · depth + k] · b[g · depth + k, c]
#pragma once

#include "kernel/kernel.h"

namespace brisk {

struct PanelProduct {
  std::int64_t rows = 0, columns = 0;  // of the sums
  std::int64_t depth = 0;              // elements that one sum takes, whole groups
  std::int64_t count = 1;              // of such sums, one after the other along the rows

  /// Groups that a tile of `element_bytes` holds: 16 at most, and as many as divide the depth.
  std::int64_t groups_of_tile(int element_bytes) const;
  bool operator==(const PanelProduct&) const = default;
};

constexpr std::int64_t tile_rows = 16;   // and groups, and columns of sums
constexpr std::int64_t group_bytes = 4;  // neighbours along the sum
constexpr std::int64_t tile_registers = 8;

/// Where an operand begins; of rows also how far they are apart, in elements.
struct RowsOperand {
  Node pointer, first, apart;
};
struct PanelOperand {
  Node pointer, first;
};

/// Integers of 8 bits into int32, or bfloat16 into float32. `there` rows, one at least, have sums;
/// those of the others are undefined. `sums` is scratch memory.
Node panel_product(const PanelProduct& product, const Node& sums, const RowsOperand& a,
                   const PanelOperand& b, const Node& there);
PanelProduct panel_product_of(const Node& statement);

}  // namespace brisk
