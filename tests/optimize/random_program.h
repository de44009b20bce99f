// Random graphs with shared parts and several results, through simplification, scheduling, lowering
// and optimization, against the evaluator: what a program goes through before code generation.
#pragma once

#include <algorithm>
#include <string>
#include <vector>

#include "graph/rules_simplify.h"
#include "kernel/random_graph.h"
#include "optimize/optimize.h"
#include "schedule/fuse.h"

namespace brisk {

inline std::vector<Node> random_roots(RandomGraph& graph) {
  std::vector<Node> nodes = {graph.leaf(graph.shape())};
  const auto pick = [&](std::size_t among) {
    const auto count = static_cast<int>(std::min(among, nodes.size()));
    return nodes[nodes.size() - 1 - static_cast<std::size_t>(graph.below(count))];
  };
  const int steps = 4 + graph.below(14);
  for (int i = 0; i < steps; ++i) {
    Node next = graph.step(pick(3));
    for (const Node& other : nodes) {
      if (graph.below(3) != 0 || other.shape() != next.shape()) continue;
      next = graph.below(2) ? add(next, other) : max(other, next);
      break;
    }
    if (element_count(next.shape()).value() <= 40'000) nodes.push_back(next);
  }
  const int kind = graph.below(4);
  const std::int64_t count = element_count(nodes.back().shape()).value();
  if (kind == 0 && count <= 4'000) nodes.push_back(graph.softmax(nodes.back()));
  if (kind == 1 && count <= 200) nodes.push_back(graph.attention(nodes.back()));
  std::vector<Node> roots = {nodes.back()};
  for (int i = 0; i < 2; ++i) {
    const Node more = pick(nodes.size());
    if (graph.below(2) && std::find(roots.begin(), roots.end(), more) == roots.end()) {
      roots.push_back(more);
    }
  }
  return roots;
}

class RandomMemory {
 public:
  explicit RandomMemory(const RandomGraph& graph) : graph_(graph) {}

  HostBuffer of(const Node& argument) {
    auto found = arrays_.find(argument);
    if (found == arrays_.end()) {
      const auto bytes = static_cast<std::size_t>(element_count(argument.shape()).value() * 4);
      Array array = argument.is(Op::buffer_) ? graph_.arrays.at(argument) : Array{};
      array.bytes.resize(bytes, std::byte{0xff});
      found = arrays_.emplace(argument, std::move(array)).first;
    }
    auto& bytes = found->second.bytes;
    return {bytes.data(), static_cast<std::int64_t>(bytes.size())};
  }

 private:
  const RandomGraph& graph_;
  std::unordered_map<Node, Array, NodeHash> arrays_;
};

inline void expect_values(const HostBuffer& got, const Array& wanted) {
  ASSERT_EQ(got.size, static_cast<std::int64_t>(wanted.bytes.size()));
  const auto* x = reinterpret_cast<const float*>(got.bytes);
  const auto* y = reinterpret_cast<const float*>(wanted.bytes.data());
  for (std::int64_t i = 0; i < got.size / 4; ++i) {
    ASSERT_LE(std::fabs(x[i] - y[i]), 1e-4F * std::fabs(y[i]) + 1e-4F) << "element " << i;
  }
}

/// Each kernel of a random program is run by `run(kernel, buffers)` and counted.
template <typename Run>
void expect_the_programs_values(unsigned seed, const Target& target, int& kernels, const Run& run) {
  const int largest[] = {4, 20, 60, 150};
  RandomGraph graph(seed, largest[seed % 4]);
  const std::vector<Node> roots = random_roots(graph);
  SCOPED_TRACE(fmt::format("seed {}\n{}", seed, print(roots)));
  const auto wanted = evaluate(roots, {{}, [&](const Node& b) { return graph.arrays.at(b); }});
  const std::vector<Node> simple = simplify(roots);
  std::vector<Node> computed;
  for (const Node& root : simple) {
    if (!root.is(Op::buffer_)) computed.push_back(root);
  }
  const KernelList list = fuse(computed);
  RandomMemory memory(graph);
  std::string text;
  for (const ScheduledKernel& scheduled : list.kernels) {
    const Lowering lowering = lower(scheduled.outputs, list.stored);
    verify_kernel(lowering.kernel, "lower");
    const Kernel kernel = optimize(lowering.kernel, target);
    text += print(lowering.kernel) + print(kernel);
    SCOPED_TRACE(text);
    ASSERT_NO_THROW(verify_kernel(kernel, "optimize"));
    std::vector<HostBuffer> buffers;
    for (const Node& argument : lowering.arguments) buffers.push_back(memory.of(argument));
    ASSERT_NO_THROW(run(kernel, buffers));
    ++kernels;
  }
  SCOPED_TRACE(text);
  for (std::size_t r = 0; r < roots.size(); ++r) {
    expect_values(memory.of(memory_of(simple[r])), wanted[r]);
  }
}

}  // namespace brisk
