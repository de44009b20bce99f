// Products of few rows with a large matrix by groups of threads: Y[n, k] · X[m, k], each row of the
// matrix along the summed ranges. The matrix is read once and sets the pace: a team of neighbouring
// threads takes a few of its rows at a time, every thread vectors of 16 bytes of each, and adds up
// by exchange; groups take tiles of rows in turn, so that what they need first is made few times.
// X is read where it lies, or, where it must be computed (normalised, rounded to bytes under
// scales), is made by every group for itself (group_stage.h), which is quicker than a launch.
//
// Where groups of integers have a scale, a thread takes whole groups: dot products of bytes, then
// the scale; there may be more columns than a group takes at once.
#include <algorithm>

#include "optimize/analysis.h"
#include "optimize/product.h"
#include "optimize/strategies/group.h"
#include "optimize/strategies/group_stage.h"
#include "optimize/strategies/strategy.h"

namespace brisk {

namespace {

using Ranges = std::vector<Node>;

constexpr std::int64_t bytes_ahead = 16 << 10;  // of the matrix, that a group asks for ahead
constexpr std::int64_t threads = 256;
constexpr std::int64_t groups_of_processor = 2;
constexpr std::int64_t most_columns = 8;       // of X at once; more are worth a matrix product
constexpr std::int64_t most_rows = 4;          // of the matrix, of a team at once
constexpr std::int64_t least_products = 4096;  // that are worth teams
constexpr std::int64_t most_sums = 32;         // accumulators of a thread
constexpr std::int64_t least_vectors = 4;      // of a thread
constexpr std::int64_t loads_at_once = 8;      // of the matrix, of a thread
constexpr std::int64_t most_others = 16;       // values that a thread holds for its results
constexpr std::int64_t cheap_operations = 6;   // not worth computing once for all rows

class GroupMatrixVector {
 public:
  GroupMatrixVector(const Part& part, Workshop& workshop)
      : part_(part), workshop_(workshop), stage_(workshop, threads) {}

  bool recognise() {
    std::optional<MatrixVectorForm> form = matrix_vector_form(part_, true);
    if (!form || form->products.size() > 4) return false;
    form_ = std::move(*form);
    const Product& first = form_.products[0];
    if (first.sum.dtype() != DType::float32 || !extent(first.ranges).is_constant() ||
        !extent(first.inner).is_constant()) {
      return false;
    }
    const std::int64_t columns = extent(form_.m).upper();
    columns_ = std::min(columns, most_columns);
    const std::int64_t depth = extent(first.ranges).value() * extent(first.inner).value();
    if (columns < 1 || (columns > most_columns && !grouped()) || extent(form_.n).upper() < 4 ||
        static_cast<double>(extent(form_.n).upper()) * static_cast<double>(depth) <
            static_cast<double>(least_products)) {
      return false;
    }
    for (const Product& product : form_.products) {
      if (!takes(product)) return false;
    }
    while (grouped() && columns_ > 1 && !stages_fit()) columns_ /= 2;
    return choose_lanes() && stages_fit();
  }

  Schedule run() {
    split_ = grouped() && !has_offsets() ? extent(inner()).value() / lanes_ : 1;
    choose_tiles();
    Schedule schedule;
    const Size tasks = extent(form_.batch) * groups_ * column_tiles_;
    const Node task = workshop_.range(tasks);
    const Node group = idiv(task, column_tiles_.node());
    place(outside_, form_.batch, idiv(group, groups_.node()));
    first_column_ = mul(mod(task, column_tiles_.node()), constant_int(columns_));
    column_ = workshop_.range(columns_);
    for (const Product& product : form_.products) operands_.push_back(prepare(product));
    const Node turn = workshop_.range(turns_);
    const Node tile = add(mul(turn, groups_.node()), mod(group, groups_.node()));
    std::vector<Node> body;
    if (workshop_.target().overlaps_launches) body.push_back(first_rows_ahead(group));
    for (const Node& statement : stage_.statements()) body.push_back(statement);
    body.push_back(loop(LoopKind::serial, turn, block(tile_of(tile))));
    schedule.name = grouped() ? "group_matrix_vector_bytes" : "group_matrix_vector";
    schedule.phases = {loop(LoopKind::parallel, task, block(std::move(body)))};
    return schedule;
  }

