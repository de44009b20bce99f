// Contractions on matrix units that multiply tiles of shared memory (kernel/tile.h): sums over
// products of two operands of 8 or 16 bits, X over output ranges M and Y over N, both over the
// summed ranges K and the batch. N is the range along which the output is contiguous, or, where
// that is one of several of its operand, M and N may be the other way round. Several sums may share
// one X (a gated unit has two).
//
// A task is one tile of the output. A pipeline over K brings tiles of X and Y and multiplies them
// into fragments; what follows the sum is computed on these, goes to shared memory as a tile of the
// output and from there to the output, by a copy of its own where the output's rows allow it. Where
// several matrices are read after a short sum, memory is the limit: then the sums themselves go to
// shared memory, and what follows them is computed row by row, in vectors.
//
// Operands are copied from where they lie if they are plain matrices with aligned rows. So are
// those X whose ranges, M and K, move through dimensions of an array together
// (optimize/box_array.h), as the windows of a convolution do: then rows of tiles are boxes of M,
// strips of columns lie along one range of K, the depth, and the pipeline goes through the others,
// the taps. Where the depth is not what is contiguous, or elements are computed, that array is made
// in working memory first. Other operands are computed there.
#include <fmt/core.h>

#include <algorithm>
#include <limits>
#include <numeric>

#include "base/error.h"
#include "optimize/analysis.h"
#include "optimize/box_array.h"
#include "optimize/product.h"
#include "optimize/strategies/group.h"
#include "optimize/tile_array.h"
#include "optimize/tile_order.h"

namespace brisk {

namespace {

using Ranges = std::vector<Node>;
using Extents = std::vector<std::int64_t>;

constexpr std::int64_t most_staged_bytes = 64 << 10;   // of a tile of the output
constexpr std::int64_t least_columns_of_batch = 2048;  // of which the last tile may waste a part
constexpr std::int64_t slack_bytes = 4 << 10;  // of shared memory, for barriers and exchanges
constexpr std::int64_t most_stages = 6;
constexpr std::int64_t most_threads = 256;        // that multiply
constexpr std::int64_t most_results = 128 * 256;  // of a tile and all sums, in registers
constexpr std::size_t most_sums = 2;
constexpr std::int64_t least_strip_bytes = 32;     // of a strip, that have to be there
constexpr std::int64_t short_sum_bytes = 1 << 10;  // of depth: memory is the limit

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

  // Into how many parts of equal depth the sum is best cut, so that there are tiles for all
  // processors; their sums are added up afterwards. And the range that is cut for them.
  struct Parts {
    std::int64_t count = 1;
    Node range;
  };
  Parts parts() {
    constexpr std::int64_t most_parts = 64;
    constexpr std::int64_t least_depth = 1024;  // of a part
    constexpr double gain = 0.85;
    choose_form();
    Parts chosen;
    if ((in_boxes_ && taps_.empty()) || sums_.size() != 1 || !extent(m_).is_constant() ||
        sum().dtype() != DType::float32) {
      return chosen;
    }
    chosen.range = in_boxes_ ? taps_[0] : ranges_of(sum())[0];
    const std::int64_t depth = extent(k_).value();
    const std::int64_t length = Size(chosen.range.src(0)).value();
    // Whole strips in each round of the range, if others are inside of it.
    const std::int64_t round = in_boxes_ ? depth_ : depth / length;
    const std::int64_t piece = depth_ / std::gcd(depth_, round);
    std::vector<std::int64_t> counts = {1};
    std::vector<Decision::Option> options = {{"1", gain * cheapest_tile()}};
    for (parts_ = 2; parts_ <= most_parts && depth / parts_ >= least_depth; ++parts_) {
      if (length % (parts_ * piece) != 0) continue;
      counts.push_back(parts_);
      options.push_back({fmt::format("{}", parts_), cheapest_tile() + adding_up()});
    }
    parts_ = 1;
    if (counts.size() > 1)
      chosen.count = counts[workshop_.decisions().choose(shapes() + " parts", options)];
    return chosen;
  }
  const Node& sum() const { return sums_[0].sum; }

