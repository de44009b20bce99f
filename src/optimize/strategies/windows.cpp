// Windows that slide along the results: sums of an image's windows times weights that all windows
// share (depthwise convolutions), sums and greatest values of windows (pooling). Each result along
// the columns, and along the rows where there are any, reads what lies at
//   result · step + tap · apart.
//
// A task takes some rows of results. It first computes what their windows read, once, into its own
// cache (or, where that is made of sums, a phase of its own has made it before), without gates and
// with columns that are `step` apart side by side; then tiles of results stay in registers while
// the taps go by, each tap a vector times one weight.
#include <algorithm>

#include "base/power_of_two.h"
#include "optimize/analysis.h"
#include "optimize/product.h"
#include "optimize/strategies/strategy.h"

namespace brisk {

namespace {

constexpr std::int64_t most_step = 4;
constexpr std::int64_t most_taps = 256;
constexpr std::int64_t unrolled_taps = 8;  // of a row
constexpr int least_lanes = 4;
constexpr double least_work = 16'384;  // taps of all results

// A direction in which windows slide; without a range of results there is one, without taps one.
struct Axis {
  Node result, tap;
  std::int64_t results = 1, taps = 1;
  std::int64_t step = 1, apart = 1;

  /// Places that windows of neighbouring results reach.
  std::int64_t reach(std::int64_t count) const {
    return (count - 1) * step + (taps - 1) * apart + 1;
  }
};

std::optional<std::int64_t> constant_size(const Node& range) {
  const Size size(range.src(0));
  return size.is_constant() ? std::optional(size.value()) : std::nullopt;
}

class Windows {
 public:
  Windows(const Part& part, Workshop& workshop)
      : part_(part), workshop_(workshop), stores_(part.stages[0].stores) {}

  bool recognise() {
    if (!find_window() || !find_columns() || !find_rows()) return false;
    for (const Node& range : part_.outer) {
      if (!(range == columns_.result) && !(range == rows_.result)) points_.push_back(range);
    }
    if (!places_only() || work() < least_work) return false;
    choose_tile();
    return choose_rows();
  }

  Schedule run() {
    const std::int64_t planes = planes_of_a_task();
    const Size blocks = (rows_.results + task_rows_ - 1) / task_rows_;
    const Size points = extent(points_);
    const Size groups = (points + (planes - 1)) / planes;
    const Size count = groups * blocks;
    const bool single = count == Size(1);
    Schedule schedule;
    schedule.name = "windows";
    if (!find_all({image_}, Op::reduce_).empty()) compute_image(schedule);
    const Node task = workshop_.range(count);
    const Node each = workshop_.range(planes);
    const Node counter = single ? constant_int(0) : task;
    // Plane after plane: what makes the image and what reads the results takes all planes of a
    // place, and a thread has neighbouring tasks.
    const Node point = add(mul(mod(counter, groups.node()), constant_int(planes)),
                           planes == 1 ? constant_int(0) : each);
    place(outside_, points_, point);
    first_row_ = mul(idiv(counter, groups.node()), constant_int(task_rows_));
    memory_ = workshop_.scratch(DType::float32, padded_places() * pitch_);
    Node body = block({stage(), tiles()});
    if (planes > 1)
      body = loop(LoopKind::serial, each, branch(integer_less(point, points.node()), body));
    schedule.phases.push_back(single ? body : loop(LoopKind::parallel, task, body));
    return schedule;
  }

 private:
  // ---- recognition ---------------------------------------------------------------------------

  bool find_window() {
    const std::vector<Node> all = outermost_reductions(stores_);
    if (all.size() != 1 || all[0].dtype() != DType::float32) return false;
    if (std::any_of(stores_.begin(), stores_.end(), is_scatter)) return false;
    sum_ = all[0];
    taps_ = ranges_of(sum_);
    image_ = sum_.src(0);
    std::int64_t taps = 1;
    for (const Node& tap : taps_) taps *= constant_size(tap).value_or(most_taps + 1);
    return op_of(sum_) != ReduceOp::mul && taps_.size() <= 2 && taps > 1 && taps <= most_taps;
  }

