#include "formats/map_ahead.h"

#include <algorithm>
#include <utility>

#include "base/host_block.h"

namespace brisk {

namespace {

// One fault enters what memory holds of so many bytes around it (Linux's fault_around_bytes).
// Faults hold no lock of the whole address space, as madvise(MADV_POPULATE_READ) does, for which
// every allocation of the others would wait.
constexpr std::size_t step = 64 << 10;

}  // namespace

MapAhead::MapAhead(std::vector<std::span<const std::byte>> mappings,
                   std::shared_ptr<const void> owner) {
  std::size_t bytes = 0;
  for (const auto& mapping : mappings) bytes += mapping.size();
  if (bytes == 0 || bytes > total_memory() / 2) return;
  thread_ = std::thread([this, mappings = std::move(mappings), owner = std::move(owner)] {
    complete_ = std::all_of(mappings.begin(), mappings.end(),
                            [this](const auto& mapping) { return map(mapping); });
  });
}

MapAhead::~MapAhead() {
  stop_ = true;
  wait();
}

bool MapAhead::wait() {
  if (thread_.joinable()) thread_.join();
  return complete_;
}

bool MapAhead::map(std::span<const std::byte> bytes) const {
  for (std::size_t at = 0; at < bytes.size(); at += step) {
    if (stop_) return false;
    static_cast<void>(*static_cast<const volatile std::byte*>(&bytes[at]));
  }
  return true;
}

}  // namespace brisk
