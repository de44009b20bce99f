#include "schedule/channels_last.h"

#include <algorithm>
#include <unordered_map>

#include "graph/movement.h"
#include "graph/rewrite.h"
#include "schedule/factors.h"

namespace brisk {

namespace {

constexpr int channel = 1;  // axis
constexpr int least_rank = 4;

// The axes of [batch, places…, channels] in [batch, channels, places…].
std::vector<int> order_of_last(int rank) {
  std::vector<int> order = {0};
  for (int axis = 2; axis < rank; ++axis) order.push_back(axis);
  order.push_back(channel);
  return order;
}

Shape in_order(const Shape& shape, const std::vector<int>& order, std::size_t each = 1) {
  Shape result;
  for (const int axis : order) {
    for (std::size_t i = 0; i < each; ++i)
      result.push_back(shape[static_cast<std::size_t>(axis) * each + i]);
  }
  return result;
}

// Conversions and repetitions stay outermost: a product is known by what it repeats.
Node permuted(const Node& node, const std::vector<int>& order) {
  if (node.rank() == 0) return node;
  if (node.is(Op::cast_)) return cast(permuted(node.src(0), order), node.dtype());
  if (node.is(Op::expand_))
    return expand(permute(node.src(0), order), in_order(node.shape(), order));
  return permute(node, order);
}

bool is_half(const Node& factor) {
  const Node* at = &factor;
  while (is_movement(at->op())) at = &at->src(0);
  return at->is(Op::cast_) && is_float(at->src(0).dtype()) && byte_size(at->src(0).dtype()) == 2;
}

class ChannelsLast {
 public:
  std::vector<Node> run(std::span<const Node> roots) {
    const std::vector<Node> all = topological_order(roots);
    for (const Node& node : all) {
      for (const Node& src : node.srcs()) ++readers_[src];
    }
    for (const Node& node : all) {
      const Node last = node.rank() >= least_rank ? last_of(node) : Node();
      if (last) {
        last_.emplace(node, last);
        now_.emplace(node, permute(last, inverse_order(order_of_last(node.rank()))));
      } else {
        now_.emplace(node, over_values(node, now_));
      }
    }
    std::vector<Node> result;
    for (const Node& root : roots) result.push_back(now_.at(root));
    return result;
  }

 private:
  // The node with its channels last, or nothing where it stays as it is.
  Node last_of(const Node& node) {
    const auto has_last = [&](const Node& src) { return last_.count(src) != 0; };
    if (node.is(Op::reshape_)) {
      if (const Node result = convolution(node)) return result;
      // Of places alone: images in windows, and windows put together.
      const Node& src = node.src(0);
      if (!has_last(src) || !(src.shape()[0] == node.shape()[0]) ||
          !(src.shape()[channel] == node.shape()[channel])) {
        return {};
      }
      return reshape(last_.at(src), in_order(node.shape(), order_of_last(node.rank())));
    }
    if (std::none_of(node.srcs().begin(), node.srcs().end(), has_last)) return {};
    const std::vector<int> order = order_of_last(node.rank());
    std::vector<Node> srcs;
    for (const Node& src : node.srcs())
      srcs.push_back(has_last(src) ? last_.at(src) : now_.at(src));
    switch (node.op()) {
      case Op::after_: return make_node(Op::after_, node.dtype(), std::move(srcs));
      case Op::store_: return in_fresh_memory(node) ? stored(srcs[1]) : Node();
      case Op::expand_: return expand(srcs[0], in_order(node.shape(), order));
      case Op::pad_: return pad(srcs[0], in_order(node.attr().sizes, order, 2));
      case Op::shrink_: return shrink(srcs[0], in_order(node.attr().sizes, order, 2));
      case Op::reduce_: return reduced(node, srcs[0], order);
      case Op::permute_: return turned(node, srcs[0]);
      default: break;
    }
    if (!is_elementwise(node.op())) return {};
    for (std::size_t i = 0; i < srcs.size(); ++i) {
      if (has_last(node.src(i))) continue;
      srcs[i] = permuted(srcs[i], order);
      // What lies the other way is turned once, not wherever it is read.
      if (srcs[i].rank() != 0 && !unconverted(srcs[i]).is(Op::expand_)) {
        srcs[i] = stored(srcs[i]);
        last_.emplace(node.src(i), srcs[i]);
      }
    }
    return make_node(node.op(), node.dtype(), std::move(srcs), node.attr(), node.lanes());
  }

