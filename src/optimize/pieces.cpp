#include "optimize/pieces.h"

#include <algorithm>
#include <array>
#include <optional>

#include "graph/integer.h"
#include "optimize/analysis.h"

namespace brisk {

namespace {

// The counter of the range from which on the comparison has another result.
std::optional<std::int64_t> cut_of(const Node& condition, const Node& range) {
  const Node& a = condition.src(0);
  const Node& b = condition.src(1);
  if (a == range && b.is_constant()) return b.int_value();
  if (b == range && a.is_constant()) return a.int_value() + 1;
  return std::nullopt;
}

std::size_t sums_in(const Part& part) {
  return find_all(part.stages[0].stores, Op::reduce_).size();
}

// The counters from `first` on.
Part piece(Part part, std::size_t axis, std::int64_t first, std::int64_t count, int& next_range) {
  const Node counter = make_range(next_range++, count);
  Substitution memo = {{part.outer[axis], add(counter, constant_int(first))}};
  for (Node& store : part.stages[0].stores) store = substitute(store, memo);
  part.outer[axis] = counter;
  return part;
}

std::optional<std::array<Part, 2>> cut(const Part& part, int& next_range) {
  std::vector<Node> conditions;
  for (const Node& choice : find_all(part.stages[0].stores, Op::where_))
    conditions.push_back(choice.src(0));
  for (const Node& comparison : find_all(conditions, Op::cmplt_)) {
    for (std::size_t axis = 0; axis < part.outer.size(); ++axis) {
      const Size size(part.outer[axis].src(0));
      const auto at = cut_of(comparison, part.outer[axis]);
      if (!at || !size.is_constant() || *at < 1 || *at >= size.value()) continue;
      std::array<Part, 2> both = {piece(part, axis, 0, *at, next_range),
                                  piece(part, axis, *at, size.value() - *at, next_range)};
      if (sums_in(both[0]) + sums_in(both[1]) <= sums_in(part)) return both;
    }
  }
  return std::nullopt;
}

}  // namespace

std::vector<Part> pieces_of(const Part& part, int& next_range) {
  const bool one_stage = part.stages.size() == 1;
  const std::vector<Node>& stores = part.stages[0].stores;
  if (!one_stage || sums_in(part) == 0 || std::any_of(stores.begin(), stores.end(), is_scatter))
    return {part};
  const auto both = cut(part, next_range);
  if (!both) return {part};
  std::vector<Part> pieces;
  for (const Part& half : *both) {
    for (Part& one : pieces_of(half, next_range)) {
      one.piece = static_cast<int>(pieces.size());
      pieces.push_back(std::move(one));
    }
  }
  return pieces;
}

}  // namespace brisk