 private:
  bool grouped() const { return form_.products[0].grouped(); }
  const Ranges& ranges() const { return form_.products[0].ranges; }
  const Ranges& inner() const { return form_.products[0].inner; }
  const Node& last() const { return grouped() ? inner().back() : ranges().back(); }

  // ---- recognition ---------------------------------------------------------------------------

  bool takes(const Product& product) const {
    if (!lies_in_order(product.b, last())) return false;
    if (!grouped()) return true;
    if (product.a.dtype() != DType::int8 || byte_size(product.b.dtype()) != 1) return false;
    for (const Node& by : {product.scale, product.offset}) {
      const Node with = by ? factors_of(by, form_.n).with : Node();
      if (with && !find_all({with}, Op::reduce_).empty()) return false;
    }
    return true;
  }

  bool choose_lanes() {
    const Target& target = workshop_.target();
    std::vector<Node> matrices;
    for (const Product& product : form_.products) matrices.push_back(product.b);
    lanes_ = grouped() ? target.vector_bytes : lanes_along(matrices, last(), target);
    while (lanes_ > 1 && Size(last().src(0)).value() % lanes_ != 0) lanes_ /= 2;
    return lanes_ >= (grouped() ? 4 : 2);
  }

  // What the group makes for itself must fit its memory.
  bool stages_fit() const {
    const std::int64_t depth = extent(ranges()).value() * extent(inner()).value();
    std::int64_t bytes = 0;
    for (const Product& product : form_.products) {
      Ranges all = ranges();
      all.insert(all.end(), inner().begin(), inner().end());
      if (!is_cheap(product.a)) {
        if (!GroupStage::takes(product.a, all)) return false;
        bytes += columns_ * depth * byte_size(product.a.dtype());
      }
      if (grouped()) bytes += 3 * columns_ * extent(ranges()).value() * 4;
    }
    constexpr std::int64_t rest = 6 << 10;  // for what rows are divided by, and for exchanges
    return bytes <= workshop_.target().shared_bytes - rest;
  }

  bool is_cheap(const Node& vector) const {
    return find_all({vector}, Op::reduce_).empty() && operation_count(vector) <= cheap_operations;
  }

  // ---- decisions -----------------------------------------------------------------------------

  // Vectors of a row, or where groups have offsets, these.
  std::int64_t units() const {
    return grouped() ? extent(ranges()).value() * split_ : extent(ranges()).value() / lanes_;
  }

  // Whether a group has a part in the result beside its sum.
  bool has_offsets() const {
    return std::any_of(form_.products.begin(), form_.products.end(), [](const Product& product) {
      return product.offset || is_centred(product.b);
    });
  }

  // The counters of groups for the unit; gives its first vector within the group.
  Node place_unit(Substitution& values, const Node& p) const {
    place(values, ranges(), idiv(p, constant_int(split_)));
    return mod(p, constant_int(split_));
  }

