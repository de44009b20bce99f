// The one interface to processors: memory, code, launches and what the hardware is.
#pragma once

#include <cstddef>
#include <cstdint>
#include <memory>
#include <optional>
#include <span>
#include <string>
#include <vector>

#include "base/dtype.h"
#include "base/storage.h"

namespace brisk {

class Device;

/// Device memory; freed with its last owner. Also lets a buffer be a window of another one
/// (offset), or foreign host memory (a mapped file) that `keep` keeps alive.
class Buffer : public Storage {
 public:
  virtual Device& device() const = 0;
  virtual std::size_t bytes() const = 0;
  /// Address on the device: what a kernel gets. 64-byte aligned unless foreign.
  virtual void* address() const = 0;
};

/// Loaded machine code of one kernel.
class Program {
 public:
  virtual ~Program() = default;
  /// What load() takes in place of the object that this was made of, and faster; empty where that
  /// object is as good.
  virtual std::vector<std::byte> binary() const { return {}; }
};

struct DeviceInfo {
  std::string id;            // "cpu", "cuda:0", "opencl:0"
  std::string name;          // "AMD EPYC 9B14"
  std::string architecture;  // LLVM CPU name or "sm_90a"
  std::vector<std::string> features;
  int compute_units = 1;  // threads of the pool, or SMs
  std::size_t memory_bytes = 0;
  std::size_t free_bytes = 0;
  std::size_t cache_bytes = 0;  // last level
};

/// What a device's sensors say at this moment; nothing where it has none that brisk can read.
struct Sensors {
  std::optional<double> watts;
  std::optional<double> most_watts;  // that it may take
  std::optional<double> joules;      // taken since the driver was loaded
  std::optional<double> celsius;
  std::optional<double> megahertz;  // of its processors
  std::optional<std::size_t> free_bytes;
};

/// What a phase's tasks need where they are groups of threads.
struct PhaseNeeds {
  std::int64_t threads = 1;       // of a group
  std::int64_t shared_bytes = 0;  // of a group, beyond what its code declares
  bool persistent = false;        // a group takes several tasks one after the other
  /// Groups that run side by side, as a cluster: tasks that follow each other where persistent,
  /// otherwise one task together.
  std::int64_t cluster = 1;
};

/// An array, boxes of which a launch's code copies (kernel/tile.h); strides are those of its second
/// and later dimensions.
struct TileMap {
  std::size_t buffer = 0;  // the argument
  std::int64_t start = 0;  // in it, in bytes
  DType dtype = DType::none;
  std::vector<std::int64_t> sizes;
  std::vector<std::int64_t> strides;  // in bytes
  std::vector<std::int64_t> box;      // elements in each dimension
  std::vector<std::int64_t> steps;    // from one of them to the next
  bool operator==(const TileMap&) const = default;
};

/// One launch: code, its buffer arguments (workspace last), the values of its variables and the
/// number of tasks of each phase (see kernel/kernel.h).
struct Launch {
  const Program* program = nullptr;
  std::span<void* const> buffers;
  std::span<const std::int64_t> variables;
  std::span<const std::int64_t> phase_tasks;
  std::span<const PhaseNeeds> phase_needs;  // where tasks are groups of threads
  std::span<const TileMap> tiles;
  std::size_t scratch_bytes = 0;  // per thread
};

/// Launches that a device replays as one, in their order (Device::record).
class Recording {
 public:
  virtual ~Recording() = default;
  /// From now on launch `i` has these variables, tasks and tiles; its program, buffers and needs
  /// stay what they were.
  virtual void update(std::size_t i, const Launch& launch) = 0;
  /// As Device::launch of each.
  virtual void replay() = 0;
};

/// Memory of the host that a device copies into while the host goes on (Device::host_copy).
class HostCopy {
 public:
  virtual ~HostCopy() = default;
  /// Copies its whole size from `offset` of the buffer, after what was launched before; what an
  /// earlier copy gave is lost.
  virtual void start(const Buffer& from, std::size_t offset) = 0;
  /// Waits for the last copy that was started; what it copied, until the next start.
  virtual std::span<const std::byte> wait() = 0;
};

class Device {
 public:
  virtual ~Device() = default;
  virtual const DeviceInfo& info() const = 0;

  /// 64-byte aligned, contents undefined. DeviceError says how much was wanted and how much there
  /// is.
  virtual std::shared_ptr<Buffer> allocate(std::size_t bytes) = 0;
  /// The same, filled with zeros.
  virtual std::shared_ptr<Buffer> allocate_zeros(std::size_t bytes) = 0;
  /// A window of `whole`, which it keeps alive.
  virtual std::shared_ptr<Buffer> window(std::shared_ptr<Buffer> whole, std::size_t offset,
                                         std::size_t bytes) = 0;
  /// Host memory used in place where the device can (CPU), otherwise copied; `keep` is held as
  /// long.
  virtual std::shared_ptr<Buffer> wrap(std::span<const std::byte> host,
                                       std::shared_ptr<void> keep) = 0;
  virtual void copy_in(Buffer& to, std::size_t offset, std::span<const std::byte> from) = 0;
  virtual void copy_out(std::span<std::byte> to, const Buffer& from, std::size_t offset) = 0;

  /// For copies of so many bytes; the device outlives it. Null where the device cannot.
  virtual std::unique_ptr<HostCopy> host_copy(std::size_t) { return nullptr; }

  /// Loads an object file (codegen's output) whose entry point is `symbol`.
  virtual std::unique_ptr<Program> load(std::span<const std::byte> object,
                                        const std::string& symbol) = 0;
  /// Runs in the order of the calls; returns at once or when done.
  virtual void launch(const Launch& launch) = 0;
  virtual void synchronize() = 0;

  /// Launches to replay at less cost than one by one; they keep neither programs nor buffers alive.
  /// Null where the device has nothing cheaper.
  virtual std::unique_ptr<Recording> record(std::span<const Launch>) { return nullptr; }
  /// Copies all of a buffer of another device straight into `to`, which is as large; false, and
  /// nothing done, where there is no way between the two.
  virtual bool copy_across(Buffer&, const Buffer&) { return false; }

  /// DeviceError unless the buffer has these bytes; `what` names the call.
  void want_inside(const Buffer& buffer, std::size_t offset, std::size_t bytes,
                   const char* what) const;
};

}  // namespace brisk
