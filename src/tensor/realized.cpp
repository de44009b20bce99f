#include "tensor/realized.h"

#include "autograd/gradient.h"

namespace brisk {

RealizedNodes& RealizedNodes::shared() {
  static RealizedNodes nodes;
  return nodes;
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
  return values_of(roots, [this](const Node& node) {
    const auto found = buffers_.find(node);
    return found == buffers_.end() ? Node() : found->second;
  });
}

}  // namespace brisk
