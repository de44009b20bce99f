#include "graph/evaluate.h"

#include <algorithm>
#include <cstring>
#include <memory>

#include "base/error.h"
#include "graph/elementwise.h"
#include "graph/layout.h"

namespace brisk {

namespace {

constexpr std::int64_t chunk = 4096;        // elements that a group computes at once
constexpr std::size_t longest_group = 256;  // bounds the memory of a group's chunks

using Bytes = std::vector<std::byte>;

// A node's value: elements of shared memory in some order, none of them twice in memory for a
// movement operation's sake.
struct View {
  DType dtype = DType::none;
  std::shared_ptr<Bytes> bytes;
  Layout layout;

  int width() const { return byte_size(dtype); }
  std::int64_t count() const { return count_of(layout.shape); }
  const std::byte* at(std::int64_t element) const { return bytes->data() + element * width(); }
};

View new_view(DType dtype, std::vector<std::int64_t> shape) {
  View view{dtype, nullptr, row_major(std::move(shape))};
  view.bytes = std::make_shared<Bytes>(static_cast<std::size_t>(view.count() * view.width()));
  return view;
}

// Copies places start … start + count of a view with merged layout.
void gather(const View& view, std::int64_t start, std::int64_t count, std::byte* result) {
  const auto copy = [&](auto zero) {
    using T = decltype(zero);
    const auto* from = reinterpret_cast<const T*>(view.bytes->data());
    auto* to = reinterpret_cast<T*>(result);
    for_runs(
        view.layout, start, count,
        [&](std::int64_t first, std::int64_t offset, std::int64_t stride, std::int64_t length) {
          const T* x = from + offset;
          T* y = to + first;
          if (stride == 1) {
            std::copy_n(x, length, y);
          } else {
            for (std::int64_t i = 0; i < length; ++i) y[i] = x[i * stride];
          }
        });
  };
  switch (view.width()) {
    case 1: return copy(std::uint8_t{});
    case 2: return copy(std::uint16_t{});
    case 4: return copy(std::uint32_t{});
    default: return copy(std::uint64_t{});
  }
}

View with_merged_layout(View view) {
  view.layout = merged(view.layout);
  return view;
}

// True for places that follow each other in memory.
bool is_contiguous(const View& view) {
  const Layout layout = merged(view.layout);
  return layout.shape.empty() || (layout.shape.size() == 1 && layout.strides[0] == 1);
}

View contiguous(const View& view) {
  if (view.count() == 0) return new_view(view.dtype, view.layout.shape);
  if (is_contiguous(view)) return view;
  View result = new_view(view.dtype, view.layout.shape);
  gather(with_merged_layout(view), 0, view.count(), result.bytes->data());
  return result;
}

// Elementwise operations that are computed together, a chunk of places at a time, so that the
// values between them are never whole in memory (a matrix product's M·N·K products, say).
class Group {
 public:
  int leaf(View view) {
    Step step;
    step.value = with_merged_layout(std::move(view));
    const Layout& layout = step.value.layout;
    step.one = layout.shape.empty() || (layout.shape.size() == 1 && layout.strides[0] == 0);
    step.direct = step.one || (layout.shape.size() == 1 && layout.strides[0] == 1);
    return push(std::move(step));
  }

  int operation(const Node& node, std::vector<int> srcs) {
    Step step;
    step.op = node.op();
    step.dtype = node.dtype();
    step.srcs = std::move(srcs);
    return push(std::move(step));
  }

  /// The last step's places start … start + count.
  Operand run(std::int64_t start, std::int64_t count) {
    std::vector<Operand> operands;
    for (Step& step : steps_) {
      step.current = {step.dtype, nullptr, 1};
      if (step.op == Op::buffer_ && step.direct) {
        step.current.bytes = step.value.at(step.value.layout.offset + (step.one ? 0 : start));
        step.current.step = step.one ? 0 : 1;
        continue;
      }
      step.chunk.resize(static_cast<std::size_t>(chunk * byte_size(step.dtype)));
      step.current.bytes = step.chunk.data();
      if (step.op == Op::buffer_) {
        gather(step.value, start, count, step.chunk.data());
        continue;
      }
      operands.clear();
      for (const int src : step.srcs)
        operands.push_back(steps_[static_cast<std::size_t>(src)].current);
      apply(step.op, step.dtype, operands, count, step.chunk.data());
    }
    return steps_.back().current;
  }

