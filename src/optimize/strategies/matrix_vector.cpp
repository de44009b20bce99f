// Products of few rows (one, or the tokens of a short prompt) with a large matrix, each row of
// which lies along the summed ranges: Y[n, k] · X[m, k]. The matrix is read once and sets the pace,
// so a task takes several of its rows at a time and streams along them, in vectors; what an element
// needs first (a conversion, dequantisation) happens in registers.
//
// Where groups of integers have a scale, the sum within a group stays an integer: a dot product
// leaves partial sums in lanes, and the lanes meet the scale before they are added up. Where a
// block has several groups, their scales are decoded side by side, some blocks ahead of the sums;
// where groups are shorter than a vector, neighbours share one. (Long, because each of these looks
// at the same tile.)
#include <fmt/core.h>

#include <algorithm>
#include <array>
#include <bit>

#include "base/power_of_two.h"
#include "optimize/analysis.h"
#include "optimize/product.h"
#include "optimize/strategies/strategy.h"

namespace brisk {

namespace {

using Ranges = std::vector<Node>;

constexpr std::int64_t most_rows = 8;            // of X; more are worth packing for
constexpr std::int64_t most_ahead = 8;           // blocks whose scales are decoded together
constexpr std::int64_t dear_scale = 8;           // operations that make a scale worth it
constexpr std::int64_t dear_result = 16;         // operations that make vectors of results worth it
constexpr std::int64_t task_products = 1 << 16;  // that make a task worth a hand-over

class MatrixVector {
 public:
  MatrixVector(const Part& part, Workshop& workshop) : part_(part), workshop_(workshop) {}

  bool recognise() {
    std::optional<MatrixVectorForm> form = matrix_vector_form(part_);
    if (!form) return false;
    products_ = std::move(form->products);
    batch_ = std::move(form->batch);
    n_ = std::move(form->n);
    m_ = std::move(form->m);
    if (products_.size() > 4) return false;
    total_ = products_[0].sum.dtype();
    if (total_ != DType::float32 && total_ != DType::int32) return false;
    bytes_ = products_[0].grouped() || total_ == DType::int32;
    if (!is_large()) return false;
    for (const Product& product : products_) {
      if (bytes_ && (byte_size(product.a.dtype()) != 1 || product.a.dtype() != DType::int8 ||
                     byte_size(product.b.dtype()) != 1)) {
        return false;
      }
      if (!lies_in_order(product.b, last())) return false;
      for (const Node& by : {product.scale, product.offset}) {
        const Node with = by ? factors_of(by, n_).with : Node();
        if (with && !find_all({with}, Op::reduce_).empty()) return false;
      }
    }
    return choose_sizes();
  }

  Schedule run() {
    Schedule schedule;
    Substitution computed;
    for (Product& product : products_) {
      offsets_.emplace_back();
      starts_.emplace_back();
      vectors_first(product, computed, schedule);
    }
    choose_ahead();
    const Size n = extent(n_);
    const Size tiles = (n + (rows_ - 1)) / rows_;
    std::int64_t depth = 1;
    for (const Node& range : products_[0].ranges) depth *= Size(range.src(0)).upper();
    for (const Node& range : products_[0].inner) depth *= Size(range.src(0)).upper();
    const std::int64_t each = std::max<std::int64_t>(
        1, depth * rows_ * static_cast<std::int64_t>(products_.size()) * extent(m_).upper());
    const std::int64_t block =
        std::clamp<std::int64_t>(task_products / each, 1, std::max<std::int64_t>(1, tiles.upper()));
    const Size blocks = (tiles + (block - 1)) / block;

    const Size count = extent(batch_) * blocks;
    const Node task = workshop_.range(count);
    const Node counter = count == Size(1) ? constant_int(0) : task;
    Substitution outside;
    place(outside, batch_, idiv(counter, blocks.node()));
    const Node inside = workshop_.range(block);
    const Node tile = add(mul(mod(counter, blocks.node()), constant_int(block)),
                          block == 1 ? constant_int(0) : inside);
    first_ = mul(mod(counter, blocks.node()), constant_int(block * rows_));
    if (has_dear_results()) hold_results(block * rows_);
    Node body = tiles_along_m(outside, mul(tile, constant_int(rows_)));
    if (block > 1) {
      body = branch(integer_less(tile, tiles.node()), body);
      body = loop(LoopKind::serial, inside, body);
    }
    if (!results_.empty()) body = brisk::block({body, results_in_vectors(outside, block * rows_)});
    schedule.name = bytes_ ? "matrix_vector_bytes" : "matrix_vector";
    schedule.phases.push_back(count == Size(1) ? body : loop(LoopKind::parallel, task, body));
    return schedule;
  }

 private:
  // All columns of a tile's rows. Where how many there are is known late, and a tile holds them
  // all, tiles of several widths, so that few columns cost few.
  Node tiles_along_m(const Substitution& outside, const Node& n0) {
    const Size m = extent(m_);
    if (m.upper() > columns_) {
      const Node m_tile = workshop_.range((m + (columns_ - 1)) / columns_);
      return loop(LoopKind::serial, m_tile,
                  tile_of(outside, n0, mul(m_tile, constant_int(columns_))));
    }
    if (m.is_constant()) return tile_of(outside, n0, constant_int(0));
    return narrowest_tile(m, columns_, [&](int width) {
      columns_ = width;
      return tile_of(outside, n0, constant_int(0));
    });
  }

