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
constexpr std::int64_t points_of_round = 1024;
constexpr std::int64_t unrolled = 8;
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
    const std::int64_t groups =
        std::clamp<std::int64_t>(points.upper(), 1, 2L * workshop_.target().threads);
    const Node group = workshop_.range(groups);
    const Node round = workshop_.range((points + (points_of_round - 1)) / points_of_round);
    const Node first = mul(round, constant_int(points_of_round));
    const Node owners = workshop_.shared(DType::int32, points_of_round);
    const Node unroll = workshop_.range(unrolled);
    const Node step = workshop_.range(points_of_round / unrolled);
    const Node in_round = add(mul(step, constant_int(unrolled)), unroll);
    const Node mine = make_node(Op::cmpne_, DType::boolean,
                                {load_from(owners, in_round), cast(group, DType::int32)});
    const Node is_mine =
        make_node(Op::cmpne_, DType::boolean, {mine, constant_int(1, DType::boolean)});
    const Node rows =
        loop(LoopKind::serial, step,
             loop(LoopKind::unrolled, unroll, branch(is_mine, row(add(first, in_round)))));
    Schedule schedule;
    schedule.name = "group_scatter";
    schedule.phases = {
        loop(LoopKind::parallel, group,
             loop(LoopKind::serial, round, block({find_owners(owners, first, groups), rows})))};
    return schedule;
  }

 private:
  // By the first place of the row, in rows; -1 beyond the last point.
  Node find_owners(const Node& owners, const Node& first, std::int64_t groups) const {
    const Node thread = workshop_.range(threads);
    std::int64_t row_length = 1;
    for (const Node& range : columns_) {
      if (stride(place_of(store_), range) == 1) row_length = Size(range.src(0)).upper();
    }
    std::vector<Node> statements;
    for (std::int64_t i = 0; i < points_of_round; i += threads) {
      const Node in_round = add(thread, constant_int(i));
      const Node point = add(first, in_round);
      Substitution values;
      place(values, points_, integer_min(point, (extent(points_) - 1).node()));
      for (const Node& range : columns_) values[range] = constant_int(0);
      const Node place_of_row = idiv(substitute(store_.src(1), values), constant_int(row_length));
      const Node owner = cast(mod(place_of_row, constant_int(groups)), DType::int32);
      const Node inside = integer_less(point, extent(points_).node());
      const Node none = constant_int(-1, DType::int32);
      statements.push_back(
          store_to(owners, in_round, make_node(Op::where_, DType::int32, {inside, owner, none})));
    }
    return loop(LoopKind::threads, thread, block(std::move(statements)));
  }

  Node row(const Node& point) const {
    const Node thread = workshop_.range(threads);
    const Size columns = extent(columns_);
    std::vector<Node> statements;
    for (std::int64_t i = 0; i < columns.upper(); i += threads) {
      const Node column = add(thread, constant_int(i));
      Substitution values;
      place(values, points_, point);
      place(values, columns_, column);
      const Node store = substitute(store_, values);
      const bool whole = columns.is_constant() && i + threads <= columns.value();
      statements.push_back(whole ? store : branch(integer_less(column, columns.node()), store));
    }
    return loop(LoopKind::threads, thread, block(std::move(statements)));
  }

  Workshop& workshop_;
  const Node& store_;
  std::vector<Node> points_;
  std::vector<Node> columns_;
};

}  // namespace

std::optional<Schedule> group_scatter(const Part& part, Workshop& workshop) {
  if (part.stages[0].stores.size() != 1) return std::nullopt;
  GroupScatter strategy(part, workshop);
  if (!strategy.fits()) return std::nullopt;
  return strategy.run();
}

}  // namespace brisk
