#include "graph/symbolic.h"

#include <algorithm>
#include <map>
#include <utility>

#include "graph/elementwise.h"
#include "graph/integer.h"
#include "graph/movement.h"

namespace brisk {

namespace {

constexpr std::int64_t most_elements = 64;
constexpr int most_visits = 1 << 16;
// Expressions beyond these are none of sizes: what is made of two of them neither overflows nor
// takes long to bring into normal form.
constexpr std::int64_t largest = std::int64_t{1} << 40;
constexpr std::size_t longest = 64;  // nodes

// Thrown where an element is no expression of sizes.
struct Unknown {};

std::int64_t position_of(const Index& index, const Shape& shape) {
  const Node position = flatten(index, shape);
  if (!position.is_constant()) throw Unknown();
  return position.int_value();
}

Node truth(bool holds) { return constant_int(holds, DType::boolean); }

// Where the sizes leave it open there is no telling: what differs is another operation then.
Node different(const Node& a, const Node& b) {
  if (a == b) return truth(false);
  if (integer_less(a, b).is_constant(1) || integer_less(b, a).is_constant(1)) return truth(true);
  throw Unknown();
}

// Conditions are constants, or one integer less than another.
Node negated(const Node& condition) {
  if (condition.is_constant()) return truth(condition.int_value() == 0);
  return integer_less(condition.src(1), integer_add(condition.src(0), constant_int(1)));
}

// The result of an operation on conditions that `decides` where either is this, else the other one.
Node joined(const Node& a, const Node& b, bool decides) {
  if (a == b) return a;
  for (const Node* one : {&a, &b}) {
    const Node& other = one == &a ? b : a;
    if (one->is_constant()) return (one->int_value() != 0) == decides ? *one : other;
  }
  throw Unknown();
}

Node chosen(const Node& condition, const Node& a, const Node& b) {
  if (condition.is_constant()) return condition.int_value() != 0 ? a : b;
  if (a == b) return a;
  if (is_bool(a.dtype())) throw Unknown();
  return where(condition, a, b);
}

Node of_conditions(Op op, const Node& a, const Node& b) {
  switch (op) {
    case Op::add_:
    case Op::max_:
    case Op::or_: return joined(a, b, true);
    case Op::mul_:
    case Op::and_: return joined(a, b, false);
    case Op::xor_:
    case Op::cmpne_: {
      const Node& constant = a.is_constant() ? a : b;
      const Node& other = a.is_constant() ? b : a;
      if (!constant.is_constant()) throw Unknown();
      return constant.int_value() != 0 ? negated(other) : other;
    }
    default: throw Unknown();
  }
}

Node converted(const Node& x, DType dtype) {
  if (is_float(dtype)) throw Unknown();
  if (is_bool(dtype)) return is_bool(x.dtype()) ? x : different(x, constant_int(0));
  return is_bool(x.dtype()) ? chosen(x, constant_int(1), constant_int(0)) : x;
}

// An operation on int64 and bool scalars that are not all constant.
Node of_expressions(Op op, DType dtype, const std::vector<Node>& srcs) {
  const Node& a = srcs[0];
  if (op == Op::cast_) return converted(a, dtype);
  if (op == Op::where_) return chosen(a, srcs[1], srcs[2]);
  if (srcs.size() != 2) throw Unknown();
  const Node& b = srcs[1];
  if (is_bool(a.dtype())) return of_conditions(op, a, b);
  switch (op) {
    case Op::add_: return integer_add(a, b);
    case Op::mul_: return integer_mul(a, b);
    case Op::max_: return integer_max(a, b);
    case Op::cmplt_: return integer_less(a, b);
    case Op::cmpne_: return different(a, b);
    case Op::idiv_: return integer_div(a, b);
    case Op::mod_: return integer_mod(a, b);
    case Op::xor_:  // with all bits -1 - a, of which the minimum is made
      if (!b.is_constant(-1)) throw Unknown();
      return integer_sub(b, a);
    default: throw Unknown();
  }
}

Node of_constants(Op op, DType dtype, const std::vector<Node>& srcs) {
  constexpr std::size_t widest = 8;
  std::vector<std::byte> bytes((srcs.size() + 1) * widest);
  std::vector<Operand> operands;
  for (std::size_t i = 0; i < srcs.size(); ++i) {
    std::byte* place = bytes.data() + (i + 1) * widest;
    write_constant(srcs[i], place);
    operands.push_back({srcs[i].dtype(), place, 0});
  }
  apply(op, dtype, operands, 1, bytes.data());
  return read_constant(dtype, bytes.data());
}

void want_modest(const Node& node) {
  if (is_bool(node.dtype())) return;
  const Bounds range = bounds(node);
  if (range.least < -largest || range.greatest > largest ||
      topological_order({&node, 1}).size() > longest)
    throw Unknown();
}

Node operation(Op op, DType dtype, std::vector<Node> srcs) {
  if (std::all_of(srcs.begin(), srcs.end(), [](const Node& src) { return src.is_constant(); }))
    return of_constants(op, dtype, srcs);
  for (Node& src : srcs) {
    if (is_float(src.dtype())) throw Unknown();
    if (src.is_constant() && !is_bool(src.dtype())) src = constant_int(src.int_value());
    want_modest(src);
  }
  // Whatever the dtype, the result is int64 or bool: it has to fit.
  Node result = of_expressions(op, dtype, srcs);
  const Bounds range = bounds(result);
  if (!is_bool(dtype) && (range.least < min_value(dtype) || range.greatest > max_value(dtype)))
    throw Unknown();
  return result;
}

// Elements of nodes by their row-major positions: constants in the node's dtype, or int64 and bool
// expressions.
class Elements {
 public:
  using Read = std::function<std::span<const std::byte>(const Node& buffer)>;
  explicit Elements(const Read& read) : read_(read) {}

