// What has been realized already: graphs that were built before read the result instead of
// computing it, or storing it, once more.
#pragma once

#include <mutex>
#include <span>
#include <unordered_map>
#include <vector>

#include "graph/node.h"

namespace brisk {

class RealizedNodes {
 public:
  /// The process's; safe from several threads.
  static RealizedNodes& shared();

  /// `node` was computed into `buffer`. Forgotten once nothing else refers to the node.
  void add(const Node& node, const Node& buffer);
  /// The buffer's memory is about to change: what was computed into it has to be computed again
  /// (stores into it have happened and stay).
  void changed(const Node& buffer);
  /// The graph to compute: the roots' values, over buffers wherever sources have been realized.
  std::vector<Node> over_buffers(std::span<const Node> roots);
  /// Forgets the nodes that nothing else refers to.
  void purge();

 private:
  std::mutex mutex_;
  std::unordered_map<Node, Node, NodeHash> buffers_;
};

}  // namespace brisk
