#include "optimize/hoist.h"

#include <algorithm>

#include "graph/idioms.h"
#include "optimize/analysis.h"
#include "optimize/product.h"
#include "optimize/strategies/group.h"

namespace brisk {

namespace {

constexpr double few_operations = 1 << 16;
constexpr double columns_wanted = 1 << 15;  // by groups of threads
constexpr double tiles_wanted = 1 << 19;    // results of products
constexpr std::int64_t least_depth = 128;   // of a part of them
constexpr double row_of_group = 1 << 18;    // operations for which a group is enough
constexpr double many_points = 1 << 24;     // that make a phase for what they share worth it
constexpr double few_of_points = 1 << 10;   // points to one, where nothing else is made in front

// The part's outer ranges among these, in the part's order; nothing where others are among them.
std::vector<Node> outer_ranges(const Part& part, const std::vector<Node>& free) {
  std::vector<Node> result;
  for (const Node& range : part.outer) {
    if (contains(free, range)) result.push_back(range);
  }
  return result;
}

void replace(Part& part, const Node& from, const Node& to) {
  Substitution memo = {{from, to}};
  for (Node& store : part.stages[0].stores) store = substitute(store, memo);
}

// Has the part store `value` as well; gives the load that stands for it.
Node store_in(Part& part, const Node& value, Workshop& workshop) {
  const Node memory = workshop.workspace(value.dtype(), extent(part.outer));
  part.stages[0].stores.push_back(store_to(memory, position(part.outer), value));
  return load_from(memory, position(part.outer));
}

// A part of its own that stores `value` over `outer`.
Node store_apart(const Node& value, const std::vector<Node>& outer, Workshop& workshop,
                 std::vector<Part>& parts) {
  parts.push_back({outer, {Stage{}}});
  return store_in(parts.back(), value, workshop);
}

bool is_dear(const Node& node) {
  return node.is(Op::recip_) || node.is(Op::sqrt_) || node.is(Op::exp2_) || node.is(Op::log2_) ||
         node.is(Op::sin_);
}

// What is computed of results in front, or of what a kernel before has made of few points, is the
// same for many points, and is dear; all of it, with what it is made of.
Node dear_of_rows(const Part& part, const Workshop& workshop) {
  if (points(part.outer) < many_points) return {};
  FreeRanges free;
  const std::vector<Node> nodes = topological_order(part.stages[0].stores);
  for (auto at = nodes.rbegin(); at != nodes.rend(); ++at) {
    const Node& node = *at;
    if (!is_dear(node)) continue;
    const std::vector<Node> loads = find_all({node}, Op::load_);
    const bool of_results = std::any_of(loads.begin(), loads.end(), [&](const Node& load) {
      return workshop.is_workspace(load.src(0));
    });
    const double times = of_results ? 8 : few_of_points;
    if (!loads.empty() && times * points(free.of(node)) <= points(part.outer) &&
        find_all({node}, Op::reduce_).empty() &&
        outer_ranges(part, free.of(node)).size() == free.of(node).size()) {
      return node;
    }
  }
  return {};
}

// What is stored once for several points, and is computed in front now: in parts of its own.
void store_rows_apart(Part& part, std::vector<Part>& parts) {
  std::vector<Node>& stores = part.stages[0].stores;
  const auto is_apart = [&](const Node& store) {
    return !is_scatter(store) && find_all({store}, Op::reduce_).empty() &&
           outer_ranges(part, free_ranges(store)).size() < part.outer.size();
  };
  if (std::all_of(stores.begin(), stores.end(), is_apart)) return;
  for (const Node& store : stores) {
    if (!is_apart(store)) continue;
    const std::vector<Node> outer = outer_ranges(part, free_ranges(store));
    const auto beside = std::find_if(parts.begin(), parts.end(), [&](const Part& other) {
      return other.outer == outer && find_all(other.stages[0].stores, Op::reduce_).empty();
    });
    if (beside != parts.end()) {
      beside->stages[0].stores.push_back(store);
      continue;
    }
    parts.push_back({outer, {{{}, {store}}}});
  }
  std::erase_if(stores, is_apart);
}

// Contiguous from result to result, and not along what is summed.
bool lies_across(const Node& reduction, const std::vector<Node>& results) {
  const int along = contiguous_bytes({reduction.src(0)}, ranges_of(reduction).back());
  return std::any_of(results.begin(), results.end(), [&](const Node& range) {
    return contiguous_bytes({reduction.src(0)}, range) > along;
  });
}

// Rows that a cluster holds in its registers and goes over several times (group_rows): that is
// faster than to reduce them in front, even on few of the processors.
bool fits_cluster(const Node& reduction, const Part& part, Workshop& workshop) {
  const std::vector<Node> ranges = ranges_of(reduction);
  const Size length = extent(ranges);
  if (!workshop.target().has_clusters || ranges.size() != 1 || !length.is_constant() ||
      !has_rows_for_groups(part, workshop)) {
    return false;
  }
  const std::int64_t bytes = length.value() * contiguous_bytes({reduction.src(0)}, ranges.back());
  return bytes > 0 && bytes <= resident_bytes * cluster_groups * most_team;
}

bool inside_larger(const Node& reduction, const std::vector<Node>& all, double own) {
  for (const Node& other : all) {
    if (other == reduction || points(free_ranges(other)) < 8 * own) continue;
    const std::vector<Node> below = find_all({other.src(0)}, Op::reduce_);
    if (contains(below, reduction)) return true;
  }
  return false;
}

// Within another reduction, whose counters are among the free ones, and the same for so many
// results.
bool is_made_again(const Node& reduction, const std::vector<Node>& free, double times) {
  const double once = points(free) * points(ranges_of(reduction));
  return times >= 8 && (times - 1) * once >= few_operations;
}

// The reduction whose counters a long one within its term depends on, where all of its own are the
// part's: rows are reduced, and what is made of them is reduced again. Groups of threads take the
// rows first.
Node around_rows(const Node& rows, const std::vector<Node>& all, const Part& part) {
  constexpr std::int64_t longest_inside = 256;  // that group_rows takes within a term
  const Size length = extent(ranges_of(rows));
  if (length.is_constant() && length.value() <= longest_inside) return {};
  for (const Node& other : all) {
    const std::vector<Node> free = free_ranges(other);
    const std::vector<Node> below = find_all({other.src(0)}, Op::reduce_);
    if (other == rows || !contains(below, rows) || is_contraction(other, part.outer) ||
        outer_ranges(part, free).size() != free.size()) {
      continue;
    }
    return other;
  }
  return {};
}

// Sums of products whose results threads make in tiles; not those of narrow numbers where matrix
// units take these.
bool comes_in_tiles(const Node& reduction, const Part& part, const Target& target) {
  if (target.group_threads == 0 || !is_contraction(reduction, part.outer)) return false;
  const std::vector<Node> loads = find_all({reduction.src(0)}, Op::load_);
  return target.copying_threads == 0 ||
         std::any_of(loads.begin(), loads.end(),
                     [](const Node& load) { return byte_size(load.dtype()) > 2; });
}

// Running reductions and places in an order are not computed as what they are written as.
bool stands_for_less(const Node& reduction) {
  return running_range(reduction) || ranking_term(reduction.src(0));
}

// The most parts of equal size, of `size` elements, none of which is too short.
std::int64_t parts_of_product(std::int64_t size, std::int64_t most) {
  auto parts = std::max<std::int64_t>(1, std::min(size / least_depth, most));
  while (size % parts != 0) --parts;
  return parts;
}

// How a reduction is made in two: pieces of its first range apart, and what they come to.
struct Cut {
  Cut(std::vector<Node> of, std::vector<Node> over, std::int64_t parts, Workshop& workshop)
      : ranges(std::move(of)), free(std::move(over)) {
    const std::int64_t size = Size(ranges[0].src(0)).value();
    length = size / parts;
    left = size - length * parts;
    piece = workshop.range(parts);
    inside = workshop.range(length);
    if (left > 0) tail = workshop.range(left);
  }

