// Running reductions of rows by groups of threads: a block of a row in shared memory, where each
// thread goes along its own elements and then adds what the threads before it have in all. Of
// longer rows the blocks' totals come first, and of these, what lies before each block.
#include <algorithm>
#include <array>
#include <functional>

#include "graph/idioms.h"
#include "graph/integer.h"
#include "optimize/analysis.h"
#include "optimize/product.h"
#include "optimize/strategies/group.h"
#include "optimize/strategies/strategy.h"

namespace brisk {

namespace {

constexpr std::int64_t threads = 256;
constexpr std::int64_t each = 8;  // elements of a thread, one after the other
constexpr std::int64_t block_elements = threads * each;
constexpr std::int64_t shortest_row = 64;

class GroupRunning {
 public:
  GroupRunning(const Part& part, Workshop& workshop)
      : part_(part), workshop_(workshop), stores_(part.stages[0].stores), rows_(part.outer) {}

  bool recognise() {
    for (const Node& reduction : outermost_reductions(stores_)) {
      const Node along = running_range(reduction);
      if (sum_ || !along || !contains(part_.outer, along)) continue;
      sum_ = reduction;
      at_ = along;
    }
    if (!sum_ || !have_own_places(stores_, part_.outer)) return false;
    if (Size(at_.src(0)).upper() < shortest_row) return false;
    std::erase(rows_, at_);
    blocks_ = (Size(at_.src(0)) + (block_elements - 1)) / block_elements;
    return true;
  }

  Schedule run() {
    shared_ = workshop_.shared(sum_.dtype(), block_elements + threads);
    for (Node& totals : totals_) totals = workshop_.shared(sum_.dtype(), threads);
    Schedule schedule;
    schedule.name = "group_running";
    store_rest_apart(schedule);
    if (blocks_.upper() > 1) {
      before_ = workshop_.workspace(sum_.dtype(), extent(rows_) * blocks_);
      add_phase(
          extent(rows_) * blocks_, [&] { return block_totals(); }, schedule);
      add_phase(
          extent(rows_), [&] { return add_up_blocks(); }, schedule);
    }
    add_phase(
        extent(rows_) * blocks_, [&] { return run_along_block(); }, schedule);
    return schedule;
  }

 private:
  // What is reduced beside the running sum, or for each of its terms, is in memory by then.
  void store_rest_apart(Schedule& schedule) {
    const RunningTerm term = *running_term(sum_.src(0));
    term_ = term.value;
    if (!find_all({term_}, Op::reduce_).empty()) {
      Substitution here = {{term.other, at_}};
      const Apart apart = compute_apart(substitute(term_, here), part_.outer, workshop_, schedule);
      Substitution there = {{at_, term.other}};
      term_ = substitute(apart.element, there);
    }
    for (const Node& other : outermost_reductions(stores_)) {
      if (other == sum_) continue;
      std::vector<Node> ranges;
      for (const Node& range : part_.outer) {
        if (depends_on(other, range)) ranges.push_back(range);
      }
      Substitution apart = {{other, compute_apart(other, ranges, workshop_, schedule).element}};
      for (Node& store : stores_) store = substitute(store, apart);
    }
  }

  void add_phase(const Size& tasks, const std::function<std::vector<Node>()>& statements,
                 Schedule& schedule) {
    task_ = workshop_.range(tasks);
    schedule.phases.push_back(loop(LoopKind::parallel, task_, block(statements())));
  }

  Node in_threads(const std::function<Node(const Node&)>& statement) {
    const Node thread = workshop_.range(threads);
    return loop(LoopKind::threads, thread, statement(thread));
  }

  Node for_each(const std::function<Node(const Node&)>& statement) {
    return for_block(workshop_, threads, each, statement);
  }

  Node both(const Node& a, const Node& b) const { return combine(op_of(sum_), a, b); }
  Node nothing() const { return identity_of(op_of(sum_), sum_.dtype()); }

  static Node spread(const Node& i) { return in_banks(i, each); }

  // ---- a block of a row ----------------------------------------------------------------------

  Node row() const { return idiv(task_, blocks_.node()); }
  Node position_of(const Node& i) const {
    return add(mul(mod(task_, blocks_.node()), constant_int(block_elements)), i);
  }
  void place_row(Substitution& values) const {
    if (!rows_.empty()) place(values, rows_, row());
  }

  // What is added up at the element; nothing behind the row's end.
  Node element(const Node& i) const {
    const Size length(at_.src(0));
    Substitution values;
    place_row(values);
    values[sum_.src(1)] = values[at_] = integer_min(position_of(i), (length - 1).node());
    return where(integer_less(position_of(i), length.node()), substitute(term_, values), nothing());
  }

  std::vector<Node> block_totals() {
    const Node total = workshop_.registers(sum_.dtype(), 1);
    const Node zero = constant_int(0);
    std::vector<Node> statements;
    statements.push_back(in_threads([&](const Node&) { return store_to(total, zero, nothing()); }));
    statements.push_back(for_each([&](const Node& i) {
      return store_to(total, zero, both(load_from(total, zero), element(i)));
    }));
    statements.push_back(group_reduce(op_of(sum_), total, 0, 1, threads, threads));
    statements.push_back(in_threads([&](const Node& thread) {
      return branch(integer_less(thread, constant_int(1)),
                    store_to(before_, task_, load_from(total, zero)));
    }));
    return statements;
  }

