// Contractions on matrix units that multiply tiles of shared memory (kernel/tile.h): sums over
// products of two operands of 8 or 16 bits, X over output ranges M and Y over N, both over the
// summed ranges K and the batch. N holds the range along which the output is contiguous. Several
// sums may share one X (a gated unit has two).
//
// A task is one tile of the output. A pipeline over K brings tiles of X and Y and multiplies them
// into fragments; what follows the sum is computed on these, goes to shared memory as a tile of the
// output and from there to the output, by a copy of its own where the output's rows allow it.
// Operands are copied from where they lie if they are plain matrices with aligned rows; otherwise
// they are computed into working memory first.
#include <algorithm>

#include "base/error.h"
#include "optimize/analysis.h"
#include "optimize/product.h"
#include "optimize/tile_array.h"

namespace brisk {

namespace {

using Ranges = std::vector<Node>;

constexpr std::int64_t strip_of_tiles = 16;  // M-tiles whose rows of X stay in the cache together
constexpr std::int64_t most_staged_bytes = 64 << 10;  // of a tile of the output
constexpr std::int64_t slack_bytes = 4 << 10;  // of shared memory, for barriers and exchanges
constexpr std::int64_t most_stages = 6;
constexpr std::size_t most_sums = 2;
constexpr std::int64_t most_columns = 256;  // of a tile of the output, of all sums

Node number(std::int64_t value) { return constant_int(value); }
Node clipped(const Node& at, const Size& end) { return integer_min(at, (end - 1).node()); }

class TileContraction {
 public:
  TileContraction(const Part& part, Workshop& workshop)
      : part_(part), workshop_(workshop), stores_(part.stages[0].stores) {}

  bool recognise() {
    return workshop_.target().copying_threads > 0 && find_product() && find_columns() && orient() &&
           classify_ranges() && worth_it();
  }

  Schedule run() {
    Schedule schedule;
    schedule.name = "tiles_" + std::string(name(x_.value.dtype()));
    choose_tile();
    prepare(x_, m_, tile_rows_, schedule);
    for (Sum& sum : sums_) prepare(sum.y, n_, tile_columns_, schedule);
    schedule.phases.push_back(main_phase());
    return schedule;
  }

 private:
  struct Operand {
    Node value;       // of an element, in the dtype that is multiplied
    TileArray array;  // where its tiles come from
    bool by_depth = false;
    Node tile;
  };
  struct Sum {
    Node sum;
    Operand y;
    Node fragments;
  };

  // ---- recognition ---------------------------------------------------------------------------

  // The value of 8 or 16 bits that is converted for the product.
  static Node narrow(const Node& factor) {
    const Node& value = factor.is(Op::cast_) ? factor.src(0) : factor;
    return byte_size(value.dtype()) <= 2 && (is_float(value.dtype()) || is_integer(value.dtype()))
               ? value
               : Node();
  }

  bool find_product() {
    for (const Node& sum : outermost_reductions(stores_)) {
      const std::optional<Product> product = product_of(sum);
      if (!product || product->grouped() || !(sums_.empty() || product->ranges == k_)) return false;
      k_ = product->ranges;
      const Node a = narrow(product->a);
      const Node b = narrow(product->b);
      if (!a || !b || !dtypes_fit(a.dtype(), b.dtype(), sum.dtype())) return false;
      factors_.emplace_back(a, b);
      sums_.push_back({sum, {}, {}});
    }
    return !sums_.empty() && sums_.size() <= most_sums;
  }

  static bool dtypes_fit(DType a, DType b, DType sum) {
    const bool bytes = a == DType::int8 && b == DType::int8 && sum == DType::int32;
    const bool halves = byte_size(a) == 2 && is_float(a) && a == b;
    const bool quarters = byte_size(a) == 1 && is_float(a) && byte_size(b) == 1 && is_float(b);
    return bytes || ((halves || quarters) && sum == DType::float32);
  }

  bool find_columns() {
    for (const Node& range : part_.outer) {
      const bool along = std::all_of(stores_.begin(), stores_.end(), [&](const Node& store) {
        return stride(store.src(1), range) == 1 && !is_scatter(store);
      });
      if (along) contiguous_ = range;
    }
    return static_cast<bool>(contiguous_);
  }

