// The strategy for every part: output ranges that all reductions share become parallel tasks; each
// reduction is computed once, in the innermost loop that all of its free ranges enclose; one range
// is turned into vectors, along the outputs ("columns") or along the reductions ("rows"), whichever
// reads memory contiguously. Running reductions (over all j of what has j <= i) are carried from
// one round of i's loop to the next.
#include <algorithm>
#include <array>
#include <cstdlib>
#include <functional>

#include "base/error.h"
#include "optimize/analysis.h"
#include "optimize/row_sum.h"
#include "optimize/strategies/strategy.h"

namespace brisk {

namespace {

constexpr std::int64_t page = 4096;           // bytes, at which memory stops to be one run
constexpr std::int64_t sum_distance = 1024;   // bytes that memory gives while they are added up
constexpr std::int64_t hint_distance = 2048;  // bytes that memory gives while dear work is done
constexpr std::int64_t rows_together = 8;     // whose columns are added in one go

// One copy of the code being emitted: what the ranges and finished reductions are in it. In column
// mode `vector` is the range that runs through the lanes.
struct Instance {
  Substitution values;
  Node vector;
  Node base;
  int lanes = 1;

  Node operator()(const Node& expression) const {
    if (!vector) {
      Substitution memo = values;
      return substitute(expression, memo);
    }
    return vectorise(expression, vector, base, lanes, values);
  }
};

using Instances = std::vector<Instance>;

class LoopNest {
 public:
  LoopNest(const Part& part, Workshop& workshop) : part_(part), workshop_(workshop) {
    stores_ = part_.stages[0].stores;
    find_reductions();
    choose_tasks();
    find_running();
    choose_vector();
    if (!columns_) keep_terms();
    wide_columns_ = sums_lie_in_wide_rows();
  }

  Schedule run() {
    Schedule schedule;
    schedule.name = free_.empty() ? "map" : columns_ ? "reduce_columns" : "reduce_rows";
    schedule.phases = {parallel()};
    return schedule;
  }

 private:
  // ---- decisions
  // ---------------------------------------------------------------------------------

  void find_reductions() {
    free_.clear();
    FreeRanges free;
    for (const Node& reduction : find_all(stores_, Op::reduce_))
      free_[reduction] = free.of(reduction);
  }

  Node runs_along(const Node& reduction) const {
    const Node along = running_range(reduction);
    return along && contains(part_.outer, along) ? along : Node();
  }

  // Running reductions need their range in order, within the loops of all else that they depend on.
  void find_running() {
    for (const auto& [reduction, free] : free_) {
      const Node along = runs_along(reduction);
      if (!along) continue;
      bool allowed = true;
      for (const Node& range : free)
        allowed = allowed && (range == along || contains(tasks_, range));
      for (const Node& inner : find_all({reduction.src(0)}, Op::reduce_)) {
        for (const Node& range : free_.at(inner)) {
          allowed = allowed && (range == ranges_of(reduction)[0] || contains(tasks_, range));
        }
      }
      for (const auto& [other, others] : free_) {  // which could not be side by side any more
        allowed = allowed && (runs_along(other) == along || !contains(others, along));
      }
      if (allowed) running_[reduction] = along;
    }
    for (const auto& [reduction, along] : running_) {
      const auto task = std::find(tasks_.begin(), tasks_.end(), along);
      if (task == tasks_.end()) continue;
      tasks_.erase(task);
      inner_.push_back(along);
    }
  }

  bool is_running(const Node& range) const {
    return std::any_of(running_.begin(), running_.end(),
                       [&](const auto& each) { return each.second == range; });
  }

  // Tasks: output ranges on which every reduction depends, except ones over which stores may
  // collide.
  void choose_tasks() {
    for (const Node& range : part_.outer) {
      bool shared = true;
      for (const auto& [reduction, free] : free_) {
        if (outer_reduction(reduction)) shared = shared && contains(free, range);
      }
      for (const Node& store : stores_) shared = shared && !collides(store, range);
      (shared ? tasks_ : inner_).push_back(range);
    }
  }

