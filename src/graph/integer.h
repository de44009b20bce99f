// Integer arithmetic of sizes and indices: int64 scalars kept in a normal form (a sum of products
// with constant coefficients, in an order that does not depend on the run), with bounds. Everything
// that builds sizes or indices goes through these functions; graph/node.h's add, mul, idiv, mod and
// cmplt call them for int64 scalars.
//
// Indices and sizes are assumed not to overflow int64. Quotients are of non-negative operands
// wherever a rule needs it, which is checked by bounds.
#pragma once

#include <unordered_map>

#include "graph/node.h"

namespace brisk {

struct Bounds {
  std::int64_t least;
  std::int64_t greatest;
};

/// Bounds of an integer or bool scalar over every value of its variables and ranges (inclusive; a
/// range may be empty, then the bounds hold for nothing). Saturates at the limits of int64.
Bounds bounds(const Node& node);

Node integer_add(const Node& a, const Node& b);
Node integer_mul(const Node& a, const Node& b);
Node integer_div(const Node& a, const Node& b);
Node integer_mod(const Node& a, const Node& b);
Node integer_less(const Node& a, const Node& b);  // bool
Node integer_sub(const Node& a, const Node& b);
Node integer_min(const Node& a, const Node& b);
Node integer_max(const Node& a, const Node& b);
Node logical_and(const Node& a, const Node& b);  // bool scalars, with constants folded

/// Order of scalar nodes by structure: the same in every process.
int compare_structure(const Node& a, const Node& b);

using Substitution = std::unordered_map<Node, Node, NodeHash>;

/// The node with every occurrence of a key replaced by its value, rebuilt through the builders (so
/// that integers stay in normal form). `memo` may be reused between calls with the same keys.
Node substitute(const Node& node, Substitution& memo);

/// Whether the index is known to be a multiple of `count` whatever its variables and counters are.
bool is_multiple(const Node& index, std::int64_t count);

}  // namespace brisk