  Schedule run() {
    Schedule schedule;
    schedule.name = "tiles_" + std::string(name(x_.value.dtype()));
    choose_form();
    choose_tile();
    choose_staging();
    choose_sharers();
    prepare_x(schedule);
    for (Sum& sum : sums_) prepare_y(sum.y, schedule);
    choose_stages();
    schedule.phases.push_back(main_phase());
    return schedule;
  }

 private:
  struct Operand {
    Node value;            // of an element, in the dtype that is multiplied
    TileView view;         // where its tiles come from
    std::vector<Node> at;  // coordinates over the ranges
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
    if (n_.empty() || m_.empty()) return false;
    column_ = n_[0];
    if (n_.size() == 1 || take_columns_together(true) || take_columns_by_batch()) return true;
    if (m_.size() > 1 || sums_.size() > 1) return take_columns_together(false);
    std::swap(x_, sums_[0].y);
    std::swap(m_, n_);
    column_ = n_[0];
    return true;
  }

  // Whether what follows the sums reads other arrays along the columns, of which a thread has two
  // neighbours at once.
  bool reads_along_columns() const {
    Substitution values;
    for (const Sum& sum : sums_) values[sum.sum] = constant_like(0, sum.sum.dtype());
    std::vector<Node> rest;
    for (const Node& store : stores_) rest.push_back(substitute(store.src(2), values));
    const std::vector<Node> loads = find_all(rest, Op::load_);
    return std::any_of(loads.begin(), loads.end(),
                       [&](const Node& load) { return depends_on(load, contiguous_); });
  }

  // The last range of N alone, where Y is a plain matrix for each point of the others: the images
  // of a convolution without neighbours, channels first.
  bool take_columns_by_batch() {
    if (!(n_.back() == contiguous_) || k_.size() != 1 ||
        Size(contiguous_.src(0)).lower() < least_columns_of_batch || reads_along_columns()) {
      return false;
    }
    for (const Sum& sum : sums_) {
      Operand probe = sum.y;
      if (!find_plain(probe, contiguous_, k_[0])) return false;
    }
    batch_.insert(batch_.end(), n_.begin(), n_.end() - 1);
    n_ = {contiguous_};
    column_ = contiguous_;
    return true;
  }

  // Several ranges of N as one, where Y is a plain matrix over their points, or may be made one;
  // neighbours that a thread holds have to be neighbours along the last one.
  bool take_columns_together(bool plain) {
    if (!(n_.back() == contiguous_) || Size(contiguous_.src(0)).upper() % 2 != 0 ||
        (plain && k_.size() > 1)) {
      return false;
    }
    const Node all = workshop_.range(extent(n_));
    std::vector<Sum> sums = sums_;
    for (Sum& sum : sums) {
      sum.y.value = over_columns(sum.y.value, all);
      Operand probe = sum.y;
      if (plain && !find_plain(probe, all, k_[0])) return false;
    }
    sums_ = std::move(sums);
    column_ = all;
    return true;
  }

  // An access over the ranges of N, as one over a single range of their points.
  Node over_columns(const Node& access, const Node& all) const {
    if (n_.size() == 1) return access;
    Substitution values;
    place(values, n_, all);
    return substitute(access, values);
  }

  bool worth_it() const {
    const Size n = extent(n_);
    const Size k = extent(k_);
    return k.is_constant() && n.is_constant() && n.value() >= 32 && k.value() >= 32 &&
           extent(m_).upper() >= 32;
  }

  // ---- decisions -----------------------------------------------------------------------------

  std::int64_t element_bytes() const { return byte_size(x_.value.dtype()); }

  void choose_form() {
    depth_ = strip_bytes / element_bytes();
    const bool plain = m_.size() == 1 && k_.size() == 1 && find_plain(x_, m_[0], k_[0]);
    in_boxes_ = !plain && (find_boxes() || find_boxes_to_pack());
    if (in_boxes_) {
      rows_ = m_;
      return;
    }
    rows_ = m_.size() == 1 ? m_ : Ranges{workshop_.range(extent(m_))};
    deep_ = k_.size() == 1 ? k_[0] : workshop_.range(extent(k_));
  }