  Node partial(const Node& reduction) const {
    return over(reduction, inside, add(mul(piece, constant_int(length)), inside));
  }
  /// Of `partials`, a load over the pieces, and of what no piece has.
  Node total(const Node& reduction, const Node& partials) const {
    const auto op = op_of(reduction);
    Node sum = reduce_over(op, partials, {piece});
    if (left == 0) return sum;
    const std::int64_t done = Size(ranges[0].src(0)).value() - left;
    return combine(op, sum, over(reduction, tail, add(tail, constant_int(done))));
  }

  std::vector<Node> ranges, free;
  bool merges = false;  // others over the same ranges may be made with it
  bool across = false;  // the pieces come outermost
  std::int64_t length = 0, left = 0;
  Node piece, inside, tail;
  std::size_t part = 0;  // of the result, which stores the pieces' results

 private:
  Node over(const Node& reduction, const Node& counter, const Node& at) const {
    std::vector<Node> bound = ranges;
    bound[0] = counter;
    Substitution memo = {{ranges[0], at}};
    return reduce_over(op_of(reduction), substitute(reduction.src(0), memo), bound);
  }
};

}  // namespace

std::vector<Part> hoist_reductions(Part& part, Workshop& workshop) {
  std::vector<Part> before;
  const double outputs = points(part.outer);
  const double tasks_wanted = 2.0 * workshop.target().threads;
  const std::int64_t partial_results = workshop.target().partial_results;
  const bool groups = workshop.target().group_threads > 0;
  bool changed = true;
  while (changed) {
    changed = false;
    const std::vector<Node> all = find_all(part.stages[0].stores, Op::reduce_);
    for (const Node& reduction : all) {
      const std::vector<Node> free = free_ranges(reduction);
      const std::vector<Node> outer = outer_ranges(part, free);
      const double own = points(outer);
      if (outer.size() != free.size()) {
        const Node around = groups ? around_rows(reduction, all, part) : Node();
        if (is_made_again(reduction, free, outputs / own)) {
          replace(part, reduction, store_apart(reduction, free, workshop, before));
        } else if (around) {
          std::vector<Node> points = outer_ranges(part, free_ranges(around));
          for (const Node& range : ranges_of(around)) points.push_back(range);
          replace(part, around.src(0), store_apart(around.src(0), points, workshop, before));
        } else {
          continue;
        }
        changed = true;
        break;
      }
      const double work = own * points(ranges_of(reduction));
      const bool starves =
          own < tasks_wanted && outputs >= 8 * own &&
          outputs * static_cast<double>(operation_count(part.stages[0].stores[0].src(2))) + work >
              (groups ? own * row_of_group : few_operations) &&
          !fits_cluster(reduction, part, workshop);
      // Of columns: in parts, and what is made of them after that, along their rows or turned.
      const bool columns = groups && outputs >= 8 * own && own < columns_wanted &&
                           work >= columns_wanted && lies_across(reduction, free);
      if (outer.size() < part.outer.size() &&
          (starves || columns || inside_larger(reduction, all, own))) {
        replace(part, reduction, store_apart(reduction, outer, workshop, before));
        changed = true;
        break;
      }
    }
  }
  std::vector<Part> dears;  // which do not need each other
  while (const Node dear = groups ? dear_of_rows(part, workshop) : Node()) {
    const std::vector<Node> rows = outer_ranges(part, free_ranges(dear));
    auto apart = std::find_if(dears.begin(), dears.end(),
                              [&](const Part& other) { return other.outer == rows; });
    if (apart == dears.end()) apart = dears.insert(apart, {rows, {Stage{}}});
    replace(part, dear, store_in(*apart, dear, workshop));
  }
  before.insert(before.end(), dears.begin(), dears.end());
  store_rows_apart(part, before);
  // Large reductions to few results: partial results first.
  std::vector<Part> result;
  before.push_back(part);
  for (Part& each : before) {
    std::vector<Cut> cuts;
    for (const Node& reduction : find_all(each.stages[0].stores, Op::reduce_)) {
      if (stands_for_less(reduction)) continue;
      const std::vector<Node> free = free_ranges(reduction);
      const std::vector<Node> ranges = ranges_of(reduction);
      const Size size(ranges[0].src(0));
      const bool in_tiles = comes_in_tiles(reduction, each, workshop.target());
      const bool across = in_tiles || (groups && lies_across(reduction, free));
      const double wanted = in_tiles ? tiles_wanted : across ? columns_wanted : tasks_wanted;
      if (points(each.outer) >= wanted || outer_ranges(each, free).size() != free.size()) continue;
      std::int64_t parts = partial_results;
      if (across) parts = std::min(parts, static_cast<std::int64_t>(wanted / points(each.outer)));
      if (in_tiles && size.is_constant()) parts = parts_of_product(size.value(), parts);
      // Of several ranges each round of the first may be a part.
      if (ranges.size() > 1 && size.is_constant()) parts = std::min(parts, size.value());
      const std::int64_t least = ranges.size() > 1 ? parts : 2 * parts;
      if (points(free) * points(ranges) < few_operations || !size.is_constant() ||
          size.value() < least || parts < 2) {
        continue;
      }
      const bool merges = groups && !in_tiles && find_all({reduction.src(0)}, Op::reduce_).empty();
      auto cut = std::find_if(cuts.begin(), cuts.end(), [&](const Cut& other) {
        return merges && other.merges && other.across == across && other.ranges == ranges &&
               other.free == free;
      });
      if (cut == cuts.end()) {
        cut = cuts.insert(cut, Cut(ranges, free, parts, workshop));
        cut->merges = merges;
        cut->across = across;
        cut->part = result.size();
        std::vector<Node> outer = outer_ranges(each, free);
        outer.insert(across ? outer.begin() : outer.end(), cut->piece);
        result.push_back({std::move(outer), {Stage{}}});
      }
      const Node partials = store_in(result[cut->part], cut->partial(reduction), workshop);
      replace(each, reduction, cut->total(reduction, partials));
    }
    result.push_back(each);
  }
  part = result.back();
  result.pop_back();
  return result;
}

}  // namespace brisk