  bool outer_reduction(const Node& reduction) const {
    // One inside another's value, over that one's ranges, is computed in its loop.
    for (const Node& range : free_.at(reduction)) {
      if (!contains(part_.outer, range)) return false;
    }
    return true;
  }

  // False for a store that belongs outside of the range's loop.
  static bool moves(const Node& store, const Node& range) {
    return is_scatter(store) || depends_on(store, range);
  }

  // Two counters of the range may store to the same place: the index does not depend on it, or a
  // scatter reads the index from memory by it or computes it so that steps overlap.
  bool collides(const Node& store, const Node& range) const {
    if (!depends_on(store.src(1), range)) return true;
    return is_scatter(store) &&
           (reads_place_by(store, range) || places_overlap(store, part_.outer));
  }

  static int contiguous_loads(const std::vector<Node>& expressions, const Node& range) {
    int score = 0;
    for (const Node& load : find_all(expressions, Op::load_)) {
      const auto step = stride(load.src(1), range);
      if (step && *step == 1) score += 2;
      if (!step || *step > 1 || *step < 0) score -= 2;
    }
    return score;
  }

  void choose_vector() {
    const Node* best = nullptr;
    for (const Node& range : part_.outer) {
      bool allowed = !is_running(range);
      const Node* first = nullptr;
      for (const Node& store : stores_) {
        if (!moves(store, range)) continue;
        if (first == nullptr) first = &store;
        allowed =
            allowed && !collides(store, range) && stride(store.src(1), range).value_or(0) != 0;
      }
      if (!allowed || first == nullptr) continue;
      if (best == nullptr || stride(first->src(1), range) == 1) best = &range;
    }
    if (best == nullptr) return;
    if (free_.empty() || !contains(tasks_, *best)) {
      vector_ = *best;
      columns_ = contains(tasks_, *best);
      return;
    }
    // A task range: along it all reductions run side by side in lanes. Better than along the
    // reductions where memory is contiguous that way.
    std::vector<Node> values;
    int rows = 0;
    std::int64_t row_size = 1;
    for (const auto& [reduction, free] : free_) {
      values.push_back(reduction.src(0));
      rows = std::max(rows, contiguous_loads({reduction.src(0)}, reduction.srcs().back()));
      row_size = std::max(row_size, Size(reduction.srcs().back().src(0)).upper());
    }
    const int columns = contiguous_loads(values, *best);
    const bool wide = Size(best->src(0)).upper() >= 4;
    if (wide && (columns >= rows || row_size < 4)) {
      vector_ = *best;
      columns_ = true;
    }
  }

  // Dear terms of a sum over a row that are asked for again after it, as the exponentials of a
  // softmax are: the sum leaves them in the core's cache. Only of sums that come before every inner
  // loop, so that the terms are there wherever they are asked for.
  void keep_terms() {
    for (const auto& [reduction, free] : free_) {
      const std::vector<Node> ranges = ranges_of(reduction);
      const Node term = reduction.src(0);
      const std::int64_t bytes = size_of(ranges[0]) * byte_size(term.dtype());
      const bool first = std::all_of(free.begin(), free.end(),
                                     [&](const Node& range) { return contains(tasks_, range); });
      if (ranges.size() != 1 || !first || !depends_on(term, ranges[0]) ||
          operation_count(term) < dear_term || bytes > workshop_.target().l2_bytes / 4) {
        continue;
      }
      for (const Node& range : inner_) {
        if (!(range.src(0) == ranges[0].src(0))) continue;
        Substitution there = {{ranges[0], range}};
        const Node again = substitute(term, there);
        const std::vector<Node> all = topological_order(stores_);
        if (std::find(all.begin(), all.end(), again) == all.end()) continue;
        const Node memory = workshop_.scratch(term.dtype(), size_of(range));
        Substitution known = {{again, load_from(memory, range)}};
        for (Node& store : stores_) store = substitute(store, known);
        kept_[reduction] = memory;
        break;
      }
    }
    if (!kept_.empty()) find_reductions();
  }

