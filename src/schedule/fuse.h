// Graph → kernels to be: which nodes are stored, and which kernel computes which of them, in order.
//
// A node is virtual until storing it is cheaper than computing it wherever it is read. How often
// that is follows from indices: the ranges that an index depends on say how many times a value is
// evaluated (a reduction read at index i from a kernel over i, j is computed once per i).
#pragma once

#include <cstdint>
#include <span>
#include <unordered_set>
#include <vector>

#include "base/target.h"
#include "graph/node.h"

namespace brisk {

using NodeSet = std::unordered_set<Node, NodeHash>;

struct ScheduledKernel {
  std::vector<Node> outputs;   // stored nodes that it computes, graph stores among them
  std::vector<Node> inputs;    // memory that it reads: buffers and stored nodes of earlier kernels
  std::int64_t workspace = 0;  // bytes that it works in besides, where that is known
};

struct KernelList {
  std::vector<ScheduledKernel> kernels;  // in an order that respects data and in-place stores
  NodeSet stored;
  /// Buffers and stores that a kernel reads although it waits for a store that overwrites them: the
  /// list is of use only once they are read from copies (schedule/versions.h).
  std::vector<Node> overwritten;
};

/// The node whose memory holds a stored node's value: the base buffer of a graph store, or itself.
const Node& memory_of(const Node& node);

/// Of the shape; at most, where it depends on variables.
double elements(const Shape& shape);

/// Schedules the computation of `roots`: non-buffer nodes whose values must end up in memory. What
/// is stored comes in the order of `sequence`, as far as it is in there, but for small results.
KernelList fuse(std::span<const Node> roots, const Target& target = {},
                std::span<const Node> sequence = {});

}  // namespace brisk
