// Memory of the CPU device. Input: sizes; output: 64-byte aligned blocks. Freed blocks are kept for
// the next allocation of about their size: a fresh page costs more than the kernel that fills it.
#pragma once

#include <cstddef>
#include <map>
#include <memory>
#include <mutex>

namespace brisk {

class HostMemory {
 public:
  HostMemory();
  ~HostMemory();
  HostMemory(const HostMemory&) = delete;
  HostMemory& operator=(const HostMemory&) = delete;

  struct Block {
    void* memory = nullptr;
    std::size_t bytes = 0;  // as allocated, at least what was asked for
  };
  /// DeviceError says how much was wanted and how much there is.
  Block allocate(std::size_t bytes);
  void free(Block block) noexcept;
  /// Zeros that take no memory until they are written (a cache for a long context may never be):
  /// pages of the system's, given back with the last owner. DeviceError as above.
  std::shared_ptr<void> allocate_zeros(std::size_t bytes);

 private:
  void want_available(std::size_t bytes);
  void release_kept() noexcept;

  std::mutex mutex_;
  std::multimap<std::size_t, void*> kept_;
  std::size_t kept_bytes_ = 0;
  std::size_t most_kept_ = 0;
};

}  // namespace brisk
