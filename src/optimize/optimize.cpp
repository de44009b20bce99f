#include "optimize/optimize.h"

#include <algorithm>
#include <array>
#include <deque>
#include <span>
#include <unordered_map>

#include "base/error.h"
#include "graph/integer.h"
#include "kernel/tile.h"
#include "optimize/analysis.h"
#include "optimize/attention_form.h"
#include "optimize/hoist.h"
#include "optimize/pieces.h"
#include "optimize/product.h"
#include "optimize/spread.h"
#include "optimize/strategies/strategy.h"

namespace brisk {

Workshop::Workshop(const LoweredKernel& lowered, const Target& target, Decisions& decisions)
    : target_(target), decisions_(decisions), threads_(target.threads), params_(lowered.params) {
  for (const Part& part : lowered.parts) {
    for (const Node& node : topological_order(part.stages[0].stores)) {
      if (node.is(Op::range_))
        next_range_ = std::max(next_range_, static_cast<int>(node.ints(0)) + 1);
    }
    for (const Node& range : part.outer) {
      next_range_ = std::max(next_range_, static_cast<int>(range.ints(0)) + 1);
    }
  }
}

Node Workshop::workspace(DType dtype, const Size& elements) {
  workspaces_.push_back({dtype, elements});
  return make_param(static_cast<int>(params_.size() + workspaces_.size()) - 1, dtype);
}

bool Workshop::is_workspace(const Node& param) const {
  return param.ints(0) >= static_cast<std::int64_t>(params_.size());
}

bool Workshop::replace(const std::vector<Node>& workspaces, const std::vector<Node>& others) {
  const auto of = [&](const Node& param) -> Kernel::Workspace& {
    return workspaces_.at(static_cast<std::size_t>(param.ints(0)) - params_.size());
  };
  for (std::size_t i = 0; i < workspaces.size(); ++i) {
    if (!(of(workspaces[i]).elements == of(others[i]).elements)) return false;
  }
  for (const Node& workspace : workspaces) of(workspace).elements = 1;  // whose number stays
  return true;
}

Apart compute_apart(const Node& value, const std::vector<Node>& ranges, Workshop& workshop,
                    Schedule& schedule, std::size_t inner, std::int64_t padding) {
  const auto middle = ranges.end() - static_cast<std::ptrdiff_t>(inner);
  const std::vector<Node> rows(ranges.begin(), middle);
  const std::vector<Node> row(middle, ranges.end());
  const Size length = extent(row) + padding;
  const Node at = add(mul(position(rows), length.node()), position(row));
  const Node memory = workshop.workspace(value.dtype(), extent(rows) * length);
  Part part;
  part.outer = ranges;
  part.stages.push_back({{}, {store_to(memory, at, value)}});
  int next_range = workshop.reserve_ranges(2 * static_cast<int>(ranges.size()) + 8);
  merge_ranges(part, next_range);
  std::optional<Schedule> first;  // a map, nearly always
  if (workshop.target().group_threads > 0) {
    first = group_packing(value, rows, row, memory, length, workshop);
    if (!first) first = group_running(part, workshop);
    if (!first) first = group_transposition(part, workshop);
    if (!first) first = group_map(part, workshop);
  } else if (!find_all({value}, Op::reduce_).empty()) {
    first = contraction(part, workshop);
  }
  if (!first) first = loops(part, workshop);
  schedule.phases.insert(schedule.phases.end(), first->phases.begin(), first->phases.end());
  return {memory, load_from(memory, at)};
}

namespace {

// Strategies in the order in which they are asked.
struct Strategies {
  std::span<const Strategy> of_whole;  // of a part before its reductions are hoisted
  std::span<const Strategy> of_part;
};

// Where tasks are threads, and where they are groups of them.
constexpr std::array<Strategy, 1> threads_whole = {attention};
constexpr std::array<Strategy, 8> threads_part = {interleaved_rows, matrix_vector, contraction,
                                                  windows,          transposition, row_pipeline,
                                                  ranking,          loops};
constexpr std::array<Strategy, 5> groups_whole = {tile_attention, tile_chain, tile_contraction,
                                                  group_attention, group_matrix_vector};
constexpr std::array<Strategy, 10> groups_part = {
    tile_contraction, group_contraction, group_ranking, group_running, group_transposition,
    group_map,        group_scatter,     group_columns, group_rows,    loops};

Strategies strategies_for(const Target& target) {
  if (target.group_threads > 0) return {groups_whole, groups_part};
  return {threads_whole, threads_part};
}

bool is_parallel(const Node& phase) { return is_loop(phase, LoopKind::parallel); }

// Of the first strategy that takes the part.
std::optional<Schedule> schedule_part(std::span<const Strategy> strategies, const Part& part,
                                      Workshop& workshop) {
  for (const Strategy strategy : strategies) {
    std::optional<Schedule> schedule = strategy(part, workshop);
    if (!schedule) continue;
    if (workshop.target().group_threads > 0) {
      for (Node& phase : schedule->phases) phase = spread_over_threads(phase, workshop);
    }
    return schedule;
  }
  return std::nullopt;
}

// Stores without an outermost sum in common, some of which are products of matrices, or of other
// sums: matrix units make one after the other.
bool has_several_products(const Part& part, const Target& target) {
  const std::vector<Node>& stores = part.stages[0].stores;
  if (target.copying_threads == 0 || stores.size() < 2 || part.stages.size() > 1) return false;
  bool product = false;
  std::vector<Node> all;
  for (const Node& store : stores) {
    for (const Node& sum : outermost_reductions({store})) {
      if (contains(all, sum)) return false;
      all.push_back(sum);
      product = product || is_contraction(sum, part.outer) ||
                !find_all({sum.src(0)}, Op::reduce_).empty();
    }
  }
  return product;
}

// Two results that are made of the same sums (a pair of a vector that is turned) are made together:
// a range of two counters becomes two stores where that computes each sum once.
void join_pairs(Part& part) {
  const std::vector<Node>& stores = part.stages[0].stores;
  if (part.stages.size() != 1 || stores.size() != 1) return;
  const std::size_t sums = outermost_reductions(stores).size();
  if (sums < 2) return;
  for (std::size_t i = 0; i < part.outer.size(); ++i) {
    if (!(Size(part.outer[i].src(0)) == Size(2))) continue;
    std::vector<Node> both;
    for (const std::int64_t member : {0, 1}) {
      Substitution memo = {{part.outer[i], constant_int(member)}};
      both.push_back(substitute(stores[0], memo));
    }
    if (outermost_reductions(both).size() > sums) continue;
    part.outer.erase(part.outer.begin() + static_cast<std::ptrdiff_t>(i));
    part.stages[0].stores = std::move(both);
    return;
  }
}

// Stores that have a sum in common stay together, unless they all do.
std::vector<std::vector<Node>> by_shared_sums(const std::vector<Node>& stores) {
  std::vector<std::vector<Node>> sets;
  for (const Node& store : stores) {
    const std::vector<Node> sums = find_all({store}, Op::reduce_);
    const auto shares = [&](const std::vector<Node>& set) {
      const std::vector<Node> theirs = find_all(set, Op::reduce_);
      return std::any_of(sums.begin(), sums.end(),
                         [&](const Node& sum) { return contains(theirs, sum); });
    };
    const auto found = std::find_if(sets.begin(), sets.end(), shares);
    found == sets.end() ? sets.push_back({store}) : found->push_back(store);
  }
  if (sets.size() > 1) return sets;
  sets.clear();
  for (const Node& store : stores) sets.push_back({store});
  return sets;
}

// The value with names of their own for the ranges that it sums over.
Node with_own_ranges(const Node& value, const std::vector<Node>& outer) {
  Substitution names;
  for (const Node& node : topological_order({&value, 1})) {
    if (node.is(Op::range_) && !contains(outer, node))
      names[node] = make_range(-1 - static_cast<int>(names.size()), Size(node.src(0)));
  }
  return substitute(value, names);
}

// An attention's part with the store of another part, where that is of the same softmax's maxima
// and totals alone.
std::optional<Part> with_softmax(const Part& part, const Part& other) {
  if (other.outer.size() + 1 != part.outer.size()) return std::nullopt;
  const std::optional<AttentionForm> softmax = softmax_form(other);
  const std::optional<AttentionForm> form = softmax ? attention_form(part) : std::nullopt;
  if (!form) return std::nullopt;
  const std::vector<Node> rows(part.outer.begin(), part.outer.end() - 1);  // without the column
  Substitution mine;
  for (std::size_t r = 0; r < rows.size(); ++r) mine[other.outer[r]] = rows[r];
  const auto same = [&](const Node& theirs, const Node& ours) {
    return with_own_ranges(substitute(theirs, mine), rows) == with_own_ranges(ours, rows);
  };
  if (!same(softmax->total, form->total) || !same(softmax->greatest, form->greatest))
    return std::nullopt;
  mine[softmax->total] = form->total;
  mine[softmax->greatest] = form->greatest;
  Part both = part;
  both.stages[0].stores.push_back(substitute(other.stages[0].stores[0], mine));
  return both;
}

std::vector<Node> shared_locals(const Node& phase) {
  std::vector<Node> locals = find_all({phase}, Op::local_);
  std::erase_if(locals, [](const Node& local) { return !is_local(local, Memory::shared); });
  return locals;
}

// Phases whose tasks are never one group: what they have in shared memory may lie in one place.
void overlay(Node& a, Node& b) {
  std::vector<Node> theirs = shared_locals(a);
  Substitution in_a;
  Substitution in_b;
  for (const Node& mine : shared_locals(b)) {
    const auto same = std::find_if(theirs.begin(), theirs.end(), [&](const Node& other) {
      return other.dtype() == mine.dtype();
    });
    if (same == theirs.end()) continue;
    const Node both = make_local(static_cast<int>(same->ints(0)), mine.dtype(),
                                 std::max(same->ints(1), mine.ints(1)), Memory::shared);
    in_a[*same] = in_b[mine] = both;
    theirs.erase(same);
  }
  a = substitute(a, in_a);
  b = substitute(b, in_b);
}

// Phases of independent parts side by side: the tasks of one after those of the other, or evenly
// between them (pieces of one result: a thread then has neighbouring places of both).
Node beside(Node a, Node b, bool between, Workshop& workshop) {
  overlay(a, b);
  const Size first = is_parallel(a) ? Size(a.src(0).src(0)) : Size(1);
  const Size second = is_parallel(b) ? Size(b.src(0).src(0)) : Size(1);
  const Size all = first + second;
  const Node task = workshop.range(all);
  const auto body = [](const Node& phase, const Node& counter) {
    if (!is_parallel(phase)) return phase;
    Substitution memo = {{phase.src(0), counter}};
    return substitute(phase.src(1), memo);
  };
  if (between && all.is_constant()) {
    const auto before = [&](const Node& t) {  // tasks of a
      return idiv(add(mul(t, first.node()), constant_int(all.value() - 1)), all.node());
    };
    const Node done = before(task);
    const Node after = before(add(task, constant_int(1)));
    const Node one = branch(integer_less(done, after), body(a, done));
    const Node other =
        branch(integer_less(after, add(done, constant_int(1))), body(b, integer_sub(task, done)));
    return loop(LoopKind::parallel, task, block({one, other}));
  }
  const Node one = branch(integer_less(task, first.node()), body(a, task));
  const Node other =
      branch(integer_less((first - 1).node(), task), body(b, integer_sub(task, first.node())));
  return loop(LoopKind::parallel, task, block({one, other}));
}

// Whether many groups of one of the phases would be larger than they need to be beside the other's.
bool idles_beside(const Node& a, const Node& b, const Target& target) {
  constexpr std::int64_t many = 8;  // of each processor
  const bool smaller_a = threads_of(a) < threads_of(b);
  const Node& smaller = smaller_a ? a : b;
  return threads_of(a) != threads_of(b) && is_parallel(smaller) &&
         Size(smaller.src(0).src(0)).upper() >= many * target.threads;
}

// Phases that fill working memory with the same as an earlier part's did (a vector in bytes, a
// packed matrix that several products take) are done once.
class KnownPhases {
 public:
  explicit KnownPhases(Workshop& workshop) : workshop_(workshop) {}

