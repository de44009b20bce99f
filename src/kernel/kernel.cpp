#include "kernel/kernel.h"

#include <algorithm>
#include <unordered_map>
#include <unordered_set>

#include "base/error.h"
#include "graph/integer.h"

namespace brisk {

namespace {

Attr with_ints(std::vector<std::int64_t> ints) {
  Attr attr;
  attr.ints = std::move(ints);
  return attr;
}

}  // namespace

Node make_range(int id, const Size& size) {
  return make_node(Op::range_, DType::int64, {size.node()}, with_ints({id}));
}

Node make_param(int index, DType dtype) {
  return make_node(Op::param_, dtype, {}, with_ints({index}));
}

Node make_local(int id, DType dtype, std::int64_t elements, Memory memory) {
  return make_node(Op::local_, dtype, {},
                   with_ints({id, elements, static_cast<std::int64_t>(memory)}));
}

Node reduce_over(ReduceOp op, const Node& value, std::vector<Node> ranges) {
  if (ranges.empty()) return value;
  ranges.insert(ranges.begin(), value);
  return make_node(Op::reduce_, value.dtype(), std::move(ranges),
                   with_ints({static_cast<std::int64_t>(op)}), value.lanes());
}

Node loop(LoopKind kind, const Node& range, const Node& body) {
  return make_node(Op::loop_, DType::none, {range, body},
                   with_ints({static_cast<std::int64_t>(kind)}));
}

Node pipeline(const Node& range, const Node& body, std::int64_t stages,
              std::int64_t copying_threads) {
  return make_node(
      Op::loop_, DType::none, {range, body},
      with_ints({static_cast<std::int64_t>(LoopKind::pipeline), stages, copying_threads}));
}

Node block(std::vector<Node> statements) {
  std::vector<Node> flat;
  for (Node& statement : statements) {
    if (statement.is(Op::block_)) {
      flat.insert(flat.end(), statement.srcs().begin(), statement.srcs().end());
    } else {
      flat.push_back(std::move(statement));
    }
  }
  if (flat.size() == 1) return flat[0];
  return make_node(Op::block_, DType::none, std::move(flat));
}

Node branch(const Node& condition, const Node& body) {
  if (condition.is_constant(1)) return body;
  return make_node(Op::branch_, DType::none, {condition, body});
}

Node load_from(const Node& pointer, const Node& index, const Node& gate, int lanes) {
  std::vector<Node> srcs = {pointer, index};
  if (gate && !gate.is_constant(1)) srcs.push_back(gate);
  return make_node(Op::load_, pointer.dtype(), std::move(srcs), {}, std::max(lanes, index.lanes()));
}

Node store_to(const Node& pointer, const Node& index, const Node& value, const Node& gate) {
  std::vector<Node> srcs = {pointer, index, value};
  if (gate && !gate.is_constant(1)) srcs.push_back(gate);
  return make_node(Op::store_, DType::none, std::move(srcs));
}

Node prefetch(const Node& pointer, const Node& index) {
  return make_node(Op::prefetch_, DType::none, {pointer, index});
}

Node arrive(const Node& flag, const Node& place, std::int64_t groups, std::int64_t places) {
  Attr attr;
  attr.ints = {groups, places};
  return make_node(Op::arrive_, DType::none, {flag, place}, std::move(attr));
}

Node group_reduce(ReduceOp op, const Node& registers, std::int64_t index, std::int64_t count,
                  std::int64_t width, std::int64_t threads) {
  return make_node(Op::group_reduce_, DType::none, {registers, constant_int(index)},
                   with_ints({static_cast<std::int64_t>(op), count, width, threads}));
}

bool is_loop(const Node& statement, LoopKind kind) {
  return statement.is(Op::loop_) && statement.ints(0) == static_cast<std::int64_t>(kind);
}

bool is_local(const Node& node, Memory memory) {
  return node.is(Op::local_) && node.ints(2) == static_cast<std::int64_t>(memory);
}

std::int64_t local_bytes(const Node& local) { return local.ints(1) * byte_size(local.dtype()); }

bool is_scatter(const Node& store) { return !store.attr().ints.empty(); }

Node near_recip(const Node& x) {
  return make_node(Op::recip_, x.dtype(), {x}, with_ints({1}), x.lanes());
}

Node ramp(const Node& start, int lanes) {
  return lanes == 1 ? start : make_node(Op::ramp_, DType::int64, {start}, {}, lanes);
}

Node splat(const Node& value, int lanes) {
  if (value.lanes() == lanes) return value;
  return make_node(Op::splat_, value.dtype(), {value}, {}, lanes);
}

Node lane(const Node& vector, int index) {
  if (vector.lanes() == 1) return vector;
  return make_node(Op::lane_, vector.dtype(), {vector}, with_ints({index}));
}

Node shuffle(const Node& a, const Node& b, std::vector<std::int64_t> lanes) {
  std::vector<Node> srcs = {a};
  if (b) srcs.push_back(b);
  const int count = static_cast<int>(lanes.size());
  return make_node(Op::shuffle_, a.dtype(), std::move(srcs), with_ints(std::move(lanes)), count);
}

Node horizontal(ReduceOp op, const Node& vector) {
  if (vector.lanes() == 1) return vector;
  return make_node(Op::horizontal_, vector.dtype(), {vector},
                   with_ints({static_cast<std::int64_t>(op)}));
}

Node dot(const Node& accumulator, const Node& a, const Node& b) {
  Attr attr;
  if (is_integer(a.dtype()) && byte_size(a.dtype()) == 1) {
    const Bounds known = bounds(a);
    attr.ints = {known.least, known.greatest};
  }
  return make_node(Op::dot_, accumulator.dtype(), {accumulator, a, b}, std::move(attr),
                   accumulator.lanes());
}

std::span<const Node> phases_of(const Kernel& kernel) {
  if (kernel.body.is(Op::block_)) return kernel.body.srcs();
  return {&kernel.body, 1};
}

std::vector<Size> phase_tasks(const Kernel& kernel) {
  std::vector<Size> tasks;
  for (const Node& phase : phases_of(kernel)) {
    tasks.push_back(is_loop(phase, LoopKind::parallel) ? Size(phase.src(0).src(0)) : Size(1));
  }
  return tasks;
}

std::int64_t threads_of(const Node& phase) {
  std::int64_t most = 1;
  for (const Node& node : topological_order({&phase, 1})) {
    if (is_loop(node, LoopKind::threads)) most = std::max(most, Size(node.src(0).src(0)).value());
    if (node.is(Op::group_reduce_)) most = std::max(most, node.ints(3));
  }
  return most;
}

std::int64_t groups_of_task(const Node& phase) {
  return threads_of(phase) > largest_group ? cluster_groups : 1;
}

std::int64_t copying_threads_of(const Node& phase) {
  std::int64_t most = 0;
  for (const Node& node : topological_order({&phase, 1})) {
    if (is_loop(node, LoopKind::pipeline)) most = std::max(most, node.ints(2));
  }
  return most;
}

std::int64_t scratch_bytes(const Kernel& kernel) {
  std::int64_t bytes = 0;
  for (const Node& node : topological_order({&kernel.body, 1})) {
    if (is_local(node, Memory::scratch)) bytes += (local_bytes(node) + 63) / 64 * 64;
  }
  return bytes;
}

const std::vector<Node>& FreeRanges::of(const Node& expression) {
  if (const auto found = known_.find(expression); found != known_.end()) return found->second;
  std::vector<Node> set;
  if (expression.is(Op::range_)) {
    set.push_back(expression);
  } else {
    for (const Node& src : expression.srcs()) {
      for (const Node& range : of(src)) {
        if (std::find(set.begin(), set.end(), range) == set.end()) set.push_back(range);
      }
    }
    if (expression.is(Op::reduce_)) {
      for (std::size_t i = 1; i < expression.srcs().size(); ++i)
        set.erase(std::remove(set.begin(), set.end(), expression.src(i)), set.end());
    }
  }
  return known_.emplace(expression, std::move(set)).first->second;
}

std::vector<Node> free_ranges(const Node& expression) { return FreeRanges().of(expression); }

}  // namespace brisk
