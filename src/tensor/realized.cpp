#include "tensor/realized.h"

#include "graph/integer.h"
#include "tensor/realize.h"

namespace brisk {

RealizedNodes& RealizedNodes::shared() {
  static RealizedNodes nodes;  // of the process's executor, which may go before
  Executor* own = own_executor();
  return own != nullptr ? own->realized() : nodes;
}

void RealizedNodes::add(const Node& node, const Node& buffer) {
  if (node == buffer || node.is_constant()) return;
  const std::lock_guard lock(mutex_);
  buffers_.insert_or_assign(node, buffer);
}

void RealizedNodes::changed(const Node& buffer) {
  const std::lock_guard lock(mutex_);
  std::erase_if(buffers_, [&](const auto& entry) {
    return entry.second == buffer && !entry.first.is(Op::store_);
  });
}

void RealizedNodes::purge() {
  const std::lock_guard lock(mutex_);
  for (bool found = true; found;) {  // a node that goes may have been the last user of another
    found = std::erase_if(buffers_, [](const auto& entry) {
              return entry.first.get()->references.load() == 1;
            }) > 0;
  }
}

std::vector<Node> RealizedNodes::over_buffers(std::span<const Node> roots) {
  const std::lock_guard lock(mutex_);
  std::vector<Node> result(roots.begin(), roots.end());
  if (buffers_.empty()) return result;
  const std::vector<Node> order = topological_order(roots);
  Substitution memo;
  for (const Node& node : order) {
    if (const auto found = buffers_.find(node); found != buffers_.end()) memo.insert(*found);
  }
  if (memo.empty()) return result;
  for (const Node& node : order) substitute(node, memo);  // sources first: no deep recursion
  for (Node& root : result) root = memo.at(root);
  return result;
}

}  // namespace brisk