  void choose_tiles() {
    const auto products = static_cast<std::int64_t>(form_.products.size());
    column_tiles_ = (extent(form_.m) + (columns_ - 1)) / columns_;
    const std::int64_t batch =
        std::max<std::int64_t>(1, (extent(form_.batch) * column_tiles_).upper());
    const std::int64_t n = extent(form_.n).upper();
    const std::string shapes = shape_class(grouped() ? "vector_bytes" : "vector", part_,
                                           {{"batch", extent(form_.batch)},
                                            {"columns", extent(form_.m)},
                                            {"rows", extent(form_.n)},
                                            {"depth", extent(ranges()) * extent(inner())},
                                            {"processors", workshop_.threads()}});
    Decisions& decisions = workshop_.decisions();
    const std::int64_t together =
        decisions.choose_near(shapes + " groups", groups_of_processor, 1, 4);
    const std::int64_t most_groups =
        std::max<std::int64_t>(1, together * workshop_.threads() / batch);
    // Threads in step add up among themselves; a larger team would meet at barriers, and waits
    // there.
    const std::int64_t step = workshop_.target().group_step;
    const std::int64_t warps = most_groups * threads / step;
    const std::int64_t lanes = grouped() ? 1 : lanes_;
    rows_ = 1;
    while (rows_ < most_rows && 2 * rows_ * columns_ * products * lanes <= most_sums &&
           n / (2 * rows_) * 5 >= warps * 3) {
      rows_ *= 2;
    }
    team_ = std::min(step, power_below(units()));
    while (team_ < threads && units() >= 2 * least_vectors * team_ &&
           (n + rows_ - 1) / rows_ * (team_ / step) * 2 <= warps) {
      team_ *= 2;
    }
    std::int64_t most = 1;
    while (most < most_rows && 2 * most * columns_ * products * lanes <= most_sums) most *= 2;
    rows_ = decisions.choose_near(shapes + " at once", rows_, 1, most);
    team_ = decisions.choose_near(shapes + " team", team_, std::min<std::int64_t>(team_, 8),
                                  std::min(threads, power_below(units())));
    tiles_ = (extent(form_.n) + (rows_ - 1)) / rows_;
    const std::int64_t teams = threads / team_;
    turns_ = (tiles_.upper() + teams * most_groups - 1) / (teams * most_groups);
    turns_ = std::max<std::int64_t>(1, turns_);
    groups_ = (tiles_ + (teams * turns_ - 1)) / (teams * turns_);
  }

  // ---- X -------------------------------------------------------------------------------------

  // The counters of a column of the group; those beyond the last are the last one again.
  void place_column(Substitution& values, const Node& column) const {
    place(values, form_.m, at_most(add(first_column_, column), extent(form_.m)));
  }

  // The index where it is below the limit, and the last one otherwise.
  static Node at_most(const Node& index, const Size& limit) {
    const Node last = (limit - 1).node();
    const bool inside = last.is_constant() && bounds(index).greatest <= last.int_value();
    return inside ? index : integer_min(index, last);
  }

  // What threads multiply: a, b, and of groups the scales and offsets, apart by what rows of the
  // matrix they depend on.
  struct Operand {
    Node sum, a, b;
    Node row_scale, column_scale;
    Node row_offset, column_offset;  // empty without offset
  };

  Operand prepare(const Product& product) {
    Operand operand{product.sum, product.a, product.b, {}, {}, {}, {}};
    if (grouped()) {
      Node offset = product.offset;
      uncentre(operand, product, offset);
      const Factors scale = factors_of(product.scale, form_.n);
      const Factors shift = offset ? factors_of(offset, form_.n) : Factors();
      make_together(product.a, {scale.without, shift.without});
      operand.row_scale = scale.with;
      operand.column_scale = made(scale.without, false);
      if (offset) {
        operand.row_offset = shift.with ? shift.with : constant_float(1);
        operand.column_offset = made(shift.without ? shift.without : constant_float(1), false);
      }
    }
    operand.a = made(product.a, true);
    return operand;
  }

  // Bytes less a constant: Σ (u - c) · a is Σ u · a - c · Σ a.
  void uncentre(Operand& operand, const Product& product, Node& offset) const {
    const Node& bytes = product.b;
    if (offset || !is_centred(bytes)) return;
    const Node centre = constant_int(bytes.src(1).int_value(), DType::int32);
    const Node sum = reduce_over(ReduceOp::add, cast(product.a, DType::int32), product.inner);
    operand.b = bytes.src(0);
    offset = mul(product.scale, cast(mul(sum, centre), DType::float32));
  }

  // The value for the group's batch and any column.
  Node placed(const Node& value) const {
    Substitution memo = outside_;
    place_column(memo, column_);
    return substitute(value, memo);
  }

