// Reductions by groups of threads, and what is computed from them: softmax, norms, sums, products
// of a few rows with a matrix. A row is what one point of the ranges that all reductions share
// needs: `team_` threads take it together.
//
//   along rows:     neighbouring threads take neighbouring vectors of one row and add up by
//                   exchange; several rows a group where rows are short. Where a row fits the
//                   registers of its threads, it is read once.
//   along columns:  where memory is contiguous from row to row, neighbouring threads take
//                   neighbouring rows, and the team adds up through shared memory.
//
// Sums within a term (groups of quantised values) are made by the thread that needs them.
#include <algorithm>
#include <cstdlib>
#include <unordered_set>

#include "optimize/analysis.h"
#include "optimize/strategies/group.h"
#include "optimize/strategies/strategy.h"

namespace brisk {

namespace {

using Ranges = std::vector<Node>;

constexpr std::int64_t least_threads = 128;     // of a group
constexpr std::int64_t steps_wanted = 8;        // vectors of a row that a thread takes
constexpr std::int64_t least_steps = 4;         // the same in a cluster, which takes time to meet
constexpr std::int64_t resident_of_many = 96;   // resident_bytes of a group as large as can be
constexpr std::int64_t line_bytes = 128;        // that memory brings together
constexpr std::int64_t parts_of_processor = 2;  // of rows of clusters, at once
constexpr std::int64_t columns_of_group = 32;   // rows side by side, where they are columns
constexpr std::int64_t most_inside = 256;       // values of a sum within a term
constexpr std::int64_t unrolled_inside = 64;
constexpr std::int64_t most_of_window = 64;  // elements that one thread takes
constexpr std::int64_t widest_step = 4;      // from one window to the next

// The nodes of a kind in the term itself, not in those of the reductions that it uses; sources
// first.
std::vector<Node> of_term(const Node& term, Op op) {
  std::unordered_set<const NodeData*> seen;
  std::vector<Node> stack = {term};
  while (!stack.empty()) {
    const Node node = stack.back();
    stack.pop_back();
    if (!seen.insert(node.get()).second || node.is(Op::reduce_)) continue;
    stack.insert(stack.end(), node.srcs().begin(), node.srcs().end());
  }
  std::vector<Node> found = find_all({term}, op);
  std::erase_if(found, [&](const Node& node) { return !seen.contains(node.get()); });
  return found;
}

class GroupRows {
 public:
  GroupRows(const Part& part, Workshop& workshop)
      : part_(part), workshop_(workshop), stores_(part.stages[0].stores) {}

  bool recognise() {
    const std::vector<Node> all = find_all(stores_, Op::reduce_);
    if (all.empty()) return false;
    // Tasks: the output ranges on which every reduction of a row depends.
    for (const Node& reduction : all) {
      const Ranges free = free_ranges(reduction);
      const bool of_row = std::all_of(free.begin(), free.end(),
                                      [&](const Node& r) { return contains(part_.outer, r); });
      if (of_row) {
        reductions_.push_back(reduction);
      } else if (extent(ranges_of(reduction)).upper() > most_inside ||
                 !extent(ranges_of(reduction)).is_constant()) {
        return false;
      }
    }
    for (const Node& range : part_.outer) {
      const bool shared = std::all_of(reductions_.begin(), reductions_.end(), [&](const Node& r) {
        return contains(free_ranges(r), range);
      });
      (shared ? rows_ : inner_).push_back(range);
    }
    for (const Node& reduction : reductions_) {
      for (const Node& range : free_ranges(reduction)) {
        if (!contains(rows_, range)) return false;
      }
    }
    for (const Node& store : stores_) {
      if (is_scatter(store) || !stores_once(store)) return false;
    }
    return !reductions_.empty();
  }

  Schedule run() {
    choose_direction();
    choose_lanes();
    choose_team();
    Schedule schedule;
    schedule.name = columns_ ? "group_columns" : "group_rows";
    begin();
    choose_resident();
    std::vector<Node> done;
    while (done.size() < reductions_.size()) reduce_ready(done);
    finish();
    schedule.phases = {loop(LoopKind::parallel, group_, block(statements_))};
    return schedule;
  }