  bool find_boxes() {
    for (const Node& range : k_) {
      if (!x_.value.is(Op::load_)) break;
      const auto array = box_array(x_.value, m_, range);
      if (array && deep_enough(range, *array)) return take_boxes(*array, range);
    }
    return false;
  }

  // Where windows overlap, strips that are partly empty cost less than a copy of the windows.
  bool deep_enough(const Node& range, const BoxArray& array) const {
    const std::int64_t bytes = Size(range.src(0)).upper() * element_bytes();
    return bytes >= (overlap(array) ? least_strip_bytes : strip_bytes);
  }
  bool overlap(const BoxArray& array) const {
    return std::any_of(array.at.begin(), array.at.end(), [&](const Node& at) {
      std::int64_t span = 0;
      for (const Node& range : m_)
        span += std::abs(stride(at, range).value_or(0)) * (Size(range.src(0)).upper() - 1);
      return std::any_of(k_.begin(), k_.end(), [&](const Node& tap) {
        const std::int64_t step = std::abs(stride(at, tap).value_or(0));
        return step > 0 && step <= span;
      });
    });
  }

  bool take_boxes(const BoxArray& array, const Node& deep) {
    x_.view = array.view;
    x_.at = array.at;
    deep_ = deep;
    taps_ = k_;
    std::erase(taps_, deep);
    return true;
  }

  // Where windows overlap in an array that has to be computed or turned, that is less work than to
  // compute the windows.
  bool find_boxes_to_pack() {
    const Gated x = gated(x_.value);
    for (const Node& load : find_all({x.value}, Op::load_)) {
      const Node access = load_from(load.src(0), load.src(1), x.gate);
      for (const Node& range : k_) {
        const auto array = box_array(access, m_, range, true);
        if (!array || !overlap(*array) || !deep_enough(range, *array)) continue;
        placed_ = at_places(x.value, *array, workshop_);
        if (!placed_) continue;
        array_ = *array;
        return take_boxes(*array, range);
      }
    }
    return false;
  }

  // A value that is zero where the gate, if there is one, is closed.
  struct Gated {
    Node value, gate;
  };
  static Gated gated(const Node& value) {
    if (value.is(Op::where_) && value.src(2) == constant_like(0, value.dtype()))
      return {value.src(1), value.src(0)};
    if (value.is(Op::load_)) return {value, value.srcs().size() == 3 ? value.src(2) : Node()};
    if (!value.is(Op::cast_)) return {value, {}};
    const Gated inner = gated(value.src(0));
    return {cast(inner.value, value.dtype()), inner.gate};
  }

  // Boxes of rows_, of so many rows together.
  Extents box_of(std::int64_t rows) const {
    if (!in_boxes_) return {rows};
    Extents sizes;
    Extents limits;
    for (std::size_t i = 0; i < rows_.size(); ++i) {
      sizes.push_back(usual(Size(rows_[i].src(0))));
      limits.push_back(most_of_box / x_.view.steps[rows_.size() - 1 - i]);
    }
    return covering_box(sizes, limits, rows);
  }

  Size boxes(const Extents& box) const {
    Size count = 1;
    for (std::size_t i = 0; i < box.size(); ++i) count = count * boxes_along(box, i);
    return count;
  }
  Size boxes_along(const Extents& box, std::size_t i) const {
    return (Size(rows_[i].src(0)) + (box[i] - 1)) / box[i];
  }

  std::int64_t steps() const {
    return extent(taps_).value() * ((Size(deep_.src(0)).value() + depth_ - 1) / depth_);
  }