  // ---- results in vectors --------------------------------------------------------------------

  // What is made of the sums takes as long as they do, one by one.
  bool has_dear_results() const {
    if (n_.size() != 1 || !(extent(m_) == Size(1))) return false;
    Substitution without;
    for (const Product& product : products_) without[product.sum] = constant_like(0, total_);
    std::int64_t operations = 0;
    for (const Node& store : part_.stages[0].stores)
      operations += operation_count(substitute(store.src(2), without));
    return operations >= dear_result;
  }

  void hold_results(std::int64_t count) {
    for (std::size_t p = 0; p < products_.size(); ++p)
      results_.push_back(workshop_.scratch(total_, count));
  }

  // A task's results, once it has all of their sums.
  Node results_in_vectors(const Substitution& outside, std::int64_t count) {
    std::int64_t lanes = workshop_.target().lanes(4);
    while (count % lanes != 0) lanes /= 2;
    const Node vector = workshop_.range(count / lanes);
    const Node& n = n_[0];
    Substitution held;
    for (std::size_t p = 0; p < products_.size(); ++p)
      held[products_[p].sum] = load_from(results_[p], integer_sub(n, first_));
    const Size size = extent(n_);
    const bool ragged = !size.is_constant() || size.value() % count != 0;
    const Node base = add(first_, mul(vector, constant_int(lanes)));
    std::vector<Node> stores;
    for (const Node& store : part_.stages[0].stores) {
      stores.push_back(vectorised_store(substitute(store, held), n, base, static_cast<int>(lanes),
                                        outside, ragged ? size.node() : Node()));
    }
    return loop(LoopKind::serial, vector, block(std::move(stores)));
  }

  // ---- recognition ---------------------------------------------------------------------------

  bool is_large() const {
    const double products = static_cast<double>(extent(n_).upper()) *
                            static_cast<double>(extent(products_[0].ranges).upper()) *
                            static_cast<double>(extent(products_[0].inner).upper());
    return !n_.empty() && extent(n_).upper() >= 4 && extent(m_).upper() <= most_rows &&
           products >= 4096;
  }

  const Node& last() const {
    return products_[0].grouped() ? products_[0].inner.back() : products_[0].ranges.back();
  }

  // X, and what it gives to the scales of groups, into working memory, where it must be computed;
  // once for all products that share it.
  void vectors_first(Product& product, Substitution& computed, Schedule& schedule) {
    Ranges k = product.ranges;
    k.insert(k.end(), product.inner.begin(), product.inner.end());
    const auto apart = [&](const Node& value, const Ranges& summed) {
      Node& known = computed[value];
      if (known) return known;
      Ranges order = batch_of(value);
      for (const Node& range : m_) {
        if (depends_on(value, range)) order.push_back(range);
      }
      order.insert(order.end(), summed.begin(), summed.end());
      return known = compute_apart(value, order, workshop_, schedule).element;
    };
    // Widened already where it would be once for each row and column.
    if (element_ != DType::none && columns_ > 1) product.a = cast(product.a, element_);
    if (!lies_in_order(product.a, last()) || !is_cheap(product.a) || columns_ > 1)
      product.a = apart(product.a, k);
    if (!product.grouped()) return;
    const Factors scale = factors_of(product.scale, n_);
    if (scale.without && !find_all({scale.without}, Op::reduce_).empty()) {
      const Node first = apart(scale.without, product.ranges);
      product.scale = scale.with ? mul(scale.with, first) : first;
    }
    centre(product, computed, schedule);
    if (product.offset) offsets_first(product, computed, schedule);
  }

  // Neighbours that one lane of a dot product sums: 4 bytes, or 2 of them widened where the machine
  // has no product of such bytes that cannot overflow.
  int dot_group() const {
    const Target& target = workshop_.target();
    const bool fits = std::all_of(products_.begin(), products_.end(), [&](const Product& product) {
      const Bounds known =
          bounds(product.grouped() && !product.offset ? uncentred(product.b, target) : product.b);
      return known.least >= 0 && known.greatest <= 127;
    });
    return fits || target.has_int8_dot ? 4 : 2;
  }

  // Dot products that want unsigned bytes: Σ (u - c) · a as Σ u · a from -c · Σ a on. With one row
  // of X each lane starts from its own neighbours' sum; with several, it is an offset of the group.
  void centre(Product& product, Substitution& computed, Schedule& schedule) {
    const Node bytes = uncentred(product.b, workshop_.target());
    if (product.offset || bytes == product.b) return;
    const Node centre = constant_int(product.b.src(1).int_value(), DType::int32);
    product.b = bytes;
    if (m_.empty()) {
      starts_.back() = lane_sums(product, centre, computed, schedule);
      return;
    }
    const Node sum = reduce_over(ReduceOp::add, cast(product.a, DType::int32), product.inner);
    product.offset = mul(product.scale, cast(mul(sum, centre), DType::float32));
  }