  bool orient() {
    for (std::size_t i = 0; i < sums_.size(); ++i) {
      auto [x, y] = factors_[i];
      if (!depends_on(y, contiguous_)) std::swap(x, y);
      if (depends_on(x, contiguous_) || !depends_on(y, contiguous_)) return false;
      if (x_.value && !(x_.value == x)) return false;
      for (const Node& range : k_) {
        if (!depends_on(x, range) || !depends_on(y, range)) return false;
      }
      if (!find_all({x, y}, Op::reduce_).empty()) return false;
      x_.value = x;
      sums_[i].y.value = y;
    }
    return true;
  }

  bool classify_ranges() {
    for (const Node& range : part_.outer) {
      const bool in_x = depends_on(x_.value, range);
      const bool in_y = depends_on(sums_[0].y.value, range);
      for (const Sum& sum : sums_) {
        if (depends_on(sum.y.value, range) != in_y) return false;
      }
      if (!in_x && !in_y) return false;
      (in_x && in_y ? batch_ : in_x ? m_ : n_).push_back(range);
    }
    // Neighbours that a thread holds are neighbours along the last range.
    const bool pairs = n_.size() == 1 || Size(contiguous_.src(0)).upper() % 2 == 0;
    return !n_.empty() && n_.back() == contiguous_ && pairs && !m_.empty();
  }

  bool worth_it() const {
    const Size n = extent(n_);
    const Size k = extent(k_);
    return k.is_constant() && n.is_constant() && n.value() >= 32 && k.value() >= 32 &&
           extent(m_).upper() >= 32;
  }

  // ---- decisions -----------------------------------------------------------------------------

  std::int64_t element_bytes() const { return byte_size(x_.value.dtype()); }

  // Cycles of the busiest processor: for each of its tiles those of the matrix unit, or those in
  // which the operands come from the cache, and some in which nothing is multiplied.
  double cycles(std::int64_t rows, std::int64_t columns) const {
    constexpr double unit = 4096;       // multiplications of bytes in a cycle
    constexpr double cache_bytes = 48;  // in a cycle
    constexpr double beginning = 1500;
    constexpr std::int64_t unknown_rows = 2048;
    const Size m = extent(m_);
    const std::int64_t all_rows = m.is_constant() ? m.value() : std::min(m.upper(), unknown_rows);
    const std::int64_t tiles = std::max<std::int64_t>(1, extent(batch_).upper()) *
                               ((all_rows + rows - 1) / rows) *
                               ((extent(n_).value() + columns - 1) / columns);
    const std::int64_t processors = workshop_.target().threads;
    const std::int64_t rounds = (tiles + processors - 1) / processors;
    const auto depth = static_cast<double>(extent(k_).value() * element_bytes());
    const auto sums = static_cast<std::int64_t>(sums_.size());
    const double multiplying =
        depth * static_cast<double>(rows * columns * sums) / unit * (rows == 64 ? 1.1 : 1.0);
    const double copying = depth * static_cast<double>(rows + columns * sums) / cache_bytes;
    return static_cast<double>(rounds) * (std::max(multiplying, copying) + beginning);
  }

  void choose_tile() {
    double best = 0;
    for (const std::int64_t rows : {128, 64}) {
      for (const std::int64_t columns : {256, 192, 128, 96, 64, 32}) {
        if (columns * static_cast<std::int64_t>(sums_.size()) > most_columns) continue;
        const double wanted = cycles(rows, columns);
        if (best != 0 && wanted >= best) continue;
        best = wanted;
        tile_rows_ = rows;
        tile_columns_ = columns;
      }
    }
    depth_ = strip_bytes / element_bytes();
    threads_ = 2 * tile_rows_;
    const std::int64_t stage =
        (tile_rows_ + tile_columns_ * static_cast<std::int64_t>(sums_.size())) * strip_bytes;
    choose_staging();
    std::int64_t room = workshop_.target().tile_bytes - slack_bytes;
    for (const Node& local : staged_) room -= local_bytes(local);
    stages_ = std::clamp<std::int64_t>(room / stage, 2, most_stages);
  }

  // Memory for as many columns of the output's tile as there is room for at once: a local for each
  // dtype that is stored.
  void choose_staging() {
    int widest = 1;
    for (const Node& store : stores_) widest = std::max(widest, byte_size(store.src(0).dtype()));
    staged_columns_ = tile_columns_;
    while (tile_rows_ * staged_columns_ * widest > most_staged_bytes && staged_columns_ % 16 == 0)
      staged_columns_ /= 2;
    for (const Node& store : stores_) {
      const DType dtype = store.src(0).dtype();
      if (!staging(dtype))
        staged_.push_back(make_tile(dtype, tile_rows_, staged_columns_, workshop_));
    }
  }

