// Contractions by groups of threads without matrix units: sums over products of two operands, X
// over output ranges M and Y over N, both over the summed ranges K and the batch. Of float32 (or
// int32), whatever the operands are converted from.
//
// A group makes one tile of the output, a thread 4 x 4 sums of it, or several such blocks, in
// registers. K goes by in steps of a few elements: the step's columns of X and Y lie in shared
// memory, each as a row, so that a thread reads what it multiplies in vectors of four. Meanwhile
// the next step's elements are on their way into registers, to be left in the other half of the
// shared memory: threads meet once a step. What is computed of the operands before the product is
// computed as they are read, what follows the sum on the thread's sums.
#include <fmt/core.h>

#include <algorithm>
#include <array>

#include "optimize/analysis.h"
#include "optimize/product.h"
#include "optimize/strategies/group.h"
#include "optimize/strategies/strategy.h"
#include "optimize/tile_order.h"

namespace brisk {

namespace {

using Ranges = std::vector<Node>;

constexpr std::int64_t depth = 8;   // of a step
constexpr std::int64_t side = 4;    // of a block of sums, and elements of a vector
constexpr std::int64_t down = 4;    // threads in step, of which the rows lie below each other,
constexpr std::int64_t across = 8;  // and beside each other
// Elements between the rows of shared memory, so that elements of one column lie in other banks.
constexpr std::int64_t padding = 4;
constexpr std::size_t most_sums = 2;
constexpr std::int64_t most_registers = 64;  // of sums

Node number(std::int64_t value) { return constant_int(value); }

/// How the threads of a group share out a tile.
struct Tiling {
  std::int64_t blocks_down, blocks_across;  // of a thread
  std::int64_t steps_down, steps_across;    // sets of threads in step
  std::int64_t rows() const { return blocks_down * steps_down * down * side; }
  std::int64_t columns() const { return blocks_across * steps_across * across * side; }
  std::int64_t threads() const { return steps_down * steps_across * down * across; }
};

constexpr std::array<Tiling, 8> tilings = {{{2, 2, 4, 2},    // 128 x 128
                                            {2, 1, 4, 2},    // 128 x 64
                                            {1, 2, 4, 2},    // 64 x 128
                                            {2, 2, 2, 1},    // 64 x 64, by 64 threads
                                            {1, 1, 4, 2},    // 64 x 64, by 256
                                            {1, 2, 2, 1},    // 32 x 64, by 64 threads
                                            {1, 1, 2, 2},    // 32 x 64, by 128
                                            {1, 1, 2, 1}}};  // 32 x 32

class GroupContraction {
 public:
  GroupContraction(const Part& part, Workshop& workshop)
      : part_(part), workshop_(workshop), stores_(part.stages[0].stores) {}

  bool recognise() {
    std::optional<MatrixVectorForm> form = matrix_vector_form(part_);
    if (!form || form->products.size() > most_sums || form->m.empty()) return false;
    batch_ = form->batch;
    m_ = form->m;
    n_ = form->n;
    k_ = form->products[0].ranges;
    const bool turned = contiguous_results(m_) && !contiguous_results(n_);
    if (turned) std::swap(m_, n_);
    for (Product& product : form->products) {
      if (turned) std::swap(product.a, product.b);
      if (!take(product)) return false;
    }
    return is_contraction(form->products[0].sum, part_.outer);
  }

  Schedule run() {
    order_ranges();
    choose_tiling();
    for (Operand& operand : operands_) choose_direction(operand);
    make_memory();
    Schedule schedule;
    schedule.name = "group_contraction";
    schedule.phases = {main_phase()};
    return schedule;
  }

 private:
  struct Operand {
    Node value;            // of an element, in the sums' dtype
    bool of_rows = false;  // X, else Y
    bool along_k = false;  // neighbouring threads read neighbours along K, else along M or N
    std::int64_t lanes = 1;
    Node shared;      // two halves: rows for each of the depth, of the tile's side and the padding
    Node on_its_way;  // what a thread has read for the next step
    Node fragment;    // what it multiplies
  };
  struct Sum {
    Node sum;
    std::size_t x, y;  // operands
    Node registers;
  };

  // ---- recognition ---------------------------------------------------------------------------

