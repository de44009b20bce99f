#include "device/cpu/host_memory.h"

#include <sys/mman.h>

#include <algorithm>
#include <cstdlib>
#include <limits>
#include <string>

#include "base/error.h"
#include "base/host_block.h"

namespace brisk {

namespace {

// Below, asking the system how much there is would cost more than the allocation.
constexpr std::size_t worth_asking = 64 << 20;

std::string in_units(std::size_t bytes) {
  if (bytes >= std::size_t{1} << 30) {
    return fmt::format("{:.2f} GiB", static_cast<double>(bytes) / (1 << 30));
  }
  if (bytes >= 1 << 20) return fmt::format("{:.1f} MiB", static_cast<double>(bytes) / (1 << 20));
  return fmt::format("{} bytes", bytes);
}

}  // namespace

HostMemory::HostMemory() : most_kept_(std::min<std::size_t>(total_memory() / 8, 1 << 30)) {}

HostMemory::~HostMemory() { release_kept(); }

namespace {

[[noreturn]] void fail(std::size_t wanted, std::size_t available) {
  device_error("cpu: out of memory: wanted {}, available {}", in_units(wanted),
               in_units(available));
}

}  // namespace

// The system promises more memory than it has; a block that cannot be filled is refused here, not
// by a kill later.
void HostMemory::want_available(std::size_t bytes) {
  if (bytes < worth_asking || available_memory() >= bytes) return;
  release_kept();
  if (const std::size_t available = available_memory(); available < bytes) fail(bytes, available);
}

std::shared_ptr<void> HostMemory::allocate_zeros(std::size_t wanted) {
  if (wanted > std::numeric_limits<std::size_t>::max() / 2) fail(wanted, available_memory());
  const std::size_t bytes = block_bytes(std::max<std::size_t>(wanted, 4096));
  want_available(bytes);
  void* memory = mmap(nullptr, bytes, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
  if (memory == MAP_FAILED) fail(wanted, available_memory());
  return {memory, [bytes](void* pages) { munmap(pages, bytes); }};
}

HostMemory::Block HostMemory::allocate(std::size_t wanted) {
  if (wanted > std::numeric_limits<std::size_t>::max() / 2) fail(wanted, available_memory());
  const std::size_t bytes = block_bytes(wanted);
  {
    const std::lock_guard lock(mutex_);
    const auto found = kept_.lower_bound(bytes);
    if (found != kept_.end() && found->first <= bytes + bytes / 4) {
      const Block block{found->second, found->first};
      kept_bytes_ -= found->first;
      kept_.erase(found);
      return block;
    }
  }
  want_available(bytes);
  void* memory = allocate_block(bytes);
  if (memory == nullptr) {
    release_kept();
    memory = allocate_block(bytes);
  }
  if (memory == nullptr) fail(wanted, available_memory());
  return {memory, bytes};
}

void HostMemory::free(Block block) noexcept {
  bool kept = false;
  {
    const std::lock_guard lock(mutex_);
    if (block.bytes <= most_kept_ - std::min(most_kept_, kept_bytes_)) {
      try {
        kept_.emplace(block.bytes, block.memory);
        kept_bytes_ += block.bytes;
        kept = true;
      } catch (const std::bad_alloc&) {
        kept = false;
      }
    }
  }
  if (!kept) std::free(block.memory);
}

void HostMemory::release_kept() noexcept {
  const std::lock_guard lock(mutex_);
  for (const auto& [bytes, memory] : kept_) std::free(memory);
  kept_.clear();
  kept_bytes_ = 0;
}

}  // namespace brisk
