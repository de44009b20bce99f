#include "formats/strided.h"

#include <cstring>

namespace brisk {

std::vector<std::byte> row_major(std::span<const std::byte> from,
                                 const std::vector<std::int64_t>& shape,
                                 const std::vector<std::int64_t>& strides, std::size_t width) {
  std::size_t count = 1;
  for (const std::int64_t size : shape) count *= static_cast<std::size_t>(size);
  std::vector<std::byte> rows(count * width);
  std::vector<std::int64_t> at(shape.size(), 0);
  for (std::size_t i = 0; i < count; ++i) {
    std::int64_t place = 0;
    for (std::size_t axis = 0; axis < at.size(); ++axis) place += at[axis] * strides[axis];
    std::memcpy(rows.data() + i * width, from.data() + static_cast<std::size_t>(place) * width,
                width);
    for (std::size_t axis = at.size(); axis > 0; --axis) {
      if (++at[axis - 1] < shape[axis - 1]) break;
      at[axis - 1] = 0;
    }
  }
  return rows;
}

}  // namespace brisk