  bool take(const Product& product) {
    const DType dtype = product.sum.dtype();
    if (product.grouped() || (dtype != DType::float32 && dtype != DType::int32)) return false;
    const auto depends_on_any = [](const Node& value, const Ranges& ranges) {
      return std::any_of(ranges.begin(), ranges.end(),
                         [&](const Node& range) { return depends_on(value, range); });
    };
    if (depends_on_any(product.a, n_) || depends_on_any(product.b, m_)) return false;
    const std::size_t x = operand(cast(product.a, dtype), true);
    const std::size_t y = operand(cast(product.b, dtype), false);
    sums_.push_back({product.sum, x, y, {}});
    return true;
  }

  std::size_t operand(const Node& value, bool of_rows) {
    const auto found = std::find_if(operands_.begin(), operands_.end(), [&](const Operand& other) {
      return other.value == value && other.of_rows == of_rows;
    });
    const std::size_t at = static_cast<std::size_t>(found - operands_.begin());
    if (found == operands_.end()) {
      operands_.emplace_back();
      operands_.back().value = value;
      operands_.back().of_rows = of_rows;
    }
    return at;
  }

  bool contiguous_along(const Node& range) const {
    return std::all_of(stores_.begin(), stores_.end(),
                       [&](const Node& store) { return stride(store.src(1), range) == 1; });
  }
  bool contiguous_results(const Ranges& ranges) const {
    return std::any_of(ranges.begin(), ranges.end(),
                       [&](const Node& range) { return contiguous_along(range); });
  }

  // ---- decisions -----------------------------------------------------------------------------

  // Last the ranges along which vectors lie.
  void order_ranges() {
    std::vector<Node> rows;
    std::vector<Node> all;
    for (const Operand& operand : operands_) {
      if (operand.of_rows) rows.push_back(operand.value);
      all.push_back(operand.value);
    }
    put_last(m_, [&](const Node& range) { return contiguous_bytes(rows, range); });
    put_last(k_, [&](const Node& range) { return contiguous_bytes(all, range); });
    put_last(n_, [&](const Node& range) { return contiguous_along(range) ? 1 : 0; });
    const Size columns(n_.back().src(0));
    store_lanes_ =
        contiguous_along(n_.back()) && columns.is_constant() && columns.value() % side == 0 ? side
                                                                                            : 1;
  }

  template <typename Score>
  static void put_last(Ranges& ranges, const Score& score) {
    const auto best =
        std::max_element(ranges.rbegin(), ranges.rend(),
                         [&](const Node& a, const Node& b) { return score(a) < score(b); });
    if (score(*best) > 0) std::rotate(best.base() - 1, best.base(), ranges.end());
  }

  std::int64_t steps() const { return (extent(k_).value() + depth - 1) / depth; }

  // Cycles of the busiest processor for a step of all its tiles: those in which it issues
  // instructions, those of four sets of threads at a time; or, where too few groups share the
  // processor, those that a step takes a group.
  double cycles(const Tiling& tiling) const {
    constexpr std::int64_t waiting = 400;  // of a step, for memory and for each other
    const auto sums = static_cast<std::int64_t>(sums_.size());
    const std::int64_t tiles = std::max<std::int64_t>(1, usual(extent(batch_))) *
                               ((usual(extent(m_)) + tiling.rows() - 1) / tiling.rows()) *
                               ((usual(extent(n_)) + tiling.columns() - 1) / tiling.columns());
    const std::int64_t processors = workshop_.target().threads;
    const std::int64_t rounds = (tiles + processors - 1) / processors;
    const std::int64_t blocks = tiling.blocks_down * tiling.blocks_across * sums;
    const std::int64_t vectors = tiling.blocks_down + tiling.blocks_across * sums;
    const std::int64_t elements = depth * (tiling.rows() + tiling.columns() * sums);
    const std::int64_t instructions =
        depth * (blocks * side * side + 2 * vectors) + 2 * elements / tiling.threads() + 40;
    const std::int64_t sets = tiling.threads() / (down * across);
    const std::int64_t fit = (blocks > 2 ? 512 : 1024) / tiling.threads();  // by their registers
    const std::int64_t alone = instructions * std::max<std::int64_t>(sets, 4) / 4 + waiting;
    return static_cast<double>(rounds) *
           std::max(static_cast<double>(instructions * sets) / 4,
                    static_cast<double>(alone) / static_cast<double>(std::min(rounds, fit)));
  }