  // [batch, groups, lanes]: of each lane of a group's dot products the sum of its elements of X.
  Node lane_sums(const Product& product, const Node& factor, Substitution& computed,
                 Schedule& schedule) {
    if (!lane_) lane_ = workshop_.range(lanes_ / packed_);
    const int group = width_ / lanes_;
    Node sum = constant_int(0, DType::int32);
    for (std::int64_t base = 0; base < extent(product.inner).value(); base += width_ / packed_) {
      for (int i = 0; i < group; ++i) {
        Substitution at;
        place(at, product.inner, add(mul(lane_, constant_int(group)), constant_int(base + i)));
        sum = add(sum, cast(substitute(product.a, at), DType::int32));
      }
    }
    Node& known = computed[sum];
    if (known) return known;
    Ranges order = batch_of(product.a);
    order.insert(order.end(), product.ranges.begin(), product.ranges.end());
    order.push_back(lane_);
    known = compute_apart(mul(sum, factor), order, workshop_, schedule).element;
    return known;
  }

  // X's side of the offsets, [batch, groups, M]: a vector of it for the columns of a tile.
  void offsets_first(const Product& product, Substitution& computed, Schedule& schedule) {
    Factors factors = factors_of(product.offset, n_);
    if (!factors.without) factors.without = constant_float(1);
    Node& known = computed[product.offset];
    if (!known) {
      Ranges order = batch_of(factors.without);
      order.insert(order.end(), product.ranges.begin(), product.ranges.end());
      const int more = offset_lanes() - 1;
      const Size row = extent(m_) + more;
      const Node start = mul(position(order), row.node());
      order.insert(order.end(), m_.begin(), m_.end());
      const Apart apart =
          compute_apart(factors.without, order, workshop_, schedule, m_.size(), more);
      known = load_from(apart.memory, start);
    }
    offsets_.back() = {factors.with ? factors.with : constant_float(1), known};
  }

  Ranges batch_of(const Node& value) const {
    Ranges mine;
    for (const Node& range : batch_) {
      if (depends_on(value, range)) mine.push_back(range);
    }
    return mine;
  }

  // Not worth computing once for all rows of the matrix.
  static bool is_cheap(const Node& vector) { return operation_count(vector) <= 6; }

  // Short groups share a vector, as far as it goes.
  void pack_groups(int full_width) {
    if (!products_[0].grouped()) return;
    const Size groups(products_[0].ranges.back().src(0));
    if (extent(products_[0].inner).value() != width_ || !groups.is_constant()) return;
    while (2 * width_ <= full_width && groups.value() % (2 * packed_) == 0) {
      width_ *= 2;
      packed_ *= 2;
    }
  }

  bool choose_sizes() {
    const Target& target = workshop_.target();
    const Size size(last().src(0));
    lanes_ = target.lanes(4);
    if (bytes_) {
      // Whole groups of 4 in vectors of a power of two.
      for (const Node& range : products_[0].inner) {
        if (!Size(range.src(0)).is_constant()) return false;
      }
      if (!size.is_constant()) return false;
      const int group = dot_group();
      width_ = group * lanes_;
      const std::int64_t whole =
          products_[0].grouped() ? extent(products_[0].inner).value() : size.value();
      while (width_ > group && whole % width_ != 0) width_ /= 2;
      if (width_ < 4 * group) return false;
      piece_ = static_cast<int>(std::min<std::int64_t>(width_, size.value()));
      if (size.value() % piece_ != 0 || width_ % piece_ != 0) return false;
      pack_groups(group * target.lanes(4));
      lanes_ = width_ / group;
      element_ = group == 2 ? DType::int16 : DType::none;
    } else {
      while (lanes_ > 4 && size.upper() < lanes_) lanes_ /= 2;
      if (size.upper() < lanes_) return false;
    }
    // Rows of both so that the accumulators leave some registers to the operands.
    const int accumulators = target.vector_registers / 2;
    columns_ = static_cast<int>(std::min<std::int64_t>(extent(m_).upper(), accumulators));
    const int sums = columns_ > 1 ? 1 : static_cast<int>(products_.size());  // of one loop
    // Each row is a stream that memory answers apart from the others.
    const bool many = accumulators >= 16 && sums == 1 && extent(n_).upper() % 8 == 0;
    rows_ = static_cast<int>(std::min<std::int64_t>(many ? 8 : 4, extent(n_).upper()));
    while (rows_ > 1 && rows_ * columns_ * sums > accumulators) rows_ /= 2;
    const std::string shapes =
        shape_class(bytes_ ? "matrix_vector_bytes" : "matrix_vector", part_,
                    {{"batch", extent(batch_)},
                     {"columns", extent(m_)},
                     {"rows", extent(n_)},
                     {"depth", extent(products_[0].ranges) * extent(products_[0].inner)}});
    Decisions& decisions = workshop_.decisions();
    const std::int64_t fit = std::max(1, accumulators / (columns_ * sums));
    rows_ = static_cast<int>(decisions.choose_near(
        shapes + " at once", rows_, 1, std::min<std::int64_t>({8, fit, extent(n_).upper()})));
    const std::int64_t steps = bytes_ ? 1 : size.upper() / lanes_;
    std::int64_t most = 1;
    while (most < 4 && 2 * most * rows_ * columns_ * sums <= accumulators && 2 * most <= steps)
      most *= 2;
    unroll_ = static_cast<int>(
        decisions.choose_near(fmt::format("{} of {} steps", shapes, rows_), most, 1, most));
    return true;
  }

