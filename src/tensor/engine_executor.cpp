// Tensors on the devices of this process, new ones on the shared engine's: the executor of every
// process that does not ask for another.
#include "base/error.h"
#include "engine/devices.h"
#include "engine/engine.h"
#include "tensor/realize.h"

namespace brisk {

namespace {

class Planned : public Replay {
 public:
  Planned(std::span<const Node> roots, Engine& engine, std::int64_t memory)
      : plan_(roots, engine, memory) {}
  std::vector<Node> run() override {
    plan_.run();
    return plan_.outputs();
  }
  std::vector<std::pair<std::string, double>> timed_run() override {
    std::vector<std::pair<std::string, double>> times;
    for (Plan::KernelInfo& kernel : plan_.timed_run()) {
      times.emplace_back(std::move(kernel.name), kernel.seconds);
    }
    return times;
  }
  std::int64_t bytes() const override { return plan_.intermediate_bytes(); }

 private:
  Plan plan_;
};

class EngineExecutor : public Executor {
 public:
  std::unique_ptr<Replay> prepare(std::span<const Node> roots, std::int64_t memory) override {
    const std::string device = device_of_graph(roots.front());
    for (const Node& root : roots) {
      if (const std::string other = device_of_graph(root); other != device) {
        user_error("what is replayed runs on one device, this on {} and {}", device, other);
      }
    }
    return std::make_unique<Planned>(roots, engine_of(device), memory);
  }
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
  bool computes_in_place() const override { return !runs_groups(); }
  bool has_cheap_halves() const override { return Engine::shared().target().copying_threads > 0; }
};

}  // namespace

std::unique_ptr<Executor> engine_executor() { return std::make_unique<EngineExecutor>(); }

}  // namespace brisk