  // Whether it puts all of a value into memory that is made for it.
  bool in_fresh_memory(const Node& store) const {
    const Node& memory = store.src(0);
    return store.srcs().size() == 2 && memory.is(Op::buffer_) && !memory.attr().storage &&
           readers_.at(memory) == 1;
  }
  static Node stored(const Node& value) {
    return store(buffer(value.dtype(), value.shape(), nullptr), value);
  }

  // Where only places change theirs.
  static Node turned(const Node& node, const Node& last) {
    const auto& from = node.attr().ints;
    if (from[0] != 0 || from[channel] != channel) return {};
    std::vector<int> order = {0};
    for (std::size_t i = channel + 1; i < from.size(); ++i)
      order.push_back(static_cast<int>(from[i]) - 1);
    order.push_back(node.rank() - 1);
    return permute(last, order);
  }

  static Node reduced(const Node& node, const Node& last, const std::vector<int>& order) {
    const std::vector<int> places = inverse_order(order);
    std::vector<int> axes;
    for (std::size_t i = 1; i < node.attr().ints.size(); ++i)
      axes.push_back(places[static_cast<std::size_t>(node.ints(i))]);
    std::sort(axes.begin(), axes.end());
    return reduce(static_cast<ReduceOp>(node.ints(0)), last, axes);
  }

  // [batch, channels, places…] of a sum over products of 16 bits, or of its phases
  // (tensor/conv.cpp), where one factor alone moves along the channels and the other one alone
  // along the first of the places: not so in the gradient of a weight.
  Node convolution(const Node& node) const {
    const bool padded = node.src(0).is(Op::pad_);
    const Node& sum = padded ? node.src(0).src(0) : node.src(0);
    if (!sum.is(Op::reduce_) || static_cast<ReduceOp>(sum.ints(0)) != ReduceOp::add ||
        !sum.src(0).is(Op::mul_)) {
      return {};
    }
    const Node& left = sum.src(0).src(0);
    const Node& right = sum.src(0).src(1);
    if (left.rank() == 0 || right.rank() == 0 || !is_half(unrepeated(left)) ||
        !is_half(unrepeated(right))) {
      return {};
    }
    std::size_t at = 0;  // of the channels, in the sum
    Size before(1);
    while (at < sum.shape().size() &&
           !(before == node.shape()[0] && sum.shape()[at] == node.shape()[channel] &&
             !(sum.shape()[at] == Size(1)))) {
      before = before * sum.shape()[at++];
    }
    std::size_t place = at + 1;
    while (place < sum.shape().size() && sum.shape()[place] == Size(1)) ++place;
    if (place >= sum.shape().size() || moves(left, at) == moves(right, at) ||
        moves(left, place) == moves(right, place) || moves(left, at) == moves(left, place)) {
      return {};
    }
    std::vector<int> order;
    for (int axis = 0; axis < sum.rank(); ++axis) {
      if (axis != static_cast<int>(at)) order.push_back(axis);
    }
    order.push_back(static_cast<int>(at));
    const Node product = mul(permuted(now_.at(left), order), permuted(now_.at(right), order));
    Node last = reduced(sum, product, order);
    if (padded) last = pad(last, in_order(node.src(0).attr().sizes, order, 2));
    return reshape(last, in_order(node.shape(), order_of_last(node.rank())));
  }

  static const Node& unrepeated(const Node& factor) {
    return factor.is(Op::expand_) ? factor.src(0) : factor;
  }

  std::unordered_map<Node, int, NodeHash> readers_;
  std::unordered_map<Node, Node, NodeHash> now_;   // what stands for a node
  std::unordered_map<Node, Node, NodeHash> last_;  // the same with its channels last
};

}  // namespace

std::vector<Node> with_channels_last(std::span<const Node> roots) {
  return ChannelsLast().run(roots);
}

}  // namespace brisk