  // The accumulators of one row of Y and one of X, for one product.
  struct Sums {
    Substitution row, column, both;  // counters of n and batch, of m and batch, of all
    std::vector<Node> wide;          // one for each step that is unrolled
    Node narrow;                     // what comes one by one: the last elements
    Node offsets;                    // of groups, a lane for each column; in the first column's.
                   // Where scales are decoded ahead for one, a lane for each group
  };

  // A tile's sums, its first column, and the products whose sums a loop makes.
  struct Tile {
    const std::vector<std::vector<Sums>>& sums;
    Node m0;
    std::size_t begin, end;
  };

  // ---- scales of neighbouring groups, side by side ---------------------------------------------

  // The groups of a block (all ranges but the first) whose scales are vectors worth decoding as
  // such: some blocks ahead of the sums that use them.
  void choose_ahead() {
    const Ranges& ranges = products_[0].ranges;
    if (!products_[0].grouped() || ranges.size() < 2) return;
    const Size groups = extent({ranges.begin() + 1, ranges.end()});
    const Size blocks(ranges[0].src(0));
    if (!groups.is_constant() || !blocks.is_constant()) return;
    const std::int64_t count = groups.value();
    if (count < 4 || count > 16 || !is_power_of_two(count)) return;
    lane_of_groups_ = workshop_.range(groups);
    for (std::size_t p = 0; p < products_.size(); ++p) {
      if (operation_count(products_[p].scale) < dear_scale || !first_merged(scales_of(p)) ||
          (products_[p].offset && !first_merged(offsets_of(p)))) {
        return;
      }
    }
    for (std::int64_t some = most_ahead; some > 0 && ahead_ == 0; --some) {
      if (blocks.value() % some == 0) ahead_ = some;
    }
    groups_ = static_cast<int>(count);
    for (std::size_t p = 0; p < products_.size(); ++p) {
      for (int r = 0; r < rows_; ++r) {
        scales_.push_back(workshop_.scratch(DType::float32, ahead_ * count));
        minima_.push_back(workshop_.scratch(DType::float32, ahead_ * count));
      }
    }
  }

  // What is worth decoding for all columns: with one, X's part too.
  Node scales_of(std::size_t p) const {
    return columns_ > 1 ? factors_of(products_[p].scale, n_).with : products_[p].scale;
  }
  Node offsets_of(std::size_t p) const {
    const auto& [of_row, of_columns] = offsets_[p];
    return columns_ > 1 ? of_row : mul(of_row, of_columns);
  }

  // The expression with the ranges from the one at `first` on as a single one.
  Node merged(const Node& expression, std::size_t first) const {
    const Ranges& ranges = products_[0].ranges;
    Substitution at;
    place(at, {ranges.begin() + static_cast<std::ptrdiff_t>(first), ranges.end()}, lane_of_groups_);
    return substitute(expression, at);
  }

  // From where on the ranges of a block's groups can be lanes of a vector: 0 for nowhere.
  std::size_t first_merged(const Node& expression) const {
    const std::size_t count = products_[0].ranges.size();
    for (std::size_t first = 1; expression && first < count; ++first) {
      const std::vector<Node> loads = find_all({merged(expression, first)}, Op::load_);
      const bool in_order = std::all_of(loads.begin(), loads.end(), [&](const Node& load) {
        const auto step = stride(load.src(1), lane_of_groups_);
        return load.srcs().size() == 2 && step && (*step == 0 || *step == 1);
      });
      if (in_order) return first;
    }
    return 0;
  }

  // The expression for each group of a block.
  Node side_by_side(const Node& expression, const Substitution& values) const {
    const std::size_t first = first_merged(expression);
    const Ranges& ranges = products_[0].ranges;
    const Ranges before(ranges.begin() + 1, ranges.begin() + static_cast<std::ptrdiff_t>(first));
    const std::int64_t count = extent(before).value();
    const int lanes = groups_ / static_cast<int>(count);
    std::vector<Node> parts;
    for (std::int64_t i = 0; i < count; ++i) {
      Substitution at = values;
      place(at, before, constant_int(i));
      const Node part =
          vectorise(merged(expression, first), lane_of_groups_, constant_int(0), lanes, at);
      parts.push_back(splat(part, lanes));
    }
    return join_lanes(parts);
  }

