// The rewriter: rules applied from the sources up until none applies. Input: roots and a table of
// rules (graph/pattern.h); output: roots of the same shapes, dtypes and values. Parts that no rule
// touches stay the same nodes.
#pragma once

#include <span>
#include <string>
#include <string_view>
#include <unordered_map>
#include <vector>

#include "graph/pattern.h"

namespace brisk {

/// What was done, for those who ask.
struct Trace {
  struct Step {
    std::string rule;
    Node before;
    Node after;
  };
  std::vector<Step> steps;
};
std::string print(const Trace& trace);

/// At each node the first rule of the table that applies is taken. InternalError, naming the rule,
/// where rules go on without end.
std::vector<Node> rewrite(std::span<const Node> roots, std::span<const Rule> rules,
                          Trace* trace = nullptr);
Node rewrite(const Node& root, std::span<const Rule> rules, Trace* trace = nullptr);

/// The node with other sources; int64 scalars go through graph/integer.h's normal form.
Node with_sources(const Node& node, std::vector<Node> srcs);
/// The node over what `values` has for each of its sources.
Node over_values(const Node& node, const std::unordered_map<Node, Node, NodeHash>& values);

}  // namespace brisk
