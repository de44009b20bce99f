// Interning and lifetime of nodes, the operation table, and the builders.
#include "graph/node.h"

#include <algorithm>
#include <array>
#include <bit>
#include <cmath>
#include <mutex>
#include <utility>

#include "base/error.h"
#include "graph/infer.h"
#include "graph/integer.h"

namespace brisk {

// ---- the operation table
// -------------------------------------------------------------------------

namespace {

constexpr std::array op_table = {
#define BRISK_OP(name, arity, group, summary, semantics) \
  OpInfo{#name, arity, OpGroup::group, summary, semantics},
#include "graph/ops.def"
};

}  // namespace

const OpInfo& info(Op op) { return op_table[static_cast<std::size_t>(op)]; }
int op_count() { return static_cast<int>(op_table.size()); }

bool is_commutative(Op op) {
  switch (op) {
    case Op::add_:
    case Op::mul_:
    case Op::max_:
    case Op::cmpne_:
    case Op::and_:
    case Op::or_:
    case Op::xor_: return true;
    default: return false;
  }
}

std::string_view name(ReduceOp op) {
  constexpr std::array<std::string_view, 3> names = {"add", "mul", "max"};
  return names[static_cast<std::size_t>(op)];
}

// ---- interning
// -----------------------------------------------------------------------------------

namespace {

std::size_t mix(std::size_t seed, std::size_t value) {
  seed ^= value + 0x9e3779b97f4a7c15ULL + (seed << 6) + (seed >> 2);
  return seed * 0xff51afd7ed558ccdULL;
}

std::size_t hash_size(const Size& size) {
  return size.is_constant() ? static_cast<std::size_t>(size.value())
                            : std::hash<const void*>()(size.expr().get());
}

std::size_t hash_node(const NodeData& data) {
  std::size_t h = mix(static_cast<std::size_t>(data.op) * 64 + static_cast<std::size_t>(data.dtype),
                      static_cast<std::size_t>(data.lanes));
  for (const Node& src : data.srcs) h = mix(h, std::hash<const void*>()(src.get()));
  for (auto value : data.attr.ints) h = mix(h, static_cast<std::size_t>(value));
  for (const Size& size : data.attr.sizes) h = mix(h, hash_size(size));
  if (data.attr.storage) h = mix(h, std::hash<const void*>()(data.attr.storage.get()));
  if (!data.attr.name.empty()) h = mix(h, std::hash<std::string>()(data.attr.name));
  return h;
}

bool is_same(const NodeData& a, const NodeData& b) {
  return a.hash == b.hash && a.op == b.op && a.dtype == b.dtype && a.lanes == b.lanes &&
         a.srcs == b.srcs && a.attr == b.attr;
}

// A part of the table of all nodes: chains through the nodes themselves, so that an entry costs
// nothing. The middle bits of hashes choose the chain (the lowest are poor: they follow from those
// of addresses; the highest choose the part).
class Shard {
 public:
  std::mutex mutex;

  /// With one more reference, or null.
  NodeData* find(const NodeData& key) {
    for (NodeData* node = chain(key.hash); node != nullptr; node = node->next) {
      if (!is_same(*node, key)) continue;
      // One whose count is zero is about to be erased by its last owner: it does not count, but
      // its twin may stand further on.
      std::int64_t count = node->references.load();
      while (count > 0) {
        if (node->references.compare_exchange_weak(count, count + 1)) return node;
      }
    }
    return nullptr;
  }

  void insert(NodeData* node) {
    ++insertions_;
    if (++size_ > chains_.size()) grow();
    NodeData*& first = chain(node->hash);
    node->next = first;
    first = node;
  }

  void erase(const NodeData* node) {
    NodeData** at = &chain(node->hash);
    while (*at != node) at = &(*at)->next;
    *at = node->next;
    --size_;
  }

  /// Changes whenever a node is new.
  std::uint64_t insertions() const { return insertions_; }

 private:
  NodeData*& chain(std::size_t hash) { return chains_[(hash >> 20) & (chains_.size() - 1)]; }

  void grow() {
    const std::vector<NodeData*> before =
        std::exchange(chains_, std::vector<NodeData*>(2 * chains_.size()));
    for (NodeData* node : before) {
      while (node != nullptr) {
        NodeData*& first = chain(node->hash);
        NodeData* next = std::exchange(node->next, first);
        first = std::exchange(node, next);
      }
    }
  }