 private:
  struct Step {
    Op op = Op::buffer_;  // buffer: a leaf
    DType dtype = DType::none;
    std::vector<int> srcs;
    View value;           // of a leaf, layout merged
    bool direct = false;  // … whose chunks are in memory as they are
    bool one = false;     // … of one element that stands for all
    Bytes chunk;
    Operand current;
  };

  int push(Step step) {
    if (step.op == Op::buffer_) step.dtype = step.value.dtype;
    steps_.push_back(std::move(step));
    return static_cast<int>(steps_.size()) - 1;
  }

  std::vector<Step> steps_;
};

class Evaluator {
 public:
  Evaluator(std::span<const Node> roots, const Bindings& bindings) : bindings_(bindings) {
    order_ = topological_order(roots);
    for (const Node& node : order_) {
      for (const Node& src : node.srcs()) {
        State& state = states_[src.get()];
        ++state.users;
        state.user = node;
      }
      if (node.is(Op::store_)) ++states_[base_of(node).get()].users;  // see copy_of_base
    }
    for (const Node& root : roots) states_[root.get()].users += 2;  // kept, and never in a group
  }

  void run() {
    for (const Node& node : order_) {
      State& state = states_[node.get()];
      if (joins_its_user(node, state)) continue;
      state.value = value_of(node);
      release_sources(node);
    }
  }

  Array result(const Node& root) const {
    const View value = contiguous(states_.at(root.get()).value);
    Array array{root.dtype(), value.layout.shape, {}};
    const std::byte* first = value.at(value.layout.offset);
    array.bytes.assign(first, first + value.count() * value.width());
    return array;
  }

 private:
  struct State {
    std::int64_t users = 0;
    Node user;             // the last one
    std::size_t size = 1;  // operations of a node's group so far
    bool joined = false;   // computed with its user, a chunk at a time
    View value;
  };

  bool joins_its_user(const Node& node, State& state) {
    if (!is_elementwise(node.op()) || state.users != 1) return false;
    for (const Node& src : node.srcs()) {
      const State& s = states_[src.get()];
      if (s.joined) state.size += s.size;
    }
    const bool fits = is_elementwise(state.user.op()) || state.user.is(Op::reduce_);
    state.joined = fits && state.size < longest_group &&
                   (state.user.is(Op::reduce_) || state.user.shape() == node.shape());
    return state.joined;
  }

  void release_sources(const Node& node) {
    std::vector<Node> done = {node};
    while (!done.empty()) {
      const Node user = done.back();
      done.pop_back();
      const auto release = [&](const Node& src) {
        State& state = states_[src.get()];
        if (--state.users > 0) return;
        state.value = {};
        if (state.joined) done.push_back(src);
      };
      for (const Node& src : user.srcs()) release(src);
      if (user.is(Op::store_)) release(base_of(user));
    }
  }

  const View& value(const Node& node) { return states_.at(node.get()).value; }
  std::int64_t size(const Size& size) const { return evaluate_size(size, bindings_.variables); }
  std::vector<std::int64_t> shape(const Shape& sizes) const {
    return evaluate_shape(sizes, bindings_.variables);
  }

  View value_of(const Node& node) {
    if (is_elementwise(node.op())) return compute(node);
    if (is_movement(node.op())) return move(node, value(node.src(0)));
    switch (node.op()) {
      case Op::reduce_: return reduce(node);
      case Op::constant_: {
        View result = new_view(node.dtype(), {});
        write_constant(node, result.bytes->data());
        return result;
      }
      case Op::variable_: {
        View result = new_view(DType::int64, {});
        const std::int64_t number = evaluate_scalar(node, bindings_.variables);
        std::memcpy(result.bytes->data(), &number, sizeof number);
        return result;
      }
      case Op::iota_: return counting(shape(node.shape()));
      case Op::buffer_: return read(node);
      case Op::load_: return load(node);
      case Op::store_: return node.srcs().size() == 2 ? store(node) : scatter(node);
      case Op::copy_: return value(node.src(0));
      default:
        throw InternalError(
            fmt::format("evaluate: '{}' does not belong to a graph", name(node.op())));
    }
  }

  static View counting(std::vector<std::int64_t> shape) {
    View result = new_view(DType::int64, std::move(shape));
    auto* out = reinterpret_cast<std::int64_t*>(result.bytes->data());
    for (std::int64_t i = 0; i < result.count(); ++i) out[i] = i;
    return result;
  }