  // Columns whose elements are pages apart: of each row a long run should be read at a time, more
  // than the registers can add up.
  bool sums_lie_in_wide_rows() const {
    if (!columns_ || free_.empty() || !inner_.empty() || size_of(vector_) * 4 < page) return false;
    const std::vector<Node> ranges = ranges_of(free_.begin()->first);
    if (ranges.size() != 1 || size_of(ranges[0]) < 2 * rows_together) return false;
    for (const auto& [reduction, free] : free_) {
      if (!(ranges_of(reduction) == ranges) || !contains(free, vector_) ||
          !find_all({reduction.src(0)}, Op::reduce_).empty()) {
        return false;
      }
      for (const Node& load : find_all({reduction.src(0)}, Op::load_)) {
        const auto row = stride(load.src(1), ranges[0]);
        const auto column = stride(load.src(1), vector_);
        const bool wide = column == 1 && row && *row * byte_size(load.dtype()) >= page;
        if (!wide && column != 0) return false;
      }
    }
    return true;
  }

  int widest_lanes() const {
    int bytes = 4;
    for (const Node& store : stores_) bytes = std::max(bytes, byte_size(store.src(2).dtype()));
    return std::max(1, workshop_.target().lanes(std::min(bytes, 8)));
  }

  std::int64_t point_operations() const {
    std::int64_t total = 0;
    for (const Node& store : stores_) {
      std::int64_t times = 1;
      for (const Node& range : inner_) times *= std::max<std::int64_t>(1, size_of(range));
      total += times * (2 + operation_count(store.src(2)));
    }
    for (const auto& [reduction, free] : free_) {
      std::int64_t times = 1;
      if (running_.count(reduction) == 0) {
        for (const Node& range : ranges_of(reduction))
          times *= std::max<std::int64_t>(1, size_of(range));
      }
      for (const Node& range : free) {
        if (!contains(tasks_, range)) times *= std::max<std::int64_t>(1, size_of(range));
      }
      total += times * (1 + operation_count(reduction.src(0)));
    }
    return std::max<std::int64_t>(1, total);
  }

  static std::int64_t size_of(const Node& range) { return Size(range.src(0)).upper(); }

  // ---- emission
  // ----------------------------------------------------------------------------------

  // The parallel loop: tasks are blocks of points (and of vectors, where the vector range is a task
  // range).
  Node parallel() {
    std::vector<Node> points = tasks_;
    if (columns_) points.erase(std::find(points.begin(), points.end(), vector_));
    const std::int64_t cost = point_operations();
    const Size length = columns_ ? Size(vector_.src(0)) : Size(1);
    // Columns of one point per task, then points per task.
    std::int64_t block = std::max<std::int64_t>(workshop_.target().task_operations / cost, 1);
    std::int64_t columns = 0;
    Size column_tasks = 1;
    if (columns_) {
      const std::int64_t unit = 4L * widest_lanes();
      columns = (block + unit - 1) / unit * unit;
      if (wide_columns_) {
        const std::int64_t share = length.upper() / workshop_.target().threads;
        columns = std::clamp(share / unit * unit, page / 16 / unit * unit, page);
      }
      if (length.is_constant()) {  // equal blocks, if there is a size near that gives them
        for (std::int64_t c = wide_columns_ ? columns : columns * 2; c >= columns / 2 && c >= unit;
             c -= unit) {
          if (length.value() % c != 0) continue;
          columns = c;
          break;
        }
      }
      if (columns < length.upper()) {
        column_tasks = (length + (columns - 1)) / columns;
        block = 1;
      } else {
        columns = 0;  // whole rows
        block = std::max<std::int64_t>(1, block / std::max<std::int64_t>(1, length.upper()));
      }
    }
    Size point_count = 1;
    for (const Node& range : points) point_count = point_count * Size(range.src(0));
    block = std::min(block, std::max<std::int64_t>(1, point_count.upper()));
    const Size point_tasks = block == 1 ? point_count : (point_count + (block - 1)) / block;
    const Size count = point_tasks * column_tasks;

    const bool single = count == Size(1);
    const Node task = workshop_.range(count);
    const Node counter = single ? constant_int(0) : task;
    Node point = idiv(counter, column_tasks.node());
    const Node column = mod(counter, column_tasks.node());
    Node each;
    if (block > 1) {
      each = workshop_.range(block);
      point = add(mul(point, constant_int(block)), each);
    }
    Instance instance;
    Node rest = point;
    for (std::size_t i = points.size(); i-- > 0;) {
      const Node size = points[i].src(0);
      instance.values[points[i]] = i == 0 ? rest : mod(rest, size);
      rest = idiv(rest, size);
    }
    const Bound scope(bound_, tasks_);
    Node body;
    if (columns_) {
      const Node begin = mul(column, constant_int(columns));
      const bool whole = columns == 0 || (length.is_constant() && length.value() % columns == 0);
      const Size here =
          columns == 0 ? length
          : whole      ? Size(columns)
                  : Size(integer_min(constant_int(columns), integer_sub(length.node(), begin)));
      body = wide_columns_ ? wide_columns(instance, begin, here)
                           : columns_loop({instance}, begin, here, [&](const Instances& at) {
                               return level(at, inner_, {});
                             });
    } else {
      body = level({instance}, inner_, {});
    }
    if (block > 1) {
      body = branch(integer_less(point, point_count.node()), body);
      body = loop(LoopKind::serial, each, body);
    }
    return single ? body : loop(LoopKind::parallel, task, body);
  }