  // Cycles of the busiest processor: for each of its tiles those of the matrix unit, or those in
  // which the operands come from the cache, or go to and from shared memory, and some in which
  // nothing is multiplied.
  double cycles(std::int64_t rows, std::int64_t columns, std::int64_t sharers = 1) const {
    constexpr double unit = 4096;         // multiplications of bytes in a cycle
    constexpr double cache_bytes = 48;    // in a cycle
    constexpr double shared_bytes = 128;  // in a cycle
    constexpr double beginning = 1500;
    constexpr double sharing = 1.07;  // groups that share wait for each other
    const std::int64_t tiles = std::max<std::int64_t>(1, extent(batch_).upper()) * parts_ *
                               usual(boxes(box_of(rows))) *
                               ((extent(n_).value() + columns - 1) / columns);
    const std::int64_t processors = workshop_.target().threads;
    const std::int64_t rounds = (tiles + processors - 1) / processors;
    const auto depth = static_cast<double>(steps() * strip_bytes) / static_cast<double>(parts_);
    const std::int64_t all = columns * static_cast<std::int64_t>(sums_.size());
    const double multiplying =
        depth * static_cast<double>(rows * all) / unit * (rows == 64 ? 1.1 : 1.0);
    const double mine = static_cast<double>(all) / static_cast<double>(sharers);  // of all columns
    const double copying = depth * (static_cast<double>(rows) + mine) / cache_bytes;
    const std::int64_t parts = rows / 64;  // each is multiplied by itself
    const double passing =
        depth * static_cast<double>(rows + all + parts * (64 + all)) / shared_bytes;
    return static_cast<double>(rounds) * (sharers > 1 ? sharing : 1.0) *
           (std::max({multiplying, copying, passing}) + beginning);
  }

  // A launch, and the parts' sums from the cache.
  double adding_up() const {
    constexpr double launch = 5000;
    constexpr double bytes = 12;  // in a cycle
    const auto results = static_cast<double>((extent(batch_) * extent(m_) * extent(n_)).upper());
    return launch + 4 * results * static_cast<double>(parts_ + 1) /
                        (bytes * static_cast<double>(workshop_.target().threads));
  }

  // What the best tile depends on.
  std::string shapes() const {
    Operand y = sums_[0].y;
    const bool plain = find_plain_y(y);
    const auto lies = [](const Operand& operand) { return operand.by_depth ? "t" : "n"; };
    return shape_class(
        fmt::format("tiles {}{}", in_boxes_ ? "boxes" : lies(x_), plain ? lies(y) : "made"), part_,
        {{"batch", extent(batch_)},
         {"rows", extent(m_)},
         {"columns", extent(n_)},
         {"depth", extent(k_)}});
  }

  struct Tile {
    std::int64_t rows, columns;
    double cycles;
  };
  std::vector<Tile> tiles() const {
    std::vector<Tile> list;
    for (const std::int64_t rows : {128, 256, 64}) {
      for (const std::int64_t columns : {256, 192, 128, 96, 64, 32}) {
        if (rows * columns * static_cast<std::int64_t>(sums_.size()) > most_results) continue;
        list.push_back({rows, columns, cycles(rows, columns)});
      }
    }
    return list;
  }
  double cheapest_tile() const {
    double best = std::numeric_limits<double>::infinity();
    for (const Tile& tile : tiles()) best = std::min(best, tile.cycles);
    return best;
  }

  void choose_tile() {
    std::vector<Decision::Option> options;
    const std::vector<Tile> list = tiles();
    for (const Tile& tile : list)
      options.push_back({fmt::format("{}x{}", tile.rows, tile.columns), tile.cycles});
    const Tile& tile = list[workshop_.decisions().choose(shapes() + " tile", options)];
    tile_rows_ = tile.rows;
    tile_columns_ = tile.columns;
    box_ = box_of(tile_rows_);
    threads_ = std::min(most_threads, 2 * tile_rows_);
  }

  // How many groups copy tiles of Y together, which tasks that follow each other have in common.
  void choose_sharers() {
    const Size rows = boxes(box_);
    if (!workshop_.target().has_clusters || !rows.is_constant() || rows.value() % 2 != 0) return;
    std::vector<Decision::Option> options;
    for (const std::int64_t sharers : {1, 2})
      options.push_back({fmt::format("{}", sharers), cycles(tile_rows_, tile_columns_, sharers)});
    sharers_ = workshop_.decisions().choose(shapes() + " sharers", options) == 0 ? 1 : 2;
  }

  void choose_stages() {
    std::int64_t stage = local_bytes(x_.tile);
    for (const Sum& sum : sums_) stage += local_bytes(sum.y.tile);
    std::int64_t room = workshop_.target().tile_bytes - slack_bytes;
    for (const Node& local : staged_) room -= local_bytes(local);
    stages_ = std::clamp<std::int64_t>(room / stage, 2, most_stages);
  }

