#include "optimize/strategies/group.h"

#include <algorithm>

#include "optimize/analysis.h"

namespace brisk {

int lanes_along(const std::vector<Node>& expressions, const Node& range, const Target& target) {
  const Size size(range.src(0));
  if (!size.is_constant()) return 1;
  int widest = 0;  // bytes of an element of the contiguous accesses
  int narrowest = 16;
  const auto note = [&](const Node& index, DType dtype) {
    if (stride(index, range) != 1) return;
    widest = std::max(widest, byte_size(dtype));
    narrowest = std::min(narrowest, byte_size(dtype));
  };
  for (const Node& node : topological_order(expressions)) {
    if (node.is(Op::load_)) note(node.src(1), node.dtype());
    if (node.is(Op::store_)) note(node.src(1), node.src(0).dtype());
  }
  if (widest == 0) return 1;
  // Bytes beside words: two words of those, so that the bytes are not read one by one.
  int lanes = target.lanes(std::max(widest, 2));
  if (narrowest < widest) lanes = std::min(2 * lanes, target.lanes(std::max(narrowest, 2)));
  while (lanes > 1 && size.value() % lanes != 0) lanes /= 2;
  return lanes;
}

Node place_vector(Substitution& values, const std::vector<Node>& ranges, const Node& p, int lanes) {
  if (lanes == 1) {
    place(values, ranges, p);
    return values[ranges.back()];
  }
  const std::vector<Node> outside(ranges.begin(), ranges.end() - 1);
  const Node length = (Size(ranges.back().src(0)) / lanes).node();
  place(values, outside, outside.empty() ? p : idiv(p, length));
  const Node base = mul(outside.empty() ? p : mod(p, length), constant_int(lanes));
  values[ranges.back()] = base;
  return base;
}

bool have_own_places(const std::vector<Node>& stores, const std::vector<Node>& ranges) {
  return std::all_of(stores.begin(), stores.end(), [&](const Node& store) {
    return !is_scatter(store) && std::all_of(ranges.begin(), ranges.end(), [&](const Node& range) {
      return depends_on(store.src(1), range);
    });
  });
}

void ask_for(const Node& vector, std::vector<Node>& statements) {
  for (const Node& load : find_all({vector}, Op::load_)) {
    const Node& index = load.src(1);
    if (!load.src(0).is(Op::param_) || !find_all({index}, Op::load_).empty()) continue;
    statements.push_back(prefetch(load.src(0), index.is(Op::ramp_) ? index.src(0) : index));
  }
}

std::int64_t power_below(std::int64_t n) {
  std::int64_t p = 1;
  while (2 * p <= n) p *= 2;
  return p;
}

Node store_vector(const Node& store, const Node& range, const Node& base, int lanes,
                  const Substitution& values) {
  Substitution scalars = values;
  scalars[range] = base;
  const Node gate =
      store.srcs().size() == 4 ? vectorise(store.src(3), range, base, lanes, values) : Node();
  const Node value = splat(vectorise(store.src(2), range, base, lanes, values), lanes);
  return store_to(store.src(0), substitute(store.src(1), scalars), value, gate);
}

Node for_points(Workshop& workshop, const Size& points, std::int64_t threads,
                const std::function<Node(const Node&)>& statement) {
  const Node group = workshop.range((points + (threads - 1)) / threads);
  const Node thread = workshop.range(threads);
  const Node point = add(mul(group, constant_int(threads)), thread);
  const Node one = branch(integer_less(point, points.node()), statement(point));
  return loop(LoopKind::parallel, group, loop(LoopKind::threads, thread, one));
}

Node for_block(Workshop& workshop, std::int64_t threads, std::int64_t each,
               const std::function<Node(const Node&)>& statement) {
  const Node thread = workshop.range(threads);
  const Node turn = workshop.range(each);
  const Node element = add(mul(turn, constant_int(threads)), thread);
  return loop(LoopKind::threads, thread, loop(LoopKind::unrolled, turn, statement(element)));
}

Node in_banks(const Node& i, std::int64_t each) { return add(i, idiv(i, constant_int(each))); }

}  // namespace brisk
