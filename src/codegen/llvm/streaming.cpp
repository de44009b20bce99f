#include "codegen/llvm/streaming.h"

#include <algorithm>
#include <unordered_map>

namespace brisk::ir {

namespace {

using Volumes = std::unordered_map<Node, double, NodeHash>;  // bytes stored, by param

// `times` the statement runs; unknown counts add nothing.
void add_stores(const Node& statement, double times, Volumes& volumes) {
  switch (statement.op()) {
    case Op::block_:
      for (const Node& src : statement.srcs()) add_stores(src, times, volumes);
      return;
    case Op::loop_: {
      const Node& count = statement.src(0).src(0);
      if (!count.is_constant()) return;
      return add_stores(statement.src(1), times * static_cast<double>(count.int_value()), volumes);
    }
    case Op::branch_: return add_stores(statement.src(1), times, volumes);
    case Op::store_:
      if (statement.src(0).is(Op::param_) && statement.src(1).lanes() == 1) {
        volumes[statement.src(0)] +=
            times * statement.src(2).lanes() * byte_size(statement.src(2).dtype());
      }
      return;
    default: return;
  }
}

}  // namespace

std::unordered_set<Node, NodeHash> streamed_params(const Node& phase, const Node& kernel,
                                                   std::int64_t least_bytes) {
  Volumes volumes;
  add_stores(phase, 1, volumes);
  std::unordered_set<Node, NodeHash> result;
  for (const auto& [param, bytes] : volumes) {
    if (bytes >= static_cast<double>(least_bytes)) result.insert(param);
  }
  if (result.empty()) return result;
  for (const Node& node : topological_order({&kernel, 1})) {
    if (node.is(Op::load_)) result.erase(node.src(0));
  }
  return result;
}

}  // namespace brisk::ir
