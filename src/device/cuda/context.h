// A GPU's primary context with a stream of its own: memory, copies through pinned memory, and the
// driver's assembler. Everything that happens on the device happens in the order of the calls.
#pragma once

#include <array>
#include <atomic>
#include <cstddef>
#include <mutex>
#include <span>
#include <string>
#include <utility>
#include <vector>

#include "device/cuda/driver.h"

namespace brisk::cuda {

class GpuContext {
 public:
  explicit GpuContext(int number);
  ~GpuContext();
  GpuContext(const GpuContext&) = delete;
  GpuContext& operator=(const GpuContext&) = delete;

  const std::string& id() const { return id_; }
  Stream stream() const { return stream_; }
  Context handle() const { return context_; }

  /// Makes it the calling thread's context.
  void enter() { want(driver().context_set(context_), "entering the context"); }
  /// Throws what the driver says.
  void want(Status error, const char* what);
  /// Free and all bytes.
  std::pair<std::size_t, std::size_t> memory();

  Address allocate(std::size_t wanted);
  void free(Address address) noexcept;
  void fill_zeros(Address address, std::size_t bytes);
  /// Returns before the copy is done, but done with `from`.
  void copy_in(Address to, const std::byte* from, std::size_t bytes);
  void copy_out(std::byte* to, Address from, std::size_t bytes);
  /// From another GPU, whose memory this one reaches or the driver does; after what the other one
  /// has been told to do.
  void copy_across(Address to, GpuContext& other, Address from, std::size_t bytes);

  /// PTX → machine code, by the driver's linker, which gives its result out.
  std::vector<std::byte> assemble(std::span<const std::byte> text, const std::string& symbol);

  /// Remembers what runs, for messages.
  void launched(const std::string& symbol);
  void synchronize();

  /// Pinned memory, and when the last copy of it is done.
  struct Pinned {
    void* memory = nullptr;
    Event done = nullptr;
  };
  Pinned pin(std::size_t bytes);
  void unpin(Pinned& pinned) noexcept;
  /// Returns before the copy is done.
  void start_copy_out(const Pinned& to, Address from, std::size_t bytes);
  void wait_for(const Pinned& pinned);

 private:
  using Staging = Pinned;
  /// What one thread copies through: one part is on its way while it fills the other.
  struct Lane {
    std::array<Staging, 2> parts;
    std::size_t turn = 0;
  };
  static constexpr std::size_t most_lanes = 8;

  int attribute(int which);
  Staging& next_staging(Lane& lane);
  void copy_parts(Lane& lane, std::atomic<std::size_t>& next, Address to, const std::byte* from,
                  std::size_t bytes);
  Status try_allocate(Address* address, std::size_t bytes) const;
  std::string last_launch();

  std::string id_;
  Ordinal device_ = 0;
  Context context_ = nullptr;
  Stream stream_ = nullptr;
  Pool pool_ = nullptr;
  std::mutex staging_mutex_;
  std::array<Lane, most_lanes> lanes_;
  std::mutex name_mutex_;
  std::string last_launch_;
  std::atomic<bool> lost_ = false;
};

}  // namespace brisk::cuda
