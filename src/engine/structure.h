// Graphs and kernels as bytes that are equal exactly when the structure is: the key under which the
// kernel cache keeps what was made of them.
#pragma once

#include <span>
#include <string>
#include <vector>

#include "graph/node.h"
#include "kernel/kernel.h"

namespace brisk {

/// Appends the structure of the nodes; buffers are numbered in the order in which they are met and
/// listed in `buffers`.
void append_structure(std::string& text, std::span<const Node> roots, std::vector<Node>& buffers);
std::string structure_of(const LoweredKernel& kernel);

}  // namespace brisk
