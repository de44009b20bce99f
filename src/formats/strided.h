// Elements that lie apart, put together in row-major order.
#pragma once

#include <cstddef>
#include <cstdint>
#include <span>
#include <vector>

namespace brisk {

/// `from`: elements of `width` bytes, those of an axis `strides` elements apart; the caller has
/// checked that all lie in it.
std::vector<std::byte> row_major(std::span<const std::byte> from,
                                 const std::vector<std::int64_t>& shape,
                                 const std::vector<std::int64_t>& strides, std::size_t width);

}  // namespace brisk
