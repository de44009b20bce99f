// Simplification of reductions, loads and copies.
#include <algorithm>

#include "graph/integer.h"
#include "graph/rules_simplify.h"

namespace brisk {

namespace {

ReduceOp reduce_op(const Node& node) { return static_cast<ReduceOp>(node.ints(0)); }

std::vector<int> axes_of(const Node& reduction) {
  return {reduction.attr().ints.begin() + 1, reduction.attr().ints.end()};
}

// The sum, product and maximum of one value are the value; a sum turns -0 to 0.
Node without_ones(const Match& match) {
  const Node& node = match.root();
  const Node& x = node.src(0);
  std::vector<int> axes;
  for (const int axis : axes_of(node)) {
    if (!(x.shape()[static_cast<std::size_t>(axis)] == Size(1))) axes.push_back(axis);
  }
  if (axes.size() == axes_of(node).size()) return {};
  return axes.empty() ? x : reduce(reduce_op(node), x, axes);
}

// Integers up to this one are exact.
std::int64_t exact_up_to(DType dtype) {
  switch (dtype) {
    case DType::float8_e4m3: return 1 << 4;
    case DType::float8_e5m2: return 1 << 3;
    case DType::bfloat16: return 1 << 8;
    case DType::float16: return 1 << 11;
    case DType::float32: return 1 << 24;
    default: return std::int64_t{1} << 53;
  }
}

// Axes that an expand makes have equal elements: their sum is n times one, their maximum one.
Node of_expand(const Match& match) {
  const Node& node = match.root();
  const Node& x = node.src(0).src(0);
  const ReduceOp op = reduce_op(node);
  const DType dtype = node.dtype();
  std::vector<int> rest;
  Size times = 1;
  Shape shape = node.src(0).shape();  // without what is repeated
  for (const int axis : axes_of(node)) {
    const auto i = static_cast<std::size_t>(axis);
    if (x.shape()[i] == shape[i]) {
      rest.push_back(axis);
    } else {
      times = times * shape[i];
      shape[i] = Size(1);
    }
  }
  const Node repeated = expand(x, shape);
  if (repeated == node.src(0) || op == ReduceOp::mul || times.lower() < 1) return {};
  // Narrow floats would be rounded twice.
  const bool adds = op == ReduceOp::add && !is_bool(dtype);
  if (adds && is_float(dtype) &&
      (times.upper() > exact_up_to(dtype) || (!rest.empty() && byte_size(dtype) < 4))) {
    return {};
  }
  const Node once = rest.empty() ? repeated : reduce(op, repeated, rest);
  return adds ? mul(once, cast(times.node(), dtype)) : once;
}

// Exact where the order of operations does not matter: integers and maxima.
Node of_reduce(const Match& match) {
  const Node& outer = match.root();
  const Node& inner = outer.src(0);
  if (outer.ints(0) != inner.ints(0)) return {};
  if (is_float(outer.dtype()) && reduce_op(outer) != ReduceOp::max) return {};
  std::vector<int> axes = axes_of(outer);
  const std::vector<int> more = axes_of(inner);
  axes.insert(axes.end(), more.begin(), more.end());
  std::sort(axes.begin(), axes.end());
  axes.erase(std::unique(axes.begin(), axes.end()), axes.end());
  return reduce(reduce_op(outer), inner.src(0), axes);
}

std::vector<Rule> make_rules() {
  const Pattern x = any();
  const Pattern i = any();
  const Pattern g = any();
  return {
      up_to_zero_sign(rule("reduce_ones", pattern(Op::reduce_, x), without_ones)),
      up_to_zero_sign(
          rule("reduce_expand", pattern(Op::reduce_, pattern(Op::expand_, x)), of_expand), 2e-7),
      rule("reduce_reduce", pattern(Op::reduce_, pattern(Op::reduce_, x)), of_reduce),

      rule("load_always", pattern(Op::load_, x, i, lit(1)),
           [=](const Match& m) { return load(m[x], m[i]); }),
      rule("load_never", pattern(Op::load_, x, i, lit(0)), lit(0)),
      rule("load_reshape", pattern(Op::load_, pattern(Op::reshape_, x), i),
           [=](const Match& m) { return load(m[x], m[i]); }),
      rule("load_reshape_gated", pattern(Op::load_, pattern(Op::reshape_, x), i, g),
           [=](const Match& m) { return load(m[x], m[i], m[g]); }),
      rule("load_iota", pattern(Op::load_, pattern(Op::iota_), i), i),
      rule("copy_copy", pattern(Op::copy_, pattern(Op::copy_, x)),
           [x](const Match& m) { return copy_to(m[x], m.root().attr().name); }),
  };
}

}  // namespace

std::span<const Rule> reduction_rules() {
  static const std::vector<Rule> rules = make_rules();
  return rules;
}

}  // namespace brisk
