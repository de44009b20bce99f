// In which order kernels run, and which of them share a launch. Input: kernels to be, and which of
// them each one waits for; output: launches, each of kernels that do not wait for each other.
#pragma once

#include <cstddef>
#include <vector>

#include "graph/node.h"
#include "schedule/fuse.h"

namespace brisk {

struct PlannedKernel {
  Node output;  // empty: not to be run
  std::vector<Node> inputs;
  std::vector<std::size_t> before;  // kernels that it waits for
  NodeSet products;                 // large ones that it makes on its way
};

/// Numbers of kernels, launch after launch.
std::vector<std::vector<std::size_t>> launches(std::vector<PlannedKernel> kernels);

}  // namespace brisk