 private:
  // ---- decisions -----------------------------------------------------------------------------

  // Over the whole row, or once for it.
  bool stores_once(const Node& store) const {
    const auto moves = [&](const Node& r) { return depends_on(store.src(1), r); };
    return std::all_of(rows_.begin(), rows_.end(), moves) &&
           (std::all_of(inner_.begin(), inner_.end(), moves) ||
            std::none_of(inner_.begin(), inner_.end(),
                         [&](const Node& r) { return depends_on(store, r); }));
  }

  bool stores_along(const Node& store) const {
    return !inner_.empty() && depends_on(store.src(1), inner_[0]);
  }

  // Columns, where the terms lie contiguous from row to row, and not along it.
  void choose_direction() {
    if (rows_.empty()) return;
    std::vector<Node> terms;
    int along = 0;
    for (const Node& reduction : reductions_) {
      terms.push_back(reduction.src(0));
      along += contiguous_bytes({reduction.src(0)}, ranges_of(reduction).back());
    }
    int best = along;
    for (const Node& range : rows_) {
      const int across = contiguous_bytes(terms, range);
      if (across <= best || Size(range.src(0)).upper() < 4) continue;
      best = across;
      columns_ = true;
      std::rotate(std::find(rows_.begin(), rows_.end(), range),
                  std::find(rows_.begin(), rows_.end(), range) + 1, rows_.end());
    }
  }

  bool has_inside(const Node& reduction) const {
    return !find_all({reduction.src(0)}, Op::reduce_).empty() &&
           std::any_of(inside_.begin(), inside_.end(), [&](const Node& n) {
             return contains(find_all({reduction.src(0)}, Op::reduce_), n);
           });
  }

  void choose_lanes() {
    for (const Node& reduction : find_all(stores_, Op::reduce_)) {
      if (!contains(reductions_, reduction)) inside_.push_back(reduction);
    }
    for (const Node& reduction : reductions_) {
      const Node last = ranges_of(reduction).back();
      const bool vectors = !columns_ && !has_inside(reduction);
      lanes_[reduction] = vectors ? lanes_along({reduction.src(0)}, last, workshop_.target()) : 1;
    }
    if (inner_.empty() || columns_) return;
    std::vector<Node> along;
    for (const Node& store : stores_) {
      if (stores_along(store)) along.push_back(store);
    }
    const bool contiguous = std::all_of(along.begin(), along.end(), [&](const Node& store) {
      return stride(store.src(1), inner_.back()) == 1;
    });
    if (contiguous) store_lanes_ = lanes_along(along, inner_.back(), workshop_.target());
  }

