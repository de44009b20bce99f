#include "schedule/versions.h"

#include <algorithm>
#include <unordered_map>

namespace brisk {

std::vector<Node> read_copies(std::span<const Node> roots, std::span<const Node> versions) {
  std::unordered_map<Node, Node, NodeHash> places;  // a node as a store's target
  std::unordered_map<Node, Node, NodeHash> values;  // and as what is read
  for (const Node& node : topological_order(roots)) {
    const auto rebuilt = [&](bool as_place) {
      std::vector<Node> srcs;
      for (std::size_t i = 0; i < node.srcs().size(); ++i) {
        const bool target = i == 0 && (node.is(Op::store_) || (as_place && is_movement(node.op())));
        srcs.push_back((target ? places : values).at(node.src(i)));
      }
      return srcs == node.srcs()
                 ? node
                 : make_node(node.op(), node.dtype(), srcs, node.attr(), node.lanes());
    };
    const bool is_place = node.is(Op::buffer_) || node.is(Op::store_) || is_movement(node.op());
    const Node value = rebuilt(false);
    places[node] = is_place ? rebuilt(true) : value;
    const bool gone = std::find(versions.begin(), versions.end(), node) != versions.end();
    values[node] = gone ? copy_to(value, "") : value;
  }
  std::vector<Node> result;
  for (const Node& root : roots) {
    const bool memory = root.is(Op::buffer_) || root.is(Op::store_);
    result.push_back((memory ? places : values).at(root));
  }
  return result;
}

}  // namespace brisk
