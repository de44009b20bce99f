// Shapes and order of elements: views made of the six movement operations, never a copy.
#include <algorithm>

#include "brisk/create.h"
#include "tensor/build.h"

namespace brisk {

namespace {

Node permuted(const Node& node, std::vector<int> order) { return permute(node, std::move(order)); }

Node swapped(const Node& node, int a, int b) {
  std::vector<int> order(node.rank());
  for (int i = 0; i < node.rank(); ++i) order[i] = i;
  std::swap(order[a], order[b]);
  return permuted(node, std::move(order));
}

Node dropped(const Node& node, int axis) {
  Shape shape = node.shape();
  shape.erase(shape.begin() + axis);
  return reshape(node, std::move(shape));
}

// Every step-th element of an axis, `count` of them.
Node strided(const Node& node, int axis, std::int64_t count, std::int64_t step) {
  if (step == 1) return node;
  const std::int64_t span = count * step;
  const std::int64_t have = fixed(node.shape()[axis]);
  const Node whole = span > have ? pad_axis(node, axis, 0, span - have) : cut(node, axis, 0, span);
  Shape shape = whole.shape();
  shape[axis] = count;
  shape.insert(shape.begin() + axis + 1, Size(step));
  return dropped(cut(reshape(whole, std::move(shape)), axis + 1, 0, 1), axis + 1);
}

}  // namespace

// ---- shape -----------------------------------------------------------------------------------------

Tensor reshape(const Tensor& x, const Dims& dims) {
  const Call call("reshape");
  const Node node = node_of(x);
  Shape shape = shape_of(dims);
  const Size count = element_count(node.shape());
  int open = -1;
  Size known = 1;
  for (std::size_t i = 0; i < shape.size(); ++i) {
    if (shape[i] == Size(-1)) {
      if (open >= 0) call_error("wants at most one -1, got {}", to_string(shape));
      open = static_cast<int>(i);
    } else if (shape[i].lower() < 0) {
      call_error("wants sizes of at least 0, or one -1, got {}", to_string(shape));
    } else {
      known = known * shape[i];
    }
  }
  const auto fail = [&] {
    call_error("a tensor of shape {} ({} elements) does not fit shape {}",
               to_string(node.shape()), to_string(count), to_string(dims));
  };
  if (open >= 0) {
    if (known == Size(0) || count % known != Size(0)) fail();
    shape[open] = count / known;
  }
  if (element_count(shape) != count) fail();
  return tensor_of(reshape(node, std::move(shape)));
}

Tensor permute(const Tensor& x, const Axes& axes) {
  const Call call("permute");
  const Node node = node_of(x);
  std::vector<int> order;
  for (const int axis : axes) order.push_back(axis_of(axis, node.rank()));
  std::vector<int> sorted = order;
  std::sort(sorted.begin(), sorted.end());
  const bool twice = std::adjacent_find(sorted.begin(), sorted.end()) != sorted.end();
  if (twice || static_cast<int>(order.size()) != node.rank()) {
    call_error("wants each of the {} axes of shape {} once, got {}", node.rank(),
               to_string(node.shape()), fmt::format("[{}]", [&] {
                 std::string text;
                 for (const int axis : axes) text += (text.empty() ? "" : ", ") + std::to_string(axis);
                 return text;
               }()));
  }
  return tensor_of(permuted(node, std::move(order)));
}

Tensor transpose(const Tensor& x, int a, int b) {
  const Call call("transpose");
  const Node node = node_of(x);
  const int first = axis_of(a, node.rank());
  const int second = axis_of(b, node.rank());
  return first == second ? x : tensor_of(swapped(node, first, second));
}

Tensor squeeze(const Tensor& x, const Axes& axes) {
  const Call call("squeeze");
  const Node node = node_of(x);
  const std::vector<int> chosen = axes_of(axes, node.rank());
  Shape shape;
  for (int i = 0; i < node.rank(); ++i) {
    const bool listed = std::find(chosen.begin(), chosen.end(), i) != chosen.end();
    if (!listed || node.shape()[i] != Size(1)) shape.push_back(node.shape()[i]);
  }
  return tensor_of(reshape(node, std::move(shape)));
}

Tensor unsqueeze(const Tensor& x, int axis) {
  const Call call("unsqueeze");
  const Node node = node_of(x);
  const int at = axis_of(axis, node.rank() + 1);
  Shape shape = node.shape();
  shape.insert(shape.begin() + at, Size(1));
  return tensor_of(reshape(node, std::move(shape)));
}

Tensor flatten(const Tensor& x, int first, int last) {
  const Call call("flatten");
  const Node node = node_of(x);
  const int from = axis_of(first, node.rank());
  const int to = axis_of(last, node.rank());
  if (from > to) call_error("wants the first axis before the last, got {} and {}", first, last);
  if (node.rank() == 0) return tensor_of(reshape(node, {1}));
  Shape shape(node.shape().begin(), node.shape().begin() + from);
  Size joined = 1;
  for (int i = from; i <= to; ++i) joined = joined * node.shape()[i];
  shape.push_back(joined);
  shape.insert(shape.end(), node.shape().begin() + to + 1, node.shape().end());
  return tensor_of(reshape(node, std::move(shape)));
}

Tensor unflatten(const Tensor& x, int axis, const Dims& sizes) {
  const Call call("unflatten");
  const int at = axis_of(axis, x.rank());
  const Dims from = x.dims();
  Dims shape;
  for (int i = 0; i < x.rank(); ++i) {
    if (i != at) {
      shape.push_back(from[i]);
      continue;
    }
    Dim rest = from[i];
    for (const Dim& size : sizes) {
      if (size != Dim(-1) && size != Dim(0)) rest = rest / size;
    }
    for (const Dim& size : sizes) shape.push_back(size == Dim(-1) ? rest : size);
  }
  return reshape(x, shape);
}

Tensor expand(const Tensor& x, const Dims& dims) {
  const Call call("expand");
  const Node node = node_of(x);
  Shape shape = shape_of(dims);
  const int added = static_cast<int>(shape.size()) - node.rank();
  bool fits = added >= 0;
  for (std::size_t i = 0; fits && i < shape.size(); ++i) {
    const int own = static_cast<int>(i) - added;
    if (shape[i] == Size(-1) && own >= 0) shape[i] = node.shape()[own];
    fits = shape[i].lower() >= 0 && (own < 0 || node.shape()[own] == Size(1) ||
                                     node.shape()[own] == shape[i]);
  }
  if (!fits) {
    call_error("a tensor of shape {} does not expand to {}: only axes of size 1 do",
               to_string(node.shape()), to_string(dims));
  }
  return tensor_of(expand_to(node, shape));
}

Tensor broadcast_to(const Tensor& x, const Dims& shape) {
  const Call call("broadcast_to");
  return expand(x, shape);
}

std::vector<Tensor> broadcast_tensors(const std::vector<Tensor>& tensors) {
  const Call call("broadcast_tensors");
  Shape shape;
  for (const Tensor& tensor : tensors) shape = broadcast_shape(shape, node_of(tensor).shape());
  std::vector<Tensor> results;
  for (const Tensor& tensor : tensors) {
    results.push_back(tensor_of(expand_to(node_of(tensor), shape)));
  }
  return results;
}

// ---- parts -----------------------------------------------------------------------------------------

Tensor slice(const Tensor& x, int axis, const Slice& part) {
  const Call call("slice");
  const Node node = node_of(x);
  const int at = axis_of(axis, node.rank());
  if (node.rank() == 0) call_error("a tensor of rank 0 has no axis to slice");
  const Size& size = node.shape()[at];
  const Size start = part.start ? part.start->size() : Size(0);
  const Size stop = part.stop ? part.stop->size() : size;
  if (part.step == 0) call_error("wants a step other than 0");
  if (!size.is_constant() || !start.is_constant() || !stop.is_constant()) {
    if (part.step != 1) call_error("wants a step of 1 where sizes depend on variables");
    if (start.lower() < 0 || (stop - start).lower() < 0) {
      call_error("wants 0 <= start <= stop for every value of the variables, got {} to {}",
                 to_string(start), to_string(stop));
    }
    return tensor_of(cut(node, at, start, stop));
  }
  const std::int64_t n = size.value();
  // Python's rule: from the end where negative, then into the range that the direction allows.
  const auto place = [n](std::int64_t position, std::int64_t least, std::int64_t greatest) {
    return std::clamp(position < 0 ? position + n : position, least, greatest);
  };
  if (part.step > 0) {
    const std::int64_t from = place(start.value(), 0, n);
    const std::int64_t to = std::max(from, place(stop.value(), 0, n));
    const std::int64_t count = (to - from + part.step - 1) / part.step;
    if (part.step == 1 || count == 0) return tensor_of(cut(node, at, from, count == 0 ? from : to));
    return tensor_of(strided(cut(node, at, from, n), at, count, part.step));
  }
  const std::int64_t from = part.start ? place(start.value(), -1, n - 1) : n - 1;
  const std::int64_t to = part.stop ? place(stop.value(), -1, n - 1) : -1;
  const std::int64_t count = from > to ? (from - to - part.step - 1) / -part.step : 0;
  if (count == 0) return tensor_of(cut(node, at, 0, 0));
  return tensor_of(strided(flip(cut(node, at, 0, from + 1), {at}), at, count, -part.step));
}

Tensor narrow(const Tensor& x, int axis, const Dim& start, const Dim& length) {
  const Call call("narrow");
  const Node node = node_of(x);
  const int at = axis_of(axis, node.rank());
  if (node.rank() == 0) call_error("a tensor of rank 0 has no axis to narrow");
  const Size begin = start.size();
  const Size end = begin + length.size();
  const Size& size = node.shape()[at];
  const bool fits = begin.lower() >= 0 && length.lower() >= 0 &&
                    (!size.is_constant() || end.lower() <= size.value());
  if (!fits) {
    call_error("{} elements from {} on are outside axis {} of shape {}", to_string(length),
               to_string(start), axis, to_string(node.shape()));
  }
  return tensor_of(cut(node, at, begin, end));
}

Tensor select(const Tensor& x, int axis, const Dim& position) {
  const Call call("select");
  const Node node = node_of(x);
  const int at = axis_of(axis, node.rank());
  if (node.rank() == 0) call_error("a tensor of rank 0 has no axis to select from");
  Size begin = position.size();
  const Size& size = node.shape()[at];
  if (begin.is_constant() && begin.value() < 0) begin = begin + size;
  if (begin.lower() < 0 || (size.is_constant() && begin.lower() >= size.value())) {
    call_error("position {} is outside axis {} of shape {}", to_string(position), axis,
               to_string(node.shape()));
  }
  return tensor_of(dropped(cut(node, at, begin, begin + Size(1)), at));
}

std::vector<Tensor> split(const Tensor& x, const std::vector<std::int64_t>& sizes, int axis) {
  const Call call("split");
  want_rank(x, "a tensor", 1, 100);
  const int at = axis_of(axis, x.rank());
  std::int64_t total = 0;
  for (const std::int64_t size : sizes) total += size;
  if (x.size(at) != Dim(total)) {
    call_error("wants parts that sum to {}, the size of axis {}, got a sum of {}",
               to_string(x.size(at)), axis, total);
  }
  std::vector<Tensor> parts;
  std::int64_t begin = 0;
  for (const std::int64_t size : sizes) {
    parts.push_back(narrow(x, at, begin, size));
    begin += size;
  }
  return parts;
}

std::vector<Tensor> split(const Tensor& x, std::int64_t size, int axis) {
  const Call call("split");
  want_rank(x, "a tensor", 1, 100);
  if (size < 1) call_error("wants parts of at least 1, got {}", size);
  const std::int64_t total = fixed(node_of(x).shape()[axis_of(axis, x.rank())]);
  std::vector<std::int64_t> sizes;
  for (std::int64_t begin = 0; begin < total; begin += size) {
    sizes.push_back(std::min(size, total - begin));
  }
  if (sizes.empty()) sizes.push_back(0);
  return split(x, sizes, axis);
}

std::vector<Tensor> chunk(const Tensor& x, int count, int axis) {
  const Call call("chunk");
  want_rank(x, "a tensor", 1, 100);
  if (count < 1) call_error("wants at least 1 part, got {}", count);
  const std::int64_t total = fixed(node_of(x).shape()[axis_of(axis, x.rank())]);
  return split(x, std::max<std::int64_t>(1, (total + count - 1) / count), axis);
}

std::vector<Tensor> unbind(const Tensor& x, int axis) {
  const Call call("unbind");
  want_rank(x, "a tensor", 1, 100);
  const std::int64_t count = fixed(node_of(x).shape()[axis_of(axis, x.rank())]);
  std::vector<Tensor> parts;
  for (std::int64_t i = 0; i < count; ++i) parts.push_back(select(x, axis, i));
  return parts;
}

// ---- order -----------------------------------------------------------------------------------------

Tensor flip(const Tensor& x, const Axes& axes) {
  const Call call("flip");
  const Node node = node_of(x);
  return tensor_of(flip(node, axes_of(axes, node.rank())));
}

namespace {

// `count` elements of the endlessly repeated axis, from `start` >= 0 on.
Node cyclic(const Node& node, int axis, std::int64_t start, std::int64_t count) {
  const std::int64_t have = fixed(node.shape()[axis]);
  const std::int64_t repeats = (start + count + have - 1) / have;
  Shape shape = node.shape();
  shape.insert(shape.begin() + axis, Size(1));
  Node x = reshape(node, shape);
  shape[axis] = repeats;
  x = expand(x, shape);
  shape.erase(shape.begin() + axis);
  shape[axis] = repeats * have;
  return cut(reshape(x, std::move(shape)), axis, start, start + count);
}

}  // namespace

Tensor roll(const Tensor& x, const std::vector<std::int64_t>& shifts, const Axes& axes) {
  const Call call("roll");
  if (axes.empty()) {
    if (shifts.size() != 1) call_error("wants one shift where no axes are given");
    return reshape(roll(flatten(x), shifts, 0), x.dims());
  }
  if (shifts.size() != axes.size()) {
    call_error("wants a shift for each axis, got {} for {}", shifts.size(), axes.size());
  }
  Node node = node_of(x);
  for (std::size_t i = 0; i < shifts.size(); ++i) {
    const int at = axis_of(axes[i], node.rank());
    if (node.rank() == 0) return x;
    const std::int64_t size = fixed(node.shape()[at]);
    if (size == 0) continue;
    const std::int64_t start = ((-shifts[i]) % size + size) % size;
    if (start != 0) node = cyclic(node, at, start, size);
  }
  return tensor_of(node);
}

// ---- joining ---------------------------------------------------------------------------------------

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
      if (size.is_constant() && size.value() + std::min<std::int64_t>(before, 0) +
                                        std::min<std::int64_t>(after, 0) < 0) {
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

// ---- repetition ------------------------------------------------------------------------------------

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
  return tensor_of(reshape(expand(reshape(node, std::move(apart)), std::move(wide)),
                           std::move(joint)));
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

// ---- matrices --------------------------------------------------------------------------------------

namespace {

// Where column - row <= diagonal.
Tensor up_to_diagonal(const Tensor& x, std::int64_t diagonal) {
  want_rank(x, "a tensor", 2, 100);
  const Tensor column = arange(x.size(-1));
  const Tensor row = arange(x.size(-2)).unsqueeze(1);
  return column < row + (diagonal + 1);
}

}  // namespace

Tensor tril(const Tensor& x, std::int64_t diagonal) {
  const Call call("tril");
  return where(up_to_diagonal(x, diagonal), x, constant_of(0, x));
}

Tensor triu(const Tensor& x, std::int64_t diagonal) {
  const Call call("triu");
  return where(up_to_diagonal(x, diagonal - 1), constant_of(0, x), x);
}

// A square matrix read in rows of n + 1 has its diagonal in the first column.
Tensor diagonal(const Tensor& x, std::int64_t offset, int axis0, int axis1) {
  const Call call("diagonal");
  want_rank(x, "a tensor", 2, 100);
  const int a = axis_of(axis0, x.rank());
  const int b = axis_of(axis1, x.rank());
  if (a == b) call_error("wants two different axes, got {} twice", a);
  std::vector<int> order;
  for (int i = 0; i < x.rank(); ++i) {
    if (i != a && i != b) order.push_back(i);
  }
  order.push_back(a);
  order.push_back(b);
  Node node = permuted(node_of(x), std::move(order));
  const int last = node.rank() - 1;
  const std::int64_t rows = fixed(node.shape()[last - 1]);
  const std::int64_t columns = fixed(node.shape()[last]);
  const std::int64_t row = std::max<std::int64_t>(0, -offset);
  const std::int64_t column = std::max<std::int64_t>(0, offset);
  const std::int64_t n = std::max<std::int64_t>(0, std::min(rows - row, columns - column));
  Shape shape(node.shape().begin(), node.shape().end() - 2);
  if (n == 0) {
    node = cut(cut(node, last, 0, 0), last - 1, 0, std::min<std::int64_t>(rows, 1));
    shape.push_back(0);
    return tensor_of(reshape(node, std::move(shape)));
  }
  node = cut(cut(node, last - 1, row, row + n), last, column, column + n);
  shape.push_back(n * n);
  node = pad_axis(reshape(node, shape), last - 1, 0, n);
  shape.back() = n;
  shape.push_back(n + 1);
  return tensor_of(dropped(cut(reshape(node, std::move(shape)), last, 0, 1), last));
}

std::vector<Tensor> meshgrid(const std::vector<Tensor>& axes, const std::string& indexing) {
  const Call call("meshgrid");
  if (indexing != "ij" && indexing != "xy") {
    call_error("wants indexing 'ij' or 'xy', got '{}'", indexing);
  }
  const int rank = static_cast<int>(axes.size());
  std::vector<Tensor> grids;
  for (int i = 0; i < rank; ++i) {
    want_rank(axes[i], "vectors", 0, 1);
    Dims shape(rank, Dim(1));
    shape[i] = axes[i].numel();
    grids.push_back(axes[i].reshape(shape));
  }
  grids = broadcast_tensors(grids);
  if (indexing == "xy" && rank > 1) {
    for (Tensor& grid : grids) grid = transpose(grid, 0, 1);
  }
  return grids;
}

Tensor pixel_shuffle(const Tensor& x, std::int64_t factor) {
  const Call call("pixel_shuffle");
  want_rank(x, "an image", 3, 100);
  const Dims from = x.dims();
  const int rank = x.rank();
  const Dim square = factor * factor;
  if (factor < 1 || from[rank - 3] % square != Dim(0)) {
    call_error("wants channels that {} divides, got shape {}", factor * factor, to_string(from));
  }
  const Dim height = from[rank - 2];
  const Dim width = from[rank - 1];
  const Dims batch(from.begin(), from.end() - 3);
  Dims apart = batch;
  for (const Dim& size : {from[rank - 3] / square, Dim(factor), Dim(factor), height, width}) {
    apart.push_back(size);
  }
  std::vector<int> order;
  for (int i = 0; i < rank - 3; ++i) order.push_back(i);
  const int b = rank - 3;  // channels, then [factor, factor, height, width]
  for (const int axis : {b, b + 3, b + 1, b + 4, b + 2}) order.push_back(axis);
  Dims result = batch;
  for (const Dim& size : {from[rank - 3] / square, height * factor, width * factor}) {
    result.push_back(size);
  }
  return x.reshape(apart).permute(Axes(order)).reshape(result);
}

Tensor pixel_unshuffle(const Tensor& x, std::int64_t factor) {
  const Call call("pixel_unshuffle");
  want_rank(x, "an image", 3, 100);
  const Dims from = x.dims();
  const int rank = x.rank();
  if (factor < 1 || from[rank - 2] % Dim(factor) != Dim(0) ||
      from[rank - 1] % Dim(factor) != Dim(0)) {
    call_error("wants height and width that {} divides, got shape {}", factor, to_string(from));
  }
  const Dim height = from[rank - 2] / Dim(factor);
  const Dim width = from[rank - 1] / Dim(factor);
  const Dims batch(from.begin(), from.end() - 3);
  Dims apart = batch;
  for (const Dim& size : {from[rank - 3], height, Dim(factor), width, Dim(factor)}) {
    apart.push_back(size);
  }
  std::vector<int> order;
  for (int i = 0; i < rank - 3; ++i) order.push_back(i);
  const int b = rank - 3;
  for (const int axis : {b, b + 2, b + 4, b + 1, b + 3}) order.push_back(axis);
  Dims result = batch;
  for (const Dim& size : {from[rank - 3] * Dim(factor * factor), height, width}) {
    result.push_back(size);
  }
  return x.reshape(apart).permute(Axes(order)).reshape(result);
}

}  // namespace brisk