  // Bytes, and of their groups the scales and offsets that come from the same elements.
  void make_together(const Node& bytes, const std::vector<Node>& of_groups) {
    std::vector<Node> mine = {placed(bytes)};
    for (const Node& value : of_groups) {
      if (value && !is_cheap(placed(value))) mine.push_back(placed(value));
    }
    Ranges points;
    const auto of_column = [&](const Node& value) { return depends_on(value, column_); };
    if (std::any_of(mine.begin(), mine.end(), of_column)) points.push_back(column_);
    points.insert(points.end(), ranges().begin(), ranges().end());
    stage_.stage_groups(mine, points, inner());
  }

  // The same, made before where it should be.
  Node made(const Node& value, bool of_elements) {
    if (!value) return value;
    Node mine = placed(value);
    if (is_cheap(mine) && (!of_elements || !grouped())) return mine;
    Ranges all;
    if (depends_on(mine, column_)) all.push_back(column_);
    all.insert(all.end(), ranges().begin(), ranges().end());
    if (of_elements) all.insert(all.end(), inner().begin(), inner().end());
    return stage_.stage(mine, all);
  }

  // ---- tiles ---------------------------------------------------------------------------------

  struct Place {
    std::size_t product;
    std::int64_t row, column;
  };

  std::vector<Place> places() const {
    std::vector<Place> list;
    for (std::int64_t row = 0; row < rows_; ++row) {
      for (std::int64_t column = 0; column < columns_; ++column) {
        for (std::size_t p = 0; p < operands_.size(); ++p) list.push_back({p, row, column});
      }
    }
    return list;
  }

  // A thread's team takes rows from `first` on; its number in it is `member`.
  struct Thread {
    Node range, first, member;
  };

  Thread thread(const Node& tile) {
    Thread t;
    t.range = workshop_.range(threads);
    const Node team = idiv(t.range, constant_int(team_));
    const Node mine = add(mul(tile, constant_int(threads / team_)), team);
    t.first = mul(mine, constant_int(rows_));
    t.member = mod(t.range, constant_int(team_));
    return t;
  }

  // The counters of the row and column; rows beyond the last are the last one again.
  Substitution at(const Thread& t, std::int64_t row, std::int64_t column) const {
    Substitution values = outside_;
    place(values, form_.n, at_most(add(t.first, constant_int(row)), extent(form_.n)));
    place_column(values, constant_int(column));
    values[column_] = constant_int(column);
    return values;
  }

  // Asks for the beginning of the first rows before the kernel that makes X has ended.
  Node first_rows_ahead(const Node& group) {
    const Thread t = thread(mod(group, groups_.node()));
    const std::int64_t whole = std::max<std::int64_t>(1, units() / team_);
    const std::int64_t steps = std::clamp<std::int64_t>(
        bytes_ahead / (rows_ * threads * workshop_.target().vector_bytes), 1, whole);
    std::vector<Node> asked;
    for (std::int64_t step = 0; step < steps; ++step) {
      const Node p =
          integer_min(add(constant_int(step * team_), t.member), constant_int(units() - 1));
      for (std::int64_t row = 0; row < rows_; ++row) {
        for (const Operand& operand : operands_) {
          Substitution values = at(t, row, 0);
          const Node first = grouped() ? place_unit(values, p) : Node();
          const Node base = grouped() ? place_vector(values, inner(), first, lanes_)
                                      : place_vector(values, ranges(), p, lanes_);
          ask_for(vectorise(operand.b, last(), base, lanes_, values), asked);
        }
      }
    }
    return loop(LoopKind::threads, t.range, block(std::move(asked)));
  }

