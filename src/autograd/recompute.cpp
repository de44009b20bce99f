// Regions whose insides are computed again for the backward pass (gradient checkpointing).
#include <algorithm>
#include <unordered_map>

#include "autograd/gradient.h"
#include "base/error.h"
#include "graph/rewrite.h"

namespace brisk {

namespace {

std::vector<Node> leaves_of(const Node& output) {
  std::vector<Node> leaves;
  for (const Node& node : gradient_order({&output, 1})) {
    if (is_gradient_leaf(node)) leaves.push_back(node);
  }
  return leaves;
}

Node replaced(const Node& output, std::unordered_map<Node, Node, NodeHash>& memo) {
  for (const Node& node : topological_order({&output, 1})) {
    if (memo.count(node) == 0) memo.emplace(node, over_values(node, memo));
  }
  return memo.at(output);
}

// Sources are the output, then the values of its inputs, then the other leaves that it depends on.
// The inputs are known by their identities, so that a region inside of another one finds its own in
// the copy that the other one makes of it.
struct RegionRule : GradientRule {
  std::vector<std::shared_ptr<Storage>> inputs;

  std::vector<Node> operator()(const Node& node, const Node& g) const override {
    const Node& output = node.src(0);
    std::vector<Node> targets(node.srcs().begin() + 1, node.srcs().end());
    std::unordered_map<Node, Node, NodeHash> memo;
    std::unordered_map<Node, Node, NodeHash> values;
    for (const Node& leaf : leaves_of(output)) {
      const auto found = std::find(inputs.begin(), inputs.end(), leaf.attr().storage);
      if (found == inputs.end()) continue;
      const Node late = gradient_leaf(after(leaf.src(0), g), *found);
      memo.insert_or_assign(leaf, late);
      values.insert_or_assign(late, late.src(0));
      targets[static_cast<std::size_t>(found - inputs.begin())] = late;
    }
    const Node again = replaced(output, memo);
    std::vector<Node> result = gradient({&again, 1}, {&g, 1}, targets);
    // Gradients of these gradients do not end at the region's inputs.
    for (Node& node : result) {
      if (node) node = replaced(node, values);
    }
    return result;
  }
};

}  // namespace

Node recomputed(const Node& output, const std::vector<Node>& inputs) {
  auto rule = std::make_shared<RegionRule>();
  std::vector<Node> sources;
  for (const Node& input : inputs) {
    check(is_gradient_leaf(input), "the inputs of a region are leaves");
    rule->inputs.push_back(input.attr().storage);
    sources.push_back(input.src(0));
  }
  for (const Node& leaf : leaves_of(output)) {
    const auto& own = rule->inputs;
    if (std::find(own.begin(), own.end(), leaf.attr().storage) == own.end())
      sources.push_back(leaf);
  }
  return with_gradient(output, sources, std::move(rule));
}

}  // namespace brisk
