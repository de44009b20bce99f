// Sorting by groups of threads: a bitonic sort of key and position together. A block of elements is
// sorted in shared memory; longer rows are merged in working memory, three distances at a time, and
// at shorter distances again in shared memory. Rows lie one after the other, filled up to a power
// of two; which elements are compared does not depend on their values.
#include <algorithm>
#include <functional>

#include "graph/integer.h"
#include "optimize/analysis.h"
#include "optimize/ranking_form.h"
#include "optimize/strategies/group.h"
#include "optimize/strategies/strategy.h"

namespace brisk {

namespace {

constexpr std::int64_t threads = 256;
constexpr std::int64_t most_levels = 3;          // distances of a round
constexpr std::int64_t each = 1 << most_levels;  // elements of a thread
constexpr std::int64_t block_elements = threads * each;

// Elements in memory: of keys of 32 bits, words of 64 with the position below; of longer ones, keys
// and positions apart.
struct Elements {
  Node keys;
  Node positions;
};

class GroupRanking {
 public:
  GroupRanking(const Part& part, const RankingForm& form, Workshop& workshop)
      : stores_(part.stages[0].stores),
        form_(form),
        workshop_(workshop),
        rows_(part.outer),
        is_wide_(byte_size(form.key.dtype()) == 8) {
    std::erase(rows_, form_.at);
    while (padded_ < Size(form_.at.src(0)).upper()) padded_ *= 2;
    blocks_ = (extent(rows_) * padded_ + (block_elements - 1)) / block_elements;
    block_ = workshop_.range(blocks_);
    const auto make = [&](const auto& memory) {
      return Elements{memory(DType::uint64), is_wide_ ? memory(DType::int32) : Node()};
    };
    shared_ = make([&](DType dtype) { return workshop_.shared(dtype, block_elements + threads); });
    held_ = make([&](DType dtype) { return workshop_.registers(dtype, each); });
    spare_ = make([&](DType dtype) { return workshop_.registers(dtype, 1); });
    if (padded_ > block_elements) {
      memory_ =
          make([&](DType dtype) { return workshop_.workspace(dtype, blocks_ * block_elements); });
    }
  }

  Schedule run() {
    Schedule schedule;
    schedule.name = "group_ranking";
    std::vector<Node> statements = {for_each([&](const Node& i) { return fill(i); })};
    for (std::int64_t run = 2; run <= std::min(padded_, block_elements); run *= 2)
      merge(run, run / 2, statements);
    for (std::int64_t run = 2 * block_elements; run <= padded_; run *= 2) {
      statements.push_back(
          for_each([&](const Node& i) { return copy(shared_, spread(i), memory_, in_all(i)); }));
      add_phase(std::move(statements), schedule);
      for (std::int64_t distance = run / 2; distance >= block_elements;) {
        const std::int64_t levels = levels_from(distance, block_elements);
        add_phase({round(memory_, run, distance, levels)}, schedule);
        distance >>= levels;
      }
      statements = {
          for_each([&](const Node& i) { return copy(memory_, in_all(i), shared_, spread(i)); })};
      merge(run, block_elements / 2, statements);
    }
    statements.push_back(for_each([&](const Node& i) { return store_in_order(i); }));
    add_phase(std::move(statements), schedule);
    return schedule;
  }

 private:
  // Of the distances down to `least`, halves from one to the next, so many that the others are full
  // rounds.
  static std::int64_t levels_from(std::int64_t distance, std::int64_t least) {
    std::int64_t levels = 1;
    while (distance >> levels >= least) ++levels;
    return levels % most_levels == 0 ? most_levels : levels % most_levels;
  }

  void add_phase(std::vector<Node> statements, Schedule& schedule) {
    schedule.phases.push_back(loop(LoopKind::parallel, block_, block(std::move(statements))));
    block_ = workshop_.range(blocks_);
  }

  // The place of the block's element among all.
  Node in_all(const Node& i) const { return add(mul(block_, constant_int(block_elements)), i); }

  static Node spread(const Node& i) { return in_banks(i, each); }

  Node for_each(const std::function<Node(const Node&)>& statement) {
    return for_block(workshop_, threads, each, statement);
  }

  Node copy(const Elements& from, const Node& i, const Elements& to, const Node& j) const {
    const Node key = store_to(to.keys, j, load_from(from.keys, i));
    return is_wide_ ? block({key, store_to(to.positions, j, load_from(from.positions, i))}) : key;
  }

  // ---- first and last ------------------------------------------------------------------------

  struct Spot {
    Node row, at;
    Node inside;  // whether there is such an element
  };
  Spot spot(const Node& i) const {
    const Node row = idiv(in_all(i), constant_int(padded_));
    const Node at = mod(in_all(i), constant_int(padded_));
    const Node inside =
        bit_and(integer_less(row, extent(rows_).node()), integer_less(at, form_.at.src(0)));
    return {row, at, inside};
  }

  void place_row(Substitution& values, const Node& row) const {
    if (!rows_.empty()) place(values, rows_, row);
  }

