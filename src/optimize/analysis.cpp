#include "optimize/analysis.h"

#include <algorithm>
#include <array>
#include <limits>
#include <unordered_set>

#include "base/error.h"
#include "graph/idioms.h"

namespace brisk {

namespace {

bool depends(const Node& node, const Node& range, std::unordered_map<Node, bool, NodeHash>& memo) {
  if (node == range) return true;
  if (node.srcs().empty()) return false;
  if (const auto found = memo.find(node); found != memo.end()) return found->second;
  bool result = false;
  for (const Node& src : node.srcs()) result = result || depends(src, range, memo);
  memo.emplace(node, result);
  return result;
}

}  // namespace

bool depends_on(const Node& expression, const Node& range) {
  std::unordered_map<Node, bool, NodeHash> memo;
  return depends(expression, range, memo);
}

Node with(const Node& expression, const Node& from, const Node& to) {
  Substitution memo = {{from, to}};
  return substitute(expression, memo);
}

double points(const std::vector<Node>& ranges) {
  double count = 1;
  for (const Node& range : ranges) count *= static_cast<double>(Size(range.src(0)).upper());
  return count;
}

bool contains(const std::vector<Node>& list, const Node& node) {
  return std::find(list.begin(), list.end(), node) != list.end();
}

ReduceOp op_of(const Node& reduction) { return static_cast<ReduceOp>(reduction.ints(0)); }

std::vector<Node> ranges_of(const Node& reduction) {
  return {reduction.srcs().begin() + 1, reduction.srcs().end()};
}

std::optional<std::int64_t> stride(const Node& index, const Node& range) {
  if (!depends_on(index, range)) return 0;
  Substitution next = {{range, add(range, constant_int(1))}};
  const Node difference = integer_sub(substitute(index, next), index);
  if (!difference.is_constant()) return std::nullopt;
  // An index that is not linear (j / 4, say) may still move by a constant now and then.
  for (const Node& node : find_all({index}, Op::idiv_)) {
    if (depends_on(node, range)) return std::nullopt;
  }
  for (const Node& node : find_all({index}, Op::mod_)) {
    if (depends_on(node, range)) return std::nullopt;
  }
  return difference.int_value();
}

Node place_of(const Node& store) {
  const Node& index = store.src(1);
  if (!index.is(Op::where_)) return index;
  const auto is_none = [](const Node& node) { return node.is_constant() && node.int_value() < 0; };
  if (is_none(index.src(2))) return index.src(1);
  return is_none(index.src(1)) ? index.src(2) : index;
}

bool reads_place_by(const Node& store, const Node& range) {
  const std::vector<Node> loads = find_all({place_of(store)}, Op::load_);
  return std::any_of(loads.begin(), loads.end(),
                     [&](const Node& load) { return depends_on(load, range); });
}

bool places_overlap(const Node& store, const std::vector<Node>& ranges) {
  std::vector<std::array<std::int64_t, 2>> digits;  // step, greatest counter
  for (const Node& range : ranges) {
    if (reads_place_by(store, range)) continue;
    const auto step = stride(place_of(store), range);
    if (!step) return true;
    digits.push_back({std::abs(*step), Size(range.src(0)).upper() - 1});
  }
  std::sort(digits.begin(), digits.end());
  std::int64_t reach = 0;
  for (const auto& [step, greatest] : digits) {
    if (step <= reach) return true;
    reach += step * greatest;
  }
  return false;
}

int contiguous_bytes(const std::vector<Node>& expressions, const Node& range) {
  constexpr double few = 8;
  const std::vector<Node> loads = find_all(expressions, Op::load_);
  FreeRanges free;
  double most = 0;
  for (const Node& load : loads) most = std::max(most, points(free.of(load)));
  int bytes = 0;
  for (const Node& load : loads) {
    if (few * points(free.of(load)) < most) continue;
    const auto step = stride(load.src(1), range);
    if (step == 1) bytes += byte_size(load.dtype());
    if (!step || (*step != 0 && *step != 1)) bytes -= byte_size(load.dtype());
  }
  return bytes;
}

Size extent(const std::vector<Node>& ranges) {
  Size count = 1;
  for (const Node& range : ranges) count = count * Size(range.src(0));
  return count;
}

Node position(const std::vector<Node>& ranges) {
  Node at = constant_int(0);
  for (const Node& range : ranges) at = add(mul(at, range.src(0)), range);
  return at;
}

void place(Substitution& values, const std::vector<Node>& ranges, Node at) {
  for (std::size_t i = ranges.size(); i-- > 0;) {
    values[ranges[i]] = i == 0 ? at : mod(at, ranges[i].src(0));
    at = idiv(at, ranges[i].src(0));
  }
}

std::vector<Node> find_all(const std::vector<Node>& expressions, Op op) {
  std::vector<Node> found;
  for (const Node& node : topological_order(expressions)) {
    if (node.is(op)) found.push_back(node);
  }
  return found;
}

namespace {

class Vectoriser {
 public:
  Vectoriser(const Node& range, const Node& base, int lanes, const Substitution& others,
             const Node& limit)
      : range_(range), lanes_(lanes), others_(others), scalars_(others), memo_(others) {
    scalars_[range] = base;
    memo_[range] = ramp(base, lanes);
    if (limit) inside_ = compare(ramp(base, lanes), limit);
  }

