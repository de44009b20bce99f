// Large pieces of the host's memory as the system gives them fastest.
#pragma once

#include <cstddef>

namespace brisk {

/// Bytes of a block that holds at least so many: whole lines of the cache, pages or large pages.
std::size_t block_bytes(std::size_t bytes);
/// A block of that size for std::free, at the start of a line or of a large page, for which the
/// system is asked. Null where there is no memory.
void* allocate_block(std::size_t bytes);

}  // namespace brisk
