#include "kernel/lower.h"

#include <algorithm>
#include <unordered_map>

#include "base/error.h"
#include "graph/integer.h"
#include "graph/movement.h"

namespace brisk {

namespace {

struct Use {
  Node node;
  Index index;
  Node gate;
  bool operator==(const Use& other) const = default;
};

struct UseHash {
  std::size_t operator()(const Use& use) const {
    std::size_t h = NodeHash()(use.node) * 31 + NodeHash()(use.gate);
    for (const Node& i : use.index) h = h * 0x9e3779b97f4a7c15ULL + NodeHash()(i);
    return h;
  }
};

class Lowerer {
 public:
  explicit Lowerer(const NodeSet& stored) : stored_(stored) {}

  Lowering run(const std::vector<Node>& outputs) {
    // Outputs over the same index space share their loops (and so their common reductions), and so
    // do those that are computed on the way to another.
    for (const Node& output : outputs) outputs_.insert(output);
    std::vector<std::pair<Shape, std::vector<Node>>> spaces;
    for (const Node& output : outputs) {
      const Shape& shape = space_of(output);
      auto space = std::find_if(spaces.begin(), spaces.end(), [&](const auto& s) {
        return s.first == shape || on_the_way(output, s.second[0]);
      });
      if (space == spaces.end() || output.is(Op::store_)) {
        spaces.push_back({shape, {output}});
      } else {
        space->second.push_back(output);
      }
    }
    for (const auto& [shape, members] : spaces) lower_part(shape, members);
    for (const Node& variable : variables_) result_.kernel.variables.push_back(variable);
    return std::move(result_);
  }

 private:
  static bool on_the_way(const Node& value, const Node& output) {
    const std::vector<Node> nodes = topological_order({&output, 1});
    return std::find(nodes.begin(), nodes.end(), value) != nodes.end();
  }

  static const Shape& space_of(const Node& output) {
    if (!output.is(Op::store_)) return output.shape();
    return output.srcs().size() == 3 ? output.src(1).shape() : output.src(0).shape();
  }

  void lower_part(const Shape& shape, const std::vector<Node>& outputs) {
    Part part;
    Index index;
    for (const Size& size : shape) {
      if (size == Size(1)) {
        index.push_back(constant_int(0));
      } else {
        part.outer.push_back(make_range(next_range_++, note(size)));
        index.push_back(part.outer.back());
      }
    }
    Stage stage;
    for (const Node& output : outputs) stage.stores.push_back(lower_store(output, index));
    part.stages.push_back(std::move(stage));
    result_.kernel.parts.push_back(std::move(part));
  }

  Node lower_store(const Node& output, const Index& index) {
    if (!output.is(Op::store_)) {
      Index at = index;  // axes of another output's space, of which this one has one element
      for (std::size_t axis = 0; axis < at.size(); ++axis) {
        if (output.shape()[axis] == Size(1)) at[axis] = constant_int(0);
      }
      const Node out = value(output, at, {});
      return store_to(argument(output, true), flatten(at, noted(output)), out);
    }
    const Node& target = output.src(0);
    const Node& source = output.srcs().back();
    const Index at = source.rank() == 0 ? Index{} : index;
    Node address;
    Node gate;
    if (output.srcs().size() == 3) {
      const Node position = value(output.src(1), index, {});
      const Size count = element_count(noted(target));
      gate = logical_and(integer_less(constant_int(-1), position),
                         integer_less(position, count.node()));
      address = address_of(target, unflatten(position, noted(target)), gate);
    } else {
      address = address_of(target, index, gate);
    }
    const Node pointer = argument(output, true);
    Node stored = value(source, at, {});
    if (output.srcs().size() == 3) {
      const auto mode = static_cast<StoreMode>(output.ints(0));
      if (mode != StoreMode::replace)
        stored = combine(mode, load_old(pointer, address, gate), stored);
      const Node scatter = store_to(pointer, address, stored, gate);
      Attr attr;
      attr.ints = {1};
      return make_node(Op::store_, DType::none, scatter.srcs(), std::move(attr));
    }
    return store_to(pointer, address, stored, gate);
  }

  Node load_old(const Node& pointer, const Node& address, const Node& gate) {
    result_.kernel.params[pointer.ints(0)].read = true;
    return load_from(pointer, address, gate);
  }

