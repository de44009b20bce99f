// Joining, padding and repeating: views of the parts, chosen by position.
#include <algorithm>

#include "brisk/functions.h"
#include "tensor/build.h"

namespace brisk {

// ---- joining ------------------------------------------------------------------------------------

namespace {

// Each part padded to the whole, and the one chosen in whose range the position is.
Node joined(const std::vector<Node>& parts, int axis) {
  Size total = 0;
  for (const Node& part : parts) total = total + part.shape()[axis];
  Size end = total;
  Node result;
  for (std::size_t i = parts.size(); i-- > 0;) {
    const Size begin = end - parts[i].shape()[axis];
    const Node padded = pad_axis(parts[i], axis, begin, total - end);
    if (!result) {
      result = padded;
    } else {
      const Node at = positions(total, axis, padded.rank());
      result = where(expand(cmplt(at, end.node()), padded.shape()), padded, result);
    }
    end = begin;
  }
  return result;
}

}  // namespace

Tensor cat(const std::vector<Tensor>& tensors, int axis) {
  const Call call("cat");
  if (tensors.empty()) call_error("wants at least one tensor");
  DType dtype = DType::none;
  for (const Tensor& tensor : tensors) {
    want_rank(tensor, "tensors", 1, 100);
    dtype = dtype == DType::none ? tensor.dtype() : promote(dtype, tensor.dtype());
  }
  const Node first = node_of(tensors[0]);
  const int at = axis_of(axis, first.rank());
  std::vector<Node> parts;
  for (const Tensor& tensor : tensors) {
    const Node node = node_of(tensor);
    bool fits = node.rank() == first.rank();
    for (int i = 0; fits && i < first.rank(); ++i) {
      fits = i == at || node.shape()[i] == first.shape()[i];
    }
    if (!fits) {
      call_error("wants shapes that differ in axis {} only, got {} and {}", axis,
                 to_string(first.shape()), to_string(node.shape()));
    }
    if (node.shape()[at] != Size(0)) parts.push_back(to_dtype(node, dtype));
  }
  if (parts.empty()) return tensors[0].cast(dtype);
  return tensor_of(joined(parts, at));
}

Tensor stack(const std::vector<Tensor>& tensors, int axis) {
  const Call call("stack");
  if (tensors.empty()) call_error("wants at least one tensor");
  std::vector<Tensor> columns;
  for (const Tensor& tensor : tensors) {
    if (tensor.dims() != tensors[0].dims()) {
      call_error("wants tensors of one shape, got {} and {}", to_string(tensors[0].dims()),
                 to_string(tensor.dims()));
    }
    columns.push_back(unsqueeze(tensor, axis));
  }
  return cat(columns, axis);
}

Tensor pad(const Tensor& x, const std::vector<std::int64_t>& sizes, PadMode mode, double value) {
  const Call call("pad");
  Node node = node_of(x);
  if (sizes.size() % 2 != 0 || sizes.size() / 2 > node.shape().size()) {
    call_error("wants two sizes for each of up to {} axes, got {}", node.rank(), sizes.size());
  }
  const Node fill = to_dtype(constant_float(value, DType::float64), node.dtype());
  for (std::size_t i = 0; i < sizes.size() / 2; ++i) {
    const std::int64_t before = sizes[2 * i];
    const std::int64_t after = sizes[2 * i + 1];
    const int axis = node.rank() - 1 - static_cast<int>(i);
    if (before == 0 && after == 0) continue;
    if (mode == PadMode::constant) {
      const Size& size = node.shape()[axis];
      if (size.is_constant() &&
          size.value() + std::min<std::int64_t>(before, 0) + std::min<std::int64_t>(after, 0) < 0) {
        call_error("cannot cut {} and {} off axis {} of shape {}", -before, -after, axis,
                   to_string(node.shape()));
      }
      node = pad_axis(node, axis, before, after, fill);
      continue;
    }
    const std::int64_t have = fixed(node.shape()[axis]);
    const std::int64_t most = mode == PadMode::reflect    ? have - 1
                              : mode == PadMode::circular ? have
                              : have > 0                  ? std::max(before, after)
                                                          : 0;
    if (before > most || after > most || before < 0 || after < 0) {
      call_error("wants 0 to {} on both sides of axis {} of shape {}, got {} and {}", most, axis,
                 to_string(node.shape()), before, after);
    }
    if (mode == PadMode::circular) {
      node = cyclic(node, axis, have - before, before + have + after);
      continue;
    }
    const auto edge = [&](std::int64_t at, std::int64_t count) {
      Shape shape = node.shape();
      shape[axis] = count;
      return expand(cut(node, axis, at, at + 1), std::move(shape));
    };
    std::vector<Node> parts;
    if (before > 0) {
      parts.push_back(mode == PadMode::replicate ? edge(0, before)
                                                 : flip(cut(node, axis, 1, before + 1), {axis}));
    }
    parts.push_back(node);
    if (after > 0) {
      parts.push_back(mode == PadMode::replicate
                          ? edge(have - 1, after)
                          : flip(cut(node, axis, have - 1 - after, have - 1), {axis}));
    }
    node = joined(parts, axis);
  }
  return tensor_of(node);
}

// ---- repetition ---------------------------------------------------------------------------------

Tensor tile(const Tensor& x, const std::vector<std::int64_t>& repeats) {
  const Call call("tile");
  const int rank = std::max(x.rank(), static_cast<int>(repeats.size()));
  const Node node = lead(node_of(x), rank);
  Shape apart;
  Shape wide;
  Shape joint;
  for (int i = 0; i < rank; ++i) {
    const int own = i - rank + static_cast<int>(repeats.size());
    const std::int64_t times = own < 0 ? 1 : repeats[own];
    if (times < 0) call_error("wants repeats of at least 0, got {}", times);
    const Size& size = node.shape()[i];
    joint.push_back(size * Size(times));
    if (times != 1) {
      apart.push_back(1);
      wide.push_back(times);
    }
    apart.push_back(size);
    wide.push_back(size);
  }
  return tensor_of(
      reshape(expand(reshape(node, std::move(apart)), std::move(wide)), std::move(joint)));
}

Tensor repeat(const Tensor& x, const std::vector<std::int64_t>& repeats) {
  const Call call("repeat");
  if (static_cast<int>(repeats.size()) < x.rank()) {
    call_error("wants at least {} repeats for shape {}, got {}", x.rank(), to_string(x.dims()),
               repeats.size());
  }
  return tile(x, repeats);
}

Tensor repeat_interleave(const Tensor& x, std::int64_t repeats, int axis) {
  const Call call("repeat_interleave");
  want_rank(x, "a tensor", 1, 100);
  if (repeats < 0) call_error("wants repeats of at least 0, got {}", repeats);
  const int at = axis_of(axis, x.rank());
  Node node = node_of(unsqueeze(x, at + 1));
  Shape shape = node.shape();
  shape[at + 1] = repeats;
  node = expand(node, shape);
  shape.erase(shape.begin() + at + 1);
  shape[at] = shape[at] * Size(repeats);
  return tensor_of(reshape(node, std::move(shape)));
}

Tensor unfold(const Tensor& x, int axis, std::int64_t size, std::int64_t step) {
  const Call call("unfold");
  want_rank(x, "a tensor", 1, 100);
  const int at = axis_of(axis, x.rank());
  const Node node = node_of(x);
  const std::int64_t have = fixed(node.shape()[at]);
  if (size < 1 || size > have || step < 1) {
    call_error("wants a size of 1 to {} and a step of at least 1, got {} and {}", have, size, step);
  }
  return tensor_of(windows(node, at, (have - size) / step + 1, size, step, 1));
}

}  // namespace brisk