  // Memory for as many columns of the output's tile as there is room for at once: a local for each
  // dtype that is stored.
  void choose_staging() {
    int widest = 1;
    for (const Node& store : stores_) widest = std::max(widest, byte_size(staged_dtype(store)));
    staged_columns_ = tile_columns_;
    while (tile_rows_ * staged_columns_ * widest > most_staged_bytes && staged_columns_ % 16 == 0)
      staged_columns_ /= 2;
    for (const Node& store : stores_) {
      const DType dtype = staged_dtype(store);
      if (!staging(dtype))
        staged_.push_back(make_tile(dtype, tile_rows_, staged_columns_, workshop_));
    }
  }

  DType staged_dtype(const Node& store) const {
    const Node sum = streamed_sum(store);
    return (sum ? sum : store.src(0)).dtype();
  }

  // The sum, or what it is rounded to first, where the store reads other matrices after a short
  // one.
  Node streamed_sum(const Node& store) const {
    if (sums_.size() != 1 || n_.size() != 1 ||
        steps() * depth_ * element_bytes() > short_sum_bytes) {
      return {};
    }
    const Node& sum = sums_[0].sum;
    Substitution values = {{sum, constant_like(0, sum.dtype())}};
    const std::vector<Node> loads = find_all({substitute(store.src(2), values)}, Op::load_);
    const auto matrices = std::count_if(loads.begin(), loads.end(), [&](const Node& load) {
      return stride(load.src(1), contiguous_) == 1 &&
             std::any_of(m_.begin(), m_.end(),
                         [&](const Node& range) { return depends_on(load, range); });
    });
    if (matrices < 2) return {};
    Node rounded;
    for (const Node& node : topological_order({&store.src(2), 1})) {
      if (std::find(node.srcs().begin(), node.srcs().end(), sum) == node.srcs().end()) continue;
      if (rounded || !node.is(Op::cast_) || byte_size(node.dtype()) != 2) return sum;
      rounded = node;
    }
    return rounded ? rounded : sum;
  }

  Node staging(DType dtype) const {
    const auto found = std::find_if(staged_.begin(), staged_.end(),
                                    [&](const Node& local) { return local.dtype() == dtype; });
    return found == staged_.end() ? Node() : *found;
  }

  // ---- operands ------------------------------------------------------------------------------

  void prepare_x(Schedule& schedule) {
    if (placed_) x_.view = pack(*placed_, array_, workshop_, schedule);
    if (x_.at.empty()) compute(x_, batch_, m_, rows_[0], k_, schedule);
    x_.view.box.assign(box_.rbegin(), box_.rend());
    make(x_, tile_rows_);
  }

  // What is a matrix for each tap need not be one altogether.
  void prepare_y(Operand& y, Schedule& schedule) {
    if (!find_plain_y(y)) {
      Ranges batch = batch_;
      batch.insert(batch.end(), taps_.begin(), taps_.end());
      compute(y, batch, {column_}, column_, in_boxes_ ? Ranges{deep_} : k_, schedule);
    }
    make(y, tile_columns_);
    y.view.sharers = sharers_;
  }

  // Several ranges of K may be one in memory.
  bool find_plain_y(Operand& y) const {
    if (in_boxes_ || k_.size() == 1) return find_plain(y, column_, deep_);
    Operand together = y;
    Substitution values;
    place(values, k_, deep_);
    together.value = substitute(y.value, values);
    if (!find_plain(together, column_, deep_)) return false;
    y = together;
    return true;
  }

  // The operand as a matrix of its own, which lies by depth where its neighbours in memory do.
  void compute(Operand& operand, const Ranges& batch, const Ranges& rows, const Node& row,
               const Ranges& depth, Schedule& schedule) const {
    const auto lying = [&](const Ranges& outer, const Ranges& inner) {
      return compute_array(operand.value, batch, outer, inner, workshop_, schedule);
    };
    operand.by_depth = element_bytes() == 2 && contiguous_bytes({operand.value}, rows.back()) >
                                                   contiguous_bytes({operand.value}, depth.back());
    if (operand.by_depth) {
      take(operand, lying(depth, rows), deep_, row);
    } else {
      take(operand, lying(rows, depth), row, deep_);
    }
  }