  // The scales and offsets of one block in every row of the tile, into scratch memory at `at`; the
  // offsets of a single column are added up at once.
  Node decode_block(const Tile& tile, const Substitution& block_at, const Node& at) const {
    std::vector<Node> statements;
    const Node place = mul(at, constant_int(groups_));
    for (std::size_t p = tile.begin; p < tile.end; ++p) {
      for (int r = 0; r < rows_; ++r) {
        const Sums& sums =
            tile.sums[p][static_cast<std::size_t>(r) * static_cast<std::size_t>(columns_)];
        const Substitution values = with(columns_ > 1 ? sums.row : sums.both, block_at);
        statements.push_back(
            store_to(scales_[row_of(p, r)], place, side_by_side(scales_of(p), values)));
        if (!sums.offsets) continue;
        const Node offsets = side_by_side(offsets_of(p), values);
        statements.push_back(columns_ > 1 ? store_to(minima_[row_of(p, r)], place, offsets)
                                          : accumulate(sums.offsets, offsets));
      }
    }
    return block(std::move(statements));
  }

  std::size_t row_of(std::size_t p, int r) const {
    return p * static_cast<std::size_t>(rows_) + static_cast<std::size_t>(r);
  }

  // All blocks of a row, some at a time: first their scales, then their sums.
  Node blocks_ahead(const Tile& tile) {
    const Node& range = products_[0].ranges[0];
    const Node some = workshop_.range(Size(range.src(0)) / ahead_);
    const auto at = [&](const Node& one) {
      return Substitution{{range, add(mul(some, constant_int(ahead_)), one)}};
    };
    const Node early = workshop_.range(ahead_);
    const Node late = workshop_.range(ahead_);
    const Node decoded = loop(LoopKind::serial, early, decode_block(tile, at(early), early));
    decoded_at_ = mul(late, constant_int(groups_));
    const Node summed = loop(LoopKind::serial, late, along(tile, at(late), 1));
    return loop(LoopKind::serial, some, block({decoded, summed}));
  }

  // ---- emission ------------------------------------------------------------------------------

  Node tile_of(const Substitution& outside, const Node& n0, const Node& m0) {
    std::vector<Node> statements;
    std::vector<std::vector<Sums>> tile(products_.size());
    const auto at = [](const Size& size, const Node& first, int i, int step) {
      const Node index = add(first, constant_int(i));
      const bool ragged = !size.is_constant() || size.value() % step != 0;
      return ragged ? integer_min(index, (size - 1).node()) : index;
    };
    for (std::size_t p = 0; p < products_.size(); ++p) {
      for (int r = 0; r < rows_; ++r) {
        for (int c = 0; c < columns_; ++c) {
          Sums sums{outside, outside, outside, {}, {}, {}};
          for (Substitution* values : {&sums.row, &sums.both})
            place(*values, n_, at(extent(n_), n0, r, rows_));
          for (Substitution* values : {&sums.column, &sums.both})
            place(*values, m_, at(extent(m_), m0, c, columns_));
          for (int u = 0; u < unroll_; ++u) sums.wide.push_back(start(lanes_, statements));
          if (!bytes_ || total_ == DType::int32) sums.narrow = start(1, statements);
          if (c == 0 && products_[p].offset)
            sums.offsets = start(adds_offsets_ahead() ? groups_ : offset_lanes(), statements);
          tile[p].push_back(std::move(sums));
        }
      }
    }
    // Several columns fill the registers with the sums of one product.
    const std::size_t together = columns_ > 1 ? 1 : products_.size();
    for (std::size_t p = 0; p < products_.size(); p += together) {
      const Tile part = {tile, m0, p, p + together};
      statements.push_back(ahead_ > 0 ? blocks_ahead(part) : along(part, {}, 0));
    }
    finish(tile, n0, m0, statements);
    return block(std::move(statements));
  }

  Node start(int lanes, std::vector<Node>& statements) {
    const Node memory = workshop_.registers(total_, lanes);
    statements.push_back(store_to(memory, constant_int(0), splat(constant_like(0, total_), lanes)));
    return memory;
  }

  static Node accumulate(const Node& memory, const Node& value) {
    return store_to(memory, constant_int(0),
                    add(load_from(memory, constant_int(0), {}, value.lanes()), value));
  }

  static Substitution with(const Substitution& values, const Substitution& more) {
    Substitution both = values;
    both.insert(more.begin(), more.end());
    return both;
  }

  // The summed ranges from `depth` on, those before it at `counters`.
  Node along(const Tile& tile, const Substitution& counters, std::size_t depth) {
    const Ranges& ranges = products_[0].ranges;
    if (products_[0].grouped() && depth == ranges.size()) return group(tile, counters);
    if (!products_[0].grouped() && depth + 1 == ranges.size()) return vectors(tile, counters);
    const bool packs = products_[0].grouped() && depth + 1 == ranges.size();
    const int together = packs ? packed_ : 1;
    const Size size = Size(ranges[depth].src(0)) / together;
    const Node counter = workshop_.range(size);
    Substitution inside = counters;
    inside[ranges[depth]] =
        size == Size(1) ? constant_int(0) : mul(counter, constant_int(together));
    const Node body = along(tile, inside, depth + 1);
    // Fields of a byte: the amount of a shift must be a constant.
    const bool fields = size.is_constant() && size.value() <= 4 && depth > 0;
    return loop(fields ? LoopKind::unrolled : LoopKind::serial, counter, body);
  }