  // Results along these are contiguous, and windows slide along them.
  bool find_columns() {
    for (const Node& range : part_.outer) {
      const auto in_order = [&](const Node& store) { return stride(store.src(1), range) == 1; };
      if (std::all_of(stores_.begin(), stores_.end(), in_order)) columns_.result = range;
    }
    if (!columns_.result || !depends_on(image_, columns_.result)) return false;
    split_weight();
    return slide_along(columns_) && choose_lanes();
  }

  // So many that columns fill at least half of a vector.
  bool choose_lanes() {
    lanes_ = workshop_.target().lanes(4);
    while (lanes_ > least_lanes && 2 * columns_.results < lanes_) lanes_ /= 2;
    return 2 * columns_.results >= lanes_;
  }

  void split_weight() {
    const auto product = op_of(sum_) == ReduceOp::add ? product_of(sum_, true) : std::nullopt;
    if (!product || product->grouped() || product->a.dtype() != DType::float32 ||
        product->b.dtype() != DType::float32)
      return;
    const bool first = depends_on(product->a, columns_.result);
    if (first && depends_on(product->b, columns_.result)) return;
    image_ = first ? product->a : product->b;
    weight_ = first ? product->b : product->a;
  }

  // Of the other results, those nearest to the columns along which windows slide.
  bool find_rows() {
    for (std::size_t i = part_.outer.size(); i-- > 0 && !taps_.empty();) {
      if (part_.outer[i] == columns_.result) continue;
      Axis axis;
      axis.result = part_.outer[i];
      if (slide_along(axis) && axis.tap) rows_ = axis;
    }
    return taps_.empty();
  }

  // Gives the axis the taps that move what is read as its results do, if there are such.
  bool slide_along(Axis& axis) {
    const auto size = constant_size(axis.result);
    if (!size) return false;
    axis.results = *size;
    for (const Node& tap : taps_) {
      Axis with_tap = axis;
      with_tap.taps = *constant_size(tap);
      if (!steps_of(with_tap, tap) || !overlaps(with_tap)) continue;
      with_tap.tap = tap;
      axis = with_tap;
      taps_.erase(std::find(taps_.begin(), taps_.end(), tap));
      return !(weight_ && depends_on(weight_, axis.result));
    }
    return true;
  }

  // Sums of columns are windows too, each of them longer than all results.
  static bool overlaps(const Axis& axis) { return axis.reach(1) <= axis.results * axis.step; }

  bool steps_of(Axis& axis, const Node& tap) const {
    for (const Node& load : find_all({image_}, Op::load_)) {
      const std::int64_t by_result = stride(load.src(1), axis.result).value_or(0);
      const std::int64_t by_tap = stride(load.src(1), tap).value_or(0);
      if (by_result < 1 || by_tap < 1) continue;
      if (by_result % by_tap == 0) {
        axis.step = by_result / by_tap;
        axis.apart = 1;
        const Node before = mul(axis.result, constant_int(axis.step));
        return is_step(axis.step) &&
               !depends_on(with(image_, tap, integer_sub(tap, before)), axis.result);
      }
      if (by_tap % by_result != 0) continue;
      axis.step = 1;
      axis.apart = by_tap / by_result;
      const Node before = mul(tap, constant_int(axis.apart));
      return !depends_on(with(image_, axis.result, integer_sub(axis.result, before)), tap);
    }
    return false;
  }

  static bool is_step(std::int64_t step) { return step <= most_step && is_power_of_two(step); }