  Node run(const Node& node) {
    if (const auto found = memo_.find(node); found != memo_.end()) return found->second;
    const Node result = moves(node) ? vector(node) : substitute(node, scalars_);
    memo_.emplace(node, result);
    return result;
  }

 private:
  // True where the node's value differs from lane to lane: it depends on the range, or on a node
  // that `others` replaced by a vector.
  bool moves(const Node& node) {
    if (const auto found = memo_.find(node); found != memo_.end()) return found->second.lanes() > 1;
    if (const auto found = moves_.find(node); found != moves_.end()) return found->second;
    bool result = false;
    for (const Node& src : node.srcs()) result = result || moves(src);
    moves_.emplace(node, result);
    return result;
  }

  Node vector(const Node& node) {
    if (node.is(Op::load_)) return vector_load(node);
    check(is_elementwise(node.op()), "an expression that can be computed in vectors");
    std::vector<Node> srcs;
    for (const Node& src : node.srcs()) srcs.push_back(run(src));
    if (node.is(Op::idiv_) || node.is(Op::mod_)) return quotient(node, srcs);
    return make_node(node.op(), node.dtype(), std::move(srcs), node.attr(), lanes_);
  }

  // Vector units have no 64-bit division: indices that fit are divided in 32 bits.
  Node quotient(const Node& node, const std::vector<Node>& srcs) const {
    const Bounds a = bounds(node.src(0));
    const Bounds b = bounds(node.src(1));
    constexpr std::int64_t limit = std::numeric_limits<std::int32_t>::max();
    if (node.dtype() != DType::int64 || a.least < 0 || a.greatest > limit || b.least < 1 ||
        b.greatest > limit) {
      return make_node(node.op(), node.dtype(), srcs, {}, lanes_);
    }
    const Node narrow =
        make_node(node.op(), DType::uint32,
                  {cast(srcs[0], DType::uint32), cast(srcs[1], DType::uint32)}, {}, lanes_);
    return cast(narrow, DType::int64);
  }

  Node compare(const Node& a, const Node& b) const {
    return make_node(Op::cmplt_, DType::boolean, {a, b}, {}, lanes_);
  }