  Node at(const Node& node, std::int64_t position) {
    const auto key = std::make_pair(node.get(), position);
    if (const auto found = found_.find(key); found != found_.end()) return found->second;
    if (++visits_ > most_visits || !is_static(node.shape())) throw Unknown();
    return found_[key] = computed(node, position);
  }

 private:
  Node computed(const Node& node, std::int64_t position) {
    if (is_movement(node.op())) return moved(node, position);
    if (is_elementwise(node.op())) {
      std::vector<Node> srcs;
      for (const Node& src : node.srcs()) srcs.push_back(at(src, src.rank() == 0 ? 0 : position));
      return operation(node.op(), node.dtype(), std::move(srcs));
    }
    switch (node.op()) {
      case Op::constant_:
      case Op::variable_: return node;
      case Op::iota_: return constant_int(position);
      case Op::buffer_: return stored(node, position);
      case Op::load_: return loaded(node, position);
      case Op::reduce_: return reduced(node, position);
      case Op::with_gradient_: return at(node.src(0), position);
      default: throw Unknown();
    }
  }

  Node moved(const Node& view, std::int64_t position) {
    Node gate;
    const Index index = source_index(view, unflatten(constant_int(position), view.shape()), gate);
    if (gate && gate.is_constant(0)) return constant_like(0, view.dtype());
    if (gate && !gate.is_constant()) throw Unknown();
    return at(view.src(0), position_of(index, view.src(0).shape()));
  }

  Node stored(const Node& buffer, std::int64_t position) const {
    const std::span<const std::byte> bytes = read_(buffer);
    if (bytes.empty()) throw Unknown();
    const auto offset = static_cast<std::size_t>(position * byte_size(buffer.dtype()));
    return read_constant(buffer.dtype(), bytes.subspan(offset).data());
  }

  Node loaded(const Node& load, std::int64_t position) {
    if (load.srcs().size() == 3) {
      const Node gate = at(load.src(2), position);
      if (!gate.is_constant()) throw Unknown();
      if (gate.int_value() == 0) return constant_like(0, load.dtype());
    }
    const Node index = at(load.src(1), position);
    if (!index.is_constant()) throw Unknown();
    return at(load.src(0), index.int_value());
  }

  Node reduced(const Node& node, std::int64_t position) {
    const Node& source = node.src(0);
    const Op op = node.ints(0) == static_cast<std::int64_t>(ReduceOp::add)   ? Op::add_
                  : node.ints(0) == static_cast<std::int64_t>(ReduceOp::mul) ? Op::mul_
                                                                             : Op::max_;
    const Size count = element_count(source.shape());
    if (!is_static(source.shape()) || count.value() > most_visits) throw Unknown();
    Node result;
    for (std::int64_t i = 0; i < count.value(); ++i) {
      Index index = unflatten(constant_int(i), source.shape());
      for (std::size_t axis = 1; axis < node.attr().ints.size(); ++axis)
        index[static_cast<std::size_t>(node.ints(axis))] = constant_int(0);
      if (position_of(index, node.shape()) != position) continue;
      const Node element = at(source, i);
      result = result ? operation(op, node.dtype(), {result, element}) : element;
    }
    if (!result) throw Unknown();
    return result;
  }

  const Read& read_;
  std::map<std::pair<const NodeData*, std::int64_t>, Node> found_;
  int visits_ = 0;
};

}  // namespace

std::optional<std::vector<Node>> symbolic_elements(
    const Node& node, const std::function<std::span<const std::byte>(const Node& buffer)>& read) {
  if (is_float(node.dtype()) || !is_static(node.shape())) return std::nullopt;
  const std::int64_t count = element_count(node.shape()).value();
  if (count > most_elements) return std::nullopt;
  std::vector<Node> result;
  Elements elements(read);
  try {
    for (std::int64_t i = 0; i < count; ++i) {
      const Node element = elements.at(node, i);
      const bool number = element.is_constant() && !is_bool(element.dtype());
      result.push_back(number ? constant_int(element.int_value()) : element);
    }
  } catch (const Unknown&) {
    return std::nullopt;
  }
  return result;
}

}  // namespace brisk
