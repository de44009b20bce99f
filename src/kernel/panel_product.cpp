#include "kernel/panel_product.h"

#include <algorithm>

namespace brisk {

std::int64_t PanelProduct::groups_of_tile(int element_bytes) const {
  const std::int64_t all = depth * element_bytes / group_bytes;
  std::int64_t groups = std::min(all, tile_rows);
  while (groups > 1 && all % groups != 0) --groups;
  return groups;
}

Node panel_product(const PanelProduct& product, const Node& sums, const RowsOperand& a,
                   const PanelOperand& b, const Node& there) {
  Attr attr;
  attr.ints = {product.rows, product.columns, product.depth, product.count};
  return make_node(Op::panel_product_, DType::none,
                   {sums, a.pointer, b.pointer, a.first, a.apart, b.first, there}, std::move(attr));
}

PanelProduct panel_product_of(const Node& statement) {
  return {statement.ints(0), statement.ints(1), statement.ints(2), statement.ints(3)};
}

}  // namespace brisk
