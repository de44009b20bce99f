// Strided layouts: which element of an array stands at a place of a view, as reshape, permute,
// expand, shrink and flip make them. Input: sizes and strides in elements; output: runs of
// equidistant elements, in row-major order of the view.
#pragma once

#include <cstdint>
#include <vector>

namespace brisk {

struct Layout {
  std::vector<std::int64_t> shape;
  std::vector<std::int64_t> strides;
  std::int64_t offset = 0;
};

inline std::int64_t count_of(const std::vector<std::int64_t>& shape) {
  std::int64_t count = 1;
  for (const auto size : shape) count *= size;
  return count;
}

inline Layout row_major(std::vector<std::int64_t> shape) {
  Layout layout{std::move(shape), {}, 0};
  layout.strides.assign(layout.shape.size(), 1);
  for (std::size_t i = layout.shape.size(); i-- > 1;) {
    layout.strides[i - 1] = layout.strides[i] * layout.shape[i];
  }
  return layout;
}

/// The same places in the same order with the fewest axes: none of size 1, and none that continues
/// the one before it.
inline Layout merged(const Layout& layout) {
  Layout result{{}, {}, layout.offset};
  for (std::size_t i = 0; i < layout.shape.size(); ++i) {
    const std::int64_t size = layout.shape[i];
    const std::int64_t stride = layout.strides[i];
    if (size == 1) continue;
    if (!result.shape.empty() && result.strides.back() == stride * size) {
      result.shape.back() *= size;
      result.strides.back() = stride;
    } else {
      result.shape.push_back(size);
      result.strides.push_back(stride);
    }
  }
  return result;
}

/// Calls f(first, offset, stride, length) for the runs that make up places first … of the `count`
/// places from `start` on; `first` counts from 0. `layout` is merged.
template <typename F>
void for_runs(const Layout& layout, std::int64_t start, std::int64_t count, F f) {
  const std::size_t rank = layout.shape.size();
  if (rank == 0) {
    for (std::int64_t i = 0; i < count; ++i) f(i, layout.offset, std::int64_t{0}, std::int64_t{1});
    return;
  }
  std::vector<std::int64_t> index(rank);
  std::int64_t offset = layout.offset;
  for (std::size_t i = rank; i-- > 0 && count > 0;) {
    index[i] = start % layout.shape[i];
    start /= layout.shape[i];
    offset += index[i] * layout.strides[i];
  }
  for (std::int64_t done = 0; done < count;) {
    const std::int64_t rest = layout.shape[rank - 1] - index[rank - 1];
    const std::int64_t length = rest < count - done ? rest : count - done;
    f(done, offset, layout.strides[rank - 1], length);
    done += length;
    offset += length * layout.strides[rank - 1];
    index[rank - 1] += length;
    for (std::size_t i = rank - 1; i > 0 && index[i] == layout.shape[i]; --i) {
      offset += layout.strides[i - 1] - index[i] * layout.strides[i];
      index[i] = 0;
      ++index[i - 1];
    }
  }
}

}  // namespace brisk
