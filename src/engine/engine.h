// The engine of a process: its device, the compiler for it, and the ways to run graphs on it.
#pragma once

#include <memory>
#include <span>
#include <string>
#include <vector>

#include "base/target.h"
#include "device/device.h"
#include "graph/evaluate.h"
#include "graph/node.h"

namespace brisk {

using VariableValues = Variables;

class Engine {
 public:
  Engine(std::unique_ptr<Device> device, Target target);
  ~Engine();
  /// The process's engine on the device that BRISK_DEVICE names (default: the first GPU that works,
  /// else the CPU).
  static Engine& shared();

  Device& device() { return *device_; }
  const Device& device() const { return *device_; }
  const Target& target() const { return target_; }

  /// Computes the roots now; gives buffer nodes, in order. A buffer comes back as it is, a graph
  /// store as the buffer it stores into.
  std::vector<Node> realize(std::span<const Node> roots, const VariableValues& values = {});

  Node upload(DType dtype, const Shape& shape, std::span<const std::byte> bytes,
              std::shared_ptr<const void> owner);
  Node allocate(DType dtype, const Shape& shape);  // zeros
  // Of whatever device the buffer lies on.
  std::vector<std::byte> read(const Node& buffer);
  /// From this byte of the buffer on.
  void write(const Node& buffer, std::span<const std::byte> bytes, std::size_t offset = 0);

 private:
  friend class Plan;
  std::unique_ptr<Device> device_;
  Target target_;
  struct Loaded;
  std::unique_ptr<Loaded> loaded_;  // kernels of this process by key
};

/// A graph compiled once and run many times: inputs and outputs are fixed buffers, variables
/// change.
class Plan {
 public:
  /// Schedules and compiles the computation of `roots`. Buffers among the sources are read where
  /// they are at every run; graph stores write theirs. Intermediate values take no more than so
  /// many bytes: what they would take beyond is computed again (schedule/rematerialize.h);
  /// UserError where that does not do. 0: as BRISK_MEMORY says.
  Plan(std::span<const Node> roots, Engine& engine, std::int64_t memory = 0);
  ~Plan();
  Plan(Plan&&) noexcept;
  Plan& operator=(Plan&&) noexcept;

  /// One replay, in order after what was launched before.
  void run(const VariableValues& values = {});
  /// Buffer nodes of the roots; every run overwrites them. Shapes may be symbolic.
  const std::vector<Node>& outputs() const;

  /// A kernel and what it does, in the order of their launches. Counted from the kernel's indices
  /// (engine/work.h), for these values of the variables, at the upper bounds without.
  struct KernelInfo {
    std::string name;
    int arguments = 0;
    std::int64_t bytes = 0;       // of the arguments, read or written
    std::int64_t operations = 0;  // floating-point, and of integer products
    double seconds = 0;           // of timed_run, which waits for each kernel
  };
  std::vector<KernelInfo> kernels(const VariableValues* values = nullptr) const;
  /// One replay, kernel by kernel.
  std::vector<KernelInfo> timed_run(const VariableValues& values = {});
  std::int64_t intermediate_bytes() const;
  std::int64_t intermediate_lower_bound() const;  // what liveness needs at least

 private:
  struct Impl;
  std::unique_ptr<Impl> impl_;
};

}  // namespace brisk