  using Emit = std::function<Node(const Instances&)>;

  // Ranges that the loops opened so far give a value to.
  class Bound {
   public:
    Bound(std::vector<Node>& bound, const std::vector<Node>& more)
        : bound_(bound), size_(bound.size()) {
      bound.insert(bound.end(), more.begin(), more.end());
    }
    ~Bound() { bound_.resize(size_); }
    Bound(const Bound&) = delete;
    Bound& operator=(const Bound&) = delete;

   private:
    std::vector<Node>& bound_;
    std::size_t size_;
  };

  bool ready(const Node& reduction) const {
    if (running_.count(reduction) != 0) return false;
    const std::vector<Node>& free = free_.at(reduction);
    return std::all_of(free.begin(), free.end(),
                       [&](const Node& range) { return contains(bound_, range); });
  }

  // Whether vectors of this width may find columns that those of twice as many lanes left. Where
  // the length is not known, only sums are worth the code.
  bool leaves(int width) const {
    const Size length(vector_.src(0));
    if (length.is_constant()) return length.value() % (2L * width) >= width;
    return std::any_of(free_.begin(), free_.end(),
                       [&](const auto& each) { return contains(each.second, vector_); });
  }

  // vector_ from `begin` over `count` counters: blocks of several vectors, vectors, narrower ones,
  // then one by one.
  Node columns_loop(const Instances& outside, const Node& begin, const Size& count,
                    const Emit& emit) {
    std::vector<Node> statements;
    Node at = begin;
    Size left = count;
    const int lanes = widest_lanes();
    std::vector<std::array<int, 2>> steps;  // vectors at once, lanes
    const std::int64_t most = count.upper();
    if (!free_.empty() && columns_ && most >= 2L * lanes)
      steps.push_back({most >= 4L * lanes ? 4 : 2, lanes});
    for (int width = lanes; width > 1; width /= 2) {
      if (most >= width && (width == lanes || leaves(width))) steps.push_back({1, width});
    }
    steps.push_back({1, 1});
    for (const auto& [vectors, width] : steps) {
      const std::int64_t step = static_cast<std::int64_t>(vectors) * width;
      const Size rounds = step == 1 ? left : left / step;
      if (rounds == Size(0)) continue;
      const bool once = rounds == Size(1);
      const Node round = workshop_.range(rounds);
      const Node from = once ? at : add(at, mul(round, constant_int(step)));
      Instances inside;
      for (const Instance& instance : outside) {
        for (int v = 0; v < vectors; ++v) {
          Instance copy = instance;
          const Node base = add(from, constant_int(static_cast<std::int64_t>(v) * width));
          if (width == 1) {
            copy.values[vector_] = base;
          } else {
            copy.vector = vector_;
            copy.base = base;
            copy.lanes = width;
          }
          inside.push_back(std::move(copy));
        }
      }
      const Node body = emit(inside);
      statements.push_back(once ? body : loop(LoopKind::serial, round, body));
      if (step == 1) break;
      at = add(at, mul(rounds.node(), constant_int(step)));
      left = left - rounds * step;
    }
    return block(std::move(statements));
  }