  // The innermost range in blocks of vectors, then vectors, then one by one.
  Node vectors(const Tile& tile, const Substitution& counters) {
    std::vector<Node> loops;
    Node at = constant_int(0);
    Size left(last().src(0));
    const int width = bytes_ ? width_ : lanes_;
    for (const int step : {unroll_ * width, width, 1}) {
      const Size rounds = left / step;
      if (rounds == Size(0) || (step == width && unroll_ == 1 && !loops.empty())) continue;
      const Node round = workshop_.range(rounds);
      const Node from = rounds == Size(1) ? at : add(at, mul(round, constant_int(step)));
      std::vector<Node> body;
      if (step > 1) hint_next_tile(tile, counters, from, step, body);
      for (int u = 0; u < std::max(1, step / width); ++u) {
        const Node base = add(from, constant_int(static_cast<std::int64_t>(u) * width));
        for (std::size_t p = tile.begin; p < tile.end; ++p) {
          for (const Sums& sums : tile.sums[p]) {
            body.push_back(
                product_at(products_[p], sums, counters, base, step, static_cast<std::size_t>(u)));
          }
        }
      }
      loops.push_back(loop(LoopKind::serial, round, block(std::move(body))));
      at = add(at, mul(rounds.node(), constant_int(step)));
      left = left - rounds * step;
    }
    return block(std::move(loops));
  }

  // Asks for what the next tile reads at this place of its rows: machines fetch along a row, but
  // not from one page into another, and so few loads wait at once as there are rows.
  void hint_next_tile(const Tile& tile, const Substitution& counters, const Node& from, int step,
                      std::vector<Node>& statements) const {
    if (n_.size() != 1) return;
    for (std::size_t p = tile.begin; p < tile.end; ++p) {
      for (const Node& load : find_all({products_[p].b}, Op::load_)) {
        const auto row = stride(load.src(1), n_[0]);
        if (load.srcs().size() != 2 || stride(load.src(1), last()) != 1 || !row) continue;
        const int line = line_bytes / byte_size(load.dtype());
        for (std::size_t i = 0; i < tile.sums[p].size(); i += static_cast<std::size_t>(columns_)) {
          for (int at = 0; at < step; at += line) {
            Substitution values = with(tile.sums[p][i].row, counters);
            values[last()] = add(from, constant_int(at));
            statements.push_back(prefetch(
                load.src(0), add(substitute(load.src(1), values), constant_int(rows_ * *row))));
          }
        }
      }
    }
  }

  Node product_at(const Product& product, const Sums& sums, const Substitution& counters,
                  const Node& base, int step, std::size_t u) const {
    const int width = step == 1 ? 1 : bytes_ ? width_ : lanes_;
    Node y = vectorise(product.b, last(), base, width, with(sums.row, counters));
    Node x = vectorise(product.a, last(), base, width, with(sums.column, counters));
    if (element_ != DType::none) {
      y = cast(y, element_);
      x = cast(x, element_);
    }
    if (bytes_ && step > 1) {
      const Node& memory = sums.wide[u];
      return store_to(memory, constant_int(0),
                      dot(load_from(memory, constant_int(0), {}, lanes_), y, x));
    }
    return accumulate(width == 1 ? sums.narrow : sums.wide[u],
                      mul(cast(y, total_), cast(x, total_)));
  }

  // Groups of integers that fill a vector, one for most, and their scales.
  Node group(const Tile& tile, const Substitution& counters) const {
    std::vector<Node> statements;
    for (std::size_t p = tile.begin; p < tile.end; ++p) {
      const Product& product = products_[p];
      if (n_.size() == 1) {
        const int streams = std::min(rows_, 4 / static_cast<int>(products_.size()));
        hint_rows_ahead(product, {n_[0], rows_, packed_, streams}, tile.sums[p][0].row, counters,
                        statements);
      }
      for (std::size_t i = 0; i < tile.sums[p].size(); ++i) {
        const Sums& sums = tile.sums[p][i];
        const std::size_t row = row_of(p, static_cast<int>(i) / columns_);
        const std::vector<Node> y = pieces(product.b, with(sums.row, counters));
        const std::vector<Node> x = pieces(product.a, with(sums.column, counters));
        Substitution values = with(sums.both, counters);
        Node total = splat(constant_int(0, DType::int32), lanes_);
        if (const Node& start = starts_[p]) {
          Substitution first = values;
          first[lane_] = constant_int(0);
          total = load_from(start.src(0), substitute(start.src(1), first), {}, lanes_);
        }
        for (std::size_t k = 0; k < y.size(); ++k) total = dot(total, y[k], x[k]);
        std::vector<Node> scales;
        for (Substitution& at : packed(values))
          scales.push_back(spread(scale_at(p, row, at), lanes_ / packed_));
        const Node scale = join_lanes(scales);
        statements.push_back(accumulate(sums.wide[0], mul(cast(total, DType::float32), scale)));
        if (!sums.offsets || adds_offsets_ahead()) continue;
        for (Substitution& at : packed(values)) {
          const Node& of_columns = offsets_[p].second;
          Substitution first = at;
          const Node index = substitute(of_columns.src(1), first);
          const Node columns =
              load_from(of_columns.src(0), add(index, tile.m0), {}, offset_lanes());
          const Node of_row = spread(offset_at(p, row, at), offset_lanes());
          statements.push_back(accumulate(sums.offsets, mul(of_row, columns)));
        }
      }
    }
    return block(std::move(statements));
  }

