// Elementwise work by groups of threads: neighbouring threads take neighbouring vectors of 16 bytes
// along the range in which the stores are contiguous, each thread several of them where that comes
// out even, so that enough memory is under way.
#include <algorithm>

#include "optimize/analysis.h"
#include "optimize/strategies/group.h"
#include "optimize/strategies/strategy.h"

namespace brisk {

namespace {

constexpr std::int64_t threads = 256;
constexpr std::int64_t most_vectors = 2;  // of a thread

class GroupMap {
 public:
  GroupMap(const Part& part, Workshop& workshop)
      : part_(part), workshop_(workshop), stores_(part.stages[0].stores) {}

  // No reductions, and every store goes to a place of its own.
  bool recognise() {
    return find_all(stores_, Op::reduce_).empty() && have_own_places(stores_, part_.outer);
  }

  Schedule run() {
    order_ranges();
    const Size vectors = extent(order_) / lanes_;  // exact: lanes divide the last range
    std::int64_t each = 1;
    while (each < most_vectors && vectors.is_constant() &&
           vectors.value() % (2 * each * threads) == 0 && vectors.value() >= enough(2 * each)) {
      each *= 2;
    }
    std::int64_t most = 1;
    while (most < 2 * most_vectors && vectors.is_constant() &&
           vectors.value() % (2 * most * threads) == 0) {
      most *= 2;
    }
    each = workshop_.decisions().choose_near(
        shape_class("map", part_, {{"vectors", vectors}}) + " each", each, 1, most);
    const std::int64_t span = threads * each;
    const Size groups = (vectors + (span - 1)) / span;
    const Node group = workshop_.range(groups);
    const Node thread = workshop_.range(threads);
    const bool even = vectors.is_constant() && vectors.value() % span == 0;
    std::vector<Node> statements;
    for (std::int64_t i = 0; i < each; ++i) {
      const Node at = add(add(mul(group, constant_int(span)), constant_int(i * threads)), thread);
      Node body = vector_at(at);
      statements.push_back(even ? body : branch(integer_less(at, vectors.node()), body));
    }
    Schedule schedule;
    schedule.name = "group_map";
    schedule.phases = {loop(LoopKind::parallel, group,
                            loop(LoopKind::threads, thread, block(std::move(statements))))};
    return schedule;
  }

 private:
  // Vectors of which every processor still gets a few groups.
  std::int64_t enough(std::int64_t each) const {
    return 4 * each * threads * workshop_.target().threads;
  }

  // The contiguous range last; lanes that divide it.
  void order_ranges() {
    order_ = part_.outer;
    const Node range = stored_along(stores_, part_.outer);
    if (!range) return;
    const auto found = std::find(order_.begin(), order_.end(), range);
    std::rotate(found, found + 1, order_.end());
    lanes_ = lanes_along(stores_, range, workshop_.target());
  }

  Node vector_at(const Node& at) const {
    Substitution values;
    std::vector<Node> statements;
    if (lanes_ == 1) {
      place(values, order_, at);
      for (const Node& store : stores_) statements.push_back(substitute(store, values));
    } else {
      const Node base = place_vector(values, order_, at, lanes_);
      for (const Node& store : stores_)
        statements.push_back(store_vector(store, order_.back(), base, lanes_, values));
    }
    return block(std::move(statements));
  }

  const Part& part_;
  Workshop& workshop_;
  const std::vector<Node>& stores_;
  std::vector<Node> order_;
  int lanes_ = 1;
};

}  // namespace

std::optional<Schedule> group_map(const Part& part, Workshop& workshop) {
  GroupMap strategy(part, workshop);
  if (!strategy.recognise()) return std::nullopt;
  return strategy.run();
}

}  // namespace brisk
