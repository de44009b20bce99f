#include "schedule/sum_factors.h"

#include <algorithm>

#include "graph/movement.h"
#include "graph/rewrite.h"

namespace brisk {

namespace {

bool is_reduced(const Node& sum, int axis) {
  const auto& ints = sum.attr().ints;  // the operation, then axes
  return std::find(ints.begin() + 1, ints.end(), axis) != ints.end();
}

// The same all along the sum, but not a number: those are cheap.
bool stays(const Node& factor, const Node& sum) {
  if (!factor.is(Op::expand_)) return false;
  const Shape& before = factor.src(0).shape();
  for (int axis = 0; axis < factor.rank(); ++axis) {
    if (is_reduced(sum, axis) && !(before[static_cast<std::size_t>(axis)] == Size(1))) return false;
  }
  return std::any_of(before.begin(), before.end(),
                     [](const Size& size) { return !(size == Size(1)); });
}

void take_factors(const Node& product, std::vector<Node>& factors) {
  if (!product.is(Op::mul_)) {
    factors.push_back(product);
    return;
  }
  for (const Node& src : product.srcs()) take_factors(src, factors);
}

Node product_of(std::span<const Node> factors) {
  Node product = factors[0];
  for (const Node& factor : factors.subspan(1)) product = mul(product, factor);
  return product;
}

Node outside(const Match& match) {
  const Node& sum = match.root();
  if (static_cast<ReduceOp>(sum.ints(0)) != ReduceOp::add || sum.dtype() != DType::float32)
    return {};
  std::vector<Node> factors;
  take_factors(sum.src(0), factors);
  const auto moving = std::stable_partition(factors.begin(), factors.end(),
                                            [&](const Node& node) { return stays(node, sum); });
  if (moving == factors.begin() || moving == factors.end()) return {};
  const bool of_matrices =
      std::any_of(moving, factors.end(), [](const Node& node) { return node.is(Op::expand_); });
  if (of_matrices) return {};
  std::vector<int> axes;
  for (std::size_t i = 1; i < sum.attr().ints.size(); ++i)
    axes.push_back(static_cast<int>(sum.ints(i)));
  std::vector<Node> result = {reduce(ReduceOp::add, product_of({moving, factors.end()}), axes)};
  for (auto factor = factors.begin(); factor != moving; ++factor)
    result.push_back(expand(factor->src(0), sum.shape()));
  return product_of(result);
}

}  // namespace

std::vector<Node> with_factors_outside(std::span<const Node> roots) {
  static const std::vector<Rule> rules = {
      rule("sum_factors", pattern(Op::reduce_, pattern(Op::mul_, any(), any())), outside)};
  return rewrite(roots, rules);
}

}  // namespace brisk
