#include "graph/pattern.h"

#include <algorithm>

#include "base/error.h"
#include "graph/print.h"

namespace brisk {

// ---- patterns
// ------------------------------------------------------------------------------------

Pattern::Pattern(double value) {
  auto data = std::make_shared<Data>();
  data->kind = Kind::constant;
  data->has_value = true;
  data->value = value;
  data->identity = std::make_shared<int>();
  data_ = std::move(data);
}

Pattern Pattern::variable() {
  auto data = std::make_shared<Data>();
  data->identity = std::make_shared<int>();
  return Pattern(std::shared_ptr<const Data>(std::move(data)));
}

Pattern Pattern::any_constant() {
  auto data = std::make_shared<Data>();
  data->kind = Kind::constant;
  data->identity = std::make_shared<int>();
  return Pattern(std::shared_ptr<const Data>(std::move(data)));
}

Pattern Pattern::operation(std::vector<Op> ops, std::vector<Pattern> srcs) {
  auto data = std::make_shared<Data>();
  data->kind = Kind::operation;
  data->ops = std::move(ops);
  data->srcs = std::move(srcs);
  data->identity = std::make_shared<int>();
  return Pattern(std::shared_ptr<const Data>(std::move(data)));
}

Pattern Pattern::when(NodeTest test) const {
  auto data = std::make_shared<Data>(*data_);
  data->tests.push_back(std::move(test));
  return Pattern(std::shared_ptr<const Data>(std::move(data)));
}

Pattern Pattern::of(bool (*dtype_test)(DType)) const {
  return when([dtype_test](const Node& node) { return dtype_test(node.dtype()); });
}

bool Pattern::accepts(const Node& node) const {
  if (node.dtype() == DType::none) return false;
  switch (kind()) {
    case Kind::variable: break;
    case Kind::constant:
      if (!node.is_constant()) return false;
      // -0 is no zero to match: rules say what they do to it.
      if (has_value() && value() == 0 && node.ints(0) != 0) return false;
      if (has_value() && node.float_value() != value()) return false;
      break;
    case Kind::operation:
      if (std::find(ops().begin(), ops().end(), node.op()) == ops().end()) return false;
      if (!srcs().empty() && srcs().size() != node.srcs().size()) return false;
      break;
  }
  return std::all_of(data_->tests.begin(), data_->tests.end(),
                     [&](const NodeTest& test) { return test(node); });
}

Pattern pattern(Op op) { return Pattern::operation({op}, {}); }
Pattern pattern(Op op, const Pattern& a) { return Pattern::operation({op}, {a}); }
Pattern pattern(Op op, const Pattern& a, const Pattern& b) {
  return Pattern::operation({op}, {a, b});
}
Pattern pattern(Op op, const Pattern& a, const Pattern& b, const Pattern& c) {
  return Pattern::operation({op}, {a, b, c});
}

Pattern operator+(const Pattern& a, const Pattern& b) { return pattern(Op::add_, a, b); }
Pattern operator*(const Pattern& a, const Pattern& b) { return pattern(Op::mul_, a, b); }
Pattern operator/(const Pattern& a, const Pattern& b) { return pattern(Op::idiv_, a, b); }
Pattern operator%(const Pattern& a, const Pattern& b) { return pattern(Op::mod_, a, b); }
Pattern operator<(const Pattern& a, const Pattern& b) { return pattern(Op::cmplt_, a, b); }
Pattern operator!=(const Pattern& a, const Pattern& b) { return pattern(Op::cmpne_, a, b); }
Pattern operator&(const Pattern& a, const Pattern& b) { return pattern(Op::and_, a, b); }
Pattern operator|(const Pattern& a, const Pattern& b) { return pattern(Op::or_, a, b); }
Pattern operator^(const Pattern& a, const Pattern& b) { return pattern(Op::xor_, a, b); }
Pattern operator<<(const Pattern& a, const Pattern& b) { return pattern(Op::shl_, a, b); }
Pattern operator>>(const Pattern& a, const Pattern& b) { return pattern(Op::shr_, a, b); }
Pattern max(const Pattern& a, const Pattern& b) { return pattern(Op::max_, a, b); }
Pattern where(const Pattern& condition, const Pattern& a, const Pattern& b) {
  return pattern(Op::where_, condition, a, b);
}

// ---- matching
// ------------------------------------------------------------------------------------

const Node* Match::find(const Pattern& pattern) const {
  for (const auto& [identity, node] : bound_) {
    if (identity == pattern.identity()) return &node;
  }
  return nullptr;
}

const Node& Match::operator[](const Pattern& pattern) const {
  const Node* node = find(pattern);
  check(node != nullptr, "a rule's right side names a part of its left side");
  return *node;
}

namespace {

// False where no binding of variables can make the pattern match; costs no memory.
bool might_match(const Pattern& pattern, const Node& node) {
  if (!pattern.accepts(node)) return false;
  const auto& srcs = pattern.srcs();
  const auto all = [&](bool swap) {
    for (std::size_t i = 0; i < srcs.size(); ++i) {
      if (!might_match(srcs[i], node.src(swap ? 1 - i : i))) return false;
    }
    return true;
  };
  return all(false) || (srcs.size() == 2 && is_commutative(node.op()) && all(true));
}

}  // namespace

// Solves (pattern, node) pairs from the last to the first; where a commutative operation could
// match either way, tries both.
struct Matcher {
  using Goals = std::vector<std::pair<const Pattern*, Node>>;