  static Node combine(StoreMode mode, const Node& old, const Node& fresh) {
    switch (mode) {
      case StoreMode::add: return add(old, fresh);
      case StoreMode::mul: return mul(old, fresh);
      case StoreMode::max: return max(old, fresh);
      case StoreMode::min: {
        // The smaller, NaN where either is: fresh unless old < fresh or old is NaN.
        const Node keep = bit_or(cmplt(old, fresh), cmpne(old, old));
        return where(keep, old, fresh);
      }
      default: return fresh;
    }
  }

  // Position in the base buffer of an element of a movement view (or of an earlier store).
  Node address_of(const Node& view, const Index& index, Node& gate) {
    const Node* node = &view;
    Index at = index;
    while (is_movement(node->op())) {
      note_sizes(*node);
      at = source_index(*node, at, gate);
      node = &node->src(0);
    }
    return flatten(at, noted(*node));
  }

  Node value(const Node& node, const Index& index, const Node& gate) {
    const Use use{node, index, gate};
    if (const auto found = memo_.find(use); found != memo_.end()) return found->second;
    Node result = compute(node, index, gate);
    memo_.emplace(use, result);
    return result;
  }

  bool in_memory(const Node& node) const {
    if (node.is(Op::buffer_)) return true;
    if (node.srcs().empty()) return false;  // constants and counters cost nothing
    return outputs_.count(node) == 0 && stored_.count(node) != 0;
  }

  Node compute(const Node& node, const Index& index, const Node& gate) {
    if (in_memory(node)) {
      return load_from(argument(node, false), flatten(index, noted(node)), gate);
    }
    if (is_movement(node.op())) {
      note_sizes(node);
      Node inside = gate;
      const Index at = source_index(node, index, inside);
      Node element = value(node.src(0), at, inside);
      if (!node.is(Op::pad_) || inside == gate || is_zero_outside(element)) return element;
      return where(inside, element, constant_like(0, node.dtype()));
    }
    if (is_elementwise(node.op())) {
      std::vector<Node> srcs;
      for (const Node& src : node.srcs()) {
        srcs.push_back(value(src, src.rank() == 0 ? Index{} : index, gate));
      }
      return apply(node, srcs);
    }
    switch (node.op()) {
      case Op::constant_: return node;
      case Op::variable_: return note(node);
      case Op::iota_: return index[0];
      case Op::copy_: return value(node.src(0), index, gate);
      case Op::reduce_: return compute_reduce(node, index, gate);
      case Op::load_: {
        const Node position = value(node.src(1), index, gate);
        Node open = gate;
        if (node.srcs().size() == 3)
          open = logical_and(gate, value(node.src(2), gate_index(node, index), gate));
        const Node& source = node.src(0);
        if (in_memory(source)) return load_from(argument(source, false), position, open);
        Node element = value(source, unflatten(position, noted(source)), open);
        if (open == gate || element.is(Op::load_)) return element;
        return where(open, element, constant_like(0, node.dtype()));
      }
      default: unreachable("a node that lowers (a store or copy must be stored first)");
    }
  }

  // A load that the gate closes, converted or not.
  static bool is_zero_outside(const Node& element) {
    const Node* at = &element;
    while (at->is(Op::cast_)) at = &at->src(0);
    return at->is(Op::load_);
  }

  static Index gate_index(const Node& load, const Index& index) {
    return load.src(2).rank() == 0 ? Index{} : index;
  }

  static Node apply(const Node& node, const std::vector<Node>& srcs) {
    switch (node.op()) {
      case Op::add_: return add(srcs[0], srcs[1]);
      case Op::mul_: return mul(srcs[0], srcs[1]);
      case Op::idiv_: return idiv(srcs[0], srcs[1]);
      case Op::mod_: return mod(srcs[0], srcs[1]);
      case Op::cmplt_: return cmplt(srcs[0], srcs[1]);
      case Op::and_:
        if (is_bool(node.dtype())) return logical_and(srcs[0], srcs[1]);
        break;
      case Op::where_:
        if (srcs[0].is_constant()) return srcs[0].int_value() != 0 ? srcs[1] : srcs[2];
        break;
      default: break;
    }
    return make_node(node.op(), node.dtype(), srcs, node.attr());
  }

