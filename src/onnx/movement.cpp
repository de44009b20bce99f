// Operators that move elements and compute nothing: shapes, parts, order, repetition.
#include <algorithm>
#include <numeric>

#include "onnx/build.h"

namespace brisk::onnx {

namespace {

using Sizes = std::vector<std::int64_t>;

Values reshape_to(NodeCall& c) {
  const Dims have = c.dims(0);
  Dims shape = c.sizes("shape", 1).value_or(Dims());
  const bool zero_is_zero = c.integer("allowzero", 0) != 0;
  for (std::size_t i = 0; i < shape.size(); ++i) {
    if (shape[i] != Dim(0) || zero_is_zero) continue;
    if (i >= have.size())
      c.fail("size {} of the new shape is 0, and the input has rank {}", i, have.size());
    shape[i] = have[i];
  }
  return {like(c, c[0].reshape(shape))};
}

Values transpose_by(NodeCall& c) {
  const std::int64_t rank = c.rank(0);
  Sizes order = c.integers("perm");
  if (!c.has_attribute("perm")) {
    order.resize(static_cast<std::size_t>(rank));
    std::iota(order.rbegin(), order.rend(), 0);
  }
  if (static_cast<std::int64_t>(order.size()) != rank)
    c.fail("perm has {} axes, the input {}", order.size(), rank);
  return {like(c, rank == 0 ? c[0] : c[0].permute(axes_of(c, order, rank)))};
}

Values flatten_from(NodeCall& c) {
  const Dims shape = c.dims(0);
  const auto rank = static_cast<std::int64_t>(shape.size());
  std::int64_t axis = c.integer("axis", 1);
  if (axis < 0) axis += rank;
  if (axis < 0 || axis > rank) c.fail("axis {} is outside a tensor of rank {}", axis, rank);
  const auto at = static_cast<std::size_t>(axis);
  return {like(c, c[0].reshape({product(shape, 0, at), product(shape, at)}))};
}

bool is_one(const NodeCall& c, const Dim& size) {
  if (!size.is_constant() && size.lower() <= 1)
    c.fail("whether a size of {} is 1 depends on variables", to_string(size));
  return size == Dim(1);
}

Values squeeze_axes(NodeCall& c) {
  const Dims shape = c.dims(0);
  const auto axes = c.list("axes", 1);
  Dims kept;
  const Axes given = axes_of(c, axes.value_or(Sizes()), static_cast<std::int64_t>(shape.size()));
  for (std::size_t i = 0; i < shape.size(); ++i) {
    const bool listed = std::find(given.begin(), given.end(), static_cast<int>(i)) != given.end();
    if (listed && shape[i] != Dim(1)) c.fail("axis {} has size {}, not 1", i, to_string(shape[i]));
    if (axes ? !listed : !is_one(c, shape[i])) kept.push_back(shape[i]);
  }
  return {like(c, c[0].reshape(kept))};
}

Values unsqueeze_axes(NodeCall& c) {
  const Dims shape = c.dims(0);
  const Sizes axes = c.list("axes", 1).value_or(Sizes());
  const auto rank = static_cast<std::int64_t>(shape.size() + axes.size());
  std::vector<bool> added(static_cast<std::size_t>(rank));
  for (const int axis : axes_of(c, axes, rank)) {
    if (added[static_cast<std::size_t>(axis)]) c.fail("axis {} is there twice", axis);
    added[static_cast<std::size_t>(axis)] = true;
  }
  Dims wide;
  std::size_t next = 0;
  for (const bool one : added) wide.push_back(one ? Dim(1) : shape[next++]);
  return {like(c, c[0].reshape(wide))};
}

Values expand_to(NodeCall& c) {
  const Dims shape = broadcast(c, c.dims(0), c.sizes(1));
  check_shape(shape, "its result");
  return {like(c, c[0].broadcast_to(shape))};
}

Values concat(NodeCall& c) {
  std::vector<Tensor> parts;
  const int axis = c.axis("axis", 1, c.rank(0));
  for (std::size_t i = 0; i < c.inputs(); ++i) {
    if (c.rank(i) != c.rank(0))
      c.fail("input {} has rank {}, the first {}", i, c.rank(i), c.rank(0));
    parts.push_back(c[i]);
  }
  return {like(c, parts.size() == 1 ? parts[0] : cat(parts, axis))};
}

// Python's bounds of a slice, for either sign of the step.
Slice bounds(std::int64_t start, std::int64_t end, std::int64_t step, std::int64_t size) {
  const auto clamped = [&](std::int64_t at) {
    if (at < 0) at = std::max(at + size, std::int64_t{-1} - size);
    return step > 0 ? std::clamp<std::int64_t>(at, 0, size)
                    : std::clamp<std::int64_t>(at, -1, size - 1);
  };
  Slice slice;
  slice.step = step;
  const std::int64_t first = clamped(start);
  const std::int64_t last = clamped(end);
  if (step > 0) {
    slice.start = first;
    slice.stop = std::max(first, last);
  } else {
    if (first < 0 || first <= last) return {Dim(0), Dim(0), 1};  // nothing
    slice.start = first;
    if (last >= 0) slice.stop = last;  // none: down to the first element
  }
  return slice;
}

// The same for a step of 1 where something depends on variables.
Slice symbolic_bounds(const NodeCall& c, const Dim& start, const Dim& end, const Dim& size) {
  const Dim farthest = std::int64_t{1} << 40;
  const auto clamped = [&](const Dim& at) {
    if (at.lower() >= 0) return smaller(at.is_constant() ? smaller(at, farthest) : at, size);
    if (at.upper() >= 0) c.fail("whether {} is negative depends on variables", to_string(at));
    return greater((at.is_constant() ? greater(at, Dim(0) - farthest) : at) + size, 0);
  };
  const Dim first = clamped(start);
  return {first, first + greater(clamped(end) - first, 0), 1};
}

Values slice_axes(NodeCall& c) {
  const Dims shape = c.dims(0);
  const auto rank = static_cast<std::int64_t>(shape.size());
  const Dims starts = c.sizes("starts", 1).value_or(Dims());
  const Dims ends = c.sizes("ends", 2).value_or(Dims());
  Sizes axes(starts.size());
  std::iota(axes.begin(), axes.end(), 0);
  if (const auto given = c.list("axes", 3)) axes = *given;
  Sizes steps(starts.size(), 1);
  if (c.has(4)) steps = c.integers(4);
  if (ends.size() != starts.size() || axes.size() != starts.size() || steps.size() != starts.size())
    c.fail("starts, ends, axes and steps have {}, {}, {} and {} values", starts.size(), ends.size(),
           axes.size(), steps.size());
  Tensor x = c[0];
  for (std::size_t i = 0; i < starts.size(); ++i) {
    if (steps[i] == 0) c.fail("a step of 0");
    const int axis = c.axis(axes[i], rank);
    const Dim& size = shape[static_cast<std::size_t>(axis)];
    const bool fixed = size.is_constant() && starts[i].is_constant() && ends[i].is_constant();
    if (steps[i] == 1 && !fixed) {
      x = x.slice(axis, symbolic_bounds(c, starts[i], ends[i], size));
      continue;
    }
    const std::int64_t step = std::clamp(steps[i], -size.value() - 1, size.value() + 1);
    x = x.slice(axis, bounds(starts[i].value(), ends[i].value(), step, size.value()));
  }
  return {like(c, x)};
}

Values split_axis(NodeCall& c) {
  const Dims shape = c.dims(0);
  const int axis = c.axis("axis", 0, static_cast<std::int64_t>(shape.size()));
  const std::int64_t size = shape.at(static_cast<std::size_t>(axis)).value();
  Sizes sizes;
  if (const auto given = c.list("split", 1)) {
    sizes = *given;
  } else {
    const auto count = c.integer("num_outputs", static_cast<std::int64_t>(c.outputs()));
    if (count < 1 || count > (1 << 20)) c.fail("a split into {} parts", count);
    const std::int64_t each = (size + count - 1) / count;
    for (std::int64_t i = 0; i < count; ++i)
      sizes.push_back(std::clamp<std::int64_t>(size - i * each, 0, each));
  }
  if (std::accumulate(sizes.begin(), sizes.end(), std::int64_t{0}) != size ||
      std::any_of(sizes.begin(), sizes.end(), [](auto one) { return one < 0; }))
    c.fail("the parts' sizes do not add up to the axis's size {}", size);
  Values parts;
  std::int64_t start = 0;
  for (const std::int64_t one : sizes) {
    parts.push_back(like(c, c[0].narrow(axis, start, one)));
    start += one;
  }
  return parts;
}

Values tile_by(NodeCall& c) {
  const Tensor x = c[0];
  if (c.version() < 6) {  // tiles and axis as inputs
    Sizes repeats(static_cast<std::size_t>(x.rank()), 1);
    repeats.at(static_cast<std::size_t>(c.axis(c.integer(2), x.rank()))) = c.integer(1);
    return {like(c, x.tile(repeats))};
  }
  const Dims repeats = c.sizes(1);
  if (static_cast<int>(repeats.size()) != x.rank())
    c.fail("{} repeats for a tensor of rank {}", repeats.size(), x.rank());
  Dims shape = c.dims(0), apart, wide;
  for (std::size_t i = 0; i < shape.size(); ++i) {
    check_shape({repeats[i]}, "a repeat");
    if (repeats[i] != Dim(1)) {
      apart.emplace_back(1);
      wide.push_back(repeats[i]);
    }
    apart.push_back(shape[i]);
    wide.push_back(shape[i]);
    if (shape[i].upper() > (std::int64_t{1} << 40) / std::max<std::int64_t>(repeats[i].upper(), 1))
      c.fail("its result is too large");
    shape[i] = shape[i] * repeats[i];
  }
  if (product(shape) == Dim(0)) return {like(c, zeros(shape, x.dtype()))};
  check_shape(shape, "its result");
  return {like(c, x.reshape(apart).expand(wide).reshape(shape))};
}

PadMode pad_mode(const NodeCall& c) {
  const std::string mode = c.text("mode", "constant");
  if (mode == "constant") return PadMode::constant;
  if (mode == "reflect") return PadMode::reflect;
  if (mode == "edge") return PadMode::replicate;
  if (mode == "wrap") return PadMode::circular;
  c.fail("mode '{}' is not known", mode);
}

Values pad_axes(NodeCall& c) {
  const Tensor x = c[0];
  const std::int64_t rank = x.rank();
  Sizes pads =
      c.has(1) ? c.integers(1) : c.integers(c.has_attribute("paddings") ? "paddings" : "pads");
  Sizes axes(static_cast<std::size_t>(rank));
  std::iota(axes.begin(), axes.end(), 0);
  if (c.has(3)) axes = c.integers(3);
  if (pads.size() != 2 * axes.size()) c.fail("{} pads for {} axes", pads.size(), axes.size());
  for (const std::int64_t value : pads) {
    if (value < -(std::int64_t{1} << 40) || value > (std::int64_t{1} << 40))
      c.fail("pads of {}", value);
  }
  Sizes sizes(static_cast<std::size_t>(2 * rank), 0);  // of the last axis first
  Dims result = c.dims(0);
  for (std::size_t i = 0; i < axes.size(); ++i) {
    const int axis = c.axis(axes[i], rank);
    const auto place = static_cast<std::size_t>(2 * (rank - 1 - axis));
    sizes[place] = pads[i];
    sizes[place + 1] = pads[axes.size() + i];
    Dim& size = result[static_cast<std::size_t>(axis)];
    size = size + (pads[i] + pads[axes.size() + i]);
  }
  check_shape(result, "its result");
  const double value = c.has(2) ? c.number(2) : c.number("value", 0);
  return {like(c, brisk::pad(x, sizes, pad_mode(c), value))};
}

Values depth_to_space(NodeCall& c) {
  const Dims s = c.dims(0);
  const std::int64_t b = c.integer("blocksize", 0);
  if (s.size() != 4 || b < 1 || b > (1 << 15) || s[1] % (b * b) != Dim(0))
    c.fail("wants an input of rank 4 whose channels {}^2 divides", b);
  const Dim channels = s[1] / (b * b);
  if (c.text("mode", "DCR") == "CRD") {
    return {like(c, c[0].reshape({s[0], channels, b, b, s[2], s[3]})
                        .permute({0, 1, 4, 2, 5, 3})
                        .reshape({s[0], channels, s[2] * b, s[3] * b}))};
  }
  return {like(c, c[0].reshape({s[0], b, b, channels, s[2], s[3]})
                      .permute({0, 3, 4, 1, 5, 2})
                      .reshape({s[0], channels, s[2] * b, s[3] * b}))};
}

Values space_to_depth(NodeCall& c) {
  const Dims s = c.dims(0);
  const std::int64_t b = c.integer("blocksize", 0);
  if (s.size() != 4 || b < 1 || b > (1 << 15) || s[2] % b != Dim(0) || s[3] % b != Dim(0))
    c.fail("wants an input of rank 4 whose height and width {} divides", b);
  const bool channel_first = c.text("mode", "DCR") == "CRD";
  return {like(c, c[0].reshape({s[0], s[1], s[2] / b, b, s[3] / b, b})
                      .permute(channel_first ? Axes{0, 1, 3, 5, 2, 4} : Axes{0, 3, 5, 1, 2, 4})
                      .reshape({s[0], s[1] * b * b, s[2] / b, s[3] / b}))};
}

Values shape_of_input(NodeCall& c) {
  const Dims shape = c.dims(0);
  const auto rank = static_cast<std::int64_t>(shape.size());
  const auto at = [&](std::int64_t i) {
    return std::clamp<std::int64_t>(i < 0 ? i + rank : i, 0, rank);
  };
  const std::int64_t start = at(c.integer("start", 0));
  const std::int64_t end = std::max(start, at(c.integer("end", rank)));
  Dims part;
  for (std::int64_t i = start; i < end; ++i) part.push_back(shape[static_cast<std::size_t>(i)]);
  return {sizes_value(part, {end - start})};
}

Values size_of_input(NodeCall& c) { return {sizes_value({product(c.dims(0))}, {})}; }

Values trilu(NodeCall& c) {
  const Tensor x = c[0];
  const std::int64_t k = c.has(1) ? c.integer(1) : 0;
  if (x.rank() < 2) c.fail("wants a matrix, got rank {}", x.rank());
  return {like(c, c.integer("upper", 1) != 0 ? x.triu(k) : x.tril(k))};
}

// The elements of each batch's first `length` steps in reverse.
Values reverse_sequence(NodeCall& c) {
  const Tensor x = c[0];
  const int batch = c.axis("batch_axis", 1, x.rank());
  const int time = c.axis("time_axis", 0, x.rank());
  const Dim steps = x.size(time);
  const Tensor at = along(arange(steps), time, x.rank());
  const Tensor length = along(c[1].cast(DType::int64), batch, x.rank());
  const Tensor from = where(at < length, length - 1 - at, at);
  return {like(c, x.gather(time, from.broadcast_to(x.dims())))};
}

Values center_crop_pad(NodeCall& c) {
  Tensor x = c[0];
  const Sizes wanted = c.integers(1);
  Sizes axes(static_cast<std::size_t>(x.rank()));
  std::iota(axes.begin(), axes.end(), 0);
  axes = c.integers("axes", axes);
  if (axes.size() != wanted.size()) c.fail("{} sizes for {} axes", wanted.size(), axes.size());
  for (std::size_t i = 0; i < axes.size(); ++i) {
    const int axis = c.axis(axes[i], x.rank());
    const std::int64_t have = x.size(axis).value();
    element_count({wanted[i]}, "a size");
    if (wanted[i] <= have) {
      x = x.narrow(axis, (have - wanted[i]) / 2, wanted[i]);
      continue;
    }
    const std::int64_t more = wanted[i] - have;
    Sizes pads(static_cast<std::size_t>(2 * x.rank()), 0);
    const auto place = 2 * static_cast<std::size_t>(x.rank() - 1 - axis);
    pads[place] = more / 2;
    pads[place + 1] = more - more / 2;
    x = brisk::pad(x, pads);
  }
  return {like(c, x)};
}

}  // namespace

void add_movement(OperatorTable& t) {
  t.add("Reshape", reshape_to);
  t.add("Transpose", transpose_by);
  t.add("Flatten", flatten_from);
  t.add("Squeeze", squeeze_axes);
  t.add("Unsqueeze", unsqueeze_axes);
  t.add("Expand", expand_to);
  t.add("Concat", concat);
  t.add("Slice", slice_axes);
  t.add("Split", split_axis);
  t.add("Tile", tile_by);
  t.add("Pad", pad_axes);
  t.add("DepthToSpace", depth_to_space);
  t.add("SpaceToDepth", space_to_depth);
  t.add("Shape", shape_of_input);
  t.add("Size", size_of_input);
  t.add("Trilu", trilu);
  t.add("ReverseSequence", reverse_sequence);
  t.add("CenterCropPad", center_crop_pad);
}

}  // namespace brisk::onnx