  std::vector<NodeData*> chains_ = std::vector<NodeData*>(64);
  std::size_t size_ = 0;
  std::uint64_t insertions_ = 0;
};

// Gradients go through floating-point values, and around src0 of with_gradient.
bool has_gradient(const NodeData& data) {
  if (!is_float(data.dtype)) return false;
  const bool own = data.op == Op::with_gradient_;
  if (own && !data.attr.ints.empty()) return true;
  return std::any_of(data.srcs.begin() + (own ? 1 : 0), data.srcs.end(),
                     [](const Node& src) { return src.requires_grad(); });
}

constexpr std::size_t shard_count = 64;

// Never destroyed, so that handles in static objects may outlive main.
std::array<Shard, shard_count>& shards() {
  static auto* all = new std::array<Shard, shard_count>;
  return *all;
}

Shard& shard_of(std::size_t hash) { return shards()[(hash >> 48) % shard_count]; }

std::atomic<std::uint64_t> next_id{1};
std::atomic<std::int64_t> live{0};

}  // namespace

std::int64_t live_nodes() { return live.load(); }

Node make_node(Op op, DType dtype, std::vector<Node> srcs, Attr attr, int lanes) {
  NodeData key{op, dtype, lanes, std::move(srcs), std::move(attr)};
  key.hash = hash_node(key);
  Shard& shard = shard_of(key.hash);
  std::uint64_t seen = 0;
  {
    const std::lock_guard lock(shard.mutex);
    if (NodeData* existing = shard.find(key)) return Node(existing);
    seen = shard.insertions();
  }
  Shape shape = infer_shape(op, dtype, key.srcs, key.attr);  // may throw
  std::unique_ptr<NodeData> fresh(
      new NodeData{op, dtype, lanes, std::move(key.srcs), std::move(key.attr), std::move(shape)});
  fresh->hash = key.hash;
  fresh->requires_grad = has_gradient(*fresh);
  fresh->id = next_id++;
  const std::lock_guard lock(shard.mutex);
  if (shard.insertions() != seen) {
    if (NodeData* existing = shard.find(*fresh)) return Node(existing);
  }
  shard.insert(fresh.get());
  ++live;
  return Node(fresh.release());
}

void Node::destroy(NodeData* data) {
  // Long chains are taken apart with a list instead of recursion.
  static thread_local std::vector<NodeData*>* pending = nullptr;
  if (pending != nullptr) {
    pending->push_back(data);
    return;
  }
  std::vector<NodeData*> list = {data};
  pending = &list;
  while (!list.empty()) {
    NodeData* dead = list.back();
    list.pop_back();
    {
      Shard& shard = shard_of(dead->hash);
      const std::lock_guard lock(shard.mutex);
      shard.erase(dead);
    }
    --live;
    delete dead;  // its sources come back here through `pending`
  }
  pending = nullptr;
}

// ---- sizes
// ---------------------------------------------------------------------------------------

Size::Size(const Node& expr) {
  check(expr.dtype() == DType::int64 && expr.rank() == 0, "a size is an int64 scalar");
  if (expr.is_constant()) {
    value_ = expr.int_value();
  } else {
    expr_ = expr;
  }
}

std::int64_t Size::value() const {
  check(!expr_, "a size that is known before run time");
  return value_;
}
Node Size::node() const { return expr_ ? expr_ : constant_int(value_); }
std::int64_t Size::lower() const { return expr_ ? bounds(expr_).least : value_; }
std::int64_t Size::upper() const { return expr_ ? bounds(expr_).greatest : value_; }

// Numbers need no node.
Size operator+(const Size& a, const Size& b) {
  if (a.is_constant() && b.is_constant()) return a.value() + b.value();
  return integer_add(a.node(), b.node());
}
Size operator-(const Size& a, const Size& b) {
  if (a.is_constant() && b.is_constant()) return a.value() - b.value();
  return integer_sub(a.node(), b.node());
}
Size operator*(const Size& a, const Size& b) {
  if (a.is_constant() && b.is_constant()) return a.value() * b.value();
  return integer_mul(a.node(), b.node());
}
Size operator/(const Size& a, const Size& b) { return integer_div(a.node(), b.node()); }
Size operator%(const Size& a, const Size& b) { return integer_mod(a.node(), b.node()); }

// ---- constants
// -----------------------------------------------------------------------------------

std::int64_t Node::int_value() const {
  check(is_constant() && !is_float(dtype()), "an integer constant");
  return ints(0);
}

double Node::float_value() const {
  check(is_constant(), "a constant");
  return is_float(dtype()) ? std::bit_cast<double>(ints(0)) : static_cast<double>(ints(0));
}

bool Node::is_constant(double value) const { return is_constant() && float_value() == value; }

namespace {

std::int64_t wrap(std::int64_t value, DType dtype) {
  if (is_bool(dtype)) return value != 0;
  const int shift = 64 - bit_size(dtype);
  if (shift == 0) return value;
  const auto shifted = static_cast<std::uint64_t>(value) << shift;
  return is_signed(dtype) ? static_cast<std::int64_t>(shifted) >> shift
                          : static_cast<std::int64_t>(shifted >> shift);
}

double round_to(double value, DType dtype) {
  const auto f = static_cast<float>(value);
  switch (dtype) {
    case DType::float8_e4m3: return e4m3_to_float(float_to_e4m3(f));
    case DType::float8_e5m2: return e5m2_to_float(float_to_e5m2(f));
    case DType::float16: return half_to_float(float_to_half(f));
    case DType::bfloat16: return bfloat16_to_float(float_to_bfloat16(f));
    case DType::float32: return f;
    default: return value;
  }
}

Node make_constant(std::int64_t bits, DType dtype) {
  Attr attr;
  attr.ints = {bits};
  return make_node(Op::constant_, dtype, {}, std::move(attr));
}

}  // namespace

Node constant_int(std::int64_t value, DType dtype) {
  check(!is_float(dtype) && dtype != DType::none, "an integer dtype");
  return make_constant(wrap(value, dtype), dtype);
}

Node constant_float(double value, DType dtype) {
  check(is_float(dtype), "a floating-point dtype");
  return make_constant(std::bit_cast<std::int64_t>(round_to(value, dtype)), dtype);
}

Node constant_like(double value, DType dtype) {
  return is_float(dtype) ? constant_float(value, dtype)
                         : constant_int(static_cast<std::int64_t>(value), dtype);
}

// ---- builders
// ------------------------------------------------------------------------------------

namespace {

Node unary(Op op, const Node& a) { return make_node(op, a.dtype(), {a}, {}, a.lanes()); }

// Integers without shape or lanes are sizes and indices: those are kept in normal form.
bool is_index(const Node& a, const Node& b) {
  return a.dtype() == DType::int64 && b.dtype() == DType::int64 && a.rank() == 0 && b.rank() == 0 &&
         a.lanes() == 1 && b.lanes() == 1;
}

Node binary(Op op, const Node& a, const Node& b) {
  return make_node(op, a.dtype(), {a, b}, {}, std::max(a.lanes(), b.lanes()));
}

Node compare(Op op, const Node& a, const Node& b) {
  return make_node(op, DType::boolean, {a, b}, {}, std::max(a.lanes(), b.lanes()));
}

Attr with_ints(std::vector<std::int64_t> ints) {
  Attr attr;
  attr.ints = std::move(ints);
  return attr;
}

Attr with_axes(const std::vector<int>& axes) {
  return with_ints(std::vector<std::int64_t>(axes.begin(), axes.end()));
}

Attr with_sizes(Shape sizes) {
  Attr attr;
  attr.sizes = std::move(sizes);
  return attr;
}

}  // namespace

Node add(const Node& a, const Node& b) {
  return is_index(a, b) ? integer_add(a, b) : binary(Op::add_, a, b);
}
Node mul(const Node& a, const Node& b) {
  return is_index(a, b) ? integer_mul(a, b) : binary(Op::mul_, a, b);
}
Node max(const Node& a, const Node& b) { return binary(Op::max_, a, b); }
Node cmplt(const Node& a, const Node& b) {
  return is_index(a, b) ? integer_less(a, b) : compare(Op::cmplt_, a, b);
}
Node cmpne(const Node& a, const Node& b) { return compare(Op::cmpne_, a, b); }
Node where(const Node& condition, const Node& a, const Node& b) {
  return make_node(Op::where_, a.dtype(), {condition, a, b}, {},
                   std::max(std::max(condition.lanes(), a.lanes()), b.lanes()));
}
Node exp2(const Node& a) { return unary(Op::exp2_, a); }
Node exp2_or_zero(const Node& a) {
  return make_node(Op::exp2_, a.dtype(), {a}, with_ints({1}), a.lanes());
}
Node log2(const Node& a) { return unary(Op::log2_, a); }
Node sin(const Node& a) { return unary(Op::sin_, a); }
Node sqrt(const Node& a) { return unary(Op::sqrt_, a); }
Node recip(const Node& a) { return unary(Op::recip_, a); }
Node cast(const Node& a, DType dtype) {
  return a.dtype() == dtype ? a : make_node(Op::cast_, dtype, {a}, {}, a.lanes());
}
Node idiv(const Node& a, const Node& b) {
  return is_index(a, b) ? integer_div(a, b) : binary(Op::idiv_, a, b);
}
Node mod(const Node& a, const Node& b) {
  return is_index(a, b) ? integer_mod(a, b) : binary(Op::mod_, a, b);
}
Node bit_and(const Node& a, const Node& b) { return binary(Op::and_, a, b); }
Node bit_or(const Node& a, const Node& b) { return binary(Op::or_, a, b); }
Node bit_xor(const Node& a, const Node& b) { return binary(Op::xor_, a, b); }
Node shl(const Node& a, const Node& b) { return binary(Op::shl_, a, b); }
Node shr(const Node& a, const Node& b) { return binary(Op::shr_, a, b); }
Node bitcast(const Node& a, DType dtype) {
  return a.dtype() == dtype ? a : make_node(Op::bitcast_, dtype, {a}, {}, a.lanes());
}

Node reduce(ReduceOp op, const Node& a, std::vector<int> axes) {
  Attr attr = with_axes(axes);
  attr.ints.insert(attr.ints.begin(), static_cast<std::int64_t>(op));
  return make_node(Op::reduce_, a.dtype(), {a}, std::move(attr));
}

Node reshape(const Node& a, Shape shape) {
  if (shape == a.shape()) return a;
  return make_node(Op::reshape_, a.dtype(), {a.is(Op::reshape_) ? a.src(0) : a},
                   with_sizes(std::move(shape)));
}

Node permute(const Node& a, std::vector<int> axes) {
  bool same = true;
  for (std::size_t i = 0; i < axes.size(); ++i) same &= axes[i] == static_cast<int>(i);
  if (same && axes.size() == a.shape().size()) return a;
  return make_node(Op::permute_, a.dtype(), {a}, with_axes(axes));
}

Node expand(const Node& a, Shape shape) {
  if (shape == a.shape()) return a;
  return make_node(Op::expand_, a.dtype(), {a}, with_sizes(std::move(shape)));
}

Node pad(const Node& a, Shape before_after) {
  bool nothing = true;
  for (const Size& size : before_after) nothing &= size == Size(0);
  if (nothing) return a;
  return make_node(Op::pad_, a.dtype(), {a}, with_sizes(std::move(before_after)));
}

Node shrink(const Node& a, Shape begin_end) {
  bool whole = begin_end.size() == 2 * a.shape().size();
  for (std::size_t i = 0; whole && i < a.shape().size(); ++i) {
    whole = begin_end[2 * i] == Size(0) && begin_end[2 * i + 1] == a.shape()[i];
  }
  if (whole) return a;
  return make_node(Op::shrink_, a.dtype(), {a}, with_sizes(std::move(begin_end)));
}

Node flip(const Node& a, std::vector<int> axes) {
  if (axes.empty()) return a;
  return make_node(Op::flip_, a.dtype(), {a}, with_axes(axes));
}

Node after(const Node& a, const Node& event) {
  return make_node(Op::after_, a.dtype(), {a, event});
}

Node with_gradient(const Node& value, const std::vector<Node>& inputs,
                   std::shared_ptr<Storage> rule) {
  std::vector<Node> srcs = {value};
  srcs.insert(srcs.end(), inputs.begin(), inputs.end());
  Attr attr;
  attr.storage = std::move(rule);
  return make_node(Op::with_gradient_, value.dtype(), std::move(srcs), std::move(attr));
}

Node gradient_leaf(const Node& value, std::shared_ptr<Storage> identity) {
  Attr attr = with_ints({1});
  attr.storage = std::move(identity);
  return make_node(Op::with_gradient_, value.dtype(), {value}, std::move(attr));
}

bool is_gradient_leaf(const Node& node) {
  return node.is(Op::with_gradient_) && !node.attr().ints.empty();
}

Node buffer(DType dtype, Shape shape, std::shared_ptr<Storage> storage) {
  static std::atomic<std::int64_t> next{1};
  Attr attr = with_sizes(std::move(shape));
  attr.ints = {next++};
  attr.storage = std::move(storage);
  return make_node(Op::buffer_, dtype, {}, std::move(attr));
}

Node load(const Node& source, const Node& index, const Node& gate) {
  std::vector<Node> srcs = {source, index};
  if (gate && !gate.is_constant(1)) srcs.push_back(gate);
  return make_node(Op::load_, source.dtype(), std::move(srcs), {}, index.lanes());
}

Node store(const Node& target, const Node& value) {
  return make_node(Op::store_, target.dtype(), {target, value});
}

Node scatter(const Node& target, const Node& index, const Node& value, StoreMode mode) {
  return make_node(Op::store_, target.dtype(), {target, index, value},
                   with_ints({static_cast<std::int64_t>(mode)}));
}

Node copy_to(const Node& a, std::string device) {
  Attr attr;
  attr.name = std::move(device);
  return make_node(Op::copy_, a.dtype(), {a}, std::move(attr));
}

Node variable(std::string name, std::int64_t least, std::int64_t greatest) {
  if (least > greatest) {
    user_error("variable '{}': least value {} is above the greatest {}", name, least, greatest);
  }
  Attr attr = with_ints({least, greatest});
  attr.name = std::move(name);
  return make_node(Op::variable_, DType::int64, {}, std::move(attr));
}

Node iota(const Size& size) { return make_node(Op::iota_, DType::int64, {}, with_sizes({size})); }

// ---- shapes
// --------------------------------------------------------------------------------------

const Node& base_buffer(const Node& view) {
  const Node* node = &view;
  while (is_movement(node->op()) || node->is(Op::store_)) node = &node->src(0);
  if (!node->is(Op::buffer_)) {
    user_error("store: the target must be a buffer or a view of one, not the result of '{}'",
               name(node->op()));
  }
  return *node;
}

Size element_count(const Shape& shape) {
  Size count = 1;
  for (const Size& size : shape) count = count * size;
  return count;
}

bool is_static(const Shape& shape) {
  for (const Size& size : shape) {
    if (!size.is_constant()) return false;
  }
  return true;
}

std::vector<std::int64_t> static_shape(const Shape& shape) {
  std::vector<std::int64_t> sizes;
  sizes.reserve(shape.size());
  for (const Size& size : shape) sizes.push_back(size.value());
  return sizes;
}

std::string to_string(const Shape& shape) {
  std::string text = "[";
  for (std::size_t i = 0; i < shape.size(); ++i) {
    text += (i == 0 ? "" : ", ") + to_string(shape[i]);
  }
  return text + "]";
}

namespace {

// A set of nodes, without memory of its own for each of them.
class SeenNodes {
 public:
  /// Whether it is new.
  bool insert(const NodeData* node) {
    if (2 * count_ >= table_.size()) grow();
    const NodeData*& slot = find(node);
    if (slot == node) return false;
    slot = node;
    ++count_;
    return true;
  }

