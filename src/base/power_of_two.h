// Powers of two, among numbers that may be anything.
#pragma once

#include <bit>
#include <cstdint>

namespace brisk {

/// 1, 2, 4, …; of negative numbers and 0 none is.
constexpr bool is_power_of_two(std::int64_t number) {
  return number > 0 && std::has_single_bit(static_cast<std::uint64_t>(number));
}

}  // namespace brisk
