// Scatters by groups of threads: stores to places that are read from memory, where several points
// may meet. Each place belongs to one group, whose threads take neighbouring columns of a row, the
// ranges by which no place is read. A group looks at all places, in the order of the points, and
// stores those of its own: so what meets in a place comes in that order, on any number of groups.
#include <algorithm>

#include "optimize/analysis.h"
#include "optimize/strategies/group.h"
#include "optimize/strategies/strategy.h"

namespace brisk {

namespace {

constexpr std::int64_t threads = 256;
constexpr std::int64_t most_of_thread = 16;  // points that follow each other
constexpr int looked_at = 4;                 // threads' points at once: is one the group's?
constexpr std::int64_t groups_of_processor = 4;
constexpr std::int64_t most_columns = 64;  // steps of a thread along them

class GroupScatter {
 public:
  GroupScatter(const Part& part, Workshop& workshop)
      : workshop_(workshop), store_(part.stages[0].stores[0]) {
    for (const Node& range : part.outer) {
      (reads_place_by(store_, range) ? points_ : columns_).push_back(range);
    }
  }

  bool fits() const {
    return is_scatter(store_) && !points_.empty() && !columns_.empty() &&
           find_all({store_}, Op::reduce_).empty() && !places_overlap(store_, columns_) &&
           extent(columns_).upper() <= most_columns * threads;
  }

  Schedule run() {
    const Size points = extent(points_);
    groups_ = std::clamp<std::int64_t>(points.upper(), 1,
                                       groups_of_processor * workshop_.target().threads);
    each_ = 1;
    while (each_ < most_of_thread && each_ * threads < points.upper()) each_ *= 2;
    group_ = workshop_.range(groups_);
    owners_ = workshop_.shared(DType::int32, threads * each_);
    any_ = workshop_.shared(DType::int32, threads);
    const Node round = workshop_.range((points + (threads * each_ - 1)) / (threads * each_));
    first_ = mul(round, constant_int(threads * each_));
    Schedule schedule;
    schedule.name = "group_scatter";
    schedule.phases = {loop(LoopKind::parallel, group_,
                            loop(LoopKind::serial, round, block({find_owners(), rows()})))};
    return schedule;
  }

 private:
  Node is_mine(const Node& owner) const {
    const Node other = make_node(Op::cmpne_, DType::boolean, {owner, cast(group_, DType::int32)});
    return make_node(Op::cmpne_, DType::boolean, {other, constant_int(1, DType::boolean)});
  }
  static Node is_set(const Node& flag) {
    return make_node(Op::cmpne_, DType::boolean, {flag, constant_int(0, DType::int32)});
  }

  // Of each point of the round, and whether one of a thread's points is the group's. By the first
  // place of the row, in rows; -1 beyond the last point.
  Node find_owners() const {
    const Node thread = workshop_.range(threads);
    std::int64_t row_length = 1;
    for (const Node& range : columns_) {
      if (stride(place_of(store_), range) == 1) row_length = Size(range.src(0)).upper();
    }
    const Node none = constant_int(-1, DType::int32);
    const Node own = workshop_.registers(DType::int32, each_);
    std::vector<Node> statements;
    Node any;
    for (std::int64_t i = 0; i < each_; ++i) {
      const Node in_round = add(mul(thread, constant_int(each_)), constant_int(i));
      const Node point = add(first_, in_round);
      Substitution values;
      place(values, points_, integer_min(point, (extent(points_) - 1).node()));
      for (const Node& range : columns_) values[range] = constant_int(0);
      const Node place_of_row = idiv(substitute(store_.src(1), values), constant_int(row_length));
      const Node owner = cast(mod(place_of_row, constant_int(groups_)), DType::int32);
      const Node inside = integer_less(point, extent(points_).node());
      statements.push_back(store_to(own, constant_int(i),
                                    make_node(Op::where_, DType::int32, {inside, owner, none})));
      const Node known = load_from(own, constant_int(i));
      statements.push_back(store_to(owners_, in_round, known));
      any = any ? make_node(Op::or_, DType::boolean, {any, is_mine(known)}) : is_mine(known);
    }
    statements.push_back(store_to(any_, thread, cast(any, DType::int32)));
    return loop(LoopKind::threads, thread, block(std::move(statements)));
  }

  // The group's own of the round, in the order of the points.
  Node rows() const {
    const Node look = workshop_.range(threads / looked_at);
    const Node begin = mul(look, constant_int(looked_at));
    const Node several = horizontal(ReduceOp::max, load_from(any_, begin, {}, looked_at));
    const Node of_look = workshop_.range(looked_at);
    const Node thread = add(begin, of_look);
    const Node of_thread = workshop_.range(each_);
    const Node in_round = add(mul(thread, constant_int(each_)), of_thread);
    const Node one = branch(is_mine(load_from(owners_, in_round)), row(add(first_, in_round)));
    return loop(LoopKind::serial, look,
                branch(is_set(several), loop(LoopKind::serial, of_look,
                                             branch(is_set(load_from(any_, thread)),
                                                    loop(LoopKind::serial, of_thread, one)))));
  }

  Node row(const Node& point) const {
    const Node thread = workshop_.range(threads);
    const Size columns = extent(columns_);
    // All that is read of the row, then all that is stored: reads wait for memory together.
    std::vector<Node> reads, writes;
    const Node kept =
        workshop_.registers(store_.src(2).dtype(), (columns.upper() + threads - 1) / threads);
    for (std::int64_t i = 0; i < columns.upper(); i += threads) {
      const Node column = add(thread, constant_int(i));
      Substitution values;
      place(values, points_, point);
      place(values, columns_, column);
      const Node store = substitute(store_, values);
      const Node at = constant_int(i / threads);
      const Node gate = store.srcs().size() == 4 ? store.src(3) : Node();
      const Node read = store_to(kept, at, store.src(2));
      const Node write = store_to(store.src(0), store.src(1), load_from(kept, at), gate);
      const bool whole = columns.is_constant() && i + threads <= columns.value();
      const Node there = integer_less(column, columns.node());
      reads.push_back(whole ? read : branch(there, read));
      writes.push_back(whole ? write : branch(there, write));
    }
    std::vector<Node> statements = std::move(reads);
    statements.insert(statements.end(), writes.begin(), writes.end());
    return loop(LoopKind::threads, thread, block(std::move(statements)));
  }

  Workshop& workshop_;
  const Node& store_;
  std::vector<Node> points_;
  std::vector<Node> columns_;
  std::int64_t groups_ = 1;
  std::int64_t each_ = 1;  // points of a thread in a round
  Node group_;
  Node first_;         // point of the round
  Node owners_, any_;  // see find_owners
};

}  // namespace

std::optional<Schedule> group_scatter(const Part& part, Workshop& workshop) {
  if (part.stages[0].stores.size() != 1) return std::nullopt;
  GroupScatter strategy(part, workshop);
  if (!strategy.fits()) return std::nullopt;
  return strategy.run();
}

}  // namespace brisk
