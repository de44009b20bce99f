// The one node type of brisk, from tensor graph to linear code: an operation, a dtype, sources and
// an attribute. Nodes are immutable and interned (equal nodes are the same object, so == is a
// pointer comparison), reference-counted, and safe to build and drop from several threads. A node
// dies with its last handle.
#pragma once

#include <atomic>
#include <cstdint>
#include <memory>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "base/dtype.h"
#include "base/storage.h"

namespace brisk {

enum class Op : std::uint8_t {
#define BRISK_OP(name, arity, group, summary, semantics) name##_,
#include "graph/ops.def"
};

enum class OpGroup : std::uint8_t {
  arithmetic,
  integer,
  reduction,
  movement,
  memory,
  symbolic,
  gradient,
  kernel,
};

struct OpInfo {
  std::string_view name;
  int arity;  // -1: varies
  OpGroup group;
  std::string_view summary;
  std::string_view semantics;
};

const OpInfo& info(Op op);
int op_count();
inline std::string_view name(Op op) { return info(op).name; }
inline bool is_elementwise(Op op) {
  return info(op).group == OpGroup::arithmetic || info(op).group == OpGroup::integer;
}
inline bool is_movement(Op op) { return info(op).group == OpGroup::movement; }
bool is_commutative(Op op);

enum class ReduceOp : std::int64_t { add, mul, max };
enum class StoreMode : std::int64_t { replace, add, mul, max, min };
std::string_view name(ReduceOp op);

struct NodeData;
class Size;
using Shape = std::vector<Size>;
struct Attr;

/// Handle on a node; empty by default. Cheap to copy.
class Node {
 public:
  Node() = default;
  Node(const Node& other) : data_(other.data_) { retain(); }
  Node(Node&& other) noexcept : data_(other.data_) { other.data_ = nullptr; }
  Node& operator=(const Node& other) {
    Node copy(other);
    std::swap(data_, copy.data_);
    return *this;
  }
  Node& operator=(Node&& other) noexcept {
    std::swap(data_, other.data_);
    return *this;
  }
  ~Node() { release(); }

  explicit operator bool() const { return data_ != nullptr; }
  bool operator==(const Node& other) const { return data_ == other.data_; }
  const NodeData* get() const { return data_; }

  Op op() const;
  DType dtype() const;
  int lanes() const;  // 1 outside of vector code
  const std::vector<Node>& srcs() const;
  const Node& src(std::size_t i) const { return srcs()[i]; }
  const Attr& attr() const;
  const Shape& shape() const;
  int rank() const;
  /// Whether a gradient with respect to it means something: it depends on a leaf through
  /// floating-point values.
  bool requires_grad() const;
  /// Creation order: sources have smaller ids than their users. Differs from run to run.
  std::uint64_t id() const;

  bool is(Op op) const { return data_ != nullptr && this->op() == op; }
  bool is_constant() const { return is(Op::constant_); }
  bool is_constant(double value) const;
  std::int64_t int_value() const;  // of an integer or bool constant
  double float_value() const;      // of any constant
  std::int64_t ints(std::size_t i) const;

 private:
  friend Node make_node(Op, DType, std::vector<Node>, Attr, int);
  explicit Node(NodeData* data) : data_(data) {}  // takes over one reference
  void retain() const;
  void release();
  static void destroy(NodeData* data);
  NodeData* data_ = nullptr;
};

/// One size of a shape: a number, or an int64 scalar expression over variables (never constant).
class Size {
 public:
  Size() = default;
  Size(std::int64_t value) : value_(value) {}  // NOLINT: implicit on purpose
  Size(int value) : value_(value) {}           // NOLINT
  Size(const Node& expr);                      // NOLINT: folds constants

  bool is_constant() const { return !expr_; }
  std::int64_t value() const;  // of a constant; InternalError otherwise
  Node node() const;           // as an int64 scalar node
  std::int64_t lower() const;  // bounds over every value of the variables
  std::int64_t upper() const;
  bool operator==(const Size& other) const {
    return value_ == other.value_ && expr_ == other.expr_;
  }
  const Node& expr() const { return expr_; }