  // What fills a row up comes after all else.
  Node fill(const Node& i) const {
    const Spot at = spot(i);
    Substitution values;
    place_row(values, integer_min(at.row, (extent(rows_) - 1).node()));
    values[form_.at] = integer_min(at.at, (Size(form_.at.src(0)) - 1).node());
    const Node bits = ordered_bits(substitute(form_.key, values));
    const Node last = constant_int(-1, DType::uint64);
    if (is_wide_) {
      const Node position = where(at.inside, cast(at.at, DType::int32),
                                  constant_int(max_value(DType::int32), DType::int32));
      return block({store_to(shared_.keys, spread(i), where(at.inside, bits, last)),
                    store_to(shared_.positions, spread(i), position)});
    }
    const Node key = shl(cast(bits, DType::uint64), constant_int(32, DType::uint64));
    return store_to(shared_.keys, spread(i),
                    where(at.inside, bit_or(key, cast(at.at, DType::uint64)), last));
  }

  Node store_in_order(const Node& i) const {
    const Spot at = spot(i);
    const Node held = is_wide_ ? load_from(shared_.positions, spread(i))
                               : bit_and(load_from(shared_.keys, spread(i)),
                                         constant_int(0xffffffff, DType::uint64));
    Substitution values;
    place_row(values, at.row);
    values[form_.at] = cast(held, DType::int64);
    values[form_.place] = cast(at.at, form_.place.dtype());
    std::vector<Node> body;
    for (const Node& store : stores_) body.push_back(store_at(store, values));
    return branch(at.inside, block(std::move(body)));
  }

  // ---- rounds --------------------------------------------------------------------------------

  // Of runs of `run` elements, two halves of each in opposite order, from this distance on.
  void merge(std::int64_t run, std::int64_t distance, std::vector<Node>& statements) {
    while (distance > 0) {
      const std::int64_t levels = levels_from(distance, 1);
      statements.push_back(round(shared_, run, distance, levels));
      distance >>= levels;
    }
  }

  // Elements that are `distance` apart change places where they are in the wrong order, then those
  // at half of it, for so many levels.
  Node round(const Elements& memory, std::int64_t run, std::int64_t distance, std::int64_t levels) {
    const std::int64_t set = std::int64_t{1} << levels;  // elements that meet
    const std::int64_t nearest = distance >> (levels - 1);
    const Node thread = workshop_.range(threads);
    std::vector<Node> statements;
    for (std::int64_t turn = 0; turn < each / set; ++turn) {
      Node item = add(thread, constant_int(turn * threads));
      const bool is_shared = memory.keys == shared_.keys;
      if (!is_shared) item = add(mul(block_, constant_int(block_elements / set)), item);
      const Node first = add(mul(idiv(item, constant_int(nearest)), constant_int(set * nearest)),
                             mod(item, constant_int(nearest)));
      const auto at = [&](std::int64_t member) {
        const Node i = add(first, constant_int(member * nearest));
        return is_shared ? spread(i) : i;
      };
      const Node run_number = idiv(is_shared ? in_all(first) : first, constant_int(run));
      const Node falls =
          run == padded_ ? Node() : cmpne(mod(run_number, constant_int(2)), constant_int(0));
      for (std::int64_t m = 0; m < set; ++m)
        statements.push_back(copy(memory, at(m), held_, constant_int(m)));
      for (std::int64_t step = set / 2; step > 0; step /= 2) {
        for (std::int64_t m = 0; m < set; ++m) {
          if ((m & step) == 0) order(m, m + step, falls, statements);
        }
      }
      for (std::int64_t m = 0; m < set; ++m)
        statements.push_back(copy(held_, constant_int(m), memory, at(m)));
    }
    return loop(LoopKind::threads, thread, block(std::move(statements)));
  }

  // The lower one of two held elements first, or where the run falls, the higher one.
  void order(std::int64_t a, std::int64_t b, const Node& falls, std::vector<Node>& statements) {
    const Node zero = constant_int(0);
    const Node first = constant_int(a);
    const Node second = constant_int(b);
    statements.push_back(copy(held_, first, spare_, zero));
    const Node x = load_from(spare_.keys, zero);
    const Node y = load_from(held_.keys, second);
    Node swap = cmplt(y, x);
    if (is_wide_) {
      const Node same = bit_and(logical_not(cmpne(x, y)), cmplt(load_from(held_.positions, second),
                                                                load_from(spare_.positions, zero)));
      swap = bit_or(swap, same);
    }
    if (falls) swap = cmpne(swap, falls);
    // The condition is computed once, before anything that it reads changes.
    const Node decided = workshop_.registers(DType::boolean, 1);
    statements.push_back(store_to(decided, zero, swap));
    const Node now = load_from(decided, zero);
    const auto change = [&](const Node& held, const Node& spare) {
      const Node old = load_from(spare, zero);
      const Node other = load_from(held, second);
      statements.push_back(store_to(held, first, where(now, other, old)));
      statements.push_back(store_to(held, second, where(now, old, other)));
    };
    change(held_.keys, spare_.keys);
    if (is_wide_) change(held_.positions, spare_.positions);
  }

  static Node logical_not(const Node& condition) {
    return cmpne(condition, constant_int(1, DType::boolean));
  }

  const std::vector<Node>& stores_;
  const RankingForm& form_;
  Workshop& workshop_;
  std::vector<Node> rows_;
  bool is_wide_;
  std::int64_t padded_ = 1;  // elements of a row
  Size blocks_;              // a group each
  Node block_;               // counter of the phase that is being made
  Elements shared_, held_, spare_, memory_;
};

}  // namespace

std::optional<Schedule> group_ranking(const Part& part, Workshop& workshop) {
  const std::optional<RankingForm> form = ranking_form(part);
  if (!form) return std::nullopt;
  return GroupRanking(part, *form, workshop).run();
}

}  // namespace brisk