  // The counters of each group of a vector, given those of the first.
  std::vector<Substitution> packed(const Substitution& first) const {
    std::vector<Substitution> each;
    for (int i = 0; i < packed_; ++i) {
      each.push_back(first);
      if (i == 0) continue;
      Node& counter = each.back()[products_[0].ranges.back()];
      counter = add(counter, constant_int(i));
    }
    return each;
  }

  // A vector of the offsets' columns, with neighbours where these are no power of two.
  int offset_lanes() const {
    return static_cast<int>(std::bit_ceil(static_cast<unsigned>(columns_)));
  }
  bool adds_offsets_ahead() const { return ahead_ > 0 && columns_ == 1; }

  // Of the group at `values`: its scale, and the row's part of its offset.
  Node scale_at(std::size_t p, std::size_t row, Substitution& values) const {
    const Product& product = products_[p];
    if (ahead_ == 0) return substitute(product.scale, values);
    const Node known = load_from(scales_[row], decoded_group(values));
    const Node rest = columns_ > 1 ? factors_of(product.scale, n_).without : Node();
    return rest ? mul(known, substitute(rest, values)) : known;
  }
  Node offset_at(std::size_t p, std::size_t row, Substitution& values) const {
    if (ahead_ == 0) return substitute(offsets_[p].first, values);
    return load_from(minima_[row], decoded_group(values));
  }
  Node decoded_group(const Substitution& values) const {
    const Ranges& ranges = products_[0].ranges;
    Substitution here = values;
    return add(decoded_at_, substitute(position({ranges.begin() + 1, ranges.end()}), here));
  }

  // A scalar in every lane, before it is converted: broadcasting is part of loading it.
  static Node spread(const Node& value, int lanes) {
    if (value.is(Op::mul_)) return mul(spread(value.src(0), lanes), spread(value.src(1), lanes));
    if (value.is(Op::cast_) && is_float(value.src(0).dtype()))
      return cast(splat(value.src(0), lanes), value.dtype());
    return splat(value, lanes);
  }

  // The bytes of a group, or of those that share a vector, as vectors of width_.
  std::vector<Node> pieces(const Node& operand, const Substitution& values) const {
    const Ranges& inner = products_[0].inner;
    std::vector<Substitution> at;  // of each piece that lies together
    for (const Substitution& of_group : packed(values)) {
      for (std::int64_t i = 0; i < extent(inner).value(); i += piece_) {
        at.push_back(of_group);
        place(at.back(), inner, constant_int(i));
      }
    }
    std::vector<Node> parts;
    const std::ptrdiff_t each = width_ / piece_;
    for (auto first = at.begin(); first != at.end(); first += each)
      parts.push_back(joined(operand, {first, first + each}));
    return parts;
  }

  // The operand at several places, piece_ lanes each, one after the other. What differs between
  // them is joined as deep down as can be: a byte whose fields are pieces is loaded once, and
  // shifted in all lanes at once.
  Node joined(const Node& operand, const std::vector<Substitution>& at) const {
    std::vector<Node> parts;
    for (const Substitution& values : at) {
      Substitution around = values;
      around.erase(last());
      parts.push_back(splat(vectorise(operand, last(), values.at(last()), piece_, around), piece_));
      if (element_ != DType::none) parts.back() = cast(parts.back(), element_);
    }
    return join_lanes(parts);
  }

  // What the lanes of a row's sums hold, in one vector.
  Node wide_sum(const Sums& sums) const {
    std::vector<Node> parts;
    for (const Node& wide : sums.wide)
      parts.push_back(load_from(wide, constant_int(0), {}, lanes_));
    for (; parts.size() > 1; parts.resize(parts.size() / 2)) {
      for (std::size_t j = 0; j < parts.size() / 2; ++j)
        parts[j] = add(parts[j], parts[parts.size() / 2 + j]);
    }
    return parts[0];
  }

  // The lanes of four vectors together, side by side: half the shuffles that each of them would
  // take.
  Node four_sums(const std::array<Node, 4>& rows) const {
    const auto mixed = [&](const Node& a, const Node& b, const std::array<int, 4>& of_four) {
      std::vector<std::int64_t> order;
      for (int first = 0; first < lanes_; first += 4) {
        for (const int i : of_four) order.push_back(i < 4 ? first + i : lanes_ + first + i - 4);
      }
      return shuffle(a, b, std::move(order));
    };
    const auto pair = [&](const Node& a, const Node& b) {
      return add(mixed(a, b, {0, 4, 1, 5}), mixed(a, b, {2, 6, 3, 7}));
    };
    const Node ab = pair(rows[0], rows[1]);
    const Node cd = pair(rows[2], rows[3]);
    Node all = add(mixed(ab, cd, {0, 1, 4, 5}), mixed(ab, cd, {2, 3, 6, 7}));
    for (int lanes = lanes_ / 2; lanes >= 4; lanes /= 2) {
      std::vector<std::int64_t> low;
      std::vector<std::int64_t> high;
      for (int i = 0; i < lanes; ++i) low.push_back(i), high.push_back(lanes + i);
      all = add(shuffle(all, {}, low), shuffle(all, {}, high));
    }
    return all;
  }

