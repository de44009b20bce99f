// How tensors are computed: the interface that realize(), item() and to_vector() call.
#pragma once

#include <cstdint>
#include <memory>
#include <span>
#include <string>
#include <unordered_map>
#include <utility>
#include <vector>

#include "graph/node.h"
#include "tensor/realized.h"

namespace brisk {

using VariableValues = std::unordered_map<std::string, std::int64_t>;

/// A graph prepared for many runs over the memory that it reads and writes.
class Replay {
 public:
  virtual ~Replay() = default;
  /// Runs it; the roots as Executor::realize gives them.
  virtual std::vector<Node> run() = 0;
  /// The same, kernel by kernel: names and seconds. Empty where there are no kernels.
  virtual std::vector<std::pair<std::string, double>> timed_run() { return {}; }
  /// That intermediate values take.
  virtual std::int64_t bytes() const { return 0; }
};

class Executor {
 public:
  virtual ~Executor() = default;
  /// The roots as buffer nodes with storage, in order; a root that is one already comes back as is.
  /// A root that is a store comes back as the buffer that it stores into.
  virtual std::vector<Node> realize(std::span<const Node> roots, const VariableValues& values) = 0;
  /// The same for many runs. Roots are no buffers, sizes are numbers; all lies on one device.
  /// Intermediate values take at most so many bytes, where it has kernels (engine/engine.h, Plan).
  virtual std::unique_ptr<Replay> prepare(std::span<const Node> roots, std::int64_t memory);
  /// A buffer node's elements, row-major, in its dtype.
  virtual std::vector<std::byte> read(const Node& buffer) = 0;
  /// Overwrites bytes of a buffer node's elements, from `offset` on.
  virtual void write(const Node& buffer, std::span<const std::byte> bytes, std::size_t offset) = 0;
  /// A buffer node of the dtype and shape that holds these bytes; where `owner` is given the
  /// executor may keep it and read the bytes where they lie.
  virtual Node upload(DType dtype, const Shape& shape, std::span<const std::byte> bytes,
                      std::shared_ptr<const void> owner) = 0;
  /// A buffer node of zeros.
  virtual Node allocate(DType dtype, const Shape& shape) = 0;
  /// The device that a graph is computed on.
  virtual std::string device_of(const Node&) const { return "cpu"; }
  /// Whether groups of threads run its kernels (base/target.h): what these read should lie so that
  /// wide reads are aligned.
  virtual bool runs_groups() const { return false; }
  /// Whether its kernels read uploaded bytes where their owner keeps them.
  virtual bool computes_in_place() const { return false; }
  /// Whether products of matrices of 16 bits are much cheaper than those of float32.
  virtual bool has_cheap_halves() const { return false; }
  /// What it has computed; its buffers mean nothing to another.
  RealizedNodes& realized() { return realized_; }

 private:
  RealizedNodes realized_;
};

/// The executor of this process: the engine's, unless another is set.
Executor& executor();
/// Sets another for the calling thread (null: the process's again); returns the one before.
Executor* use_executor(Executor* other);
/// Null where the thread has the process's.
Executor* own_executor();
/// The interpreter of graph/evaluate.h over memory of the host.
std::unique_ptr<Executor> evaluator();
/// The engine of this process (engine/engine.h).
std::unique_ptr<Executor> engine_executor();

}  // namespace brisk
