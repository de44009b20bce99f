// Graphs as text, one line a node, sources first; constants and variables stand where they are
// used.
//   %3: float32[2, 1] = reduce(%2, add, axes 1)
// Input: root nodes; output: the text, the same for equal graphs.
#pragma once

#include <span>
#include <string>

#include "graph/node.h"

namespace brisk {

std::string print(std::span<const Node> roots);
std::string print(const Node& root);

/// A node in a few words, for messages: "add float32[2, 3]".
std::string describe(const Node& node);
/// The dtype and, where there are several, the lanes: "float32", "float32x8".
std::string type_text(const Node& node);
/// A constant's value: "1.5", "-3", "true".
std::string constant_text(const Node& constant);

}  // namespace brisk
