// The pages of mapped files, entered into the page table by a thread of its own while others
// prepare their work, so that these need not fault for every few of them. Input: the mappings'
// bytes.
#pragma once

#include <atomic>
#include <cstddef>
#include <memory>
#include <span>
#include <thread>
#include <vector>

namespace brisk {

/// Goes through the bytes in order, of mappings that `owner` keeps; stops early where it is
/// destroyed. Reads from the disk what memory does not hold, so it leaves alone what is larger
/// in all than half of the machine's. Only speed depends on it.
class MapAhead {
 public:
  MapAhead(std::vector<std::span<const std::byte>> mappings, std::shared_ptr<const void> owner);
  MapAhead(const MapAhead&) = delete;
  MapAhead& operator=(const MapAhead&) = delete;
  ~MapAhead();

  /// Until all pages are there; false where not all could be.
  bool wait();

 private:
  bool map(std::span<const std::byte> bytes) const;

  std::atomic<bool> stop_ = false;
  std::atomic<bool> complete_ = false;
  std::thread thread_;
};

}  // namespace brisk