  void choose_team() {
    std::int64_t vectors = 1;
    for (const Node& reduction : reductions_)
      vectors = std::max(vectors, extent(ranges_of(reduction)).upper() / lanes_[reduction]);
    const std::int64_t rows = std::max<std::int64_t>(1, extent(rows_).upper());
    const std::int64_t wanted = 2L * workshop_.target().threads;
    const std::int64_t most = most_threads(rows, vectors);
    Decisions& decisions = workshop_.decisions();
    const std::string shapes =
        shape_class(columns_ ? "rows_across" : "rows", part_,
                    {{"rows", extent(rows_)}, {"vectors", vectors}, {"inner", extent(inner_)}}) +
        " team";
    if (columns_) {
      rows_of_group_ = columns_of_group;
      team_ = std::clamp<std::int64_t>(power_below(vectors / 4), 1, 8);
      const std::int64_t groups = (rows + rows_of_group_ - 1) / rows_of_group_;
      const std::int64_t most_together = most / columns_of_group;
      if (groups < wanted)
        team_ = std::clamp<std::int64_t>(power_below(vectors / 4), 1, most_together);
      team_ = decisions.choose_near(shapes, team_, 1, most_together);
      if (team_ * rows_of_group_ < least_threads && groups >= wanted)
        rows_of_group_ = least_threads / team_;
      return;
    }
    rows_of_group_ = least_threads;
    team_ = 1;
    if (are_windows() && rows >= wanted * least_threads) return;
    // Enough threads for whole lines of memory; more where there are few rows.
    std::int64_t steps = steps_wanted;
    while (steps > 1 && rows * vectors / steps < wanted * least_threads) steps /= 2;
    team_ = std::clamp<std::int64_t>(power_below(2 * ((vectors + steps - 1) / steps) - 1), 1, most);
    const std::int64_t least = std::min<std::int64_t>(8, power_below(vectors));
    team_ = decisions.choose_near(shapes, std::max(team_, least), least,
                                  std::min(most, power_below(2 * vectors - 1)));
    rows_of_group_ = std::max<std::int64_t>(1, least_threads / team_);
    // A group consists of whole sets of threads in step.
    const std::int64_t step = workshop_.target().group_step;
    const std::int64_t few = std::max<std::int64_t>(1, step / team_);
    while (rows_of_group_ > few && rows_of_group_ / 2 >= rows) rows_of_group_ /= 2;
  }

  // Of a team. A row gets a cluster where one group's registers could not hold it, or most
  // processors had no row at all.
  std::int64_t most_threads(std::int64_t rows, std::int64_t vectors) const {
    const Target& target = workshop_.target();
    const std::int64_t one = std::min<std::int64_t>(most_team, target.group_threads);
    const bool wanted = vectors > 2 * steps_wanted * one || 2 * rows <= target.threads;
    if (columns_ || !target.has_clusters || !wanted) return one;
    return std::clamp(power_below(std::max<std::int64_t>(1, vectors / least_steps)), one,
                      cluster_groups * most_team);
  }

  // A few elements each, and those of neighbours next to them: a thread's own.
  bool are_windows() const {
    return !rows_.empty() && inner_.empty() &&
           std::all_of(reductions_.begin(), reductions_.end(), [&](const Node& r) {
             const auto loads = find_all({r.src(0)}, Op::load_);
             return extent(ranges_of(r)).upper() <= most_of_window &&
                    std::any_of(loads.begin(), loads.end(), [&](const Node& load) {
                      const std::int64_t step = stride(load.src(1), rows_.back()).value_or(0);
                      return step != 0 && std::abs(step) <= widest_step &&
                             depends_on(load.src(1), ranges_of(r).back());
                    });
           });
  }

  std::int64_t threads() const { return team_ * rows_of_group_; }

  // ---- emission ------------------------------------------------------------------------------

  // What a thread is: the counters of its row, and its number in the team.
  struct Thread {
    Node range;
    Node row;  // as counted, for the test whether there is one
    Node member;
    Substitution values;
  };

  void begin() {
    group_ = workshop_.range((extent(rows_) + (rows_of_group_ - 1)) / rows_of_group_);
  }

  Thread thread() {
    Thread t;
    t.range = workshop_.range(threads());
    const Node first = mul(group_, constant_int(rows_of_group_));
    if (columns_) {
      t.row = add(first, mod(t.range, constant_int(rows_of_group_)));
      t.member = idiv(t.range, constant_int(rows_of_group_));
    } else {
      t.row = add(first, idiv(t.range, constant_int(team_)));
      t.member = mod(t.range, constant_int(team_));
    }
    const Size rows = extent(rows_);
    const bool even = rows.is_constant() && rows.value() % rows_of_group_ == 0;
    place(t.values, rows_, even ? t.row : integer_min(t.row, (rows - 1).node()));
    for (const auto& [reduction, registers] : results_)
      t.values[reduction] = load_from(registers, constant_int(0));
    return t;
  }

  // Rows that are not there are computed as the last one again, but not stored.
  Node if_there(const Thread& t, const Node& body) const {
    return branch(integer_less(t.row, extent(rows_).node()), body);
  }