  // All sums of a block of columns in scratch, some rows at a time; then what is made of them.
  Node wide_columns(const Instance& outside, const Node& begin, const Size& count) {
    std::vector<Node> sums;
    Substitution memory;
    for (const auto& [reduction, free] : free_) {
      sums.push_back(reduction);
      memory[reduction] = workshop_.scratch(reduction.dtype(), count.upper());
    }
    const Node range = ranges_of(sums[0])[0];
    const auto over_columns = [&](const std::function<Node(const Instance&, const Node&, int)>& f) {
      return columns_loop({outside}, begin, count, [&](const Instances& at) {
        std::vector<Node> statements;
        for (const Instance& instance : at) {
          const Node column = instance.vector ? instance.base : instance.values.at(vector_);
          statements.push_back(
              f(instance, integer_sub(column, begin), instance.vector ? instance.lanes : 1));
        }
        return block(std::move(statements));
      });
    };
    const auto add_rows = [&](const Node& first, std::int64_t rows) {
      return over_columns([&](Instance at, const Node& column, int lanes) {
        std::vector<Node> statements;
        for (const Node& sum : sums) {
          Node total = load_from(memory[sum], column, {}, lanes);
          for (std::int64_t row = 0; row < rows; ++row) {
            at.values[range] = add(first, constant_int(row));
            total = combine(op_of(sum), total, splat(at(sum.src(0)), lanes));
          }
          statements.push_back(store_to(memory[sum], column, total));
        }
        return block(std::move(statements));
      });
    };
    const Size rows(range.src(0));
    const Size together = rows / rows_together;
    const Size rest = rows - together * rows_together;
    const Node some = workshop_.range(together);
    const Node one = workshop_.range(rest);
    const Node last = add(mul(together.node(), constant_int(rows_together)), one);
    std::vector<Node> statements;
    statements.push_back(over_columns([&](const Instance&, const Node& column, int lanes) {
      std::vector<Node> stores;
      for (const Node& sum : sums) {
        const Node identity = splat(identity_of(op_of(sum), sum.dtype()), lanes);
        stores.push_back(store_to(memory[sum], column, identity));
      }
      return block(std::move(stores));
    }));
    statements.push_back(loop(LoopKind::serial, some,
                              add_rows(mul(some, constant_int(rows_together)), rows_together)));
    if (!(rest == Size(0))) statements.push_back(loop(LoopKind::serial, one, add_rows(last, 1)));
    statements.push_back(over_columns([&](Instance at, const Node& column, int lanes) {
      for (const Node& sum : sums) at.values[sum] = load_from(memory[sum], column, {}, lanes);
      return level({at}, inner_, sums);
    }));
    return block(std::move(statements));
  }

  // Everything inside the loops opened so far: reductions that can be finished here, then the next
  // loop, then the stores.
  Node level(Instances instances, std::vector<Node> remaining, std::vector<Node> done) {
    std::vector<Node> statements;
    finish_reductions(stores_, instances, done, statements);
    for (const Instance& instance : instances) {
      for (const Node& store : stores_) {
        if (!innermost(store, remaining)) continue;
        if (free_.empty()) fetch_ahead(store, instance, statements);
        statements.push_back(emit_store(store, instance));
      }
    }
    if (remaining.empty()) return block(std::move(statements));
    // The next loop: first the one that most unfinished reductions wait for; the vector range last.
    std::size_t best = 0;
    int best_score = -1;
    for (std::size_t i = 0; i < remaining.size(); ++i) {
      int score = 0;
      for (const auto& [reduction, free] : free_) {
        score += !contains(done, reduction) && contains(free, remaining[i]) ? 2 : 0;
      }
      if (remaining[i] == vector_) score = -1;
      if (score > best_score || i == 0) {
        best = i;
        best_score = score;
      }
    }
    // Of stores to one place the last wins: ranges over which they collide keep their order.
    const auto ordered = [&](const Node& range) {
      return std::any_of(stores_.begin(), stores_.end(), [&](const Node& store) {
        return moves(store, range) && collides(store, range);
      });
    };
    if (ordered(remaining[best])) {
      best = static_cast<std::size_t>(std::find_if(remaining.begin(), remaining.end(), ordered) -
                                      remaining.begin());
    }
    const Node range = remaining[best];
    remaining.erase(remaining.begin() + static_cast<std::ptrdiff_t>(best));
    const Bound scope(bound_, {range});
    if (range == vector_ && !columns_) {
      statements.push_back(
          columns_loop(instances, constant_int(0), Size(range.src(0)),
                       [&](const Instances& at) { return level(at, remaining, done); }));
    } else {
      const Node counter = workshop_.range(Size(range.src(0)));
      for (Instance& instance : instances) instance.values[range] = counter;
      std::vector<Node> body;
      for (const auto& [reduction, along] : running_) {
        if (!(along == range)) continue;
        for (Instance& instance : instances)
          carry(reduction, counter, instance, done, statements, body);
        done.push_back(reduction);
      }
      body.push_back(level(instances, remaining, done));
      statements.push_back(loop(LoopKind::serial, counter, block(std::move(body))));
    }
    return block(std::move(statements));
  }