  void choose_tiling() {
    std::vector<Tiling> possible;
    std::vector<Decision::Option> options;
    for (const Tiling& tiling : tilings) {
      const std::int64_t registers = tiling.blocks_down * tiling.blocks_across * side * side *
                                     static_cast<std::int64_t>(sums_.size());
      if (registers > most_registers) continue;
      possible.push_back(tiling);
      options.push_back({fmt::format("{}x{}/{}", tiling.rows(), tiling.columns(), tiling.threads()),
                         cycles(tiling)});
    }
    const std::string shapes = shape_class("group_contraction", part_,
                                           {{"batch", extent(batch_)},
                                            {"rows", extent(m_)},
                                            {"columns", extent(n_)},
                                            {"depth", extent(k_)}});
    tiling_ = possible[workshop_.decisions().choose(shapes + " tile", options)];
  }

  const Ranges& free(const Operand& operand) const { return operand.of_rows ? m_ : n_; }
  std::int64_t tile_side(const Operand& operand) const {
    return operand.of_rows ? tiling_.rows() : tiling_.columns();
  }
  std::int64_t row_stride(const Operand& operand) const { return tile_side(operand) + padding; }
  std::int64_t half(const Operand& operand) const { return depth * row_stride(operand); }
  std::int64_t vectors(const Operand& operand) const {
    return tile_side(operand) * depth / operand.lanes / tiling_.threads();
  }

  void choose_direction(Operand& operand) const {
    const Node& beside = free(operand).back();
    operand.along_k =
        contiguous_bytes({operand.value}, k_.back()) > contiguous_bytes({operand.value}, beside);
    operand.lanes = std::min<std::int64_t>(
        side,
        lanes_along({operand.value}, operand.along_k ? k_.back() : beside, workshop_.target()));
    while (vectors(operand) == 0) operand.lanes /= 2;
  }

  void make_memory() {
    const DType dtype = sums_[0].sum.dtype();
    for (Operand& operand : operands_) {
      const std::int64_t blocks = operand.of_rows ? tiling_.blocks_down : tiling_.blocks_across;
      operand.shared = workshop_.shared(dtype, 2 * half(operand));
      operand.on_its_way = workshop_.registers(dtype, vectors(operand) * operand.lanes);
      operand.fragment = workshop_.registers(dtype, blocks * side);
    }
    for (Sum& sum : sums_) sum.registers = workshop_.registers(dtype, rows_held() * columns_held());
  }

  std::int64_t rows_held() const { return tiling_.blocks_down * side; }
  std::int64_t columns_held() const { return tiling_.blocks_across * side; }

  // ---- the product ---------------------------------------------------------------------------

  Node main_phase() {
    const Size rows = (extent(m_) + (tiling_.rows() - 1)) / tiling_.rows();
    const Size columns = (extent(n_) + (tiling_.columns() - 1)) / tiling_.columns();
    const Size tiles = rows * columns;
    const Node task = workshop_.range(extent(batch_) * tiles);
    place(outside_, batch_, idiv(task, tiles.node()));
    const Node in_batch = batch_.empty() ? task : mod(task, tiles.node());
    const TileNumber tile = tile_in_strips(in_batch, rows, columns);
    m0_ = mul(tile.row, number(tiling_.rows()));
    n0_ = mul(tile.column, number(tiling_.columns()));

    const Node step = workshop_.range(steps());
    const auto serial = [&](const Node& body) { return loop(LoopKind::serial, step, body); };
    return loop(
        LoopKind::parallel, task,
        block({of_threads([&](const Node& thread) { return first_step(thread); }),
               serial(of_threads([&](const Node& thread) { return step_and_next(thread, step); })),
               of_threads([&](const Node& thread) { return finish(thread); })}));
  }

  template <typename Body>
  Node of_threads(const Body& body) {
    const Node thread = workshop_.range(tiling_.threads());
    return loop(LoopKind::threads, thread, block(body(thread)));
  }

  std::vector<Node> first_step(const Node& thread) {
    std::vector<Node> statements;
    for (const Sum& sum : sums_) {
      for (std::int64_t i = 0; i < sum.registers.ints(1); i += side)
        statements.push_back(store_to(sum.registers, number(i),
                                      splat(constant_like(0, sum.registers.dtype()), side)));
    }
    for (const Operand& operand : operands_) read(operand, thread, number(0), statements);
    for (const Operand& operand : operands_) leave(operand, thread, number(0), statements);
    return statements;
  }