  static void take(Operand& operand, const TileArray& array, const Node& row, const Node& column) {
    operand.view = array.view;
    operand.at = {column, row};
    operand.at.insert(operand.at.end(), array.outside.begin(), array.outside.end());
  }

  // Tiles of `rows` rows, or columns where they lie by depth.
  void make(Operand& operand, std::int64_t rows) {
    operand.view.rows = operand.by_depth ? depth_ : rows;
    operand.view.columns = operand.by_depth ? rows : depth_;
    if (operand.by_depth) operand.view.box = {depth_};
    operand.tile =
        make_tile(operand.value.dtype(), operand.view.rows, operand.view.columns, workshop_);
  }

  // A plain matrix, with `along` or k as its columns.
  bool find_plain(Operand& operand, const Node& along, const Node& k) const {
    if (const auto plain = tile_array(operand.value, along, k)) {
      take(operand, *plain, along, k);
      return true;
    }
    if (element_bytes() != 2) return false;
    const auto turned = tile_array(operand.value, k, along);
    if (!turned) return false;
    take(operand, *turned, k, along);
    operand.by_depth = true;
    return true;
  }

  static Node load(const Operand& operand, const Substitution& values) {
    return load_tile(operand.tile, operand.view, substituted(operand.at, values));
  }

  static std::vector<Node> substituted(std::vector<Node> list, Substitution values) {
    for (Node& node : list) node = substitute(node, values);
    return list;
  }

  // ---- the product ---------------------------------------------------------------------------

  Node main_phase() {
    const Size rows = boxes(box_);
    const std::int64_t columns = (extent(n_).value() + tile_columns_ - 1) / tile_columns_;
    const Size tiles = rows * columns;
    const Size tasks = extent(batch_) * tiles;
    const Node task = workshop_.range(tasks);
    const Node in_batch = batch_.empty() ? task : mod(task, tiles.node());
    place(outside_, batch_, idiv(task, tiles.node()));
    const std::int64_t strip =
        workshop_.decisions().choose_near(shapes() + " strip", usual_strip, 4, 64);
    const TileNumber tile = tile_in_strips(in_batch, rows, columns, strip);
    place_boxes(tile.row);
    n0_ = mul(tile.column, number(tile_columns_));

    const Node k = workshop_.range(steps());
    const Substitution here = values_at(k);
    std::vector<Node> round = {load(x_, here)};
    for (const Sum& sum : sums_) round.push_back(load(sum.y, here));
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

  // Where the tile's box begins.
  void place_boxes(const Node& which) {
    Ranges counters;
    for (std::size_t i = 0; i < box_.size(); ++i) {
      counters.push_back(workshop_.range(boxes_along(box_, i)));
      in_box_.push_back(workshop_.range(box_[i]));
    }
    Substitution counts;
    place(counts, counters, which);
    for (std::size_t i = 0; i < box_.size(); ++i)
      starts_.push_back(mul(counts.at(counters[i]), number(box_[i])));
  }

  // In a step of the pipeline, of where the tiles begin.
  Substitution values_at(const Node& k) {
    Substitution here = outside_;
    for (std::size_t i = 0; i < rows_.size(); ++i) here[rows_[i]] = starts_[i];
    here[column_] = n0_;
    Ranges order = taps_;
    order.push_back(workshop_.range(steps() / extent(taps_).value()));
    place(here, order, k);
    here[deep_] = mul(here.at(order.back()), number(depth_));
    return here;
  }

  // ---- what follows the sum ------------------------------------------------------------------

  void finish(const Node& store, std::vector<Node>& statements) {
    const Node memory = staging(staged_dtype(store));
    if (const Node sum = streamed_sum(store)) {
      for (std::int64_t first = 0; first < tile_columns_; first += staged_columns_) {
        statements.push_back(fill(store_to(store.src(0), store.src(1), sum), memory, first));
        statements.push_back(stream_out(store, sum, memory, first));
      }
      return;
    }
    const bool whole_strips = staged_columns_ * byte_size(memory.dtype()) % strip_bytes == 0;
    Operand output;
    const bool copied = whole_strips && find_output(store, output);
    for (std::int64_t first = 0; first < tile_columns_; first += staged_columns_) {
      statements.push_back(fill(store, memory, first));
      statements.push_back(copied ? copy_out(output, memory, first)
                                  : write_out(store, memory, first));
    }
  }

  bool find_output(const Node& store, Operand& output) const {
    if (in_boxes_) {
      const auto array = box_array(over_columns(store, column_), m_, column_);
      if (array) output.view = array->view;
      if (array) output.at = array->at;
      return array.has_value();
    }
    Node stored = over_columns(store, column_);
    if (m_.size() > 1) {  // as rows of one matrix, if they are
      Substitution values;
      place(values, m_, rows_[0]);
      stored = substitute(stored, values);
    }
    const auto array = tile_array(stored, rows_[0], column_);
    if (array) take(output, *array, rows_[0], column_);
    return array.has_value();
  }

  // The counters of M in a row of the tile, and whether it is there.
  Node place_row(Substitution& at, const Node& row, bool clip) const {
    Substitution digits;
    place(digits, in_box_, row);
    std::int64_t in_box = 1;
    for (const std::int64_t extent : box_) in_box *= extent;
    Node inside = integer_less(row, number(in_box));
    Substitution values;
    for (std::size_t i = 0; i < rows_.size(); ++i) {
      const Size size(rows_[i].src(0));
      const Node counter = add(starts_[i], digits.at(in_box_[i]));
      values[rows_[i]] = clip ? clipped(counter, size) : counter;
      inside = logical_and(inside, integer_less(counter, size.node()));
    }
    if (in_boxes_ || m_.size() == 1) {
      at.insert(values.begin(), values.end());
    } else {
      place(at, m_, values.at(rows_[0]));
    }
    return inside;
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
        place_row(at, element.row, true);
        for (const Sum& sum : sums_) at[sum.sum] = load_from(sum.fragments, number(index), {}, 2);
        Node column = add(n0_, element.column);
        if (n_.size() > 1) {
          if (ragged) column = integer_min(column, (n - 2).node());
          place(at, n_, column);
          column = at.at(contiguous_);
          at.erase(contiguous_);
        }
        const Node value = vectorise(store.src(2), n_.back(), column, 2, at,
                                     ragged && n_.size() == 1 ? n.node() : Node());
        const Node place =
            tile_index(bytes, tile_rows_, element.row, integer_sub(element.column, number(first)));
        stores.push_back(store_to(memory, place, splat(value, 2)));
      }
    }
    return loop(LoopKind::threads, thread, brisk::block(std::move(stores)));
  }