  std::vector<Node> run_along_block() {
    const Node sum = workshop_.registers(sum_.dtype(), 1);
    const Node zero = constant_int(0);
    std::vector<Node> statements;
    statements.push_back(
        for_each([&](const Node& i) { return store_to(shared_, spread(i), element(i)); }));
    statements.push_back(in_threads([&](const Node& thread) {
      const Node turn = workshop_.range(each);
      const Node at = spread(add(mul(thread, constant_int(each)), turn));
      const Node next = store_to(sum, zero, both(load_from(sum, zero), load_from(shared_, at)));
      const Node back = store_to(shared_, at, load_from(sum, zero));
      return block({store_to(sum, zero, nothing()),
                    loop(LoopKind::unrolled, turn, block({next, back})),
                    store_to(totals_[0], thread, load_from(sum, zero))});
    }));
    add_up_totals(statements);
    statements.push_back(for_each([&](const Node& i) {
      const Node owner = idiv(i, constant_int(each));
      Node result = both(before(owner), load_from(shared_, spread(i)));
      if (before_) result = both(load_from(before_, task_), result);
      Substitution values;
      place_row(values);
      values[at_] = position_of(i);
      values[sum_] = load_from(sum, zero);
      std::vector<Node> body = {store_to(sum, zero, result)};
      for (const Node& store : stores_) body.push_back(store_at(store, values));
      return branch(integer_less(position_of(i), at_.src(0)), block(std::move(body)));
    }));
    return statements;
  }

  // ---- totals of threads ---------------------------------------------------------------------

  // Of the threads up to each one: twice as many at every step.
  void add_up_totals(std::vector<Node>& statements) {
    for (std::int64_t distance = 1, from = 0; distance < threads; distance *= 2, from = 1 - from) {
      statements.push_back(in_threads([&](const Node& thread) {
        const Node& totals = totals_[static_cast<std::size_t>(from)];
        const Node mine = load_from(totals, thread);
        const Node alone = integer_less(thread, constant_int(distance));
        const Node other =
            load_from(totals, where(alone, thread, integer_sub(thread, constant_int(distance))));
        return store_to(totals_[static_cast<std::size_t>(1 - from)], thread,
                        where(alone, mine, both(other, mine)));
      }));
    }
  }

  // What the threads before this one have.
  Node before(const Node& thread) const {
    const Node first = integer_less(thread, constant_int(1));
    const Node at = where(first, constant_int(0), integer_sub(thread, constant_int(1)));
    return where(first, nothing(), load_from(totals_[0], at));
  }

  // Of a row, so many blocks at once as there are threads: from their totals to those before them.
  std::vector<Node> add_up_blocks() {
    const Node carry = workshop_.shared(sum_.dtype(), 1);
    const Node zero = constant_int(0);
    const Node turn = workshop_.range((blocks_ + (threads - 1)) / threads);
    const auto place_of = [&](const Node& thread) {
      return add(mul(turn, constant_int(threads)), thread);
    };
    const auto inside = [&](const Node& thread) {
      return integer_less(place_of(thread), blocks_.node());
    };
    const auto memory_of = [&](const Node& thread) {
      return add(mul(task_, blocks_.node()), integer_min(place_of(thread), (blocks_ - 1).node()));
    };
    const Node first = workshop_.range(1);
    std::vector<Node> body;
    body.push_back(in_threads([&](const Node& thread) {
      return store_to(totals_[0], thread,
                      where(inside(thread), load_from(before_, memory_of(thread)), nothing()));
    }));
    add_up_totals(body);
    body.push_back(in_threads([&](const Node& thread) {
      return branch(inside(thread), store_to(before_, memory_of(thread),
                                             both(load_from(carry, zero), before(thread))));
    }));
    body.push_back(loop(
        LoopKind::threads, workshop_.range(1),
        store_to(carry, zero,
                 both(load_from(carry, zero), load_from(totals_[0], constant_int(threads - 1))))));
    return {loop(LoopKind::threads, first, store_to(carry, zero, nothing())),
            loop(LoopKind::serial, turn, block(std::move(body)))};
  }

  static_assert(threads == 256, "an even number of steps: the totals end where they began");

  const Part& part_;
  Workshop& workshop_;
  std::vector<Node> stores_;
  std::vector<Node> rows_;
  Node sum_, at_;
  Node term_;  // what is summed up, at the sum's own counter
  Size blocks_;
  Node task_;  // counter of the phase that is being made
  Node shared_, before_;
  std::array<Node, 2> totals_;
};

}  // namespace

std::optional<Schedule> group_running(const Part& part, Workshop& workshop) {
  GroupRunning strategy(part, workshop);
  if (!strategy.recognise()) return std::nullopt;
  return strategy.run();
}

}  // namespace brisk
