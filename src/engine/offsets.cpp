#include "engine/offsets.h"

#include <algorithm>
#include <optional>

#include "graph/integer.h"

namespace brisk {

namespace {

constexpr std::int64_t alignment = 64;

bool is_access(const Node& node) {
  return (node.is(Op::load_) || node.is(Op::store_)) && node.src(0).is(Op::param_);
}

std::size_t param_of(const Node& access) { return static_cast<std::size_t>(access.src(0).ints(0)); }

std::vector<Node> stores_of(const LoweredKernel& kernel) {
  std::vector<Node> stores;
  for (const Part& part : kernel.parts) {
    for (const Stage& stage : part.stages)
      stores.insert(stores.end(), stage.stores.begin(), stage.stores.end());
  }
  return stores;
}

// Elements by which each param's accesses may be moved.
std::vector<std::int64_t> common_offsets(const LoweredKernel& kernel,
                                         const std::vector<Node>& nodes) {
  std::vector<std::optional<std::int64_t>> least(kernel.params.size());
  for (const Node& node : nodes) {
    if (!is_access(node)) continue;
    auto& mine = least[param_of(node)];
    const std::int64_t first = bounds(node.src(1)).least;
    mine = std::min(mine.value_or(first), first);
  }
  std::vector<std::int64_t> offsets;
  for (std::size_t i = 0; i < least.size(); ++i) {
    const std::int64_t unit =
        std::max<std::int64_t>(1, alignment / byte_size(kernel.params[i].dtype));
    offsets.push_back(std::max<std::int64_t>(0, least[i].value_or(0)) / unit * unit);
  }
  return offsets;
}

// With what it reads and writes moved.
Node moved(const Node& access, const std::vector<std::int64_t>& offsets, Substitution& memo) {
  std::vector<Node> srcs;
  for (const Node& src : access.srcs()) srcs.push_back(substitute(src, memo));
  srcs[1] = integer_sub(srcs[1], constant_int(offsets[param_of(access)]));
  return make_node(access.op(), access.dtype(), std::move(srcs), access.attr(), access.lanes());
}

}  // namespace

std::vector<std::int64_t> take_offsets(LoweredKernel& kernel) {
  const std::vector<Node> nodes = topological_order(stores_of(kernel));
  std::vector<std::int64_t> offsets = common_offsets(kernel, nodes);
  if (std::any_of(offsets.begin(), offsets.end(), [](std::int64_t offset) { return offset > 0; })) {
    Substitution memo;
    for (const Node& node : nodes) {
      if (is_access(node)) memo[node] = moved(node, offsets, memo);
    }
    for (Part& part : kernel.parts) {
      for (Stage& stage : part.stages) {
        for (Node& store : stage.stores) store = substitute(store, memo);
      }
    }
  }
  for (std::size_t i = 0; i < offsets.size(); ++i) offsets[i] *= byte_size(kernel.params[i].dtype);
  return offsets;
}

}  // namespace brisk