  Node staging(DType dtype) const {
    const auto found = std::find_if(staged_.begin(), staged_.end(),
                                    [&](const Node& local) { return local.dtype() == dtype; });
    return found == staged_.end() ? Node() : *found;
  }

  // ---- operands ------------------------------------------------------------------------------

  // Tiles of `rows` rows or columns along the range.
  void prepare(Operand& operand, const Ranges& along, std::int64_t rows, Schedule& schedule) {
    if (!lies_ready(operand, along)) {
      operand.array = compute_array(operand.value, batch_, along, k_, workshop_, schedule);
    }
    const std::int64_t columns = operand.by_depth ? rows : depth_;
    operand.array.view.rows = operand.by_depth ? depth_ : rows;
    operand.array.view.columns = columns;
    operand.tile = make_tile(operand.value.dtype(), operand.array.view.rows, columns, workshop_);
  }

  bool lies_ready(Operand& operand, const Ranges& along) const {
    if (k_.size() != 1) return false;
    const auto [value, row] = over_one_range(operand.value, along);
    if (const auto plain = tile_array(value, row, k_[0])) {
      operand.array = *plain;
      return true;
    }
    if (element_bytes() != 2) return false;
    const auto turned = tile_array(value, k_[0], row);
    if (!turned) return false;
    operand.array = *turned;
    operand.by_depth = true;
    return true;
  }

  // An access over the points of the ranges, as one over a single range of them.
  std::pair<Node, Node> over_one_range(const Node& access, const Ranges& ranges) const {
    if (ranges.size() == 1) return {access, ranges[0]};
    const Node all = workshop_.range(extent(ranges));
    Substitution values;
    place(values, ranges, all);
    return {substitute(access, values), all};
  }

  Node load(const Operand& operand, const Node& along, const Node& k) const {
    return operand.by_depth ? load_of(operand.tile, operand.array, k, along, outside_)
                            : load_of(operand.tile, operand.array, along, k, outside_);
  }

  // ---- the product ---------------------------------------------------------------------------

  Node main_phase() {
    const Size m = extent(m_);
    const Size rows = (m + (tile_rows_ - 1)) / tile_rows_;
    const std::int64_t columns = (extent(n_).value() + tile_columns_ - 1) / tile_columns_;
    const Size tiles = rows * columns;
    const Size tasks = extent(batch_) * tiles;
    const Node task = workshop_.range(tasks);
    const Node in_batch = batch_.empty() ? task : mod(task, tiles.node());
    place(outside_, batch_, idiv(task, tiles.node()));
    // Strips of M-tiles, N-tile after N-tile in each.
    const std::int64_t strip = strip_of_tiles * columns;
    const Node first = mul(idiv(in_batch, number(strip)), number(strip_of_tiles));
    const Node height = integer_max(
        number(1), integer_min(integer_sub(rows.node(), first), number(strip_of_tiles)));
    const Node in_strip = mod(in_batch, number(strip));
    m0_ = mul(add(first, mod(in_strip, height)), number(tile_rows_));
    n0_ = mul(idiv(in_strip, height), number(tile_columns_));

    const std::int64_t depth = extent(k_).value();
    const Node k = workshop_.range((depth + depth_ - 1) / depth_);
    const Node at_k = mul(k, number(depth_));
    std::vector<Node> round = {load(x_, m0_, at_k)};
    for (const Sum& sum : sums_) round.push_back(load(sum.y, n0_, at_k));
    const bool several = sums_.size() > 1;
    for (Sum& sum : sums_) {
      sum.fragments = workshop_.registers(sum.sum.dtype(), tile_rows_ * tile_columns_ / threads_);
      const MatrixStep step = {tile_rows_,  tile_columns_,  depth_, threads_,
                               x_.by_depth, sum.y.by_depth, several};
      round.push_back(
          matrix_step(step, sum.fragments, x_.tile, sum.y.tile, integer_less(number(0), k)));
    }
    if (several) round.push_back(finish_steps(0));
    std::vector<Node> statements = {
        pipeline(k, block(std::move(round)), stages_, workshop_.target().copying_threads)};
    for (const Node& store : stores_) finish(store, statements);
    return loop(LoopKind::parallel, task, block(std::move(statements)));
  }