  const Rule& rule;
  Match match;
  Node result;

  bool solve(Goals goals) {
    if (goals.empty()) {
      result = rule.right(match);
      return static_cast<bool>(result);
    }
    const auto [pattern, node] = goals.back();
    goals.pop_back();
    if (!pattern->accepts(node)) return false;
    if (const Node* bound = match.find(*pattern)) return *bound == node && solve(std::move(goals));
    const std::size_t before = match.bound_.size();
    match.bound_.emplace_back(pattern->identity(), node);
    const auto& srcs = pattern->srcs();
    Goals next = goals;
    for (std::size_t i = 0; i < srcs.size(); ++i) next.emplace_back(&srcs[i], node.src(i));
    if (solve(std::move(next))) return true;
    match.bound_.resize(before + 1);
    if (srcs.size() == 2 && is_commutative(node.op())) {
      goals.emplace_back(&srcs[1], node.src(0));
      goals.emplace_back(&srcs[0], node.src(1));
      if (solve(std::move(goals))) return true;
    }
    match.bound_.resize(before);
    return false;
  }
};

Node broadcast(const Node& scalar, const Shape& shape) {
  return expand(reshape(scalar, Shape(shape.size(), Size(1))), shape);
}

Node apply_rule(const Rule& rule, const Node& node) {
  if (!might_match(rule.left, node)) return {};
  Matcher matcher{rule, Match(node), {}};
  if (!matcher.solve({{&rule.left, node}})) return {};
  Node result = matcher.result;
  if (result.rank() == 0 && node.rank() != 0) result = broadcast(result, node.shape());
  if (result.lanes() == 1 && node.lanes() != 1) {
    result = make_node(Op::splat_, result.dtype(), {result}, {}, node.lanes());
  }
  if (result.dtype() != node.dtype() || result.shape() != node.shape() ||
      result.lanes() != node.lanes()) {
    throw InternalError(
        fmt::format("rule '{}' turns {} into {}", rule.name, describe(node), describe(result)));
  }
  return result;
}

std::optional<Match> match(const Pattern& pattern, const Node& node) {
  if (!might_match(pattern, node)) return {};
  const Rule whole{"match", pattern, [](const Match& found) { return found.root(); }};
  Matcher matcher{whole, Match(node), {}};
  if (!matcher.solve({{&pattern, node}})) return {};
  return std::move(matcher.match);
}

// ---- right sides
// ---------------------------------------------------------------------------------

namespace {

bool compares(Op op) { return op == Op::cmplt_ || op == Op::cmpne_; }

// Numbers take the dtype of the operand beside them, else that of the result.
Node build(const Pattern& pattern, const Match& match, DType dtype) {
  if (const Node* bound = match.find(pattern)) return *bound;
  if (pattern.kind() == Pattern::Kind::constant) {
    check(pattern.has_value(), "a constant of a rule's right side");
    return constant_like(pattern.value(), dtype);
  }
  check(pattern.kind() == Pattern::Kind::operation && pattern.ops().size() == 1,
        "a rule's right side is made of what the left side binds");
  const Op op = pattern.ops()[0];
  const std::size_t first = op == Op::where_ ? 1 : 0;
  std::vector<Node> srcs(pattern.srcs().size());
  DType of = compares(op) ? DType::none : dtype;
  for (int round = 0; round < 2; ++round) {  // numbers last
    for (std::size_t i = 0; i < srcs.size(); ++i) {
      const Pattern& src = pattern.srcs()[i];
      if ((src.kind() == Pattern::Kind::constant && match.find(src) == nullptr) != (round == 1)) {
        continue;
      }
      srcs[i] = build(src, match, i < first ? DType::boolean : of);
      if (i >= first && of == DType::none) of = srcs[i].dtype();
    }
  }
  int lanes = 1;
  for (const Node& src : srcs) lanes = std::max(lanes, src.lanes());
  const DType result = compares(op) ? DType::boolean : srcs[first].dtype();
  return make_node(op, result, std::move(srcs), {}, lanes);
}

}  // namespace

Rule rule(std::string name, Pattern left, Pattern right) {
  Replacement replacement = [right = std::move(right)](const Match& match) {
    return build(right, match, match.dtype());
  };
  return rule(std::move(name), std::move(left), std::move(replacement));
}

Rule rule(std::string name, Pattern left, Replacement right) {
  return {std::move(name), std::move(left), std::move(right)};
}

Rule up_to_zero_sign(Rule rule, double tolerance) {
  rule.tolerance = tolerance;
  rule.changes_zero_sign = true;
  return rule;
}

}  // namespace brisk