  Node vector_load(const Node& node) {
    const Node& index = node.src(1);
    Node gate = node.srcs().size() == 3 ? run(node.src(2)) : Node();
    if (inside_) {
      gate = gate ? make_node(Op::and_, DType::boolean, {gate, inside_}, {}, lanes_) : inside_;
    }
    const auto step = moves_by_range_only(index) ? stride(index, range_) : std::nullopt;
    // Only the gate moves; what stays the same of it still guards the read. (An index that may be
    // negative needs all of it.)
    if (step && *step == 0 && bounds(index).least >= 0) {
      const Node still = node.srcs().size() == 3 ? unmoved(node.src(2)) : Node();
      return where(gate, load_from(node.src(0), substitute(index, scalars_), still),
                   constant_like(0, node.dtype()));
    }
    if (step && *step == 1)
      return load_from(node.src(0), substitute(index, scalars_), gate, lanes_);
    Node at;
    if (step && *step != 0) {
      at = make_node(Op::mul_, DType::int64, {ramp(constant_int(0), lanes_), constant_int(*step)},
                     {}, lanes_);
      at = make_node(Op::add_, DType::int64, {at, substitute(index, scalars_)}, {}, lanes_);
    } else {
      at = splat(run(index), lanes_);
    }
    return load_from(node.src(0), at, gate, lanes_);
  }

  // The parts of a conjunction that are the same in every lane.
  Node unmoved(const Node& gate) {
    if (!moves(gate)) return run(gate);
    if (!gate.is(Op::and_)) return {};
    return logical_and(unmoved(gate.src(0)), unmoved(gate.src(1)));
  }

  // False where a replaced vector (not the range itself) makes the index move.
  bool moves_by_range_only(const Node& index) {
    if (index == range_) return true;
    if (const auto found = others_.find(index); found != others_.end()) {
      return found->second.lanes() == 1;
    }
    if (index.is(Op::load_)) return !moves(index);
    if (const auto found = by_range_only_.find(index); found != by_range_only_.end())
      return found->second;
    const bool all = std::all_of(index.srcs().begin(), index.srcs().end(),
                                 [&](const Node& src) { return moves_by_range_only(src); });
    return by_range_only_[index] = all;
  }