  std::vector<Node> tile_of(const Node& tile) {
    const Thread t = thread(tile);
    const std::vector<Place> all = places();
    const auto count = static_cast<std::int64_t>(all.size());
    const int lanes = grouped() ? 1 : lanes_;
    const Node sums = workshop_.registers(DType::float32, count);
    std::vector<Node> wide;
    std::vector<Node> statements = hold_others(t, all);
    for (std::int64_t i = 0; i < count; ++i) {
      wide.push_back(workshop_.registers(DType::float32, lanes));
      const Node zero = splat(constant_float(0), lanes);
      statements.push_back(store_to(wide.back(), constant_int(0), zero));
    }
    along_row(t, all, wide, statements);
    for (std::int64_t i = 0; i < count; ++i) {
      const Node sum = load_from(wide[static_cast<std::size_t>(i)], constant_int(0), {}, lanes);
      statements.push_back(
          store_to(sums, constant_int(i), lanes == 1 ? sum : horizontal(ReduceOp::add, sum)));
    }
    std::vector<Node> result = {loop(LoopKind::threads, t.range, block(std::move(statements)))};
    if (team_ > 1) result.push_back(group_reduce(ReduceOp::add, sums, 0, count, team_, threads));
    result.push_back(finish(tile, sums));
    return result;
  }

  // The thread's units of the rows: all written out, or in rounds of a few.
  void along_row(const Thread& t, const std::vector<Place>& all, const std::vector<Node>& wide,
                 std::vector<Node>& statements) {
    const std::int64_t steps = (units() + team_ - 1) / team_;
    const auto loads = rows_ * static_cast<std::int64_t>(operands_.size());
    const std::int64_t together = std::max<std::int64_t>(1, loads_at_once / loads);
    const std::int64_t whole = units() / team_;
    const std::int64_t rounds = steps <= 2 * together ? 0 : whole / together;
    const auto unit = [&](const Node& step) {
      return add(mul(step, constant_int(team_)), t.member);
    };
    if (rounds > 0) {
      const Node round = workshop_.range(rounds);
      std::vector<Node> body;
      for (std::int64_t i = 0; i < together; ++i) {
        const Node step = add(mul(round, constant_int(together)), constant_int(i));
        add_unit(t, unit(step), all, wide, body);
      }
      statements.push_back(loop(LoopKind::serial, round, block(std::move(body))));
    }
    for (std::int64_t step = rounds * together; step < steps; ++step) {
      const Node p = unit(constant_int(step));
      std::vector<Node> body;
      add_unit(t, p, all, wide, body);
      if (step < whole) {
        statements.insert(statements.end(), body.begin(), body.end());
      } else {
        statements.push_back(branch(integer_less(p, constant_int(units())), block(body)));
      }
    }
  }

  void add_unit(const Thread& t, const Node& p, const std::vector<Place>& all,
                const std::vector<Node>& wide, std::vector<Node>& body) const {
    for (std::size_t i = 0; i < all.size(); ++i) {
      const Operand& operand = operands_[all[i].product];
      const Substitution values = at(t, all[i].row, all[i].column);
      const int lanes = grouped() ? 1 : lanes_;
      const Node old = load_from(wide[i], constant_int(0), {}, lanes);
      const Node value = grouped() ? of_group(operand, p, values) : of_vector(operand, p, values);
      body.push_back(store_to(wide[i], constant_int(0), add(old, value)));
    }
  }

  Node of_vector(const Operand& operand, const Node& p, Substitution values) const {
    const Node base = place_vector(values, ranges(), p, lanes_);
    const auto vector = [&](const Node& factor) {
      return splat(vectorise(factor, last(), base, lanes_, values), lanes_);
    };
    return mul(vector(operand.a), vector(operand.b));
  }

  // scale · Σ a·b + offset.
  Node of_group(const Operand& operand, const Node& p, Substitution values) const {
    const Node first = place_unit(values, p);
    Node sum = splat(constant_int(0, DType::int32), lanes_ / 4);
    for (std::int64_t i = 0; i < extent(inner()).value() / lanes_ / split_; ++i) {
      Substitution inside = values;
      const Node base = place_vector(inside, inner(), add(first, constant_int(i)), lanes_);
      const auto vector = [&](const Node& factor) {
        return splat(vectorise(factor, last(), base, lanes_, inside), lanes_);
      };
      sum = dot(sum, vector(operand.b), vector(operand.a));
    }
    if (lanes_ > 4) sum = horizontal(ReduceOp::add, sum);
    Node total = cast(sum, DType::float32);
    for (const Node& scale : {operand.column_scale, operand.row_scale}) {
      if (scale) total = mul(total, substitute(scale, values));
    }
    if (!operand.row_offset) return total;
    return add(total, mul(substitute(operand.row_offset, values),
                          substitute(operand.column_offset, values)));
  }