 private:
  // Where it is, or would be.
  const NodeData*& find(const NodeData* node) {
    const std::size_t mask = table_.size() - 1;
    const auto bits = reinterpret_cast<std::uintptr_t>(node) / alignof(NodeData);
    for (std::size_t at = (bits * 0x9E3779B97F4A7C15U >> 20) & mask;; at = (at + 1) & mask) {
      if (table_[at] == node || table_[at] == nullptr) return table_[at];
    }
  }

  void grow() {
    const std::vector<const NodeData*> old = std::move(table_);
    table_.assign(2 * old.size(), nullptr);
    for (const NodeData* node : old) {
      if (node != nullptr) find(node) = node;
    }
  }

  std::vector<const NodeData*> table_ = std::vector<const NodeData*>(64);
  std::size_t count_ = 0;
};

}  // namespace

std::vector<Node> topological_order(std::span<const Node> roots) {
  std::vector<Node> order;
  SeenNodes seen;
  struct Frame {
    const Node* node;  // a root, or a source of a node that lives
    std::size_t next;
  };
  std::vector<Frame> stack;
  for (const Node& root : roots) {
    if (!seen.insert(root.get())) continue;
    stack.push_back({&root, 0});
    while (!stack.empty()) {
      Frame& frame = stack.back();
      if (frame.next == frame.node->srcs().size()) {
        order.push_back(*frame.node);
        stack.pop_back();
        continue;
      }
      const Node& src = frame.node->src(frame.next++);
      if (seen.insert(src.get())) stack.push_back({&src, 0});
    }
  }
  return order;
}

}  // namespace brisk