  // ---- what follows the sum ------------------------------------------------------------------

  void finish(const Node& store, std::vector<Node>& statements) {
    const Node memory = staging(store.src(0).dtype());
    const bool whole_strips = staged_columns_ * byte_size(memory.dtype()) % strip_bytes == 0;
    std::optional<TileArray> output;
    if (whole_strips && m_.size() == 1) {
      const auto [access, column] = over_one_range(store, n_);
      output = tile_array(access, m_[0], column);
    }
    for (std::int64_t first = 0; first < tile_columns_; first += staged_columns_) {
      statements.push_back(fill(store, memory, first));
      statements.push_back(output ? copy_out(*output, memory, first)
                                  : write_out(store, memory, first));
    }
  }

  // Columns first … of the tile into shared memory.
  Node fill(const Node& store, const Node& memory, std::int64_t first) {
    const int bytes = byte_size(memory.dtype());
    const Size n = extent(n_);
    const bool ragged = n.value() % tile_columns_ != 0;
    const Node thread = workshop_.range(threads_);
    std::vector<Node> stores;
    for (std::int64_t block = 0; block < 2 * tile_rows_ / threads_; ++block) {
      for (std::int64_t i = first / 2; i < (first + staged_columns_) / 2; i += 2) {
        const std::int64_t index = block * tile_columns_ / 2 + i;
        const FragmentElement element = fragment_element(threads_, tile_columns_, thread, index);
        Substitution at = outside_;
        place(at, m_, clipped(add(m0_, element.row), extent(m_)));
        for (const Sum& sum : sums_) at[sum.sum] = load_from(sum.fragments, number(index), {}, 2);
        Node column = add(n0_, element.column);
        Node end;  // of what is read
        if (n_.size() == 1) {
          if (ragged) end = n.node();
        } else {
          if (ragged) column = integer_min(column, (n - 2).node());
          place(at, n_, column);
          column = at.at(contiguous_);
          at.erase(contiguous_);
        }
        const Node value = vectorise(store.src(2), contiguous_, column, 2, at, end);
        const Node place =
            tile_index(bytes, tile_rows_, element.row, integer_sub(element.column, number(first)));
        stores.push_back(store_to(memory, place, splat(value, 2)));
      }
    }
    return loop(LoopKind::threads, thread, brisk::block(std::move(stores)));
  }

  Node copy_out(const TileArray& output, const Node& memory, std::int64_t first) const {
    TileArray array = output;
    array.view.rows = tile_rows_;
    array.view.columns = staged_columns_;
    return store_of(memory, array, m0_, add(n0_, number(first)), outside_);
  }

  Node write_out(const Node& store, const Node& memory, std::int64_t first) {
    return write_tile(store, memory, tile_rows_, staged_columns_, threads_, workshop_,
                      [&](const Node& row, const Node& column) {
                        const Node at_row = add(m0_, row);
                        const Node at_column = add(n0_, add(column, number(first)));
                        Substitution at = outside_;
                        place(at, m_, at_row);
                        place(at, n_, at_column);
                        const Node inside = logical_and(integer_less(at_row, extent(m_).node()),
                                                        integer_less(at_column, extent(n_).node()));
                        return TileElement{std::move(at), inside};
                      });
  }

  const Part& part_;
  Workshop& workshop_;
  const std::vector<Node>& stores_;
  Node contiguous_;
  std::vector<std::pair<Node, Node>> factors_;  // of each sum
  Operand x_;
  std::vector<Sum> sums_;
  Ranges batch_, m_, n_, k_;
  std::int64_t tile_rows_ = 128;
  std::int64_t tile_columns_ = 256;
  std::int64_t depth_ = 64;
  std::int64_t threads_ = 256;
  std::int64_t stages_ = 3;
  std::int64_t staged_columns_ = 256;  // of the output that are in shared memory at once
  std::vector<Node> staged_;           // where they are
  // Of the main phase.
  Substitution outside_;
  Node m0_, n0_;
};

}  // namespace

std::optional<Schedule> tile_contraction(const Part& part, Workshop& workshop) {
  TileContraction strategy(part, workshop);
  if (!strategy.recognise()) return std::nullopt;
  return strategy.run();
}

}  // namespace brisk
