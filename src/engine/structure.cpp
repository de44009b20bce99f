#include "engine/structure.h"

#include <unordered_map>

namespace brisk {

namespace {

void put(std::string& text, std::int64_t value) {
  // LEB128, zigzag: most numbers take one byte.
  auto bits = (static_cast<std::uint64_t>(value) << 1) ^ static_cast<std::uint64_t>(value >> 63);
  while (bits >= 0x80) {
    text.push_back(static_cast<char>(bits | 0x80));
    bits >>= 7;
  }
  text.push_back(static_cast<char>(bits));
}

class Writer {
 public:
  Writer(std::string& text, std::vector<Node>& buffers) : text_(text), buffers_(buffers) {}

  void write(std::span<const Node> roots) {
    for (const Node& root : roots) {
      for (const Node& node : topological_order({&root, 1})) number(node);
    }
    put(text_, -1);
    for (const Node& root : roots) put(text_, numbers_.at(root));
  }

 private:
  std::int64_t number(const Node& node) {
    if (const auto found = numbers_.find(node); found != numbers_.end()) return found->second;
    std::vector<std::int64_t> sizes;
    for (const Size& size : node.attr().sizes) {
      if (size.is_constant()) {
        sizes.push_back(size.value() << 1);
      } else {
        for (const Node& inner : topological_order({&size.expr(), 1})) number(inner);
        sizes.push_back(numbers_.at(size.expr()) << 1 | 1);
      }
    }
    put(text_, static_cast<std::int64_t>(node.op()) + 1);
    put(text_, static_cast<std::int64_t>(node.dtype()) * 1024 + node.lanes());
    put(text_, static_cast<std::int64_t>(node.srcs().size()));
    for (const Node& src : node.srcs()) put(text_, numbers_.at(src));
    if (node.is(Op::buffer_)) {
      put(text_, static_cast<std::int64_t>(buffers_.size()));
      buffers_.push_back(node);
    } else {
      put(text_, static_cast<std::int64_t>(node.attr().ints.size()));
      for (const std::int64_t value : node.attr().ints) put(text_, value);
    }
    put(text_, static_cast<std::int64_t>(sizes.size()));
    for (const std::int64_t size : sizes) put(text_, size);
    put(text_, static_cast<std::int64_t>(node.attr().name.size()));
    text_ += node.attr().name;
    const auto n = static_cast<std::int64_t>(numbers_.size());
    numbers_.emplace(node, n);
    return n;
  }

  std::string& text_;
  std::vector<Node>& buffers_;
  std::unordered_map<Node, std::int64_t, NodeHash> numbers_;
};

}  // namespace

void append_structure(std::string& text, std::span<const Node> roots, std::vector<Node>& buffers) {
  Writer(text, buffers).write(roots);
}

std::string structure_of(const LoweredKernel& kernel) {
  std::string text;
  for (const Param& param : kernel.params) {
    put(text, static_cast<std::int64_t>(param.dtype) * 4 + param.written * 2 + param.read);
  }
  put(text, -1);
  std::vector<Node> roots = kernel.variables;
  for (const Part& part : kernel.parts) {
    put(text, static_cast<std::int64_t>(part.outer.size()));
    roots.insert(roots.end(), part.outer.begin(), part.outer.end());
    for (const Stage& stage : part.stages) {
      put(text, static_cast<std::int64_t>(stage.stores.size()));
      roots.insert(roots.end(), stage.ranges.begin(), stage.ranges.end());
      roots.insert(roots.end(), stage.stores.begin(), stage.stores.end());
    }
  }
  std::vector<Node> buffers;
  append_structure(text, roots, buffers);
  return text;
}

}  // namespace brisk
