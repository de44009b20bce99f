// Patterns and rules: rewriting as data that reads as mathematics.
//   const Pattern x = any(), y = any();
//   rule("add_zero", x + 0, x)
//   rule("where_same", where(y, x, x), x)
// A pattern is a variable, a constant or an operation over patterns. A variable that occurs more
// than once matches one node; commutative operations match either way round; a number matches the
// constant of that value in any dtype. A rule's right side is a pattern, or a function of the match
// that may decline by giving an empty node.
#pragma once

#include <functional>
#include <memory>
#include <optional>
#include <string>
#include <utility>
#include <vector>

#include "graph/node.h"

namespace brisk {

using NodeTest = std::function<bool(const Node&)>;

class Pattern {
 public:
  enum class Kind : std::uint8_t { variable, constant, operation };

  Pattern(double value);  // NOLINT: implicit, so that x + 0 is a pattern
  static Pattern variable();
  static Pattern any_constant();
  /// One of some operations over these sources, or (without sources) over any.
  static Pattern operation(std::vector<Op> ops, std::vector<Pattern> srcs);

  /// The same pattern (the same variable) with a further condition on the node it matches.
  Pattern when(NodeTest test) const;
  /// … on its dtype: is_integer, is_float, is_bool, …
  Pattern of(bool (*dtype_test)(DType)) const;

  Kind kind() const { return data_->kind; }
  bool has_value() const { return data_->has_value; }
  double value() const { return data_->value; }
  const std::vector<Op>& ops() const { return data_->ops; }
  const std::vector<Pattern>& srcs() const { return data_->srcs; }
  /// True where the node itself (not its sources) fits.
  bool accepts(const Node& node) const;
  /// What variables are told apart by; kept by when() and of().
  const void* identity() const { return data_->identity.get(); }

 private:
  struct Data {
    Kind kind = Kind::variable;
    bool has_value = false;  // of a constant: a certain one
    double value = 0;
    std::vector<Op> ops;
    std::vector<Pattern> srcs;
    std::vector<NodeTest> tests;
    std::shared_ptr<int> identity;
  };
  explicit Pattern(std::shared_ptr<const Data> data) : data_(std::move(data)) {}
  std::shared_ptr<const Data> data_;
};

/// The node that a rule's left side matched, and its variables and named parts.
class Match {
 public:
  explicit Match(Node root) : root_(std::move(root)) {}
  const Node& root() const { return root_; }
  DType dtype() const { return root_.dtype(); }
  /// What a pattern of the left side (a variable, constant or operation) matched.
  const Node& operator[](const Pattern& pattern) const;
  const Node* find(const Pattern& pattern) const;

 private:
  friend struct Matcher;
  Node root_;
  std::vector<std::pair<const void*, Node>> bound_;
};

using Replacement = std::function<Node(const Match&)>;

struct Rule {
  std::string name;
  Pattern left;
  Replacement right;
  double tolerance = 0;            // relative error that it may add to floats
  bool changes_zero_sign = false;  // 0 may become -0, or the other way round
};

Rule rule(std::string name, Pattern left, Pattern right);
Rule rule(std::string name, Pattern left, Replacement right);
/// The same rule, which may change the sign of a zero, and floats by a relative error.
Rule up_to_zero_sign(Rule rule, double tolerance = 0);

/// The replacement of a node by one rule, or an empty node where it does not apply. It has the
/// node's dtype, shape and lanes: a scalar is repeated to the shape.
Node apply_rule(const Rule& rule, const Node& node);

/// What the pattern and its variables match where it is laid on the node; nothing if it does not
/// fit.
std::optional<Match> match(const Pattern& pattern, const Node& node);

/// A scalar as every element of a shape.
Node broadcast(const Node& scalar, const Shape& shape);

// ---- patterns of operations
// ----------------------------------------------------------------------

inline Pattern any() { return Pattern::variable(); }
inline Pattern lit(double value) { return Pattern(value); }
inline Pattern constant() { return Pattern::any_constant(); }

Pattern operator+(const Pattern& a, const Pattern& b);
Pattern operator*(const Pattern& a, const Pattern& b);
Pattern operator/(const Pattern& a, const Pattern& b);  // idiv
Pattern operator%(const Pattern& a, const Pattern& b);
Pattern operator<(const Pattern& a, const Pattern& b);
Pattern operator!=(const Pattern& a, const Pattern& b);
Pattern operator&(const Pattern& a, const Pattern& b);
Pattern operator|(const Pattern& a, const Pattern& b);
Pattern operator^(const Pattern& a, const Pattern& b);
Pattern operator<<(const Pattern& a, const Pattern& b);
Pattern operator>>(const Pattern& a, const Pattern& b);
Pattern max(const Pattern& a, const Pattern& b);
Pattern where(const Pattern& condition, const Pattern& a, const Pattern& b);
/// Any other operation: pattern(Op::cast_, x).
Pattern pattern(Op op);
Pattern pattern(Op op, const Pattern& a);
Pattern pattern(Op op, const Pattern& a, const Pattern& b);
Pattern pattern(Op op, const Pattern& a, const Pattern& b, const Pattern& c);

}  // namespace brisk
