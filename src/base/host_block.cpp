#include "base/host_block.h"

#include <sys/mman.h>

#include <algorithm>
#include <cstdlib>

namespace brisk {

namespace {

constexpr std::size_t line = 64;
constexpr std::size_t page = 4096;
constexpr std::size_t large_page = std::size_t{2} << 20;

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

}  // namespace brisk