  // After the last step comes that one again, so that there is nothing to decide.
  std::vector<Node> step_and_next(const Node& thread, const Node& step) {
    const Node next = integer_min(add(step, number(1)), number(steps() - 1));
    std::vector<Node> statements;
    for (const Operand& operand : operands_) read(operand, thread, next, statements);
    statements.push_back(multiply(thread, step));
    for (const Operand& operand : operands_)
      leave(operand, thread, add(step, number(1)), statements);
    return statements;
  }

  // Where a thread's vector of the operand lies in the tile.
  struct Place {
    Node in_side, in_depth;
  };
  Place place_of(const Operand& operand, const Node& thread, std::int64_t vector) const {
    const Node p = add(thread, number(vector * tiling_.threads()));
    const std::int64_t of_row = (operand.along_k ? depth : tile_side(operand)) / operand.lanes;
    const Node along = mul(mod(p, number(of_row)), number(operand.lanes));
    const Node row = idiv(p, number(of_row));
    return operand.along_k ? Place{row, along} : Place{along, row};
  }

  // Beyond the last of `size`, of which `tile` are taken at once, the last.
  static Node clipped(const Node& at, const Size& size, std::int64_t tile, std::int64_t lanes) {
    return even(size, tile) ? at : integer_min(at, (size - lanes).node());
  }
  static bool even(const Size& size, std::int64_t tile) {
    return size.is_constant() && size.value() % tile == 0;
  }

  // What the first step lacks, so that all others are whole; K is no shorter than two of them.
  std::int64_t lacking() const { return steps() * depth - extent(k_).value(); }

  // The thread's elements of a step into its registers. Rows and columns beyond the last are the
  // last ones again: nobody stores their sums. What lies before K's first is zero.
  void read(const Operand& operand, const Node& thread, const Node& step,
            std::vector<Node>& statements) const {
    const Ranges& mine = free(operand);
    const auto lanes = static_cast<int>(operand.lanes);
    const bool cut = step.is_constant() && lacking() > 0;
    for (std::int64_t i = 0; i < vectors(operand); ++i) {
      const Place at = place_of(operand, thread, i);
      Substitution values = outside_;
      const Node from = add(operand.of_rows ? m0_ : n0_, at.in_side);
      place(values, mine,
            clipped(from, extent(mine), tile_side(operand), operand.along_k ? 1 : lanes));
      const Node k = add(add(mul(step, number(depth)), at.in_depth), number(-lacking()));
      place(values, k_, cut ? integer_max(k, number(0)) : k);
      const Node& along = operand.along_k ? k_.back() : mine.back();
      Node value = vectorise(operand.value, along, values.at(along), lanes, values);
      if (cut)
        value = where(integer_less(number(-1), k), value, constant_like(0, operand.value.dtype()));
      statements.push_back(
          store_to(operand.on_its_way, number(i * operand.lanes), splat(value, lanes)));
    }
  }

  Node half_of(const Operand& operand, const Node& step) const {
    return mul(mod(step, number(2)), number(half(operand)));
  }

  // … and from there to the step's half of the shared memory.
  void leave(const Operand& operand, const Node& thread, const Node& step,
             std::vector<Node>& statements) const {
    for (std::int64_t i = 0; i < vectors(operand); ++i) {
      const Place at = place_of(operand, thread, i);
      const Node start = add(half_of(operand, step),
                             add(mul(at.in_depth, number(row_stride(operand))), at.in_side));
      const Node vector = load_from(operand.on_its_way, number(i * operand.lanes), {},
                                    static_cast<int>(operand.lanes));
      if (!operand.along_k) {
        statements.push_back(store_to(operand.shared, start, vector));
        continue;
      }
      for (std::int64_t j = 0; j < operand.lanes; ++j)
        statements.push_back(store_to(operand.shared, add(start, number(j * row_stride(operand))),
                                      lane(vector, static_cast<int>(j))));
    }
  }

  // The first row of a thread's block of sums in the tile, and its first column. Of eight threads,
  // and of the same ones of the next eight, either share their rows or their columns: so reads of
  // two times eight vectors are one access of shared memory.
  Node row_in_tile(const Node& thread, std::int64_t block) const {
    const Node set = mod(idiv(thread, number(down * across)), number(tiling_.steps_down));
    const Node low = mod(idiv(thread, number(2)), number(2));
    const Node high = mod(idiv(thread, number(16)), number(2));
    const Node place = add(add(mul(set, number(down)), mul(high, number(2))), low);
    return add(mul(place, number(side)), number(block * tiling_.rows() / tiling_.blocks_down));
  }
  Node column_in_tile(const Node& thread, std::int64_t block) const {
    const Node set = idiv(thread, number(down * across * tiling_.steps_down));
    const Node low = mod(thread, number(2));
    const Node high = mod(idiv(thread, number(4)), number(4));
    const Node place = add(add(mul(set, number(across)), mul(high, number(2))), low);
    return add(mul(place, number(side)), number(block * tiling_.columns() / tiling_.blocks_across));
  }