  // What results are made of beside the sums is asked for before them, and in registers by then.
  std::vector<Node> hold_others(const Thread& t, const std::vector<Place>& all) {
    others_.clear();
    Substitution without;
    for (const Operand& operand : operands_) without[operand.sum] = constant_float(0);
    std::vector<Node> values;
    std::vector<Node> written;
    for (const Node& store : part_.stages[0].stores) {
      values.push_back(substitute(store.src(2), without));
      written.push_back(store.src(0));
    }
    const auto results = static_cast<std::int64_t>(all.size() / operands_.size());
    for (const Node& load : find_all(values, Op::load_)) {
      if (contains(written, load.src(0)) || !find_all({load.src(1)}, Op::load_).empty()) continue;
      others_.push_back({load, workshop_.registers(load.dtype(), results)});
    }
    if (static_cast<std::int64_t>(others_.size()) * results > most_others) others_.clear();
    std::vector<Node> statements;
    for (std::int64_t i = 0; i < results; ++i) {
      const Place& place = all[static_cast<std::size_t>(i) * operands_.size()];
      Substitution values_there = at(t, place.row, place.column);
      for (const auto& [load, held] : others_)
        statements.push_back(store_to(held, constant_int(i), substitute(load, values_there)));
    }
    return statements;
  }

  // The first thread of each team stores its results.
  Node finish(const Node& tile, const Node& sums) {
    const Thread t = thread(tile);
    std::vector<Node> stores;
    const std::vector<Place> all = places();
    for (std::size_t i = 0; i < all.size(); i += operands_.size()) {
      Substitution values = at(t, all[i].row, all[i].column);
      for (std::size_t p = 0; p < operands_.size(); ++p) {
        const auto index = static_cast<std::int64_t>(i + p);
        values[operands_[p].sum] = load_from(sums, constant_int(index));
      }
      for (const auto& [load, held] : others_)
        values[load] =
            load_from(held, constant_int(static_cast<std::int64_t>(i / operands_.size())));
      const Node row = add(t.first, constant_int(all[i].row));
      Node there = integer_less(row, extent(form_.n).node());
      const Node column = add(first_column_, constant_int(all[i].column));
      there = logical_and(there, integer_less(column, extent(form_.m).node()));
      std::vector<Node> mine;
      for (const Node& store : part_.stages[0].stores) mine.push_back(substitute(store, values));
      stores.push_back(branch(there, block(std::move(mine))));
    }
    const Node first = integer_less(t.member, constant_int(1));
    return loop(LoopKind::threads, t.range, branch(first, block(std::move(stores))));
  }

  const Part& part_;
  Workshop& workshop_;
  MatrixVectorForm form_;
  GroupStage stage_;
  std::vector<Operand> operands_;
  // What results read beside sums, and where it is held.
  std::vector<std::pair<Node, Node>> others_;
  Substitution outside_;      // counters of the batch
  std::int64_t columns_ = 1;  // of X that a group takes at once
  Node column_;               // range over them
  Node first_column_;
  Size column_tiles_;
  int lanes_ = 1;
  std::int64_t split_ = 1;  // units of a group
  std::int64_t rows_ = 1;   // of the matrix that a team takes at once
  std::int64_t team_ = 1;
  std::int64_t turns_ = 1;  // tiles of a group, one after the other
  Size tiles_;
  Size groups_;
};

}  // namespace

std::optional<Schedule> group_matrix_vector(const Part& part, Workshop& workshop) {
  GroupMatrixVector strategy(part, workshop);
  if (!strategy.recognise()) return std::nullopt;
  return strategy.run();
}

}  // namespace brisk
