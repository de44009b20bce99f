// What is known of where accesses of groups of threads begin: their arguments and shared locals lie
// at multiples of group_alignment.
#pragma once

#include <cstdint>

#include "graph/integer.h"

namespace brisk {

constexpr std::int64_t group_alignment = 16;  // bytes

/// The largest power of two, up to the first that holds `most`, of elements of `dtype` that begin
/// at element `start` as one aligned access.
inline int aligned_elements(DType dtype, const Node& start, std::int64_t most) {
  int known = 1;
  while (known < most && 2 * known * byte_size(dtype) <= group_alignment &&
         is_multiple(start, 2L * known)) {
    known *= 2;
  }
  return known;
}

}  // namespace brisk