  Node copy_out(const Operand& output, const Node& memory, std::int64_t first) const {
    TileView view = output.view;
    view.rows = tile_rows_;
    view.columns = staged_columns_;
    view.box.assign(box_.rbegin(), box_.rend());
    Substitution at = outside_;
    for (std::size_t i = 0; i < rows_.size(); ++i) at[rows_[i]] = starts_[i];
    at[column_] = add(n0_, number(first));
    return store_tile(memory, view, substituted(output.at, at));
  }

  // What the store makes of the sums in memory: neighbouring threads take neighbouring vectors.
  Node stream_out(const Node& store, const Node& sum, const Node& memory, std::int64_t first) {
    const int bytes = byte_size(memory.dtype());
    const auto lanes = static_cast<int>(chunk_bytes / bytes);
    const std::int64_t vectors = staged_columns_ / lanes;
    const Size n = extent(n_);
    const Node thread = workshop_.range(threads_);
    std::vector<Node> stores;
    for (std::int64_t i = 0; i < tile_rows_ * vectors; i += threads_) {
      const Node vector = add(thread, number(i));
      const Node row = idiv(vector, number(vectors));
      const Node column = mul(mod(vector, number(vectors)), number(lanes));
      const Node at_column = add(n0_, add(column, number(first)));
      Substitution at = outside_;
      Node inside = place_row(at, row, true);
      if (n.value() % tile_columns_ != 0)
        inside = logical_and(inside, integer_less(at_column, n.node()));
      at[sum] = load_from(memory, tile_index(bytes, tile_rows_, row, column), {}, lanes);
      stores.push_back(branch(inside, store_vector(store, n_.back(), at_column, lanes, at)));
    }
    return loop(LoopKind::threads, thread, brisk::block(std::move(stores)));
  }