  // Calls body(p, values) for the vectors p that the thread takes of `count`, as statements.
  template <typename Body>
  Node over_vectors(const Thread& t, const Size& count, const Body& body) {
    constexpr std::int64_t together = 4;
    std::vector<Node> statements;
    const auto at = [&](const Node& step) { return add(mul(step, constant_int(team_)), t.member); };
    if (count.is_constant() && count.value() <= 2 * steps_wanted * team_) {
      for (std::int64_t first = 0; first < count.value(); first += team_) {
        const Node p = add(constant_int(first), t.member);
        const Node one = body(p);
        statements.push_back(
            first + team_ <= count.value() ? one : branch(integer_less(p, count.node()), one));
      }
      return block(std::move(statements));
    }
    const Size full = count / (team_ * together);
    if (!(full == Size(0))) {
      const Node round = workshop_.range(full);
      std::vector<Node> inside;
      for (std::int64_t i = 0; i < together; ++i)
        inside.push_back(body(at(add(mul(round, constant_int(together)), constant_int(i)))));
      statements.push_back(loop(LoopKind::serial, round, block(std::move(inside))));
    }
    const Size left = (count - full * (team_ * together) + (team_ - 1)) / team_;
    if (!(left == Size(0))) {
      const Node round = workshop_.range(left);
      const Node p = at(add(mul(full.node(), constant_int(together)), round));
      statements.push_back(
          loop(LoopKind::serial, round, branch(integer_less(p, count.node()), body(p))));
    }
    return block(std::move(statements));
  }

  // ---- rows that stay in registers -----------------------------------------------------------

  // Loads that several passes over a row read at the same place: once, into registers.
  void choose_resident() {
    if (columns_ || !inside_.empty()) return;
    std::vector<std::pair<std::vector<Node>, Node>> passes;  // expressions, the range they run over
    for (const Node& reduction : reductions_) {
      if (ranges_of(reduction).size() != 1) return;
      passes.push_back({{reduction.src(0)}, ranges_of(reduction)[0]});
    }
    if (!inner_.empty()) {
      if (inner_.size() != 1) return;
      std::vector<Node> along;
      for (const Node& store : stores_) {
        if (stores_along(store)) along.push_back(store);
      }
      passes.push_back({along, inner_[0]});
    }
    const Size length(passes[0].second.src(0));
    if (passes.size() < 2 || !length.is_constant()) return;
    common_ = workshop_.range(length);
    std::vector<std::vector<Node>> loads;
    int lanes = 16;
    for (const auto& [expressions, range] : passes) {
      if (!(Size(range.src(0)) == length)) return;
      Substitution to_common = {{range, common_}};
      std::vector<Node> mine;
      for (const Node& expression : expressions) {
        for (const Node& load : of_term(expression, Op::load_))
          mine.push_back(substitute(load, to_common));
      }
      loads.push_back(std::move(mine));
    }
    for (const Node& reduction : reductions_) lanes = std::min(lanes, lanes_[reduction]);
    if (!inner_.empty()) lanes = std::min(lanes, store_lanes_);
    const std::int64_t steps = (length.value() / lanes + team_ - 1) / team_;
    if (length.value() % lanes != 0 || steps > 2 * steps_wanted) return;
    std::int64_t bytes = 0;
    for (std::size_t i = 0; i < loads.size(); ++i) {
      for (const Node& load : loads[i]) {
        const bool again =
            std::any_of(loads.begin() + static_cast<std::ptrdiff_t>(i) + 1, loads.end(),
                        [&](const auto& other) { return contains(other, load); });
        bytes += steps * lanes * byte_size(load.dtype());
        if (!again || contains(resident_, load) || stride(load.src(1), common_) != 1 ||
            load.srcs().size() != 2 || bytes > most_resident()) {
          continue;
        }
        resident_.push_back(load);
      }
    }
    if (resident_.empty()) return;
    for (auto& [reduction, mine] : lanes_) mine = lanes;
    store_lanes_ = lanes;
    load_resident(Size(length.value() / lanes), lanes, steps);
  }