  Node compute_reduce(const Node& node, const Index& index, const Node& gate) {
    const auto op = static_cast<ReduceOp>(node.ints(0));
    Index at = index;
    std::vector<Node> ranges;
    const int level = height(node);
    for (std::size_t i = 1; i < node.attr().ints.size(); ++i) {
      const auto axis = static_cast<std::size_t>(node.ints(i));
      const Size size = note(node.src(0).shape()[axis]);
      if (size == Size(1)) {
        at[axis] = constant_int(0);
      } else {
        ranges.push_back(reduce_range(level, static_cast<int>(i), size));
        at[axis] = ranges.back();
      }
    }
    return reduce_over(op, value(node.src(0), at, guarding(gate, at)), std::move(ranges));
  }

  // The conditions that guard this index. Those over other counters only say when the element is
  // asked for, and a reduction that knew them would be another one for each of these.
  static Node guarding(const Node& gate, const Index& at) {
    if (!gate || gate.is_constant()) return gate;
    if (gate.is(Op::and_)) return logical_and(guarding(gate.src(0), at), guarding(gate.src(1), at));
    const std::vector<Node> mine = topological_order(at);
    for (const Node& node : topological_order({&gate, 1})) {
      const bool counts = node.is(Op::range_) || node.is(Op::variable_);
      if (counts && std::find(mine.begin(), mine.end(), node) != mine.end()) return gate;
    }
    return {};
  }

  // Reductions of one nesting level share ranges of equal size, so that siblings can share a loop.
  // A reduction inside another one's value has a lower level, so no range is bound twice on a path.
  Node reduce_range(int level, int position, const Size& size) {
    for (const auto& known : reduce_ranges_) {
      if (known.level == level && known.position == position && known.size == size) {
        return known.range;
      }
    }
    reduce_ranges_.push_back({level, position, size, make_range(next_range_++, size)});
    return reduce_ranges_.back().range;
  }

  int height(const Node& node) {
    if (in_memory(node)) return 0;
    if (const auto found = heights_.find(node); found != heights_.end()) return found->second;
    int h = 0;
    for (const Node& src : node.srcs()) h = std::max(h, height(src));
    if (node.is(Op::reduce_)) ++h;
    heights_.emplace(node, h);
    return h;
  }

  Node argument(const Node& node, bool write) {
    const Node& memory = memory_of(node);
    auto& arguments = result_.arguments;
    const auto at = std::find(arguments.begin(), arguments.end(), memory);
    const auto i = static_cast<std::size_t>(at - arguments.begin());
    if (at == arguments.end()) {
      arguments.push_back(memory);
      result_.kernel.params.push_back({memory.dtype(), false, false});
    }
    Param& param = result_.kernel.params[i];
    (write ? param.written : param.read) = true;
    return make_param(static_cast<int>(i), memory.dtype());
  }

  // Every variable that reaches the kernel becomes one of its arguments.
  Node note(const Node& expression) {
    for (const Node& node : topological_order({&expression, 1})) {
      if (node.is(Op::variable_) &&
          std::find(variables_.begin(), variables_.end(), node) == variables_.end()) {
        variables_.push_back(node);
      }
    }
    return expression;
  }
  Size note(const Size& size) {
    if (!size.is_constant()) note(size.expr());
    return size;
  }
  const Shape& noted(const Node& node) {
    for (const Size& size : node.shape()) note(size);
    return node.shape();
  }
  void note_sizes(const Node& view) {
    noted(view);
    noted(view.src(0));
    for (const Size& size : view.attr().sizes) note(size);
  }

  struct ReduceRange {
    int level;
    int position;
    Size size;
    Node range;
  };

  const NodeSet& stored_;
  Lowering result_;
  NodeSet outputs_;
  int next_range_ = 0;
  std::vector<Node> variables_;
  std::vector<ReduceRange> reduce_ranges_;
  std::unordered_map<Node, int, NodeHash> heights_;
  std::unordered_map<Use, Node, UseHash> memo_;
};

}  // namespace

Lowering lower(const std::vector<Node>& outputs, const NodeSet& stored) {
  return Lowerer(stored).run(outputs);
}

}  // namespace brisk