  // What is read, over places instead of results and taps.
  bool places_only() {
    row_place_ = workshop_.range(rows_.reach(rows_.results));
    column_place_ = workshop_.range(columns_.reach(columns_.results));
    Substitution values;
    put(values, rows_, row_place_);
    put(values, columns_, column_place_);
    image_ = substitute(image_, values);
    if (weight_ && !find_all({weight_}, Op::reduce_).empty()) return false;
    for (const Node& range : free_ranges(image_)) {
      if (!(range == row_place_) && !(range == column_place_) && !contains(points_, range))
        return false;
    }
    return true;
  }

  static void put(Substitution& values, const Axis& axis, const Node& at) {
    if (!axis.result) return;
    const bool by_tap = axis.tap && axis.apart == 1;
    values[axis.result] = by_tap ? constant_int(0) : at;
    if (axis.tap) values[axis.tap] = by_tap ? at : constant_int(0);
  }

  double work() const {
    return static_cast<double>(extent(part_.outer).upper()) *
           static_cast<double>(rows_.taps * columns_.taps);
  }

  // ---- sizes ---------------------------------------------------------------------------------

  // So many rows and vectors of results that they, a weight and what is read stay in registers, and
  // few are outside.
  void choose_tile() {
    const int sums = std::max(2, workshop_.target().vector_registers * 3 / 4);
    const std::int64_t vectors = (columns_.results + lanes_ - 1) / lanes_;
    std::int64_t best = 0;
    for (int v = 1; v <= std::min<std::int64_t>(4, vectors); ++v) {
      for (int r = 1; r <= std::min<std::int64_t>(8, rows_.results) && r * v <= sums; ++r) {
        const std::int64_t tiles = (vectors + v - 1) / v * ((rows_.results + r - 1) / r);
        const std::int64_t cost = tiles * (r * v * rows_.taps * columns_.taps * 2 + 16);
        if (best != 0 && cost >= best) continue;
        best = cost;
        tile_rows_ = r;
        tile_vectors_ = v;
      }
    }
    const std::int64_t column_tiles = (vectors + tile_vectors_ - 1) / tile_vectors_;
    const std::int64_t columns = column_tiles * tile_vectors_ * lanes_;
    // Of columns that are `step` apart; whole vectors are written and read.
    const std::int64_t run = columns + (columns_.taps - 1) * columns_.apart / columns_.step;
    side_ = (run + lanes_ - 1) / lanes_ * lanes_ + lanes_;
    pitch_ = side_ * columns_.step;
  }

  // Rows of a task: what they read fits half of the first cache, or at least the second.
  bool choose_rows() {
    const std::int64_t bytes = pitch_ * 4;
    const std::int64_t fitting = workshop_.target().l1_bytes / 2 / bytes;
    const std::int64_t rows = (fitting - rows_.reach(1)) / rows_.step + 1;
    task_rows_ = std::max<std::int64_t>(rows / tile_rows_, 1) * tile_rows_;
    const std::int64_t all = (rows_.results + tile_rows_ - 1) / tile_rows_ * tile_rows_;
    const std::int64_t blocks = (all + task_rows_ - 1) / task_rows_;
    task_rows_ = (all / tile_rows_ + blocks - 1) / blocks * tile_rows_;
    return padded_places() * bytes <= workshop_.target().l2_bytes / 2;
  }

  std::int64_t padded_places() const { return rows_.reach(task_rows_); }

  // Where a plane is too little work for a task.
  std::int64_t planes_of_a_task() const {
    if (task_rows_ < rows_.results) return 1;
    const std::int64_t work = rows_.results * columns_.results * (rows_.taps * columns_.taps + 4);
    const std::int64_t planes =
        workshop_.target().task_operations / std::max<std::int64_t>(work, 1);
    return std::clamp<std::int64_t>(planes, 1, std::max<std::int64_t>(1, extent(points_).upper()));
  }