  // Results in vectors, of sums that are whole vectors.
  bool adds_four_rows() const {
    const Size size(last().src(0));
    return !results_.empty() && total_ == DType::float32 && !bytes_ && rows_ % 4 == 0 &&
           lanes_ >= 4 && size.is_constant() && size.value() % lanes_ == 0;
  }

  // The lanes together, in a tree; then the stores.
  void finish(const std::vector<std::vector<Sums>>& tile, const Node& n0, const Node& m0,
              std::vector<Node>& statements) {
    if (adds_four_rows()) {
      for (std::size_t p = 0; p < products_.size(); ++p) {
        for (std::size_t r = 0; r < tile[p].size(); r += 4) {
          const auto sum = [&](std::size_t i) { return wide_sum(tile[p][r + i]); };
          const Node row = add(n0, constant_int(static_cast<std::int64_t>(r)));
          statements.push_back(store_to(results_[p], integer_sub(row, first_),
                                        four_sums({sum(0), sum(1), sum(2), sum(3)})));
        }
      }
      return;
    }
    for (std::size_t i = 0; i < tile[0].size(); ++i) {
      const int r = static_cast<int>(i) / columns_;
      const int c = static_cast<int>(i) % columns_;
      Substitution values = tile[0][i].both;
      std::vector<Node> body;
      for (std::size_t p = 0; p < products_.size(); ++p) {
        const Sums& sums = tile[p][i];
        Node total = horizontal(ReduceOp::add, wide_sum(sums));
        if (sums.narrow) total = add(total, load_from(sums.narrow, constant_int(0)));
        const Node& offsets = tile[p][i - static_cast<std::size_t>(c)].offsets;
        if (offsets && adds_offsets_ahead()) {
          const Node each = load_from(offsets, constant_int(0), {}, groups_);
          total = add(total, horizontal(ReduceOp::add, each));
        } else if (offsets) {
          total = add(total, lane(load_from(offsets, constant_int(0), {}, offset_lanes()), c));
        }
        if (!results_.empty()) {
          const Node row = integer_sub(add(n0, constant_int(r)), first_);
          statements.push_back(store_to(results_[p], row, total));
          continue;
        }
        const Node result = workshop_.registers(total_, 1);
        statements.push_back(store_to(result, constant_int(0), total));
        values[products_[p].sum] = load_from(result, constant_int(0));
      }
      if (!results_.empty()) continue;
      for (const Node& store : part_.stages[0].stores) body.push_back(substitute(store, values));
      Node inside = constant_int(1, DType::boolean);
      const auto limit = [&](const Size& size, const Node& first, int at, int step) {
        if (at > 0 && (!size.is_constant() || size.value() % step != 0))
          inside = logical_and(inside, integer_less(add(first, constant_int(at)), size.node()));
      };
      limit(extent(n_), n0, r, rows_);
      limit(extent(m_), m0, c, columns_);
      statements.push_back(branch(inside, block(std::move(body))));
    }
  }

  const Part& part_;
  Workshop& workshop_;
  std::vector<Product> products_;
  // Of each product with offsets: what the matrix's row gives, and the first of X's in memory.
  std::vector<std::pair<Node, Node>> offsets_;
  Node first_;                 // of the rows of Y of the task
  std::vector<Node> results_;  // of each product its sums, where results come in vectors
  std::vector<Node> starts_;   // of each product: what the lanes of a dot product start from
  Node lane_;                  // counts them
  Ranges batch_, n_, m_;
  DType total_ = DType::float32;
  bool bytes_ = false;           // products of bytes
  DType element_ = DType::none;  // to which bytes are widened; none: they are not
  int lanes_ = 1;                // of an accumulator
  int width_ = 1;                // bytes that one dot product takes
  int piece_ = 1;                // bytes of it that lie together
  int packed_ = 1;               // groups that share it
  int rows_ = 1;                 // of Y in a tile
  int columns_ = 1;              // of X
  int unroll_ = 1;               // vectors of a row at once
  // Where scales are decoded ahead: for so many blocks at a time (0: they are not), of so many
  // groups each; what the range of their lanes is; for each product and row of a tile, the scales
  // and the row's part of the offsets in scratch memory, and where the block's are.
  std::int64_t ahead_ = 0;
  int groups_ = 0;
  Node lane_of_groups_;
  std::vector<Node> scales_, minima_;
  Node decoded_at_;
};

}  // namespace

std::optional<Schedule> matrix_vector(const Part& part, Workshop& workshop) {
  MatrixVector strategy(part, workshop);
  if (!strategy.recognise()) return std::nullopt;
  return strategy.run();
}

}  // namespace brisk