  Node multiply(const Node& thread, const Node& step) {
    const Node k = workshop_.range(depth);
    std::vector<Node> statements;
    for (const Operand& operand : operands_) {
      const Node row = add(half_of(operand, step), mul(k, number(row_stride(operand))));
      for (std::int64_t block = 0; block * side < operand.fragment.ints(1); ++block) {
        const Node at =
            operand.of_rows ? row_in_tile(thread, block) : column_in_tile(thread, block);
        statements.push_back(store_to(operand.fragment, number(block * side),
                                      load_from(operand.shared, add(row, at), {}, side)));
      }
    }
    for (const Sum& sum : sums_) {
      for (std::int64_t row = 0; row < rows_held(); ++row) {
        for (std::int64_t column = 0; column < columns_held(); column += side)
          statements.push_back(add_product(sum, row, column));
      }
    }
    return loop(LoopKind::unrolled, k, block(std::move(statements)));
  }

  Node held(const Sum& sum, std::int64_t row, std::int64_t column) const {
    return load_from(sum.registers, number(row * columns_held() + column), {}, side);
  }

  Node add_product(const Sum& sum, std::int64_t row, std::int64_t column) const {
    const Node xs = load_from(operands_[sum.x].fragment, number(row / side * side), {}, side);
    const Node x = lane(xs, static_cast<int>(row % side));
    const Node y = load_from(operands_[sum.y].fragment, number(column), {}, side);
    return store_to(sum.registers, number(row * columns_held() + column),
                    add(held(sum, row, column), mul(x, y)));
  }

  // ---- what follows the sums -----------------------------------------------------------------

  static Node if_inside(const Node& at, const Size& size, std::int64_t tile, const Node& body) {
    return even(size, tile) ? body : branch(integer_less(at, size.node()), body);
  }

  std::vector<Node> finish(const Node& thread) const {
    std::vector<Node> statements;
    for (std::int64_t row = 0; row < rows_held(); ++row) {
      const Node at = add(m0_, add(row_in_tile(thread, row / side), number(row % side)));
      std::vector<Node> of_row;
      for (std::int64_t column = 0; column < columns_held(); column += store_lanes_) {
        const Node in_block = number(column % side);
        const Node to = add(n0_, add(column_in_tile(thread, column / side), in_block));
        of_row.push_back(
            if_inside(to, extent(n_), tiling_.columns(), block(results(at, to, row, column))));
      }
      statements.push_back(if_inside(at, extent(m_), tiling_.rows(), block(std::move(of_row))));
    }
    return statements;
  }

  // The stores of neighbouring results, of which the row's sums from the column on are part.
  std::vector<Node> results(const Node& at, const Node& to, std::int64_t row,
                            std::int64_t column) const {
    Substitution values = outside_;
    place(values, m_, at);
    place(values, n_, to);
    for (const Sum& sum : sums_) {
      const Node vector = held(sum, row, column / side * side);
      values[sum.sum] =
          store_lanes_ == side ? vector : lane(vector, static_cast<int>(column % side));
    }
    std::vector<Node> stores;
    for (const Node& store : stores_) {
      if (store_lanes_ == side) {
        stores.push_back(store_vector(store, n_.back(), values.at(n_.back()), side, values));
      } else {
        Substitution scalars = values;
        stores.push_back(substitute(store, scalars));
      }
    }
    return stores;
  }

  const Part& part_;
  Workshop& workshop_;
  const std::vector<Node>& stores_;
  std::vector<Operand> operands_;
  std::vector<Sum> sums_;
  Ranges batch_, m_, n_, k_;
  Tiling tiling_ = tilings[0];
  std::int64_t store_lanes_ = 1;  // results that are stored at once
  // Of the main phase.
  Substitution outside_;
  Node m0_, n0_;  // the tile's first row and column
};

}  // namespace

std::optional<Schedule> group_contraction(const Part& part, Workshop& workshop) {
  GroupContraction strategy(part, workshop);
  if (!strategy.recognise()) return std::nullopt;
  return strategy.run();
}

}  // namespace brisk
