#include "autograd/gradient.h"

#include <algorithm>
#include <functional>
#include <unordered_map>
#include <unordered_set>

#include "autograd/rules.h"
#include "base/error.h"
#include "graph/rewrite.h"

namespace brisk {

namespace {

// Sources before users, each node once; `sources` says what a node is entered for.
template <typename Sources>
std::vector<Node> ordered(std::span<const Node> roots, const Sources& sources) {
  struct Frame {
    Node node;
    std::vector<Node> srcs;
    std::size_t next;
  };
  std::vector<Node> order;
  std::unordered_set<Node, NodeHash> seen;
  std::vector<Frame> stack;
  for (const Node& root : roots) {
    if (!seen.insert(root).second) continue;
    stack.push_back({root, sources(root), 0});
    while (!stack.empty()) {
      Frame& frame = stack.back();
      if (frame.next == frame.srcs.size()) {
        order.push_back(frame.node);
        stack.pop_back();
        continue;
      }
      const Node src = frame.srcs[frame.next++];
      if (seen.insert(src).second) stack.push_back({src, sources(src), 0});
    }
  }
  return order;
}

struct SameGradient : GradientRule {
  std::vector<Node> operator()(const Node&, const Node& g) const override { return {g}; }
};

}  // namespace

Node with_gradient_of(const Node& a, const Node& b) {
  static const auto rule = std::make_shared<SameGradient>();
  return b.requires_grad() ? with_gradient(a, {b}, rule) : a;
}

std::vector<Node> gradient_order(std::span<const Node> roots) {
  return ordered(roots, [](const Node& node) {
    std::vector<Node> sources;
    for (std::size_t i = node.is(Op::with_gradient_) ? 1 : 0; i < node.srcs().size(); ++i) {
      if (is_float(node.src(i).dtype())) sources.push_back(node.src(i));
    }
    return sources;
  });
}

std::vector<Node> gradient(std::span<const Node> roots, std::span<const Node> seeds,
                           std::span<const Node> targets) {
  check(roots.size() == seeds.size(), "a seed for each root");
  const std::vector<Node> order = gradient_order(roots);
  std::unordered_set<Node, NodeHash> leads(targets.begin(), targets.end());  // to a target
  for (const Node& node : order) {
    const std::size_t first = node.is(Op::with_gradient_) ? 1 : 0;
    const bool reaches =
        std::any_of(node.srcs().begin() + static_cast<std::ptrdiff_t>(first), node.srcs().end(),
                    [&](const Node& src) { return leads.count(src) != 0; });
    if (reaches && is_float(node.dtype())) leads.insert(node);
  }
  const std::unordered_set<Node, NodeHash> wanted(targets.begin(), targets.end());
  std::unordered_map<Node, Node, NodeHash> sums;
  const std::function<void(const Node&, const Node&)> contribute = [&](const Node& to,
                                                                       const Node& g) {
    if (leads.count(to) == 0) return;
    check(g.shape() == to.shape() && g.dtype() == to.dtype(), "a gradient fits its node");
    // Of an operand of several products each is summed by itself: a product of matrices again.
    if (to.is(Op::expand_) && g.is(Op::mul_) && wanted.count(to) == 0) {
      for (const auto& [inner, part] : contributions(to, g)) contribute(inner, part);
      return;
    }
    Node& sum = sums[to];
    sum = sum ? add(sum, g) : g;
  };
  for (std::size_t i = 0; i < roots.size(); ++i) contribute(roots[i], seeds[i]);
  for (auto node = order.rbegin(); node != order.rend(); ++node) {
    const auto found = sums.find(*node);
    if (found == sums.end()) continue;
    const Node g = found->second;
    for (const auto& [to, part] : contributions(*node, g)) contribute(to, part);
  }
  std::vector<Node> result;
  for (const Node& target : targets) {
    const auto found = sums.find(target);
    result.push_back(found == sums.end() ? Node() : found->second);
  }
  return result;
}

std::vector<Node> values_of(std::span<const Node> roots,
                            const std::function<Node(const Node&)>& known) {
  std::unordered_map<Node, Node, NodeHash> values;
  const auto sources = [&](const Node& node) -> std::vector<Node> {
    if (known) {
      if (const Node value = known(node)) {
        values.emplace(node, value);
        return {};
      }
    }
    if (node.is(Op::with_gradient_)) return {node.src(0)};
    return node.srcs();
  };
  for (const Node& node : ordered(roots, sources)) {
    if (values.count(node) != 0) continue;
    if (node.is(Op::with_gradient_)) {
      values.emplace(node, values.at(node.src(0)));
      continue;
    }
    values.emplace(node, over_values(node, values));
  }
  std::vector<Node> result;
  for (const Node& root : roots) result.push_back(values.at(root));
  return result;
}

}  // namespace brisk