  View read(const Node& node) {
    check(static_cast<bool>(bindings_.read), "evaluate: a graph with buffers wants Bindings::read");
    Array array = bindings_.read(node);
    View view{node.dtype(), nullptr, row_major(shape(node.shape()))};
    if (array.dtype != view.dtype ||
        static_cast<std::int64_t>(array.bytes.size()) != view.count() * view.width()) {
      throw InternalError(fmt::format("evaluate: a buffer of {}{} was read as {} bytes of {}",
                                      name(node.dtype()), to_string(node.shape()),
                                      array.bytes.size(), name(array.dtype)));
    }
    view.bytes = std::make_shared<Bytes>(std::move(array.bytes));
    return view;
  }

  // The group that ends in `node`: its joined sources, theirs, and so on, sources first.
  Group group_of(const Node& root) {
    Group group;
    std::unordered_map<const NodeData*, int> steps;
    std::vector<Node> stack = {root};
    while (!stack.empty()) {
      const Node node = stack.back();
      if (!(node == root) && !states_[node.get()].joined) {
        stack.pop_back();
        if (!steps.contains(node.get())) steps[node.get()] = group.leaf(value(node));
        continue;
      }
      std::vector<int> srcs;
      for (const Node& src : node.srcs()) {
        if (const auto found = steps.find(src.get()); found != steps.end()) {
          srcs.push_back(found->second);
        } else {
          stack.push_back(src);
        }
      }
      if (srcs.size() < node.srcs().size()) continue;
      stack.pop_back();
      if (!steps.contains(node.get())) steps[node.get()] = group.operation(node, std::move(srcs));
    }
    return group;
  }

  View compute(const Node& node) {
    View result = new_view(node.dtype(), shape(node.shape()));
    Group group = group_of(node);
    for (std::int64_t start = 0; start < result.count(); start += chunk) {
      const std::int64_t count = std::min(chunk, result.count() - start);
      const Operand values = group.run(start, count);
      std::memcpy(result.bytes->data() + start * result.width(), values.bytes,
                  static_cast<std::size_t>(count * result.width()));
    }
    return result;
  }

  View reduce(const Node& node) {
    const Node& source = node.src(0);
    View result = new_view(node.dtype(), shape(node.shape()));
    Layout places{shape(source.shape()), result.layout.strides, 0};  // of the result, by source
    for (std::size_t i = 1; i < node.attr().ints.size(); ++i) {
      places.strides[static_cast<std::size_t>(node.ints(i))] = 0;
    }
    const std::int64_t total = count_of(places.shape);
    places = merged(places);
    Accumulators values(static_cast<ReduceOp>(node.ints(0)), node.dtype(),
                        static_cast<std::size_t>(result.count()));
    Group group;
    if (states_[source.get()].joined) {
      group = group_of(source);
    } else {
      group.leaf(value(source));
    }
    Bytes repeated;
    for (std::int64_t start = 0; start < total; start += chunk) {
      const std::int64_t count = std::min(chunk, total - start);
      Operand elements = group.run(start, count);
      const auto width = static_cast<std::size_t>(result.width());
      if (elements.step == 0) {
        repeated.resize(static_cast<std::size_t>(count) * width);
        for (std::size_t i = 0; i < repeated.size(); i += width) {
          std::memcpy(repeated.data() + i, elements.bytes, width);
        }
        elements.bytes = repeated.data();
      }
      for_runs(
          places, start, count,
          [&](std::int64_t first, std::int64_t offset, std::int64_t stride, std::int64_t length) {
            values.take(offset, stride, elements.bytes + first * result.width(), length);
          });
    }
    values.finish(result.bytes->data());
    return result;
  }

  // A movement operation on a view; `outside` fills a pad (zero bits without it).
  View move(const Node& node, View view, const std::byte* outside = nullptr) const {
    Layout& layout = view.layout;
    const std::size_t rank = layout.shape.size();
    switch (node.op()) {
      case Op::reshape_: {
        view = contiguous(view);
        const std::int64_t offset = view.layout.offset;
        view.layout = row_major(shape(node.shape()));
        view.layout.offset = offset;
        return view;
      }
      case Op::permute_: {
        const Layout from = layout;
        for (std::size_t i = 0; i < rank; ++i) {
          layout.shape[i] = from.shape[static_cast<std::size_t>(node.ints(i))];
          layout.strides[i] = from.strides[static_cast<std::size_t>(node.ints(i))];
        }
        return view;
      }
      case Op::expand_: {
        const auto sizes = shape(node.shape());
        for (std::size_t i = 0; i < rank; ++i) {
          if (layout.shape[i] != sizes[i]) layout.strides[i] = 0;
        }
        layout.shape = sizes;
        return view;
      }
      case Op::shrink_:
        for (std::size_t i = 0; i < rank; ++i) {
          const std::int64_t begin = size(node.attr().sizes[2 * i]);
          const std::int64_t end = size(node.attr().sizes[2 * i + 1]);
          if (begin < 0 || begin > end || end > layout.shape[i]) {
            user_error("shrink: {} … {} of axis {} is outside its size {}", begin, end, i,
                       layout.shape[i]);
          }
          layout.shape[i] = end - begin;
          layout.offset += begin * layout.strides[i];
        }
        return view;
      case Op::flip_:
        for (const auto axis : node.attr().ints) {
          const auto i = static_cast<std::size_t>(axis);
          layout.offset += (layout.shape[i] - 1) * layout.strides[i];
          layout.strides[i] = -layout.strides[i];
        }
        return view;
      case Op::after_: return view;
      case Op::pad_: return pad(node, view, outside);
      default: unreachable("a movement operation");
    }
  }