  // What windows read of products that are made on the way: these first, in memory.
  void compute_image(Schedule& schedule) {
    std::vector<Node> ranges;
    for (const Node& range : points_) {
      if (depends_on(image_, range)) ranges.push_back(range);
    }
    if (rows_.result) ranges.push_back(row_place_);
    ranges.push_back(column_place_);
    image_ = compute_apart(image_, ranges, workshop_, schedule).element;
  }

  // ---- what windows read ---------------------------------------------------------------------

  // Rows of places, and in them, for each remainder modulo the step, the columns that have it.
  Node stage() {
    const Node first = mul(first_row_, constant_int(rows_.step));
    const std::int64_t all = rows_.reach(rows_.results);
    const Size count = task_rows_ >= rows_.results
                           ? Size(all)
                           : Size(integer_min(constant_int(padded_places()),
                                              integer_sub(constant_int(all), first)));
    const Node row = workshop_.range(count);
    const std::int64_t places = columns_.reach(columns_.results);
    const std::int64_t wide = lanes_ * columns_.step;
    const Node vector = workshop_.range((places + wide - 1) / wide);
    Substitution at = outside_;
    at[row_place_] = add(first, row);
    const Node limit = places % wide == 0 ? Node() : constant_int(places);
    const Node value = splat(vectorise(image_, column_place_, mul(vector, constant_int(wide)),
                                       static_cast<int>(wide), at, limit),
                             static_cast<int>(wide));
    const Node to = add(mul(row, constant_int(pitch_)), mul(vector, constant_int(lanes_)));
    std::vector<Node> statements;
    for (std::int64_t side = 0; side < columns_.step; ++side) {
      std::vector<std::int64_t> picked;
      for (std::int64_t i = 0; i < lanes_; ++i) picked.push_back(i * columns_.step + side);
      const Node part = columns_.step == 1 ? value : shuffle(value, {}, picked);
      statements.push_back(store_to(memory_, add(to, constant_int(side * side_)), part));
    }
    return loop(LoopKind::serial, row,
                loop(LoopKind::serial, vector, block(std::move(statements))));
  }

  // ---- results -------------------------------------------------------------------------------

  // Masks are dear: tiles all of whose columns are inside go without.
  Node tiles() {
    const std::int64_t wide = static_cast<std::int64_t>(tile_vectors_) * lanes_;
    const std::int64_t whole = columns_.results / wide;
    const Node row = workshop_.range(task_rows_ / tile_rows_);
    const Node tile_row = mul(row, constant_int(tile_rows_));
    std::vector<Node> statements;
    if (whole > 0) {
      const Node column = workshop_.range(whole);
      const Node body = tile(tile_row, mul(column, constant_int(wide)), tile_vectors_, {});
      statements.push_back(loop(LoopKind::serial, column, body));
    }
    if (const std::int64_t rest = columns_.results - whole * wide; rest > 0) {
      const Node limit = rest % lanes_ != 0 ? constant_int(columns_.results) : Node();
      const int vectors = static_cast<int>((rest + lanes_ - 1) / lanes_);
      statements.push_back(tile(tile_row, constant_int(whole * wide), vectors, limit));
    }
    Node body = block(std::move(statements));
    if (rows_.results % task_rows_ != 0) {
      const Node m0 = add(first_row_, tile_row);
      body = branch(integer_less(m0, constant_int(rows_.results)), body);
    }
    return loop(LoopKind::serial, row, body);
  }

  // Results from `row` of the task's and `column` on, the last of the vectors up to a limit.
  Node tile(const Node& row, const Node& column, int vectors, const Node& limit) {
    sums_ = workshop_.registers(DType::float32,
                                static_cast<std::int64_t>(tile_rows_) * tile_vectors_ * lanes_);
    std::vector<Node> statements;
    const Node start = splat(identity_of(op_of(sum_), DType::float32), lanes_);
    for (int r = 0; r < tile_rows_; ++r) {
      for (int v = 0; v < vectors; ++v) statements.push_back(store_to(sums_, slot(r, v), start));
    }
    statements.push_back(over_taps(row, column, vectors));
    for (int r = 0; r < tile_rows_; ++r)
      statements.push_back(finish(r, row, column, vectors, limit));
    return block(std::move(statements));
  }

