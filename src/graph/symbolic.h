// What small integer tensors hold while sizes are variables: "batch, 12, 4·rows". Input: a node of
// a tensor graph; output: its elements as expressions, from which the sizes of other tensors are
// made. The graph is computed as graph/evaluate.h does it, element by element, with variables left
// open.
#pragma once

#include <cstddef>
#include <functional>
#include <optional>
#include <span>
#include <vector>

#include "graph/node.h"

namespace brisk {

/// Row-major elements, each an int64 or bool scalar. Nothing where one is no such expression (it is
/// a float, or needs to know more of the variables than their bounds), where there are very many,
/// or where `read`, which gives a buffer's bytes, gives none.
std::optional<std::vector<Node>> symbolic_elements(
    const Node& node, const std::function<std::span<const std::byte>(const Node& buffer)>& read);

}  // namespace brisk