  View pad(const Node& node, const View& view, const std::byte* outside) const {
    View result = new_view(view.dtype, shape(node.shape()));
    const auto width = static_cast<std::size_t>(result.width());
    if (outside != nullptr) {
      for (std::size_t i = 0; i < result.bytes->size(); i += width) {
        std::memcpy(result.bytes->data() + i, outside, width);
      }
    }
    Layout inner{view.layout.shape, result.layout.strides, 0};
    for (std::size_t i = 0; i < inner.shape.size(); ++i) {
      inner.offset += size(node.attr().sizes[2 * i]) * inner.strides[i];
    }
    const View from = contiguous(view);
    const std::byte* elements = from.at(from.layout.offset);
    for_runs(
        merged(inner), 0, count_of(inner.shape),
        [&](std::int64_t first, std::int64_t offset, std::int64_t stride, std::int64_t length) {
          for (std::int64_t i = 0; i < length; ++i) {
            std::memcpy(result.bytes->data() + (offset + i * stride) * result.width(),
                        elements + (first + i) * result.width(), width);
          }
        });
    return result;
  }

  View load(const Node& node) {
    const View source = contiguous(value(node.src(0)));
    const View index = contiguous(value(node.src(1)));
    View result = new_view(node.dtype(), index.layout.shape);
    const auto* places = reinterpret_cast<const std::int64_t*>(index.at(index.layout.offset));
    View gate;
    if (node.srcs().size() == 3) gate = contiguous(value(node.src(2)));
    const std::int64_t step = gate.bytes && gate.layout.shape.empty() ? 0 : 1;
    const auto width = static_cast<std::size_t>(result.width());
    for (std::int64_t i = 0; i < result.count(); ++i) {
      if (gate.bytes && *gate.at(gate.layout.offset + i * step) == std::byte{0}) continue;
      if (places[i] < 0 || places[i] >= source.count()) {
        throw InternalError(fmt::format("evaluate: load at index {} of {} elements, shape {}",
                                        places[i], source.count(), to_string(node.src(0).shape())));
      }
      std::memcpy(result.bytes->data() + static_cast<std::size_t>(i) * width,
                  source.at(source.layout.offset + places[i]), width);
    }
    return result;
  }

  // The buffer or store that a store's target is a view of.
  static const Node& base_of(const Node& store) {
    const Node* base = &store.src(0);
    while (is_movement(base->op())) base = &base->src(0);
    return *base;
  }

  // The memory that a store changes, as it was before.
  View copy_of_base(const Node& store) {
    const View before = contiguous(value(base_of(store)));
    View result = new_view(before.dtype, before.layout.shape);
    std::copy_n(before.at(before.layout.offset), result.bytes->size(), result.bytes->data());
    return result;
  }

  // Flat places in the base of a target's elements: its movement operations, done on places.
  View places_of(const Node& target, const View& base) const {
    std::vector<Node> views;
    for (Node view = target; is_movement(view.op()); view = view.src(0)) views.push_back(view);
    View places = counting(base.layout.shape);
    const std::int64_t nowhere = -1;
    for (; !views.empty(); views.pop_back()) {
      places = move(views.back(), places, reinterpret_cast<const std::byte*>(&nowhere));
    }
    return contiguous(places);
  }

  View store(const Node& node) {
    View result = copy_of_base(node);
    write(StoreMode::replace, places_of(node.src(0), result), value(node.src(1)), result);
    return result;
  }

