// Tensors on the devices of this process, new ones on the shared engine's: the executor of every
// process that does not ask for another.
#include "engine/devices.h"
#include "engine/engine.h"
#include "tensor/realize.h"

namespace brisk {

namespace {

class EngineExecutor : public Executor {
 public:
  std::vector<Node> realize(std::span<const Node> roots, const VariableValues& values) override {
    return realize_on_devices(roots, values);
  }
  std::vector<std::byte> read(const Node& buffer) override { return Engine::shared().read(buffer); }
  Node upload(DType dtype, const Shape& shape, std::span<const std::byte> bytes,
              std::shared_ptr<const void> owner) override {
    return Engine::shared().upload(dtype, shape, bytes, std::move(owner));
  }
  Node allocate(DType dtype, const Shape& shape) override {
    return Engine::shared().allocate(dtype, shape);
  }
  void write(const Node& buffer, std::span<const std::byte> bytes, std::size_t offset) override {
    Engine::shared().write(buffer, bytes, offset);
  }
  std::string device_of(const Node& node) const override { return device_of_graph(node); }
  bool runs_groups() const override { return Engine::shared().target().group_threads > 0; }
  bool has_cheap_halves() const override { return Engine::shared().target().copying_threads > 0; }
};

}  // namespace

std::unique_ptr<Executor> engine_executor() { return std::make_unique<EngineExecutor>(); }

}  // namespace brisk