  std::int64_t most_resident() const {
    return threads() == largest_group ? resident_of_many : resident_bytes;
  }

  void load_resident(const Size& vectors, int lanes, std::int64_t steps) {
    const Thread t = thread();
    std::vector<Node> statements;
    for (const Node& load : resident_)
      kept_.push_back(workshop_.registers(load.dtype(), steps * lanes));
    std::int64_t step = 0;
    statements.push_back(over_vectors(t, vectors, [&](const Node& p) {
      std::vector<Node> each;
      for (std::size_t i = 0; i < resident_.size(); ++i) {
        Substitution values = t.values;
        const Node value =
            vectorise(resident_[i], common_, mul(p, constant_int(lanes)), lanes, values);
        each.push_back(store_to(kept_[i], constant_int(step * lanes), value));
      }
      ++step;
      return block(std::move(each));
    }));
    if (const std::int64_t rows = rows_at_once()) ask_ahead(t, rows, statements);
    statements_.push_back(loop(LoopKind::threads, t.range, block(std::move(statements))));
  }

  // How many rows all processors take at once, where each has room for little more than its part of
  // one; else none.
  std::int64_t rows_at_once() const {
    const std::int64_t processors = workshop_.target().threads;
    if (threads() > largest_group) return parts_of_processor * processors / cluster_groups;
    std::int64_t bytes = 0;
    for (const Node& kept : kept_) bytes += local_bytes(kept);
    return team_ == most_team && bytes > resident_bytes / 2 ? processors : 0;
  }

  // While a row is computed, memory brings the one that follows it there to the cache.
  void ask_ahead(const Thread& t, std::int64_t together, std::vector<Node>& statements) {
    const Size rows = extent(rows_);
    if (rows.is_constant() && rows.value() <= together) return;
    Substitution ahead;
    place(ahead, rows_, integer_min(add(group_, constant_int(together)), (rows - 1).node()));
    for (const Node& load : resident_) {
      const std::int64_t of_line = line_bytes / byte_size(load.dtype());
      const Size lines((Size(common_.src(0)).value() + of_line - 1) / of_line);
      statements.push_back(over_vectors(t, lines, [&](const Node& line) {
        Substitution values = ahead;
        values[common_] = mul(line, constant_int(of_line));
        return prefetch(load.src(0), substitute(load.src(1), values));
      }));
    }
  }

  // The expression over the common range, and what it finds in registers at this step.
  Node as_resident(const Node& expression, const Node& range, std::int64_t step, int lanes,
                   Substitution& values) const {
    if (resident_.empty()) return expression;
    Substitution to_common = {{range, common_}};
    for (std::size_t i = 0; i < resident_.size(); ++i)
      values[resident_[i]] = load_from(kept_[i], constant_int(step * lanes), {}, lanes);
    return substitute_term(expression, to_common);
  }

  // Without going into reductions, which other names stand for.
  static Node substitute_term(const Node& expression, Substitution& memo) {
    for (const Node& reduction : find_all({expression}, Op::reduce_)) memo[reduction] = reduction;
    return substitute(expression, memo);
  }

  // ---- reductions ----------------------------------------------------------------------------

  bool ready(const Node& reduction, const std::vector<Node>& done) const {
    const std::vector<Node> below = find_all({reduction.src(0)}, Op::reduce_);
    return std::all_of(below.begin(), below.end(),
                       [&](const Node& r) { return contains(done, r) || contains(inside_, r); });
  }

