// Group of graph nodes → lowered kernel. Movement operations vanish into index arithmetic; what
// stays are loads from arguments, scalar arithmetic, reductions over ranges, and stores.
#pragma once

#include <vector>

#include "graph/node.h"
#include "kernel/kernel.h"
#include "schedule/fuse.h"

namespace brisk {

struct Lowering {
  LoweredKernel kernel;
  /// What the kernel's params are: buffer nodes, or stored nodes of other groups or this one.
  /// Windows of the same memory appear once.
  std::vector<Node> arguments;
};

/// Lowers the computation of `outputs`, reading nodes of `stored` (and buffers) from memory and
/// computing everything else in place. Outputs are graph `store` nodes or nodes of `stored`.
Lowering lower(const std::vector<Node>& outputs, const NodeSet& stored);

}  // namespace brisk
