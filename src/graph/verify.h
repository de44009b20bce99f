// What is legal in a graph. Input: root nodes and the name of the pass that made them; output:
// nothing, or an InternalError that names the pass and the node.
#pragma once

#include <span>
#include <string_view>

#include "graph/node.h"

namespace brisk {

void verify_graph(std::span<const Node> roots, std::string_view pass);

/// The part that holds in kernels too: arity, sources' dtypes and the result's. Returns what is
/// wrong with the node, or nothing.
std::string_view type_error(const Node& node);

}  // namespace brisk