  // All that can be made now and run over ranges of one size, in one pass.
  void reduce_ready(std::vector<Node>& done) {
    std::vector<Node> group;
    for (const Node& reduction : reductions_) {
      if (contains(done, reduction) || !ready(reduction, done)) continue;
      if (group.empty() ||
          (ranges_of(reduction) == ranges_of(group[0]) && lanes_[reduction] == lanes_[group[0]])) {
        group.push_back(reduction);
      }
    }
    const Ranges ranges = ranges_of(group[0]);
    const int lanes = lanes_[group[0]];
    const Thread t = thread();
    std::vector<Node> statements;
    std::vector<Node> sums;
    std::vector<Node> wide;
    for (const Node& reduction : group) {
      sums.push_back(workshop_.registers(reduction.dtype(), 1));
      wide.push_back(lanes == 1 ? sums.back() : workshop_.registers(reduction.dtype(), lanes));
      const Node identity = identity_of(op_of(reduction), reduction.dtype());
      statements.push_back(store_to(wide.back(), constant_int(0), splat(identity, lanes)));
    }
    std::int64_t step = 0;
    statements.push_back(over_vectors(t, extent(ranges) / lanes, [&](const Node& p) {
      std::vector<Node> each;
      for (std::size_t i = 0; i < group.size(); ++i) {
        Substitution values = t.values;
        Node term = as_resident(group[i].src(0), ranges.back(), step, lanes, values);
        const Node base = place_vector(values, ranges, p, lanes);
        const Node& last = resident_.empty() ? ranges.back() : common_;
        if (!resident_.empty()) values[common_] = base;
        sum_inside(term, values, each);
        const Node value = splat(vectorise(term, last, base, lanes, values), lanes);
        const Node old = load_from(wide[i], constant_int(0), {}, lanes);
        each.push_back(store_to(wide[i], constant_int(0), combine(op_of(group[i]), old, value)));
      }
      ++step;
      return block(std::move(each));
    }));
    for (std::size_t i = 0; i < group.size() && lanes > 1; ++i) {
      const Node all = load_from(wide[i], constant_int(0), {}, lanes);
      statements.push_back(store_to(sums[i], constant_int(0), horizontal(op_of(group[i]), all)));
    }
    statements_.push_back(loop(LoopKind::threads, t.range, block(std::move(statements))));
    for (std::size_t i = 0; i < group.size(); ++i) {
      add_up(op_of(group[i]), sums[i]);
      results_[group[i]] = sums[i];
      done.push_back(group[i]);
    }
  }

  // The team's parts of a sum, for each of its threads.
  void add_up(ReduceOp op, const Node& sum) {
    if (team_ == 1) return;
    if (!columns_) {
      statements_.push_back(group_reduce(op, sum, 0, 1, team_, threads()));
      return;
    }
    const Node shared = workshop_.shared(sum.dtype(), threads());
    const Node one = workshop_.range(threads());
    statements_.push_back(
        loop(LoopKind::threads, one, store_to(shared, one, load_from(sum, constant_int(0)))));
    const Node other = workshop_.range(threads());
    const Node column = mod(other, constant_int(rows_of_group_));
    Node total = load_from(shared, column);
    for (std::int64_t i = 1; i < team_; ++i)
      total = combine(op, total, load_from(shared, add(column, constant_int(i * rows_of_group_))));
    statements_.push_back(loop(LoopKind::threads, other, store_to(sum, constant_int(0), total)));
  }

  // One, where sums within this one are made for each of its values.
  int lanes_inside(const Node& reduction) const {
    const Node range = ranges_of(reduction).back();
    const std::vector<Node> below = of_term(reduction.src(0), Op::reduce_);
    const bool moves = std::any_of(below.begin(), below.end(),
                                   [&](const Node& node) { return depends_on(node, range); });
    return moves ? 1 : lanes_along({reduction.src(0)}, range, workshop_.target());
  }