  const Node range_;
  const int lanes_;
  const Substitution& others_;
  Substitution scalars_;  // also holds replaced vectors, which scalar expressions never reach
  Substitution memo_;
  std::unordered_map<Node, bool, NodeHash> moves_;
  std::unordered_map<Node, bool, NodeHash> by_range_only_;
  Node inside_;
};

}  // namespace

Node vectorise(const Node& expression, const Node& range, const Node& base, int lanes,
               const Substitution& others, const Node& limit) {
  if (lanes == 1 && !limit) {
    Substitution scalars = others;
    scalars[range] = base;
    return substitute(expression, scalars);
  }
  return Vectoriser(range, base, lanes, others, limit).run(expression);
}

Node join_lanes(const std::vector<Node>& parts) {
  if (parts.size() == 1) return parts[0];
  const Node& first = parts[0];
  const int lanes = first.lanes();
  const auto all = [&](auto&& test) { return std::all_of(parts.begin(), parts.end(), test); };
  const auto numbers = [](int copies, int count) {
    std::vector<std::int64_t> list;
    for (int i = 0; i < copies * count; ++i) list.push_back(i % count);
    return list;
  };
  if (all([&](const Node& part) { return part == first; }))
    return shuffle(first, {}, numbers(static_cast<int>(parts.size()), lanes));
  if (is_elementwise(first.op()) && all([&](const Node& part) {
        return part.op() == first.op() && part.dtype() == first.dtype();
      })) {
    std::vector<Node> srcs;
    for (std::size_t s = 0; s < first.srcs().size(); ++s) {
      std::vector<Node> below;
      for (const Node& part : parts) below.push_back(splat(part.src(s), lanes));
      const bool scalar = first.src(s).lanes() == 1 &&
                          all([&](const Node& part) { return part.src(s) == first.src(s); });
      srcs.push_back(scalar ? first.src(s) : join_lanes(below));
    }
    return make_node(first.op(), first.dtype(), srcs, {}, lanes * static_cast<int>(parts.size()));
  }
  std::vector<Node> halves = parts;
  for (int width = 2 * lanes; halves.size() > 1; width *= 2) {
    for (std::size_t i = 0; i < halves.size() / 2; ++i)
      halves[i] = shuffle(halves[2 * i], halves[2 * i + 1], numbers(1, width));
    halves.resize(halves.size() / 2);
  }
  return halves[0];
}

Node vectorised_store(const Node& store, const Node& range, const Node& base, int lanes,
                      const Substitution& others, const Node& limit) {
  const Node& index = store.src(1);
  const Node value = splat(vectorise(store.src(2), range, base, lanes, others, limit), lanes);
  Node gate;
  if (store.srcs().size() == 4) gate = vectorise(store.src(3), range, base, lanes, others, limit);
  if (limit) {
    const Node inside =
        make_node(Op::cmplt_, DType::boolean, {ramp(base, lanes), limit}, {}, lanes);
    gate = gate ? make_node(Op::and_, DType::boolean, {gate, inside}, {}, lanes) : inside;
  }
  if (stride(index, range) == 1) {
    Substitution scalar = others;
    scalar[range] = base;
    return store_to(store.src(0), substitute(index, scalar), value, gate);
  }
  return store_to(store.src(0), splat(vectorise(index, range, base, lanes, others), lanes), value,
                  gate);
}

void ask_ahead(const Node& load, const Node& range, const Node& from, std::int64_t count,
               std::int64_t distance, Substitution values, std::vector<Node>& statements) {
  values[range] = from;
  const Node index = substitute(load.src(1), values);
  const std::int64_t bytes = byte_size(load.dtype());
  for (std::int64_t at = 0; at < count; at += line_bytes / bytes)
    statements.push_back(prefetch(load.src(0), add(index, constant_int(at + distance / bytes))));
}

// ---- merging
// -------------------------------------------------------------------------------------

namespace {

int division_count(const std::vector<Node>& expressions) {
  int count = 0;
  for (const Node& node : topological_order(expressions)) {
    count += node.is(Op::idiv_) || node.is(Op::mod_);
  }
  return count;
}

// The stores with ranges `a` and `b` (inner) replaced by one, everywhere.
std::vector<Node> merged(const std::vector<Node>& stores, const Node& a, const Node& b,
                         const Node& both) {
  Substitution memo = {{a, idiv(both, b.src(0))}, {b, mod(both, b.src(0))}};
  for (const Node& node : find_all(stores, Op::reduce_)) {
    std::vector<Node> ranges = ranges_of(node);
    const auto at = std::find(ranges.begin(), ranges.end(), a);
    if (at == ranges.end()) continue;
    *at = both;
    ranges.erase(at + 1);
    memo[node] = reduce_over(op_of(node), substitute(node.src(0), memo), std::move(ranges));
  }
  std::vector<Node> result;
  for (const Node& store : stores) result.push_back(substitute(store, memo));
  return result;
}

// The stores with every load's gate open.
std::vector<Node> without_gates(const std::vector<Node>& stores) {
  Substitution memo;
  for (const Node& load : find_all(stores, Op::load_))
    memo[load] = load_from(load.src(0), substitute(load.src(1), memo));
  std::vector<Node> result;
  for (const Node& store : stores) result.push_back(substitute(store, memo));
  return result;
}

// Neighbours that every reduction over one of them binds together.
bool neighbours(const std::vector<Node>& reductions, const Node& a, const Node& b) {
  for (const Node& node : reductions) {
    const auto first = node.srcs().begin() + 1;
    const auto at = std::find(first, node.srcs().end(), a);
    const auto bt = std::find(first, node.srcs().end(), b);
    if (at == node.srcs().end() && bt == node.srcs().end()) continue;
    if (at == node.srcs().end() || bt != at + 1) return false;
  }
  return true;
}

}  // namespace

void merge_ranges(Part& part, int& next_range) {
  std::vector<Node>& stores = part.stages[0].stores;
  const auto attempt = [&](const Node& a, const Node& b) -> std::optional<Node> {
    Node both = make_range(next_range, Size(a.src(0)) * Size(b.src(0)));
    std::vector<Node> candidate = merged(stores, a, b, both);
    if (division_count(candidate) > division_count(stores)) return std::nullopt;
    stores = std::move(candidate);
    ++next_range;
    return both;
  };
  for (std::size_t i = part.outer.size(); i-- > 1;) {
    if (const auto both = attempt(part.outer[i - 1], part.outer[i])) {
      part.outer[i - 1] = *both;
      part.outer.erase(part.outer.begin() + static_cast<std::ptrdiff_t>(i));
    }
  }
  bool changed = true;
  while (changed) {
    changed = false;
    const std::vector<Node> reductions = find_all(stores, Op::reduce_);
    for (const Node& node : reductions) {
      for (std::size_t i = node.srcs().size(); i-- > 2 && !changed;) {
        const Node& a = node.src(i - 1);
        const Node& b = node.src(i);
        changed = neighbours(reductions, a, b) && attempt(a, b).has_value();
      }
      if (changed) break;
    }
  }
}

Node store_at(const Node& store, Substitution& values) {
  const Node gate = store.srcs().size() == 4 ? substitute(store.src(3), values) : Node();
  return store_to(store.src(0), substitute(store.src(1), values), substitute(store.src(2), values),
                  gate);
}

bool merge_rows(Part& part, const Node& both) {
  const Node& a = part.outer.end()[-2];
  const Node& b = part.outer.back();
  std::vector<Node>& stores = part.stages[0].stores;
  std::vector<Node> candidate = merged(stores, a, b, both);
  if (division_count(without_gates(candidate)) > division_count(without_gates(stores)))
    return false;
  stores = std::move(candidate);
  part.outer.pop_back();
  part.outer.back() = both;
  return true;
}

// ---- splitting
// -----------------------------------------------------------------------------------

namespace {

// The constants by which indices divide the range, ascending; nothing where they are no chain.
std::vector<std::int64_t> divisors_of(const std::vector<Node>& stores, const Node& range) {
  std::vector<std::int64_t> divisors;
  for (const Op op : {Op::idiv_, Op::mod_}) {
    for (const Node& node : find_all(stores, op)) {
      if (node.dtype() != DType::int64 || !node.src(1).is_constant()) continue;
      const Node& over = node.src(0);
      const bool direct = over == range;
      const bool nested = (over.is(Op::mod_) || over.is(Op::idiv_)) && over.src(0) == range &&
                          over.src(1).is_constant();
      if (!direct && !nested) continue;
      const std::int64_t outer = over.is(Op::idiv_) && nested ? over.src(1).int_value() : 1;
      divisors.push_back(node.src(1).int_value() * outer);
    }
  }
  std::sort(divisors.begin(), divisors.end());
  divisors.erase(std::unique(divisors.begin(), divisors.end()), divisors.end());
  std::int64_t below = 1;
  const Size size(range.src(0));
  for (const std::int64_t d : divisors) {
    if (d % below != 0) return {};
    below = d;
  }
  if (divisors.empty() || !size.is_constant() || size.value() % below != 0 ||
      size.value() == below) {
    return {};
  }
  return divisors;
}

}  // namespace

void split_ranges(Part& part, int& next_range) {
  std::vector<Node>& stores = part.stages[0].stores;
  std::vector<Node> bound = part.outer;
  for (const Node& node : find_all(stores, Op::reduce_)) {
    for (std::size_t i = 1; i < node.srcs().size(); ++i) {
      if (std::find(bound.begin(), bound.end(), node.src(i)) == bound.end())
        bound.push_back(node.src(i));
    }
  }
  for (const Node& range : bound) {
    const std::vector<std::int64_t> divisors = divisors_of(stores, range);
    if (divisors.empty()) continue;
    std::vector<Node> digits;  // outermost first
    Node sum = constant_int(0);
    std::int64_t size = Size(range.src(0)).value();
    for (std::size_t i = divisors.size() + 1; i-- > 0;) {
      const std::int64_t unit = i == 0 ? 1 : divisors[i - 1];
      digits.push_back(make_range(next_range++, size / unit));
      sum = add(sum, mul(digits.back(), constant_int(unit)));
      size = unit;
    }
    Substitution memo = {{range, sum}};
    for (const Node& node : find_all(stores, Op::reduce_)) {
      std::vector<Node> ranges = ranges_of(node);
      const auto at = std::find(ranges.begin(), ranges.end(), range);
      if (at == ranges.end()) continue;
      ranges.insert(ranges.erase(at), digits.begin(), digits.end());
      memo[node] = reduce_over(op_of(node), substitute(node.src(0), memo), std::move(ranges));
    }
    std::vector<Node> candidate;
    for (const Node& store : stores) candidate.push_back(substitute(store, memo));
    if (division_count(candidate) >= division_count(stores)) continue;
    stores = std::move(candidate);
    const auto at = std::find(part.outer.begin(), part.outer.end(), range);
    if (at != part.outer.end())
      part.outer.insert(part.outer.erase(at), digits.begin(), digits.end());
  }
}

// ---- costs and reductions
// ------------------------------------------------------------------------

std::int64_t operation_count(const Node& expression) {
  std::int64_t count = 0;
  std::unordered_set<const NodeData*> seen;
  std::vector<Node> stack = {expression};
  while (!stack.empty()) {
    const Node node = stack.back();
    stack.pop_back();
    if (!seen.insert(node.get()).second || node.is(Op::reduce_)) continue;
    switch (node.op()) {
      case Op::exp2_:
      case Op::log2_:
      case Op::sin_: count += 12; break;
      case Op::sqrt_:
      case Op::recip_:
      case Op::idiv_:
      case Op::mod_: count += 4; break;
      case Op::load_: count += 2; break;
      default: count += is_elementwise(node.op()) ? 1 : 0;
    }
    for (const Node& src : node.srcs()) stack.push_back(src);
  }
  return count;
}

Node identity_of(ReduceOp op, DType dtype) {
  switch (op) {
    case ReduceOp::add: return constant_like(0, dtype);
    case ReduceOp::mul: return constant_like(1, dtype);
    case ReduceOp::max: break;
  }
  if (is_float(dtype)) {
    // e4m3 has no infinity.
    return dtype == DType::float8_e4m3
               ? constant_float(-448, dtype)
               : constant_float(-std::numeric_limits<double>::infinity(), dtype);
  }
  return constant_int(min_value(dtype), dtype);
}

Node running_range(const Node& reduction) {
  const auto term = running_term(reduction.src(0));
  if (!term || reduction.srcs().size() != 2 || !(term->other == reduction.src(1))) return {};
  const auto op = op_of(reduction);
  const bool runs = term->at.is(Op::range_) && term->at.src(0) == term->other.src(0) &&
                    term->start == identity_of(op, reduction.dtype()) &&
                    !depends_on(term->value, term->at);
  return runs ? term->at : Node();
}

Scaled without_factors(const Node& product) {
  if (!product.is(Op::mul_)) return {product, 1};
  Scaled a = without_factors(product.src(0));
  Scaled b = without_factors(product.src(1));
  if (a.value.is_constant()) std::swap(a, b);
  if (b.value.is_constant()) return {a.value, a.factor * b.factor * b.value.float_value()};
  return {mul(a.value, b.value), a.factor * b.factor};
}

Node either(const Node& a, const Node& b) {
  if (!a || !b) return a ? a : b;
  return make_node(Op::or_, DType::boolean, {a, b});
}

Node combine(ReduceOp op, const Node& a, const Node& b) {
  switch (op) {
    case ReduceOp::add: return add(a, b);
    case ReduceOp::mul: return mul(a, b);
    case ReduceOp::max: return max(a, b);
  }
  unreachable("a reduction");
}

Node stored_along(const std::vector<Node>& stores, const std::vector<Node>& ranges) {
  for (const Node& range : ranges) {
    const bool along = std::all_of(stores.begin(), stores.end(), [&](const Node& store) {
      return stride(store.src(1), range) == 1;
    });
    if (along) return range;
  }
  return {};
}

}  // namespace brisk
