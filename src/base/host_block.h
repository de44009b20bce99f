// Large pieces of the host's memory as the system gives them fastest, and how much of it there is.
#pragma once

#include <cstddef>

namespace brisk {

/// What the system maps at once where it can.
constexpr std::size_t large_page = std::size_t{2} << 20;

/// Bytes of a block that holds at least so many: whole lines of the cache, pages or large pages.
std::size_t block_bytes(std::size_t bytes);
/// A block of that size for std::free, at the start of a line or of a large page, for which the
/// system is asked. Null where there is no memory.
void* allocate_block(std::size_t bytes);

/// Bytes of the machine, or of the container where that is less.
std::size_t total_memory();
std::size_t available_memory();

}  // namespace brisk