  // Sums within the term, which is of one lane then: made here, and known in `values`.
  void sum_inside(const Node& term, Substitution& values, std::vector<Node>& statements) {
    for (const Node& reduction : of_term(term, Op::reduce_)) {
      if (values.contains(reduction)) continue;
      const Ranges ranges = ranges_of(reduction);
      const std::int64_t count = extent(ranges).value();
      const int lanes = lanes_inside(reduction);
      const Node sum = workshop_.registers(reduction.dtype(), 1);
      const Node wide = lanes == 1 ? sum : workshop_.registers(reduction.dtype(), lanes);
      const Node identity = identity_of(op_of(reduction), reduction.dtype());
      statements.push_back(store_to(wide, constant_int(0), splat(identity, lanes)));
      const Node p = workshop_.range(count / lanes);
      Substitution inside = values;
      const Node base = place_vector(inside, ranges, p, lanes);
      std::vector<Node> each;
      sum_inside(reduction.src(0), inside, each);
      const Node value =
          splat(vectorise(reduction.src(0), ranges.back(), base, lanes, inside), lanes);
      const Node old = load_from(wide, constant_int(0), {}, lanes);
      each.push_back(store_to(wide, constant_int(0), combine(op_of(reduction), old, value)));
      const LoopKind kind = count <= unrolled_inside ? LoopKind::unrolled : LoopKind::serial;
      statements.push_back(loop(kind, p, block(std::move(each))));
      if (lanes > 1) {
        const Node all = load_from(wide, constant_int(0), {}, lanes);
        statements.push_back(store_to(sum, constant_int(0), horizontal(op_of(reduction), all)));
      }
      values[reduction] = load_from(sum, constant_int(0));
    }
  }

  // ---- stores --------------------------------------------------------------------------------

  void finish() {
    const Thread t = thread();
    std::vector<Node> once;
    std::vector<Node> along;
    for (const Node& store : stores_) (stores_along(store) ? along : once).push_back(store);
    std::vector<Node> statements;
    std::vector<Node> single;
    for (const Node& store : once) {
      Substitution values = t.values;
      single.push_back(substitute(store, values));
    }
    if (!single.empty()) {
      statements.push_back(
          branch(integer_less(t.member, constant_int(1)), block(std::move(single))));
    }
    if (!along.empty()) {
      std::int64_t step = 0;
      statements.push_back(over_vectors(t, extent(inner_) / store_lanes_, [&](const Node& p) {
        std::vector<Node> each;
        for (const Node& store : along) {
          Substitution values = t.values;
          const Node term = as_resident(store, inner_.back(), step, store_lanes_, values);
          const Node base = place_vector(values, inner_, p, store_lanes_);
          const Node& last = resident_.empty() ? inner_.back() : common_;
          if (!resident_.empty()) values[common_] = base;
          if (store_lanes_ == 1 && resident_.empty()) {
            each.push_back(substitute(store, values));
          } else {
            each.push_back(store_vector(term, last, base, store_lanes_, values));
          }
        }
        ++step;
        return block(std::move(each));
      }));
    }
    statements_.push_back(
        loop(LoopKind::threads, t.range, if_there(t, block(std::move(statements)))));
  }

  const Part& part_;
  Workshop& workshop_;
  const std::vector<Node>& stores_;
  std::vector<Node> reductions_;  // of a row, sources first
  std::vector<Node> inside_;      // of a term
  Ranges rows_;
  Ranges inner_;  // output ranges along the row
  bool columns_ = false;
  std::unordered_map<Node, int, NodeHash> lanes_;  // of each reduction
  int store_lanes_ = 1;
  std::int64_t team_ = 1;
  std::int64_t rows_of_group_ = 1;
  Node group_;
  Node common_;                 // the range of every pass, where rows are resident
  std::vector<Node> resident_;  // loads over it
  std::vector<Node> kept_;      // their registers
  std::unordered_map<Node, Node, NodeHash> results_;  // registers of finished reductions
  std::vector<Node> statements_;
};

}  // namespace

bool has_rows_for_groups(const Part& part, Workshop& workshop) {
  return GroupRows(part, workshop).recognise();
}

std::optional<Schedule> group_rows(const Part& part, Workshop& workshop) {
  GroupRows strategy(part, workshop);
  if (!strategy.recognise()) return std::nullopt;
  return strategy.run();
}

}  // namespace brisk
