#include "codegen/meetings.h"

#include <algorithm>

#include "kernel/kernel.h"

namespace brisk {

void SharedAccesses::add(const SharedAccesses& other) {
  read.insert(other.read.begin(), other.read.end());
  written.insert(other.written.begin(), other.written.end());
}

bool SharedAccesses::conflicts(const SharedAccesses& earlier) const {
  const auto meet = [](const auto& a, const auto& b) {
    return std::any_of(a.begin(), a.end(), [&](const Node& n) { return b.contains(n); });
  };
  return meet(written, earlier.read) || meet(written, earlier.written) ||
         meet(read, earlier.written);
}

SharedAccesses shared_accesses(const Node& statement) {
  SharedAccesses accesses;
  for (const Node& node : topological_order({&statement, 1})) {
    const bool own = !node.srcs().empty() && node.src(0).is(Op::local_) &&
                     !is_local(node.src(0), Memory::shared);
    if (node.is(Op::load_) && !own) accesses.read.insert(node.src(0));
    if (node.is(Op::store_) && !own) accesses.written.insert(node.src(0));
    if (node.is(Op::group_reduce_)) accesses.written.insert(node);
    if (node.is(Op::arrive_)) accesses.written.insert(node.src(0));
    if (node.is(Op::load_tile_)) accesses.read.insert(node.src(1));
    if (node.is(Op::store_tile_)) {
      accesses.read.insert(node.src(0));
      accesses.written.insert(node.src(1));
    }
    if (!node.is(Op::matrix_step_)) continue;
    for (std::size_t i = 1; i < 3; ++i) {
      if (is_local(node.src(i), Memory::shared)) accesses.read.insert(node.src(i));
    }
  }
  return accesses;
}

bool has_threads(const Node& statement) {
  const std::vector<Node> nodes = topological_order({&statement, 1});
  return std::any_of(nodes.begin(), nodes.end(), [](const Node& node) {
    return is_loop(node, LoopKind::threads) || node.is(Op::group_reduce_) || node.is(Op::arrive_) ||
           node.is(Op::store_tile_) || node.is(Op::matrix_step_);
  });
}

}  // namespace brisk
