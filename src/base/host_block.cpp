#include "base/host_block.h"

#include <sys/mman.h>

#include <algorithm>
#include <cstdlib>
#include <fstream>
#include <limits>
#include <string>

namespace brisk {

namespace {

constexpr std::size_t line = 64;
constexpr std::size_t page = 4096;

std::size_t meminfo(const std::string& field) {
  std::ifstream file("/proc/meminfo");
  std::string word;
  std::size_t kilobytes = 0;
  while (file >> word) {
    if (word == field && file >> kilobytes) return kilobytes << 10;
    file.ignore(std::numeric_limits<std::streamsize>::max(), '\n');
  }
  return std::numeric_limits<std::size_t>::max();
}

// A number in a cgroup's file; unlimited where there is none ("max").
std::size_t cgroup(const char* file) {
  std::ifstream stream(std::string("/sys/fs/cgroup/") + file);
  std::size_t bytes = 0;
  return stream >> bytes ? bytes : std::numeric_limits<std::size_t>::max();
}

}  // namespace

std::size_t block_bytes(std::size_t bytes) {
  const std::size_t unit = bytes >= large_page ? large_page : bytes >= page ? page : line;
  return std::max(line, (bytes + unit - 1) / unit * unit);
}

void* allocate_block(std::size_t bytes) {
  const std::size_t size = block_bytes(bytes);
  if (size < large_page) return std::aligned_alloc(line, size);
  void* memory = std::aligned_alloc(large_page, size);
  if (memory != nullptr) madvise(memory, size, MADV_HUGEPAGE);  // a hint: failure costs only speed
  return memory;
}

std::size_t total_memory() { return std::min(meminfo("MemTotal:"), cgroup("memory.max")); }

std::size_t available_memory() {
  const std::size_t limit = cgroup("memory.max");
  const std::size_t used = cgroup("memory.current");
  const std::size_t in_group =
      limit == std::numeric_limits<std::size_t>::max() ? limit : limit - std::min(limit, used);
  return std::min(meminfo("MemAvailable:"), in_group);
}

}  // namespace brisk