  View scatter(const Node& node) {
    View result = copy_of_base(node);
    const View places = places_of(node.src(0), result);
    const View index = contiguous(value(node.src(1)));
    View at = new_view(DType::int64, index.layout.shape);
    const auto* table = reinterpret_cast<const std::int64_t*>(places.at(places.layout.offset));
    const auto* from = reinterpret_cast<const std::int64_t*>(index.at(index.layout.offset));
    auto* to = reinterpret_cast<std::int64_t*>(at.bytes->data());
    for (std::int64_t i = 0; i < at.count(); ++i) {
      to[i] = from[i] < 0 || from[i] >= places.count() ? -1 : table[from[i]];
    }
    write(static_cast<StoreMode>(node.ints(0)), at, value(node.src(2)), result);
    return result;
  }

  // Elements of `from` (one may stand for all) into `result` at the flat places; those outside are
  // dropped.
  static void write(StoreMode mode, const View& places, const View& from, View& result) {
    const View index = contiguous(places);
    const View elements = contiguous(from);
    const std::int64_t step = from.layout.shape.empty() ? 0 : 1;
    const auto* at = reinterpret_cast<const std::int64_t*>(index.at(index.layout.offset));
    const auto width = static_cast<std::size_t>(result.width());
    for (std::int64_t i = 0; i < index.count(); ++i) {
      if (at[i] < 0 || at[i] >= result.count()) continue;
      std::byte* to = result.bytes->data() + at[i] * result.width();
      const std::byte* value = elements.at(elements.layout.offset + i * step);
      const Operand both[] = {{result.dtype, to, 0}, {result.dtype, value, 0}};
      switch (mode) {
        case StoreMode::replace: std::memcpy(to, value, width); break;
        case StoreMode::add: apply(Op::add_, result.dtype, both, 1, to); break;
        case StoreMode::mul: apply(Op::mul_, result.dtype, both, 1, to); break;
        case StoreMode::max: apply(Op::max_, result.dtype, both, 1, to); break;
        case StoreMode::min: apply_min(result.dtype, both[0], both[1], 1, to); break;
      }
    }
  }

  const Bindings& bindings_;
  std::vector<Node> order_;
  std::unordered_map<const NodeData*, State> states_;
};

}  // namespace

std::vector<Array> evaluate(std::span<const Node> roots, const Bindings& bindings) {
  Evaluator evaluator(roots, bindings);
  evaluator.run();
  std::vector<Array> results;
  for (const Node& root : roots) results.push_back(evaluator.result(root));
  return results;
}

Array evaluate(const Node& root, const Bindings& bindings) {
  return std::move(evaluate({&root, 1}, bindings)[0]);
}

// ---- scalars
// -------------------------------------------------------------------------------------

std::int64_t evaluate_scalar(const Node& scalar, const Variables& variables) {
  if (scalar.is_constant()) return scalar.int_value();
  std::unordered_map<const NodeData*, std::int64_t> values;
  for (const Node& node : topological_order({&scalar, 1})) {
    if (node.is_constant()) {
      values[node.get()] = node.int_value();
      continue;
    }
    if (node.is(Op::variable_)) {
      const auto found = variables.find(node.attr().name);
      if (found == variables.end()) user_error("variable '{}' has no value", node.attr().name);
      if (found->second < node.ints(0) || found->second > node.ints(1)) {
        user_error("variable '{}' is {}, outside its bounds {} … {}", node.attr().name,
                   found->second, node.ints(0), node.ints(1));
      }
      values[node.get()] = found->second;
      continue;
    }
    if (!is_elementwise(node.op()) || is_float(node.dtype())) {
      throw InternalError(fmt::format("evaluate: '{}' in a size or index", name(node.op())));
    }
    // Values are kept extended to 64 bits; a little-endian machine reads the low bytes of them.
    std::vector<Operand> operands;
    for (const Node& src : node.srcs()) {
      operands.push_back({src.dtype(), reinterpret_cast<const std::byte*>(&values[src.get()]), 0});
    }
    alignas(8) std::byte bits[8];
    apply(node.op(), node.dtype(), operands, 1, bits);
    values[node.get()] = read_constant(node.dtype(), bits).int_value();
  }
  return values[scalar.get()];
}

std::int64_t evaluate_size(const Size& size, const Variables& variables) {
  return size.is_constant() ? size.value() : evaluate_scalar(size.expr(), variables);
}

std::vector<std::int64_t> evaluate_shape(const Shape& shape, const Variables& variables) {
  std::vector<std::int64_t> sizes;
  sizes.reserve(shape.size());
  for (const Size& size : shape) {
    sizes.push_back(evaluate_size(size, variables));
    if (sizes.back() < 0) user_error("a size of shape {} is {}", to_string(shape), sizes.back());
  }
  return sizes;
}

}  // namespace brisk