  struct Named {
    Node phase;  // with names of its own for ranges, locals and what it fills
    std::vector<Node> filled;
  };

  /// Where an equal phase is, after which `later` phases of the same part are to read what it has
  /// filled; nothing if there is none.
  std::optional<std::size_t> find(const std::optional<Named>& named, std::span<Node> later) {
    const auto known = named ? known_.find(named->phase) : known_.end();
    if (known == known_.end()) return std::nullopt;
    if (!workshop_.replace(named->filled, known->second.filled)) return std::nullopt;
    Substitution same;
    for (std::size_t i = 0; i < named->filled.size(); ++i)
      same[named->filled[i]] = known->second.filled[i];
    for (Node& other : later) other = substitute(other, same);
    return known->second.place;
  }

  void add(std::optional<Named> named, std::size_t place) {
    if (named) known_.emplace(named->phase, Known{place, std::move(named->filled)});
  }

  /// Nothing for phases that write anything but working memory.
  std::optional<Named> name(const Node& phase) const {
    if (has_tiles(phase)) return std::nullopt;
    Named named;
    Substitution names;
    int next = 0;
    const std::vector<Node> nodes = topological_order({&phase, 1});
    for (const Node& node : nodes) {
      if (node.is(Op::range_)) names[node] = make_range(--next, Size(node.src(0)));
      if (node.is(Op::local_)) {
        names[node] =
            make_local(--next, node.dtype(), node.ints(1), static_cast<Memory>(node.ints(2)));
      }
      if (!node.is(Op::store_) || !node.src(0).is(Op::param_)) continue;
      if (!workshop_.is_workspace(node.src(0))) return std::nullopt;
      if (contains(named.filled, node.src(0))) continue;
      named.filled.push_back(node.src(0));
      names[node.src(0)] = make_param(--next, node.src(0).dtype());
    }
    if (named.filled.empty()) return std::nullopt;
    named.phase = substitute(phase, names);
    return named;
  }