 private:
  std::int64_t value_ = 0;
  Node expr_;
};

Size operator+(const Size& a, const Size& b);
Size operator-(const Size& a, const Size& b);
Size operator*(const Size& a, const Size& b);
Size operator/(const Size& a, const Size& b);  // floor, for non-negative operands
Size operator%(const Size& a, const Size& b);

struct Attr {
  std::vector<std::int64_t> ints;
  Shape sizes;
  std::string name;
  std::shared_ptr<Storage> storage;
  bool operator==(const Attr& other) const = default;
};

struct NodeData {
  Op op;
  DType dtype;
  int lanes;
  std::vector<Node> srcs;
  Attr attr;
  Shape shape = {};
  bool requires_grad = false;
  std::uint64_t id = 0;
  std::size_t hash = 0;
  std::atomic<std::int64_t> references = 1;
  NodeData* next = nullptr;  // in the table of all nodes
};

inline void Node::retain() const {
  if (data_ != nullptr) data_->references.fetch_add(1, std::memory_order_relaxed);
}
inline void Node::release() {
  if (data_ != nullptr && data_->references.fetch_sub(1, std::memory_order_acq_rel) == 1)
    destroy(data_);
}
inline Op Node::op() const { return data_->op; }
inline DType Node::dtype() const { return data_->dtype; }
inline int Node::lanes() const { return data_->lanes; }
inline const std::vector<Node>& Node::srcs() const { return data_->srcs; }
inline const Attr& Node::attr() const { return data_->attr; }
inline const Shape& Node::shape() const { return data_->shape; }
inline int Node::rank() const { return static_cast<int>(data_->shape.size()); }
inline bool Node::requires_grad() const { return data_->requires_grad; }
inline std::uint64_t Node::id() const { return data_->id; }
inline std::int64_t Node::ints(std::size_t i) const { return data_->attr.ints[i]; }

struct NodeHash {
  std::size_t operator()(const Node& node) const {
    return std::hash<const NodeData*>()(node.get());
  }
};

/// The interned node; infers its shape (graph/infer.h) and throws UserError where sources do not
/// fit.
Node make_node(Op op, DType dtype, std::vector<Node> srcs, Attr attr = {}, int lanes = 1);

/// Number of nodes alive in the process.
std::int64_t live_nodes();

// ---- builders; dtype and shape follow from the sources
// -------------------------------------------

Node constant_int(std::int64_t value, DType dtype = DType::int64);  // also bool
Node constant_float(double value, DType dtype = DType::float32);
/// Constant of any dtype; floats are rounded to it, integers wrap.
Node constant_like(double value, DType dtype);

Node add(const Node& a, const Node& b);
Node mul(const Node& a, const Node& b);
Node max(const Node& a, const Node& b);
Node cmplt(const Node& a, const Node& b);
Node cmpne(const Node& a, const Node& b);
Node where(const Node& condition, const Node& a, const Node& b);
Node exp2(const Node& a);
/// Where anything of that size, 0 too, will do for results below twice the least normal number.
Node exp2_or_zero(const Node& a);
Node log2(const Node& a);
Node sin(const Node& a);
Node sqrt(const Node& a);
Node recip(const Node& a);
Node cast(const Node& a, DType dtype);
Node idiv(const Node& a, const Node& b);
Node mod(const Node& a, const Node& b);
Node bit_and(const Node& a, const Node& b);
Node bit_or(const Node& a, const Node& b);
Node bit_xor(const Node& a, const Node& b);
Node shl(const Node& a, const Node& b);
Node shr(const Node& a, const Node& b);
Node bitcast(const Node& a, DType dtype);

Node reduce(ReduceOp op, const Node& a, std::vector<int> axes);
Node reshape(const Node& a, Shape shape);
Node permute(const Node& a, std::vector<int> axes);
Node expand(const Node& a, Shape shape);
Node pad(const Node& a, Shape before_after);
Node shrink(const Node& a, Shape begin_end);
Node flip(const Node& a, std::vector<int> axes);
/// The same values, computed from only once `event` has been computed.
Node after(const Node& a, const Node& event);

/// A new buffer node (ids are unique in the process).
Node buffer(DType dtype, Shape shape, std::shared_ptr<Storage> storage);
Node load(const Node& source, const Node& index, const Node& gate = {});
Node store(const Node& target, const Node& value);
Node scatter(const Node& target, const Node& index, const Node& value, StoreMode mode);
Node copy_to(const Node& a, std::string device);
Node variable(std::string name, std::int64_t least, std::int64_t greatest);
Node iota(const Size& size);

/// The value with gradients that go to `inputs` by the rule; without inputs they go nowhere.
Node with_gradient(const Node& value, const std::vector<Node>& inputs,
                   std::shared_ptr<Storage> rule);
/// The value as a leaf, told from others by `identity`.
Node gradient_leaf(const Node& value, std::shared_ptr<Storage> identity);
bool is_gradient_leaf(const Node& node);

// ---- shapes
// --------------------------------------------------------------------------------------

/// The buffer or store node whose memory a movement view or store refers to.
const Node& base_buffer(const Node& view);
Size element_count(const Shape& shape);
bool is_static(const Shape& shape);
std::vector<std::int64_t> static_shape(const Shape& shape);  // InternalError when symbolic
std::string to_string(const Shape& shape);
std::string to_string(const Size& size);
/// Sources before users, each node once.
std::vector<Node> topological_order(std::span<const Node> roots);

}  // namespace brisk
