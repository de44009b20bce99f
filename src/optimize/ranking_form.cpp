#include "optimize/ranking_form.h"

#include <algorithm>

#include "graph/idioms.h"
#include "optimize/analysis.h"

namespace brisk {

namespace {
constexpr std::int64_t shortest_row = 64;
constexpr std::int64_t longest_row = std::int64_t{1} << 28;
}  // namespace

std::optional<RankingForm> ranking_form(const Part& part) {
  const std::vector<Node>& stores = part.stages[0].stores;
  const std::vector<Node> reductions = find_all(stores, Op::reduce_);
  if (reductions.size() != 1 || reductions[0].srcs().size() != 2) return std::nullopt;
  const Node& place = reductions[0];
  const auto term = ranking_term(place.src(0));
  if (!term || op_of(place) != ReduceOp::add || !(term->other == place.src(1)) ||
      !(term->at.src(0) == term->other.src(0))) {
    return std::nullopt;
  }
  Substitution other = {{term->at, term->other}};
  if (!contains(part.outer, term->at) || !(substitute(term->key, other) == term->other_key))
    return std::nullopt;
  for (const Node& store : stores) {
    if (!depends_on(store.src(1), term->at)) return std::nullopt;
  }
  const std::int64_t length = Size(term->at.src(0)).upper();
  if (!is_integer(term->key.dtype()) || byte_size(term->key.dtype()) < 4 || length < shortest_row ||
      length > longest_row) {
    return std::nullopt;
  }
  return RankingForm{place, term->at, term->key};
}

Node ordered_bits(const Node& key) {
  const DType dtype = key.dtype();
  const DType bits = byte_size(dtype) == 8 ? DType::uint64 : DType::uint32;
  const Node ordered =
      min_value(dtype) < 0 ? bit_xor(key, constant_int(min_value(dtype), dtype)) : key;
  return dtype == bits ? ordered : bitcast(ordered, bits);
}

}  // namespace brisk