  // A running reduction's value so far, in registers: set up before the loop, one element further
  // in each of its rounds.
  void carry(const Node& reduction, const Node& counter, Instance& instance, std::vector<Node> done,
             std::vector<Node>& before, std::vector<Node>& body) {
    const int lanes = instance.vector ? instance.lanes : 1;
    const Node memory = workshop_.registers(reduction.dtype(), lanes);
    const Node identity = identity_of(op_of(reduction), reduction.dtype());
    before.push_back(store_to(memory, constant_int(0), splat(identity, lanes)));
    const Node so_far = load_from(memory, constant_int(0), {}, lanes);
    const Node range = ranges_of(reduction)[0];
    const Node& value = reduction.src(0).src(2);
    const Bound scope(bound_, {range});
    Instances here = {instance};
    here[0].values[range] = counter;
    finish_reductions({value}, here, done, body);
    const Node next = combine(op_of(reduction), so_far, splat(here[0](value), lanes));
    body.push_back(store_to(memory, constant_int(0), next));
    instance.values[reduction] = so_far;
  }

  // A store belongs in the loop of the last of its ranges; `remaining` are those not opened yet.
  bool innermost(const Node& store, const std::vector<Node>& remaining) const {
    const auto runs_over = [&](const Node& range) { return moves(store, range); };
    if (std::any_of(remaining.begin(), remaining.end(), runs_over)) return false;
    return remaining.size() == inner_.size() || runs_over(bound_.back());
  }

  Node emit_store(const Node& store, const Instance& instance) const {
    const Node gate = store.srcs().size() == 4 ? instance(store.src(3)) : Node();
    Node value = instance(store.src(2));
    const Node& pointer = store.src(0);
    if (!instance.vector) return store_to(pointer, instance(store.src(1)), value, gate);
    value = splat(value, instance.lanes);
    const auto step = stride(store.src(1), instance.vector);
    if (step && *step == 1) {
      Substitution memo = instance.values;
      memo[instance.vector] = instance.base;
      return store_to(pointer, substitute(store.src(1), memo), value, gate);
    }
    return store_to(pointer, splat(instance(store.src(1)), instance.lanes), value, gate);
  }

  // Emits the reductions that the expressions use and that are ready, in groups that share a loop.
  void finish_reductions(const std::vector<Node>& expressions, Instances& instances,
                         std::vector<Node>& done, std::vector<Node>& statements) {
    for (;;) {
      std::vector<Node> group;
      for (const Node& reduction : find_all(expressions, Op::reduce_)) {
        if (contains(done, reduction) || !ready(reduction) || !operands_done(reduction, done))
          continue;
        if (group.empty() || ranges_of(group[0]) == ranges_of(reduction))
          group.push_back(reduction);
      }
      if (group.empty()) return;
      emit_reductions(group, instances, statements, done);
      done.insert(done.end(), group.begin(), group.end());
    }
  }