  Node write_out(const Node& store, const Node& memory, std::int64_t first) {
    return write_tile(
        store, memory, tile_rows_, staged_columns_, threads_, workshop_,
        [&](const Node& row, const Node& column) {
          const Node at_column = add(n0_, add(column, number(first)));
          Substitution at = outside_;
          const Node there = place_row(at, row, false);
          place(at, n_, at_column);
          const Node inside = logical_and(there, integer_less(at_column, extent(n_).node()));
          return TileElement{std::move(at), inside};
        },
        !(n_.back() == contiguous_));
  }

  const Part& part_;
  Workshop& workshop_;
  const std::vector<Node>& stores_;
  Node contiguous_;
  std::vector<std::pair<Node, Node>> factors_;  // of each sum
  Operand x_;
  std::vector<Sum> sums_;
  Ranges batch_, m_, n_, k_;
  Node column_;                        // over the points of N
  bool in_boxes_ = false;              // X's tiles have rows that are boxes of M
  std::optional<PlacedValue> placed_;  // what X's array is first packed from, if it is
  BoxArray array_;                     // then
  Ranges rows_;  // through which a tile's rows run: M, or one range over all of its points
  Node deep_;    // along which its columns lie: a range of K, or one over all of its points
  Ranges taps_;  // the others of K
  Extents box_;  // of a tile, along rows_
  std::int64_t parts_ = 1;  // of the sum that are thought of
  std::int64_t tile_rows_ = 128;
  std::int64_t tile_columns_ = 256;
  std::int64_t depth_ = 64;
  std::int64_t threads_ = 256;
  std::int64_t stages_ = 3;
  std::int64_t sharers_ = 1;           // of tiles of Y
  std::int64_t staged_columns_ = 256;  // of the output that are in shared memory at once
  std::vector<Node> staged_;           // where they are
  // Of the main phase.
  Substitution outside_;
  Ranges in_box_;             // counters of a box
  std::vector<Node> starts_;  // of the box, along rows_
  Node n0_;
};

}  // namespace

namespace {

// Part `parts` sums apart, each over a piece of the range; then what the part makes of their total.
Schedule in_parts(const Part& part, const Node& sum, const Node& range, std::int64_t parts,
                  Workshop& workshop) {
  std::vector<Node> ranges = ranges_of(sum);
  const Size length(range.src(0));
  const Node piece = workshop.range(parts);
  const Node inside = workshop.range(length / parts);
  Substitution memo = {{range, add(mul(piece, (length / parts).node()), inside)}};
  std::replace(ranges.begin(), ranges.end(), range, inside);
  const Node value = reduce_over(ReduceOp::add, substitute(sum.src(0), memo), std::move(ranges));

  Part apart;
  apart.outer = {piece};
  for (const Node& range : part.outer) {
    if (contains(free_ranges(sum), range)) apart.outer.push_back(range);
  }
  const Node memory = workshop.workspace(sum.dtype(), extent(apart.outer));
  apart.stages.push_back({{}, {store_to(memory, position(apart.outer), value)}});
  Schedule schedule = *tile_contraction(apart, workshop);

  Node total;
  for (std::int64_t i = 0; i < parts; ++i) {
    const Node one = with(load_from(memory, position(apart.outer)), piece, number(i));
    total = total ? add(total, one) : one;
  }
  Part rest = part;
  for (Node& store : rest.stages[0].stores) store = with(store, sum, total);
  const std::optional<Schedule> last = group_map(rest, workshop);
  check(last.has_value(), "what follows a product is elementwise");
  schedule.phases.insert(schedule.phases.end(), last->phases.begin(), last->phases.end());
  return schedule;
}

}  // namespace

std::optional<Schedule> tile_contraction(const Part& part, Workshop& workshop) {
  TileContraction strategy(part, workshop);
  if (!strategy.recognise()) return std::nullopt;
  const auto parts = strategy.parts();
  if (parts.count > 1) return in_parts(part, strategy.sum(), parts.range, parts.count, workshop);
  TileContraction whole(part, workshop);
  check(whole.recognise(), "the same part");
  return whole.run();
}

}  // namespace brisk
