// What was made once (compiled kernels, schedules) and need not be made again: key → value in one
// SQLite file, for any number of threads and processes at once, bounded in size.
#pragma once

#include <cstddef>
#include <cstdint>
#include <filesystem>
#include <memory>
#include <optional>
#include <span>
#include <string_view>
#include <vector>

namespace brisk {

/// A process killed at any moment loses at most the entry it was inserting. A damaged file is
/// renamed *.corrupt-<Unix time> and a new one begun; on a full disk the entries that exist stay
/// usable and no more are kept; where the file cannot be written, it is read; where it cannot be
/// read, entries live in memory. Each of these is said once on stderr and none is an error. Not to
/// be carried over a fork.
class KernelCache {
 public:
  struct Statistics {
    std::int64_t hits;    // of this object
    std::int64_t misses;  // of this object
    std::int64_t entries;
    std::int64_t bytes;  // of the file that are in use; never above the limit after an insert
  };

  /// Begins the file where there is none, its folders too. An empty path keeps all in memory.
  KernelCache(const std::filesystem::path& file, std::int64_t limit_bytes);
  ~KernelCache();

  /// The process's cache, in the folder BRISK_CACHE, up to BRISK_CACHE_LIMIT_MB.
  static KernelCache& shared();

  /// The value last inserted under the key, if it is still there and intact.
  std::optional<std::vector<std::byte>> find(std::string_view key);
  /// Keeps the value, least recently used ones going where the limit asks for it. A value larger
  /// than half the limit is not kept.
  void insert(std::string_view key, std::span<const std::byte> value);

  Statistics statistics();
  void clear();

 private:
  struct Impl;
  std::unique_ptr<Impl> impl_;
};

}  // namespace brisk