  // Reductions inside the value that can be finished here must be, before its loop.
  bool operands_done(const Node& reduction, const std::vector<Node>& done) const {
    for (const Node& inner : find_all({reduction.src(0)}, Op::reduce_)) {
      if (!contains(done, inner) && ready(inner)) return false;
    }
    return true;
  }

  void emit_reductions(const std::vector<Node>& group, Instances& instances,
                       std::vector<Node>& statements, const std::vector<Node>& done) {
    const std::vector<Node> ranges = ranges_of(group[0]);
    const Bound scope(bound_, ranges);
    const Node& last = ranges.back();
    // Vectors along the last range, where nothing inside is in vectors already or has loops.
    // Columns that are left over add up in the order of those in vectors.
    bool rows = !vector_ || !contains(bound_, vector_);
    for (const Node& reduction : group) {
      for (const Node& inner : find_all({reduction.src(0)}, Op::reduce_)) {
        rows = rows && contains(done, inner);
      }
      rows = rows && contiguous_loads({reduction.src(0)}, last) > -4;
    }
    const RowSumShape shape = rows ? row_sum_shape(group, workshop_.target()) : RowSumShape();
    const int lanes = shape.lanes;
    int vectors = shape.vectors;
    const std::int64_t size = size_of(last);
    // Where the last range is one vector, the ranges around it give the independent sums: so many
    // copies of each of their rounds.
    std::vector<std::int64_t> copies(ranges.size(), 1);
    if (lanes > 1 && size == lanes && Size(last.src(0)).is_constant()) {
      const int most = independent_sums(group[0].src(0));
      for (std::size_t d = ranges.size() - 1; d-- > 0 && vectors < most;) {
        const Size around(ranges[d].src(0));
        for (std::int64_t f = most / vectors; f > 1 && around.is_constant(); --f) {
          if (around.value() % f != 0) continue;
          copies[d] = f;
          vectors *= static_cast<int>(f);
          break;
        }
      }
    }

    std::vector<std::vector<RowSum>> sums;  // of each instance and reduction
    for (const Instance& instance : instances) {
      std::vector<RowSum>& here = sums.emplace_back();
      for (const Node& reduction : group) {
        here.emplace_back(reduction, RowSumShape{lanes, vectors},
                          instance.vector ? instance.lanes : 1, workshop_);
        here.back().clear(statements);
      }
    }

    // The innermost loop over `last`, given the counters of the outer ranges.
    const bool spread = std::any_of(copies.begin(), copies.end(), [](auto f) { return f > 1; });
    int next_copy = 0;
    const auto innermost = [&](const Instances& inside) {
      const auto copy = static_cast<std::size_t>(next_copy++);
      std::vector<Node> loops;
      Node at = constant_int(0);
      Size left = Size(last.src(0));
      const std::array<std::array<int, 2>, 3> steps = {
          {{spread ? 1 : vectors, lanes}, {1, lanes}, {1, 1}}};
      for (const auto& [count, width] : steps) {
        const std::int64_t step = static_cast<std::int64_t>(count) * width;
        if ((width == 1) != (step == 1) || (lanes == 1 && &count != &steps[2][0])) continue;
        if (count == 1 && width == lanes && lanes > 1 && steps[0][0] == 1 && &count == &steps[1][0])
          continue;
        const Size rounds = step == 1 ? left : left / step;
        if (rounds == Size(0)) continue;
        const bool once = rounds == Size(1);
        const Node round = workshop_.range(rounds);
        const Node from = once ? at : add(at, mul(round, constant_int(step)));
        std::vector<Node> body;
        Instances here = inside;
        if (width == 1) {
          for (Instance& instance : here) instance.values[last] = from;
          std::vector<Node> finished = done;
          std::vector<Node> values;
          for (const Node& reduction : group) values.push_back(reduction.src(0));
          finish_reductions(values, here, finished, body);
        }
        if (width > 1) {
          for (const Instance& instance : here) fetch_on(group, instance, from, step, body);
        }
        for (std::size_t i = 0; i < here.size(); ++i) {
          for (std::size_t g = 0; g < group.size(); ++g) {
            const auto kept = kept_.find(group[g]);
            for (int v = 0; v < count; ++v) {
              const Node base = add(from, constant_int(static_cast<std::int64_t>(v) * width));
              const Node value =
                  width == 1 ? here[i](group[g].src(0))
                             : vectorise(group[g].src(0), last, base, width, here[i].values);
              if (kept != kept_.end()) {
                body.push_back(store_to(kept->second, base, splat(value, width)));
              }
              body.push_back(width == 1 ? sums[i][g].add_rest(value)
                                        : sums[i][g].add_vector(
                                              spread ? copy : static_cast<std::size_t>(v), value));
            }
          }
        }
        loops.push_back(once ? block(std::move(body))
                             : loop(LoopKind::serial, round, block(std::move(body))));
        if (step == 1) break;
        at = add(at, mul(rounds.node(), constant_int(step)));
        left = left - rounds * step;
      }
      return block(std::move(loops));
    };
    const std::function<Node(Instances, std::size_t)> nest = [&](Instances inside,
                                                                 std::size_t depth) -> Node {
      if (depth + 1 == ranges.size()) return innermost(inside);
      const Size rounds = Size(ranges[depth].src(0)) / copies[depth];
      const bool once = rounds == Size(1);
      const Node counter = once ? constant_int(0) : workshop_.range(rounds);
      std::vector<Node> body;
      for (std::int64_t c = 0; c < copies[depth]; ++c) {
        for (Instance& instance : inside) {
          instance.values[ranges[depth]] =
              add(mul(counter, constant_int(copies[depth])), constant_int(c));
        }
        body.push_back(nest(inside, depth + 1));
      }
      return once ? block(std::move(body))
                  : loop(LoopKind::serial, counter, block(std::move(body)));
    };
    statements.push_back(nest(instances, 0));

    for (std::size_t i = 0; i < instances.size(); ++i) {
      for (std::size_t g = 0; g < group.size(); ++g) {
        sums[i][g].finish(statements);
        instances[i].values[group[g]] = sums[i][g].result();
      }
    }
  }

