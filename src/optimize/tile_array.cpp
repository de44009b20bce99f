#include "optimize/tile_array.h"

#include "optimize/analysis.h"

namespace brisk {

namespace {

constexpr std::size_t most_outside = 3;  // dimensions of a copied array beyond its two

std::vector<Node> terms_of(const Node& sum) {
  if (!sum.is(Op::add_)) return {sum};
  std::vector<Node> terms = terms_of(sum.src(0));
  const std::vector<Node> more = terms_of(sum.src(1));
  terms.insert(terms.end(), more.begin(), more.end());
  return terms;
}

// term = rest · factor, the factor a constant.
struct Scaled {
  Node rest;
  std::int64_t factor;
};

Scaled scaled(const Node& term) {
  if (term.is_constant()) return {constant_int(1), term.int_value()};
  if (term.is(Op::mul_)) {
    for (std::size_t i = 0; i < 2; ++i) {
      if (term.src(i).is_constant()) return {term.src(1 - i), term.src(i).int_value()};
    }
  }
  return {term, 1};
}

std::vector<Node> coordinates(const TileArray& array, const Node& row, const Node& column,
                              const Substitution& values) {
  std::vector<Node> at = {column, row};
  for (const Node& coordinate : array.outside) {
    Substitution memo = values;
    at.push_back(substitute(coordinate, memo));
  }
  return at;
}

}  // namespace

std::optional<TileArray> tile_array(const Node& pointer, const Node& index, const Node& row,
                                    const Node& column) {
  if (!pointer.is(Op::param_)) return std::nullopt;
  const std::int64_t aligned = chunk_bytes / byte_size(pointer.dtype());
  TileArray array;
  TileView& view = array.view;
  view.pointer = pointer;
  view.sizes = {Size(column.src(0)), Size(row.src(0))};
  std::int64_t start = 0;
  std::int64_t pitch = 0;
  bool contiguous = false;
  Shape strides;
  for (const Node& term : terms_of(index)) {
    const auto [rest, factor] = scaled(term);
    if (rest == column) {
      contiguous = factor == 1;
      if (!contiguous) return std::nullopt;
    } else if (rest == row) {
      pitch = factor;
    } else if (rest.is_constant()) {
      start += rest.int_value() * factor;
    } else {
      const Bounds known = bounds(rest);
      if (depends_on(rest, row) || depends_on(rest, column) || known.least < 0 || factor <= 0 ||
          factor % aligned != 0) {
        return std::nullopt;
      }
      array.outside.push_back(rest);
      view.sizes.emplace_back(known.greatest + 1);
      strides.emplace_back(factor);
    }
  }
  if (!contiguous || pitch <= 0 || pitch % aligned != 0 || start % aligned != 0 || start < 0 ||
      array.outside.size() > most_outside) {
    return std::nullopt;
  }
  view.start = start;
  view.strides = {pitch};
  view.strides.insert(view.strides.end(), strides.begin(), strides.end());
  return array;
}

TileArray compute_array(const Node& value, const std::vector<Node>& batch,
                        const std::vector<Node>& rows, const std::vector<Node>& columns,
                        Workshop& workshop, Schedule& schedule) {
  std::vector<Node> mine;
  for (const Node& range : batch) {
    if (depends_on(value, range)) mine.push_back(range);
  }
  std::vector<Node> order = mine;
  order.insert(order.end(), rows.begin(), rows.end());
  order.insert(order.end(), columns.begin(), columns.end());
  const std::int64_t aligned = chunk_bytes / byte_size(value.dtype());
  const std::int64_t length = extent(columns).value();
  const std::int64_t pitch = (length + aligned - 1) / aligned * aligned;
  const Apart apart =
      compute_apart(value, order, workshop, schedule, columns.size(), pitch - length);
  TileArray array;
  array.view = {apart.memory, 0, {length, extent(rows)}, {pitch}, 1, 1};
  if (mine.empty()) return array;
  array.view.sizes.push_back(extent(mine));
  array.view.strides.push_back(extent(rows) * pitch);
  array.outside.push_back(position(mine));
  return array;
}

Node load_of(const Node& tile, const TileArray& array, const Node& row, const Node& column,
             const Substitution& values) {
  return load_tile(tile, array.view, coordinates(array, row, column, values));
}

Node store_of(const Node& tile, const TileArray& array, const Node& row, const Node& column,
              const Substitution& values) {
  return store_tile(tile, array.view, coordinates(array, row, column, values));
}

}  // namespace brisk
