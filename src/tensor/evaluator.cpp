// The executor over graph/evaluate.h. Input: roots; output: buffers in host memory. Stores into
// buffers are written back once everything has been computed.
#include <cstring>
#include <mutex>

#include "base/error.h"
#include "graph/evaluate.h"
#include "tensor/host_storage.h"
#include "tensor/realize.h"

namespace brisk {

namespace {

class Evaluator : public Executor {
 public:
  std::vector<Node> realize(std::span<const Node> roots, const VariableValues& values) override {
    const std::lock_guard lock(mutex_);
    // Every store into memory that exists takes effect, wanted as a root or not.
    std::vector<Node> wanted(roots.begin(), roots.end());
    for (const Node& node : topological_order(roots)) {
      if (node.is(Op::store_) && base_buffer(node).attr().storage) wanted.push_back(node);
    }
    const std::vector<Array> arrays =
        evaluate(wanted, {values, [&](const Node& node) { return content(node, values); }});
    for (std::size_t i = roots.size(); i < wanted.size(); ++i) {
      host_storage(base_buffer(wanted[i]))->assign(arrays[i].bytes);
    }
    std::vector<Node> buffers;
    for (std::size_t i = 0; i < roots.size(); ++i) {
      const Node& root = roots[i];
      const bool is_place = root.is(Op::buffer_) || root.is(Op::store_);
      const Node base = is_place ? base_buffer(root) : Node();
      if (base && base.attr().storage) {
        buffers.push_back(base);
      } else {
        const Shape shape(arrays[i].shape.begin(), arrays[i].shape.end());
        buffers.push_back(upload(arrays[i].dtype, shape, arrays[i].bytes, nullptr));
      }
    }
    return buffers;
  }

  std::vector<std::byte> read(const Node& buffer) override {
    const auto bytes = host_storage(buffer)->bytes();
    return {bytes.begin(), bytes.end()};
  }

  void write(const Node& buffer, std::span<const std::byte> bytes, std::size_t offset) override {
    const std::lock_guard lock(mutex_);
    host_storage(buffer)->write(bytes, offset);
  }

  Node upload(DType dtype, const Shape& shape, std::span<const std::byte> bytes,
              std::shared_ptr<const void> owner) override {
    return buffer(
        dtype, shape,
        owner ? std::make_shared<HostStorage>(std::move(owner), bytes)
              : std::make_shared<HostStorage>(std::vector<std::byte>(bytes.begin(), bytes.end())));
  }

  Node allocate(DType dtype, const Shape& shape) override {
    const std::size_t size = element_count(shape).value() * byte_size(dtype);
    return buffer(dtype, shape, std::make_shared<HostStorage>(std::vector<std::byte>(size)));
  }

 private:
  static Array content(const Node& node, const VariableValues& values) {
    Array array{node.dtype(), evaluate_shape(node.shape(), values), {}};
    if (node.attr().storage) {
      const auto bytes = host_storage(node)->bytes();
      array.bytes.assign(bytes.begin(), bytes.end());
    } else {  // scratch of this graph, stored into before it is read
      std::size_t size = byte_size(node.dtype());
      for (const std::int64_t extent : array.shape) size *= extent;
      array.bytes.resize(size);
    }
    return array;
  }

  std::mutex mutex_;
};

}  // namespace

std::unique_ptr<Executor> evaluator() { return std::make_unique<Evaluator>(); }

}  // namespace brisk