  bool exceeds_caches(const Node& reduction, const Node& load) const {
    const double count = points(free_.at(reduction)) * points(ranges_of(reduction));
    return count * byte_size(load.dtype()) >=
           4.0 * static_cast<double>(workshop_.target().l2_bytes);
  }

  // Sums over more than the caches hold: machines fetch along a page, and not into the next.
  void fetch_on(const std::vector<Node>& group, const Instance& instance, const Node& from,
                std::int64_t step, std::vector<Node>& statements) const {
    const Node& range = group[0].srcs().back();
    for (const Node& load : find_all(group, Op::load_)) {
      if (load.srcs().size() != 2 || stride(load.src(1), range) != 1 ||
          !exceeds_caches(group[0], load)) {
        continue;
      }
      ask_ahead(load, range, from, step, sum_distance, instance.values, statements);
    }
  }

  // Nor do machines fetch across the end of a page by themselves: hints where a dear map reads on.
  static void fetch_ahead(const Node& store, const Instance& instance,
                          std::vector<Node>& statements) {
    if (!instance.vector || operation_count(store.src(2)) < dear_term) return;
    for (const Node& load : find_all({store.src(2)}, Op::load_)) {
      if (load.srcs().size() != 2 || stride(load.src(1), instance.vector) != 1) continue;
      ask_ahead(load, instance.vector, instance.base, 1, hint_distance, instance.values,
                statements);
    }
  }

  const Part& part_;
  Workshop& workshop_;
  std::vector<Node> stores_;
  std::unordered_map<Node, std::vector<Node>, NodeHash> free_;  // of each reduction
  Substitution kept_;  // where the terms of a reduction are
  std::unordered_map<Node, Node, NodeHash>
      running_;  // running reductions: the range they run along
  std::vector<Node> tasks_;
  std::vector<Node> inner_;
  std::vector<Node> bound_;
  Node vector_;
  bool columns_ = false;  // the vector range is a task range
  bool wide_columns_ = false;
};

}  // namespace

std::optional<Schedule> loops(const Part& part, Workshop& workshop) {
  return LoopNest(part, workshop).run();
}

}  // namespace brisk
