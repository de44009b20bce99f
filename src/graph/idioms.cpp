#include "graph/idioms.h"

#include "graph/pattern.h"

namespace brisk {

std::optional<RunningTerm> running_term(const Node& term) {
  static const Pattern at = any(), other = any(), start = constant(), value = any();
  static const Pattern whole = where(at < other, start, value);
  const auto found = match(whole, term);
  if (!found) return {};
  const Match& m = *found;
  return RunningTerm{m[at], m[other], m[start], m[value]};
}

std::optional<RankingTerm> ranking_term(const Node& term) {
  static const Pattern at = any(), other = any(), key = any(), other_key = any();
  static const Pattern equal_and_earlier = (other < at) & ((key < other_key) != 1);
  static const Pattern whole = pattern(Op::cast_, (other_key < key) | equal_and_earlier);
  const auto found = match(whole, term);
  if (!found) return {};
  const Match& m = *found;
  return RankingTerm{m[at], m[other], m[key], m[other_key]};
}

}  // namespace brisk
