// Simplification of graphs: identities, constants, movement that cancels, reductions of what is
// repeated. Input: roots; output: roots of the same shapes and dtypes with the same values, NaN and
// infinities among them; only the sign of a zero may change, and a rule that states a tolerance may
// round otherwise.
#pragma once

#include <span>
#include <vector>

#include "graph/rewrite.h"

namespace brisk {

std::vector<Node> simplify(std::span<const Node> roots, Trace* trace = nullptr);
Node simplify(const Node& root, Trace* trace = nullptr);

/// The tables, made once: of arithmetic, of movement, of reductions and memory.
std::span<const Rule> arithmetic_rules();
std::span<const Rule> movement_rules();
std::span<const Rule> reduction_rules();

}  // namespace brisk
