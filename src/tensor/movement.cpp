// Shapes, parts and order of elements: views of the six movement operations, never a copy.
#include <algorithm>
#include <limits>

#include "brisk/create.h"
#include "tensor/build.h"

namespace brisk {

namespace {

Node swapped(const Node& node, int a, int b) {
  std::vector<int> order(node.rank());
  for (int i = 0; i < node.rank(); ++i) order[i] = i;
  std::swap(order[a], order[b]);
  return permute(node, std::move(order));
}

Node dropped(const Node& node, int axis) {
  Shape shape = node.shape();
  shape.erase(shape.begin() + axis);
  return reshape(node, std::move(shape));
}

// Every step-th element of an axis, `count` of them.
Node strided(const Node& node, int axis, std::int64_t count, std::int64_t step) {
  if (step == 1) return cut(node, axis, 0, count);
  const std::int64_t span = count * step;
  const std::int64_t have = fixed(node.shape()[axis]);
  const Node whole = span > have ? pad_axis(node, axis, 0, span - have) : cut(node, axis, 0, span);
  Shape shape = whole.shape();
  shape[axis] = count;
  shape.insert(shape.begin() + axis + 1, Size(step));
  return dropped(cut(reshape(whole, std::move(shape)), axis + 1, 0, 1), axis + 1);
}

}  // namespace

// ---- shape --------------------------------------------------------------------------------------

Tensor reshape(const Tensor& x, const Dims& dims) {
  const Call call("reshape");
  const Node node = node_of(x);
  Shape shape = shape_of(dims);
  const auto fail = [&] {
    call_error("a tensor of shape {} ({} elements) does not fit shape {}", to_string(node.shape()),
               to_string(element_count(node.shape())), to_string(dims));
  };
  int open = -1;
  // Sizes that are there on both sides stay out of it: sums of variables are not seen to divide
  // products of them.
  Shape rest = node.shape();
  Size known = 1;
  for (std::size_t i = 0; i < shape.size(); ++i) {
    const auto same = std::find(rest.begin(), rest.end(), shape[i]);
    if (shape[i] == Size(-1)) {
      if (open >= 0) call_error("wants at most one -1, got {}", to_string(shape));
      open = static_cast<int>(i);
    } else if (shape[i].lower() < 0) {
      call_error("wants sizes of at least 0, or one -1, got {}", to_string(shape));
    } else if (same != rest.end() && shape[i] != Size(0)) {
      rest.erase(same);
    } else {
      constexpr std::int64_t most = std::numeric_limits<std::int64_t>::max();
      if (known.upper() > most / std::max<std::int64_t>(shape[i].upper(), 1)) fail();
      known = known * shape[i];
    }
  }
  const Size left = element_count(rest);
  if (open >= 0) {
    if (known == Size(0) || left % known != Size(0)) fail();
    shape[open] = left / known;
  } else if (left != known) {
    fail();
  }
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
                 for (const int axis : axes)
                   text += (text.empty() ? "" : ", ") + std::to_string(axis);
                 return text;
               }()));
  }
  return tensor_of(permute(node, std::move(order)));
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
    fits = shape[i].lower() >= 0 &&
           (own < 0 || node.shape()[own] == Size(1) || node.shape()[own] == shape[i]);
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
  results.reserve(tensors.size());
  for (const Tensor& tensor : tensors) {
    results.push_back(tensor_of(expand_to(node_of(tensor), shape)));
  }
  return results;
}

// ---- parts --------------------------------------------------------------------------------------

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
  parts.reserve(count);
  for (std::int64_t i = 0; i < count; ++i) parts.push_back(select(x, axis, i));
  return parts;
}

// ---- order --------------------------------------------------------------------------------------

Tensor flip(const Tensor& x, const Axes& axes) {
  const Call call("flip");
  const Node node = node_of(x);
  return tensor_of(flip(node, axes_of(axes, node.rank())));
}

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

Tensor movedim(const Tensor& x, int from, int to) {
  const Call call("movedim");
  const int source = axis_of(from, x.rank());
  const int target = axis_of(to, x.rank());
  std::vector<int> order;
  for (int i = 0; i < x.rank(); ++i) {
    if (i != source) order.push_back(i);
  }
  if (x.rank() == 0) return x;
  order.insert(order.begin() + target, source);
  return permute(x, Axes(order));
}

}  // namespace brisk
