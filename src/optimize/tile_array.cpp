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

std::optional<TileArray> tile_array(const Node& access, const Node& row, const Node& column) {
  const bool plain = (access.is(Op::load_) && access.srcs().size() == 2) ||
                     (access.is(Op::store_) && access.srcs().size() == 3);
  if (!plain || !access.src(0).is(Op::param_)) return std::nullopt;
  const Node& pointer = access.src(0);
  const Node& index = access.src(1);
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
  const std::int64_t length = extent(columns).value();
  const std::int64_t pitch = aligned_pitch(value.dtype(), length);
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

std::int64_t aligned_pitch(DType dtype, std::int64_t length) {
  const std::int64_t aligned = chunk_bytes / byte_size(dtype);
  return (length + aligned - 1) / aligned * aligned;
}

Node make_tile(DType dtype, std::int64_t rows, std::int64_t columns, Workshop& workshop) {
  return workshop.shared(dtype, tile_elements(byte_size(dtype), rows, columns));
}

TileOperand tile_operand(const Node& value, const Node& row, const Node& column, std::int64_t rows,
                         const std::vector<Node>& batch, Workshop& workshop, Schedule& schedule) {
  const std::optional<TileArray> plain = tile_array(value, row, column);
  TileOperand operand;
  operand.array = plain ? *plain : compute_array(value, batch, {row}, {column}, workshop, schedule);
  operand.array.view.rows = rows;
  operand.array.view.columns = Size(column.src(0)).value();
  operand.tile = make_tile(value.dtype(), rows, operand.array.view.columns, workshop);
  return operand;
}

Node write_tile(const Node& store, const Node& tile, std::int64_t rows, std::int64_t columns,
                std::int64_t threads, Workshop& workshop,
                const std::function<TileElement(const Node& row, const Node& column)>& element,
                bool rows_first) {
  const Node thread = workshop.range(threads);
  const Node round = workshop.range(rows * columns / threads);
  const Node place = add(mul(round, constant_int(threads)), thread);
  const Node row = rows_first ? mod(place, constant_int(rows)) : idiv(place, constant_int(columns));
  const Node column =
      rows_first ? idiv(place, constant_int(rows)) : mod(place, constant_int(columns));
  auto [values, inside] = element(row, column);
  if (store.srcs().size() == 4) inside = logical_and(inside, substitute(store.src(3), values));
  const Node value = load_from(tile, tile_index(byte_size(tile.dtype()), rows, row, column));
  const Node body = branch(inside, store_to(store.src(0), substitute(store.src(1), values), value));
  return loop(LoopKind::threads, thread, loop(LoopKind::serial, round, body));
}

Node write_rows(const Node& store, const Node& tile, const Node& row, const Node& column,
                std::int64_t rows, const Node& row0, const Substitution& outside,
                std::int64_t threads, Workshop& workshop) {
  const std::int64_t columns = Size(column.src(0)).value();
  const bool whole_strips = columns * byte_size(tile.dtype()) % strip_bytes == 0;
  std::optional<TileArray> output;
  if (whole_strips) output = tile_array(store, row, column);
  if (output) {
    output->view.rows = rows;
    output->view.columns = columns;
    return store_of(tile, *output, row0, constant_int(0), outside);
  }
  return write_tile(store, tile, rows, columns, threads, workshop,
                    [&](const Node& in_tile, const Node& at_column) {
                      Substitution values = outside;
                      values[row] = add(row0, in_tile);
                      values[column] = at_column;
                      const Node inside = integer_less(values[row], row.src(0));
                      return TileElement{std::move(values), inside};
                    });
}

}  // namespace brisk