  Node slot(int r, int v) const {
    return constant_int((static_cast<std::int64_t>(r) * tile_vectors_ + v) * lanes_);
  }

  Node over_taps(const Node& row, const Node& column, int vectors) {
    const Node dy = workshop_.range(rows_.taps);
    const Node dx = workshop_.range(columns_.taps);
    Substitution at = outside_;
    if (rows_.tap) at[rows_.tap] = dy;
    if (columns_.tap) at[columns_.tap] = dx;
    const Node weight = weight_ ? splat(substitute(weight_, at), lanes_) : Node();
    const Node shift = mul(dx, constant_int(columns_.apart));
    const Node step = constant_int(columns_.step);
    const Node across =
        add(column, add(mul(mod(shift, step), constant_int(side_)), idiv(shift, step)));
    std::vector<Node> statements;
    for (int r = 0; r < tile_rows_; ++r) {
      const Node place = add(mul(add(row, constant_int(r)), constant_int(rows_.step)),
                             mul(dy, constant_int(rows_.apart)));
      for (int v = 0; v < vectors; ++v) {
        const Node from = add(add(mul(place, constant_int(pitch_)), across),
                              constant_int(static_cast<std::int64_t>(v) * lanes_));
        const Node read = load_from(memory_, from, {}, lanes_);
        const Node old = load_from(sums_, slot(r, v), {}, lanes_);
        const Node next = combine(op_of(sum_), old, weight ? mul(weight, read) : read);
        statements.push_back(store_to(sums_, slot(r, v), next));
      }
    }
    const auto kind = columns_.taps <= unrolled_taps ? LoopKind::unrolled : LoopKind::serial;
    return loop(LoopKind::serial, dy, loop(kind, dx, block(std::move(statements))));
  }

  Node finish(int r, const Node& row, const Node& column, int vectors, const Node& limit) const {
    const Node m = add(first_row_, add(row, constant_int(r)));
    std::vector<Node> stores;
    for (int v = 0; v < vectors; ++v) {
      Substitution at = outside_;
      if (rows_.result) at[rows_.result] = m;
      at[sum_] = load_from(sums_, slot(r, v), {}, lanes_);
      const Node base = add(column, constant_int(static_cast<std::int64_t>(v) * lanes_));
      for (const Node& store : stores_)
        stores.push_back(vectorised_store(store, columns_.result, base, lanes_, at,
                                          v + 1 == vectors ? limit : Node()));
    }
    Node body = block(std::move(stores));
    if (r == 0 || rows_.results % tile_rows_ == 0) return body;
    return branch(integer_less(m, constant_int(rows_.results)), body);
  }

  const Part& part_;
  Workshop& workshop_;
  const std::vector<Node>& stores_;
  Node sum_;                // over the windows
  Node image_, weight_;     // what it sums; the weight may be empty
  std::vector<Node> taps_;  // that no axis has yet
  Axis rows_, columns_;
  std::vector<Node> points_;  // the other results
  Node row_place_, column_place_;
  int lanes_ = 1;
  int tile_rows_ = 1, tile_vectors_ = 1;
  std::int64_t task_rows_ = 1;
  std::int64_t side_ = 0;   // columns of one remainder
  std::int64_t pitch_ = 0;  // of a row of places
  // Of the phase: counters around, the task's first row, what windows read, the tile's results.
  Substitution outside_;
  Node first_row_, memory_, sums_;
};

}  // namespace

std::optional<Schedule> windows(const Part& part, Workshop& workshop) {
  Windows strategy(part, workshop);
  if (!strategy.recognise()) return std::nullopt;
  return strategy.run();
}

}  // namespace brisk
