#include "optimize/strategies/group_stage.h"

#include <algorithm>
#include <optional>

#include "optimize/analysis.h"
#include "optimize/strategies/group.h"

namespace brisk {

namespace {

constexpr std::int64_t most_at_once = 8;   // reductions of a thread
constexpr int most_of_thread = 8;          // elements of a point
constexpr std::int64_t most_of_team = 32;  // threads of a point

std::vector<Node> among(const Node& expression, const std::vector<Node>& ranges) {
  std::vector<Node> found;
  for (const Node& range : ranges) {
    if (depends_on(expression, range)) found.push_back(range);
  }
  return found;
}

// Whether the value is another at other counters of a range, beyond what it reduces itself.
bool has_free(const Node& value, const std::vector<Node>& ranges) {
  const std::vector<Node> free = free_ranges(value);
  return std::any_of(ranges.begin(), ranges.end(),
                     [&](const Node& range) { return contains(free, range); });
}

}  // namespace

bool GroupStage::takes(const Node& value, const std::vector<Node>& ranges) {
  if (!extent(ranges).is_constant() || extent(ranges) == Size(0)) return false;
  std::vector<Node> inside;
  const std::vector<Node> all = find_all({value}, Op::reduce_);
  for (const Node& reduction : all) {
    const std::vector<Node> mine = ranges_of(reduction);
    if (!extent(mine).is_constant() || extent(mine) == Size(0)) return false;
    inside.insert(inside.end(), mine.begin(), mine.end());
  }
  return std::none_of(all.begin(), all.end(),
                      [&](const Node& reduction) { return has_free(reduction, inside); });
}

Node GroupStage::room(DType dtype, std::int64_t elements) {
  bytes_ += elements * byte_size(dtype);
  return workshop_.shared(dtype, elements);
}

Node GroupStage::stage(const Node& value, const std::vector<Node>& ranges) {
  if (const auto found = known_.find(value); found != known_.end()) return found->second;
  for (const Node& reduction : find_all({value}, Op::reduce_)) {
    if (!known_.contains(reduction)) reduce(reduction, ranges);
  }
  Substitution memo = known_;
  const Node resolved = substitute(value, memo);
  const Node memory = room(value.dtype(), extent(ranges).value());
  const Node store = store_to(memory, position(ranges), resolved);
  const int lanes = lanes_along({store}, ranges.back(), workshop_.target());
  const std::int64_t vectors = extent(ranges).value() / lanes;
  const std::int64_t steps = (vectors + threads_ - 1) / threads_;
  const Node thread = workshop_.range(threads_);
  const Node step = workshop_.range(steps);
  const Node p = add(mul(step, constant_int(threads_)), thread);
  Substitution values;
  const Node base = place_vector(values, ranges, p, lanes);
  Node body = store_vector(store, ranges.back(), base, lanes, values);
  if (vectors % threads_ != 0) body = branch(integer_less(p, constant_int(vectors)), body);
  const LoopKind kind = steps <= most_at_once ? LoopKind::unrolled : LoopKind::serial;
  statements_.push_back(loop(LoopKind::threads, thread, loop(kind, step, body)));
  return known_[value] = load_from(memory, position(ranges));
}

namespace {

// What a pass over points is made of: reductions of each point, each after what it is made of, and
// those that all points share.
struct Pass {
  std::vector<Node> of_point, of_all;
  int lanes = most_of_thread;
  std::int64_t team = 1;  // threads of a point
};

// A value of the pass, and where it is kept.
struct Result {
  Node value;
  bool of_elements;  // of a point each; else one of the point
  Node memory, at;
};

std::optional<Pass> pass_over(const std::vector<Node>& values, const std::vector<Node>& points,
                              const std::vector<Node>& inner) {
  Pass pass;
  if (!extent(points).is_constant() || !extent(inner).is_constant()) return std::nullopt;
  const std::int64_t elements = extent(inner).value();
  const auto fit_lanes = [&](const Node& range) {
    while (Size(range.src(0)).value() % pass.lanes != 0) pass.lanes /= 2;
  };
  fit_lanes(inner.back());
  for (const Node& reduction : find_all(values, Op::reduce_)) {
    const std::vector<Node> inside = ranges_of(reduction);
    const std::vector<Node> below = find_all({reduction.src(0)}, Op::reduce_);
    const bool on_points = std::any_of(below.begin(), below.end(), [&](const Node& other) {
      return contains(pass.of_point, other);
    });
    if (among(reduction, points).empty()) {
      if (on_points) return std::nullopt;
      pass.of_all.push_back(reduction);
    } else {
      if (!(extent(inside) == Size(elements))) return std::nullopt;
      fit_lanes(inside.back());
      pass.of_point.push_back(reduction);
    }
  }
  pass.team = elements / pass.lanes;
  if (pass.of_point.empty() || power_below(pass.team) != pass.team || pass.team > most_of_team)
    return std::nullopt;
  return pass;
}

}  // namespace

void GroupStage::stage_groups(const std::vector<Node>& values, const std::vector<Node>& points,
                              const std::vector<Node>& inner) {
  std::vector<Node> fresh;
  for (const Node& value : values) {
    if (!known_.contains(value)) fresh.push_back(value);
  }
  const std::optional<Pass> pass = pass_over(fresh, points, inner);
  if (!pass) return;
  for (const Node& reduction : pass->of_all) {
    if (!known_.contains(reduction)) reduce(reduction, points);
  }
  const std::int64_t vectors = extent(points).value() * pass->team;
  const std::int64_t rounds = (vectors + threads_ - 1) / threads_;
  const std::int64_t at_once = std::min(rounds, most_at_once);
  const Node batch = workshop_.range((rounds + at_once - 1) / at_once);
  std::vector<Node> body;
  std::vector<Node> sums;
  // The i-th vector of the thread in the batch; of those beyond the last, the last.
  const auto vector_of = [&](const Node& thread, std::int64_t i) {
    const Node round = add(mul(batch, constant_int(at_once)), constant_int(i));
    return add(mul(round, constant_int(threads_)), thread);
  };
  const auto known_to = [&](std::int64_t i) {
    Substitution memo = known_;
    for (std::size_t r = 0; r < sums.size(); ++r)
      memo[pass->of_point[r]] = load_from(sums[r], constant_int(i));
    return memo;
  };
  const auto joined = [&](const std::vector<Node>& inside) {
    std::vector<Node> all = points;
    all.insert(all.end(), inside.begin(), inside.end());
    return all;
  };
  for (const Node& reduction : pass->of_point) {
    const auto op = op_of(reduction);
    const Node sum = workshop_.registers(reduction.dtype(), at_once);
    const std::vector<Node> inside = ranges_of(reduction);
    const Node thread = workshop_.range(threads_);
    std::vector<Node> each;
    for (std::int64_t i = 0; i < at_once; ++i) {
      Substitution memo = known_to(i);
      const Node term = substitute(reduction.src(0), memo);
      Substitution place;
      const Node p = integer_min(vector_of(thread, i), constant_int(vectors - 1));
      const Node base = place_vector(place, joined(inside), p, pass->lanes);
      const Node lanes =
          splat(vectorise(term, inside.back(), base, pass->lanes, place), pass->lanes);
      each.push_back(store_to(sum, constant_int(i), horizontal(op, lanes)));
    }
    body.push_back(loop(LoopKind::threads, thread, block(std::move(each))));
    if (pass->team > 1) body.push_back(group_reduce(op, sum, 0, at_once, pass->team, threads_));
    sums.push_back(sum);
  }
  const Node thread = workshop_.range(threads_);
  std::vector<Node> each;
  std::vector<Result> results;
  for (const Node& value : fresh) {
    const bool of_elements = has_free(value, inner);
    const std::vector<Node> ranges = of_elements ? joined(inner) : points;
    results.push_back(
        {value, of_elements, room(value.dtype(), extent(ranges).value()), position(ranges)});
  }
  for (std::int64_t i = 0; i < at_once; ++i) {
    const Node p = vector_of(thread, i);
    std::vector<Node> stores;
    std::vector<Node> of_first;
    for (const Result& result : results) {
      Substitution memo = known_to(i);
      const Node store = store_to(result.memory, result.at, substitute(result.value, memo));
      Substitution place;
      if (result.of_elements) {
        const Node base = place_vector(place, joined(inner), p, pass->lanes);
        stores.push_back(store_vector(store, inner.back(), base, pass->lanes, place));
      } else {
        brisk::place(place, points, idiv(p, constant_int(pass->team)));
        of_first.push_back(substitute(store, place));
      }
    }
    if (!of_first.empty()) {
      const Node first = integer_less(mod(p, constant_int(pass->team)), constant_int(1));
      stores.push_back(branch(first, block(std::move(of_first))));
    }
    const Node all = block(std::move(stores));
    const bool whole = vectors % (at_once * threads_) == 0;
    each.push_back(whole ? all : branch(integer_less(p, constant_int(vectors)), all));
  }
  body.push_back(loop(LoopKind::threads, thread, block(std::move(each))));
  statements_.push_back(loop(LoopKind::serial, batch, block(std::move(body))));
  for (const Result& result : results) known_[result.value] = load_from(result.memory, result.at);
}

// For each point of the ranges that it depends on, by as many threads as there are to spare.
void GroupStage::reduce(const Node& reduction, const std::vector<Node>& ranges) {
  const std::vector<Node> points = among(reduction, ranges);
  const std::vector<Node> inside = ranges_of(reduction);
  const auto op = op_of(reduction);
  Substitution memo = known_;
  const Node term = substitute(reduction.src(0), memo);
  const int lanes = lanes_along({term}, inside.back(), workshop_.target());
  const std::int64_t vectors = extent(inside).value() / lanes;
  const std::int64_t count = extent(points).value();
  const std::int64_t spare =
      std::max<std::int64_t>(8, power_below(std::max<std::int64_t>(1, threads_ / count)));
  const std::int64_t team = std::min(power_below(vectors), spare);
  const std::int64_t rows = threads_ / team;
  const std::int64_t rounds = (count + rows - 1) / rows;
  const std::int64_t at_once = std::min(rounds, most_at_once);
  const Node batch = workshop_.range((rounds + at_once - 1) / at_once);
  const Node sums = workshop_.registers(reduction.dtype(), at_once);
  const Node identity = identity_of(op, reduction.dtype());
  const auto row_of = [&](const Node& thread, std::int64_t i) {
    const Node round = add(mul(batch, constant_int(at_once)), constant_int(i));
    return add(mul(round, constant_int(rows)), idiv(thread, constant_int(team)));
  };

  const Node thread = workshop_.range(threads_);
  const Node member = mod(thread, constant_int(team));
  std::vector<Node> adding;
  for (std::int64_t i = 0; i < at_once; ++i) {
    const Node wide = workshop_.registers(reduction.dtype(), lanes);
    adding.push_back(store_to(wide, constant_int(0), splat(identity, lanes)));
    Substitution values;
    place(values, points, integer_min(row_of(thread, i), constant_int(count - 1)));
    const std::int64_t steps = (vectors + team - 1) / team;
    const Node step = workshop_.range(steps);
    const Node p = add(mul(step, constant_int(team)), member);
    const Node base = place_vector(values, inside, p, lanes);
    const Node value = splat(vectorise(term, inside.back(), base, lanes, values), lanes);
    const Node old = load_from(wide, constant_int(0), {}, lanes);
    Node body = store_to(wide, constant_int(0), combine(op, old, value));
    if (vectors % team != 0) body = branch(integer_less(p, constant_int(vectors)), body);
    adding.push_back(
        loop(steps <= most_at_once ? LoopKind::unrolled : LoopKind::serial, step, body));
    const Node all = load_from(wide, constant_int(0), {}, lanes);
    adding.push_back(store_to(sums, constant_int(i), lanes == 1 ? all : horizontal(op, all)));
  }
  std::vector<Node> round = {loop(LoopKind::threads, thread, block(std::move(adding)))};
  if (team > 1) round.push_back(group_reduce(op, sums, 0, at_once, team, threads_));
  if (points.empty()) {
    known_[reduction] = load_from(sums, constant_int(0));
  } else {
    const Node memory = room(reduction.dtype(), count);
    const Node other = workshop_.range(threads_);
    std::vector<Node> stores;
    for (std::int64_t i = 0; i < at_once; ++i) {
      const Node row = row_of(other, i);
      stores.push_back(branch(integer_less(row, constant_int(count)),
                              store_to(memory, row, load_from(sums, constant_int(i)))));
    }
    const Node first = integer_less(mod(other, constant_int(team)), constant_int(1));
    round.push_back(loop(LoopKind::threads, other, branch(first, block(std::move(stores)))));
    known_[reduction] = load_from(memory, position(points));
  }
  statements_.push_back(loop(LoopKind::serial, batch, block(std::move(round))));
}

}  // namespace brisk
