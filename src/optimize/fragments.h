// What the threads of a group hold of a product's result, in the words of strategies (kernel/tile.h
// says where it lies).
#pragma once

#include "graph/integer.h"
#include "kernel/tile.h"

namespace brisk {

constexpr std::int64_t halves_of_fragment = 2;  // rows of a thread: r and r + 8 of its warp's
constexpr std::int64_t threads_of_row = 4;

/// Of which of its rows a thread has this register.
inline std::int64_t half_of(std::int64_t index) { return index % 4 / 2; }

inline Node held(const Node& registers, std::int64_t index, int lanes = 1) {
  return load_from(registers, constant_int(index), {}, lanes);
}
inline Node hold(const Node& registers, std::int64_t index, const Node& value) {
  return store_to(registers, constant_int(index), value);
}

/// What each thread of a group does with what it holds.
inline Node threads_loop(const Node& thread, std::vector<Node> statements) {
  return loop(LoopKind::threads, thread, block(std::move(statements)));
}

/// All of them 0.
inline void clear(const Node& registers, std::vector<Node>& statements) {
  for (std::int64_t i = 0; i < registers.ints(1); i += 2)
    statements.push_back(hold(registers, i, splat(constant_float(0), 2)));
}

}  // namespace brisk