 private:
  struct Known {
    std::size_t place;
    std::vector<Node> filled;
  };

  Workshop& workshop_;
  std::unordered_map<Node, Known, NodeHash> known_;
};

}  // namespace

Kernel optimize(const LoweredKernel& lowered, const Target& target) {
  Decisions decisions;
  return optimize(lowered, target, decisions);
}

Kernel optimize(const LoweredKernel& lowered, const Target& target, Decisions& decisions) {
  const Strategies strategies = strategies_for(target);
  Workshop workshop(lowered, target, decisions);
  double all_points = 0;
  for (const Part& part : lowered.parts) all_points += points(part.outer);
  Kernel kernel;
  std::vector<Node> phases;
  KnownPhases known_phases(workshop);
  std::deque<Part> parts;
  for (const Part& part : lowered.parts) {
    int next_range = workshop.reserve_ranges(1000);
    const auto pieces = target.group_threads > 0 ? std::vector{part} : pieces_of(part, next_range);
    for (const Part& piece : pieces) {
      parts.push_back(piece);
      split_ranges(parts.back(), next_range);
    }
  }
  while (!parts.empty()) {
    Part part = std::move(parts.front());
    parts.pop_front();
    int next_range = workshop.reserve_ranges(1000);
    for (Part& other : parts) {  // the attention first
      if (with_softmax(other, part)) std::swap(part, other);
    }
    workshop.share_threads(all_points > 0 ? points(part.outer) / all_points : 1);
    const auto as_whole = [&](Part& one) {
      if (target.group_threads > 0) join_pairs(one);
      merge_ranges(one, next_range);
      return schedule_part(strategies.of_whole, one, workshop);
    };
    std::optional<Schedule> whole;
    for (auto other = parts.begin(); other != parts.end(); ++other) {
      std::optional<Part> both = with_softmax(part, *other);
      if (both) whole = as_whole(*both);
      if (!whole) continue;
      part = std::move(*both);
      parts.erase(other);
      break;
    }
    if (!whole) whole = as_whole(part);
    if (!whole && has_several_products(part, target)) {
      for (std::vector<Node>& stores : by_shared_sums(part.stages[0].stores)) {
        Part one = part;
        one.stages[0].stores = std::move(stores);
        parts.push_front(std::move(one));
      }
      continue;
    }
    std::vector<Part> sequence;
    if (!whole) sequence = hoist_reductions(part, workshop);
    sequence.push_back(part);
    std::vector<Node> mine;
    for (Part& each : sequence) {
      Schedule schedule =
          whole ? std::move(*whole) : *schedule_part(strategies.of_part, each, workshop);
      if (&each == &sequence.back())
        kernel.name += (kernel.name.empty() ? "" : "_and_") + schedule.name;
      mine.insert(mine.end(), schedule.phases.begin(), schedule.phases.end());
    }
    // Tiles take all of the shared memory, and a cluster is as large as its task needs.
    const auto stands_alone = [](const Node& phase) {
      return has_tiles(phase) || groups_of_task(phase) > 1;
    };
    std::size_t at = 0;
    for (std::size_t i = 0; i < mine.size(); ++i) {
      auto named = known_phases.name(mine[i]);
      if (const auto known = known_phases.find(named, std::span(mine).subspan(i + 1))) {
        at = std::max(at, *known + 1);
        continue;
      }
      const Node& phase = mine[i];
      while (at < phases.size() && (stands_alone(phase) || stands_alone(phases[at]) ||
                                    idles_beside(phase, phases[at], target))) {
        ++at;
      }
      known_phases.add(std::move(named), at);
      if (at == phases.size()) {
        phases.push_back(phase);
      } else {
        phases[at] = beside(phases[at], phase, part.piece > 0, workshop);
      }
      ++at;
    }
  }
  kernel.params = lowered.params;
  kernel.variables = lowered.variables;
  kernel.workspace = workshop.workspaces();
  // A serial phase of several statements must stay one source of the body.
  for (Node& phase : phases) {
    if (phase.is(Op::block_)) phase = loop(LoopKind::serial, workshop.range(1), phase);
  }
  kernel.body = block(std::move(phases));
  return kernel;
}

}  // namespace brisk
