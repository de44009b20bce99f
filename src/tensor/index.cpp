// Reading and writing at positions that are data: gather, scatter and the rest, on `load` and
// `store` at flat row-major positions. Positions outside read 0 and write nothing.
#include <algorithm>

#include "brisk/create.h"
#include "tensor/accumulator.h"
#include "tensor/build.h"

namespace brisk {

namespace {

// Where 0 <= index < size; as unsigned, negative positions are large.
Node within(const Node& index, const Size& size) {
  return cmplt(cast(index, DType::uint64), to_dtype(size.node(), DType::uint64));
}

Node int64_index(const Tensor& index, const char* what = "the index") {
  want_integers(index, what);
  return to_dtype(node_of(index), DType::int64);
}

// Negative positions count from the end.
Node from_end(const Node& index, const Size& size) {
  return where(cmplt(index, constant_int(0)), add(index, size.node()), index);
}

// Flat positions in a tensor of shape `from`, of the element at index's own position with axis
// `axis` replaced by index's value.
Node flat_positions(const Shape& from, int axis, const Node& index) {
  Size stride = 1;
  Node flat;
  for (int i = static_cast<int>(from.size()) - 1; i >= 0; --i) {
    Node term;
    if (i == axis) {
      term = index;
    } else if (index.shape()[i] != Size(1)) {
      term = expand(positions(index.shape()[i], i, index.rank()), index.shape());
    }
    if (term) {
      if (stride != Size(1)) term = mul(term, stride.node());
      flat = flat ? add(flat, term) : term;
    }
    stride = stride * from[i];
  }
  return flat;
}

// The index of gather and scatter: x's rank, and no larger than `bound` off the axis.
Node checked_index(const Node& x, int axis, const Tensor& index, const Shape& bound,
                   const char* bound_name) {
  const Node node = int64_index(index);
  bool fits = node.rank() == x.rank();
  for (int i = 0; fits && i < x.rank(); ++i) {
    const Size& room = bound[i];
    if (i == axis && &bound == &x.shape()) continue;
    fits = !room.is_constant() || node.shape()[i].upper() <= room.value();
  }
  if (!fits) {
    call_error("wants an index of rank {} within {}'s shape {}, got {}", x.rank(), bound_name,
               to_string(bound), to_string(node.shape()));
  }
  return node;
}

}  // namespace

// ---- reading ------------------------------------------------------------------------------------

Tensor gather(const Tensor& x, int axis, const Tensor& index) {
  const Call call("gather");
  const Node node = node_of(x);
  const int at = axis_of(axis, node.rank());
  const Node where_from = checked_index(node, at, index, node.shape(), "the tensor");
  if (node.rank() == 0) return x;
  return tensor_of(load(node, flat_positions(node.shape(), at, where_from),
                        within(where_from, node.shape()[at])));
}

Tensor take_along_axis(const Tensor& x, const Tensor& index, int axis) {
  const Call call("take_along_axis");
  const int at = axis_of(axis, x.rank());
  want_integers(index, "the index");
  if (index.rank() != x.rank()) {
    call_error("wants an index of rank {}, got shape {}", x.rank(), to_string(index.dims()));
  }
  Shape x_shape = node_of(x).shape();
  Shape index_shape = node_of(index).shape();
  const Size from = x_shape[at];
  const Size to = index_shape[at];
  x_shape[at] = index_shape[at] = 1;
  Shape shape = broadcast_shape(x_shape, index_shape);
  shape[at] = from;
  const Node source = expand(node_of(x), shape);
  shape[at] = to;
  const Node positions = from_end(expand(int64_index(index), shape), from);
  return gather(tensor_of(source), at, tensor_of(positions));
}

Tensor index_select(const Tensor& x, int axis, const Tensor& index) {
  const Call call("index_select");
  want_rank(x, "a tensor", 1, 100);
  want_rank(index, "an index", 0, 1);
  const Node at = int64_index(index);
  return tensor_of(take_axis(node_of(x), axis_of(axis, x.rank()), lead(at, 1), true));
}

Tensor take(const Tensor& x, const Tensor& index) {
  const Call call("take");
  const Node flat = node_of(flatten(x));
  return tensor_of(take_axis(flat, 0, from_end(int64_index(index), flat.shape()[0]), true));
}

Tensor embedding(const Tensor& index, const Tensor& table) {
  const Call call("embedding");
  want_rank(table, "a table", 2, 2);
  return tensor_of(take_axis(node_of(table), 0, int64_index(index), true));
}

Tensor one_hot(const Tensor& index, std::int64_t classes) {
  const Call call("one_hot");
  if (classes < 1) call_error("wants at least 1 class, got {}", classes);
  want_integers(index, "the index");
  return (unsqueeze(index.cast(DType::int64), -1) == arange(classes)).cast(DType::int64);
}

Tensor masked_fill(const Tensor& x, const Tensor& mask, const Tensor& value) {
  const Call call("masked_fill");
  want_defined(x, "the tensor");
  want_defined(mask, "the mask");
  want_rank(value, "a value", 0, 0);
  if (!is_bool(mask.dtype())) call_error("wants a bool mask, got {}", name(mask.dtype()));
  return where(mask, value.cast(x.dtype()), x);
}

Tensor nonzero(const Tensor& x) {
  const Call call("nonzero");
  const std::vector<std::int64_t> shape = fixed_shape(x);
  const std::vector<std::uint8_t> hits = x.cast(DType::boolean).to_vector<std::uint8_t>();
  std::vector<std::int64_t> rows;
  std::int64_t count = 0;
  for (std::size_t i = 0; i < hits.size(); ++i) {
    if (hits[i] == 0) continue;
    ++count;
    rows.resize(rows.size() + shape.size());
    auto rest = static_cast<std::int64_t>(i);
    for (std::size_t axis = shape.size(); axis-- > 0; rest /= shape[axis]) {
      rows[rows.size() - shape.size() + axis] = rest % shape[axis];
    }
  }
  return from_host(std::span<const std::int64_t>(rows), {Dim(count), Dim(shape.size())});
}

Tensor masked_select(const Tensor& x, const Tensor& mask) {
  const Call call("masked_select");
  want_defined(mask, "the mask");
  if (!is_bool(mask.dtype())) call_error("wants a bool mask, got {}", name(mask.dtype()));
  const std::vector<Tensor> same = broadcast_tensors({x, mask});
  const Tensor found = nonzero(flatten(same[1]));
  return tensor_of(take_axis(node_of(flatten(same[0])), 0, node_of(squeeze(found, 1)), false));
}

// ---- writing ------------------------------------------------------------------------------------

namespace {

// x with source's elements stored at index along an axis.
Tensor scattered(const Tensor& x, int axis, const Tensor& index, const Tensor& source,
                 StoreMode mode) {
  const Node node = node_of(x);
  const int at = axis_of(axis, node.rank());
  want_defined(source, "the source");
  Node values = to_dtype(node_of(source), node.dtype());
  const bool number = values.rank() == 0;
  const Shape& bound = number ? node.shape() : values.shape();
  const Node to = checked_index(node, at, index, bound, number ? "the tensor" : "the source");
  if (!number) {
    for (int i = 0; i < values.rank(); ++i) values = cut(values, i, 0, to.shape()[i]);
  } else {
    values = expand_to(values, to.shape());
  }
  if (node.rank() == 0) return tensor_of(values);
  const Node inside = within(to, node.shape()[at]);
  const Node flat = where(inside, flat_positions(node.shape(), at, to), constant_int(-1));
  return tensor_of(scatter(stored(node), flat, values, mode));
}

}  // namespace

Tensor scatter(const Tensor& x, int axis, const Tensor& index, const Tensor& source) {
  const Call call("scatter");
  return scattered(x, axis, index, source, StoreMode::replace);
}

Tensor scatter_add(const Tensor& x, int axis, const Tensor& index, const Tensor& source) {
  const Call call("scatter_add");
  return scatter_reduce(x, axis, index, source, ScatterReduce::sum);
}

Tensor scatter_reduce(const Tensor& x, int axis, const Tensor& index, const Tensor& source,
                      ScatterReduce reduce, bool include_self) {
  const Call call("scatter_reduce");
  const DType dtype = x.dtype();
  const DType wide = is_float(dtype) ? compute_dtype(dtype) : dtype;
  const bool mean = reduce == ScatterReduce::mean;
  Node start;
  StoreMode mode = StoreMode::add;
  switch (reduce) {
    case ScatterReduce::sum:
    case ScatterReduce::mean: start = constant_like(0, wide); break;
    case ScatterReduce::prod:
      start = constant_like(1, wide);
      mode = StoreMode::mul;
      break;
    case ScatterReduce::amax:
      start = lowest(wide);
      mode = StoreMode::max;
      break;
    case ScatterReduce::amin:
      start = highest(wide);
      mode = StoreMode::min;
      break;
  }
  Tensor base = x.cast(wide);
  // Without itself an element that is written to starts from the reduction's identity.
  if (!include_self) base = scattered(base, axis, index, tensor_of(start), StoreMode::replace);
  Tensor result = scattered(base, axis, index, source, mode);
  if (mean) {
    const Tensor own = include_self ? ones_like(base) : zeros_like(base);
    const Tensor count = scattered(own, axis, index, constant_of(1, base), StoreMode::add);
    const Tensor divisor = maximum(count, constant_of(1, count));
    result = is_float(wide) ? result / divisor : floor_divide(result, divisor);
  }
  return result.cast(dtype);
}

Tensor index_add(const Tensor& x, int axis, const Tensor& index, const Tensor& source) {
  const Call call("index_add");
  want_rank(index, "an index", 1, 1);
  want_rank(x, "a tensor", 1, 100);
  const int at = axis_of(axis, x.rank());
  want_rank(source, "a source", x.rank(), x.rank());
  Dims column(x.rank(), Dim(1));
  column[at] = index.size(0);
  if (source.size(at) != index.size(0)) {
    call_error("wants a position for each of the {} slices of the source, got {}",
               to_string(source.size(at)), to_string(index.size(0)));
  }
  return scatter_add(x, at, index.reshape(column).expand(source.dims()), source);
}

// ---- x[…] ---------------------------------------------------------------------------------------

namespace {

// A tensor of positions along an axis of the view that the other parts make.
struct Chosen {
  int axis;
  Tensor positions;
};

int axes_taken(const Index& part) {
  if (std::holds_alternative<Ellipsis>(part) || std::holds_alternative<NewAxis>(part)) return 0;
  const Tensor* tensor = std::get_if<Tensor>(&part);
  return tensor != nullptr && is_bool(tensor->dtype()) ? tensor->rank() : 1;
}

// The parts with the ellipsis spelt out, one for each axis (and the new axes).
std::vector<Index> spelt_out(const std::vector<Index>& index, int rank) {
  int taken = 0;
  int gaps = 0;
  for (const Index& part : index) {
    taken += axes_taken(part);
    gaps += std::holds_alternative<Ellipsis>(part) ? 1 : 0;
  }
  if (gaps > 1) call_error("wants at most one ellipsis, got {}", gaps);
  if (taken > rank) call_error("got {} indices for a tensor of rank {}", taken, rank);
  std::vector<Index> parts;
  for (const Index& part : index) {
    if (std::holds_alternative<Ellipsis>(part)) {
      parts.insert(parts.end(), rank - taken, Index(Slice{}));
    } else {
      parts.push_back(part);
    }
  }
  if (gaps == 0) parts.insert(parts.end(), rank - taken, Index(Slice{}));
  return parts;
}

Tensor choose(const Tensor& view, const std::vector<Chosen>& chosen) {
  const bool adjacent =
      chosen.back().axis - chosen.front().axis + 1 == static_cast<int>(chosen.size());
  const int target = adjacent ? chosen.front().axis : 0;
  // The chosen axes side by side at `target`, then as one axis with one flat position.
  std::vector<int> order;
  for (int i = 0; i < view.rank(); ++i) {
    const bool is_chosen =
        std::any_of(chosen.begin(), chosen.end(), [i](const Chosen& c) { return c.axis == i; });
    if (!is_chosen) order.push_back(i);
  }
  for (std::size_t i = 0; i < chosen.size(); ++i) {
    order.insert(order.begin() + target + static_cast<int>(i), chosen[i].axis);
  }
  const Node node = permute(node_of(view), order);
  Shape shape;
  for (const Chosen& c : chosen) shape = broadcast_shape(shape, node_of(c.positions).shape());
  Shape merged(node.shape().begin(), node.shape().begin() + target);
  Size count = 1;
  Node flat;
  Node inside;
  for (std::size_t i = chosen.size(); i-- > 0;) {
    const Size& size = node.shape()[target + static_cast<int>(i)];
    const Node at = from_end(fit(int64_index(chosen[i].positions), shape), size);
    const Node term = count == Size(1) ? at : mul(at, count.node());
    flat = flat ? add(flat, term) : term;
    const Node fits = within(at, size);
    inside = inside ? bit_and(inside, fits) : fits;
    count = count * size;
  }
  merged.push_back(count);
  merged.insert(merged.end(), node.shape().begin() + target + static_cast<int>(chosen.size()),
                node.shape().end());
  if (chosen.size() > 1) flat = where(inside, flat, constant_int(-1));
  return tensor_of(take_axis(reshape(node, std::move(merged)), target, flat, true));
}

}  // namespace

Tensor Tensor::operator[](const Index& index) const { return (*this)[std::vector<Index>{index}]; }

Tensor Tensor::operator[](const std::vector<Index>& index) const {
  const Call call("index");
  Tensor view = *this;
  std::vector<Chosen> chosen;
  int axis = 0;
  for (const Index& part : spelt_out(index, rank())) {
    if (const Dim* position = std::get_if<Dim>(&part)) {
      view = brisk::select(view, axis, *position);
    } else if (const Slice* slice = std::get_if<Slice>(&part)) {
      const bool whole = !slice->start && !slice->stop && slice->step == 1;
      if (!whole) view = brisk::slice(view, axis, *slice);
      ++axis;
    } else if (std::holds_alternative<NewAxis>(part)) {
      view = brisk::unsqueeze(view, axis++);
    } else {
      const Tensor& tensor = std::get<Tensor>(part);
      if (!is_bool(tensor.dtype())) {
        want_integers(tensor, "an index");
        chosen.push_back({axis++, tensor});
        continue;
      }
      for (int i = 0; i < tensor.rank(); ++i) {
        if (tensor.size(i) != view.size(axis + i)) {
          call_error("a mask of shape {} does not fit the axes from {} on of shape {}",
                     to_string(tensor.dims()), axis, to_string(view.dims()));
        }
      }
      const Tensor found = brisk::nonzero(tensor);
      for (int i = 0; i < tensor.rank(); ++i) {
        chosen.push_back({axis++, brisk::select(found, 1, i)});
      }
    }
  }
  return chosen.empty() ? view : choose(view, chosen);
}

namespace {

// x[parts] = value without tensors among the parts: the value spread out to x's shape, and a mask
// of where it lies.
Tensor box_set(const Tensor& x, const std::vector<Index>& parts, const Tensor& value) {
  const Node node = node_of(x);
  const Tensor view = x[parts];
  Node source = expand_to(to_dtype(node_of(value), node.dtype()), node_of(view).shape());
  // One axis for each of x's again: positions come back as size 1, new axes go.
  Shape shape;
  int from = 0;
  for (const Index& part : parts) {
    if (std::holds_alternative<Dim>(part)) {
      shape.push_back(1);
    } else if (std::holds_alternative<NewAxis>(part)) {
      ++from;
    } else {
      shape.push_back(source.shape()[from++]);
    }
  }
  source = reshape(source, std::move(shape));
  Node inside;
  int axis = 0;
  for (const Index& part : parts) {
    if (std::holds_alternative<NewAxis>(part)) continue;
    const Size& size = node.shape()[axis];
    const Size count = source.shape()[axis];
    Size begin = 0;
    std::int64_t step = 1;
    if (const Dim* position = std::get_if<Dim>(&part)) {
      begin = position->size();
      if (begin.is_constant() && begin.value() < 0) begin = begin + size;
    } else if (const Slice* slice = std::get_if<Slice>(&part)) {
      step = slice->step;
      const bool fixed_part = size.is_constant() && (!slice->start || slice->start->is_constant());
      if (fixed_part) {
        const std::int64_t n = size.value();
        std::int64_t start = slice->start ? slice->start->value() : step > 0 ? 0 : n - 1;
        if (start < 0) start += n;
        start = std::clamp<std::int64_t>(start, step > 0 ? 0 : -1, step > 0 ? n : n - 1);
        begin = start;
        if (step < 0) {  // the same elements from the other end
          source = flip(source, {axis});
          begin = Size(start + (count.value() - 1) * step);
          step = -step;
        }
      } else if (slice->start) {
        begin = slice->start->size();
      }
    }
    if (count == Size(0)) return x;
    if (count == size && begin == Size(0) && step == 1) {
      ++axis;
      continue;
    }
    Size span = count;
    if (step > 1) {  // step - 1 gaps after each element but the last
      Shape apart = source.shape();
      apart.insert(apart.begin() + axis + 1, Size(1));
      const Node spread = pad_axis(reshape(source, std::move(apart)), axis + 1, 0, step - 1);
      Shape joint = source.shape();
      joint[axis] = count * Size(step);
      span = (count - Size(1)) * Size(step) + Size(1);
      source = cut(reshape(spread, std::move(joint)), axis, 0, span);
    }
    source = pad_axis(source, axis, begin, size - begin - span);
    const Node at = positions(size, axis, node.rank());
    Node here = bit_and(logical_not(cmplt(at, begin.node())), cmplt(at, (begin + span).node()));
    if (step > 1) {
      const Node offset = add(at, mul(begin.node(), constant_int(-1)));
      here = bit_and(here, equal(mod(offset, constant_int(step)), constant_int(0)));
    }
    here = expand(here, node.shape());
    inside = inside ? bit_and(inside, here) : here;
    ++axis;
  }
  return tensor_of(inside ? where(inside, source, node) : source);
}

}  // namespace

void Tensor::set(const std::vector<Index>& index, const Tensor& value) {
  const Call call("set");
  want_no_leaf(*this);
  const std::vector<Index> parts = spelt_out(index, rank());
  bool tensors = false;
  for (const Index& part : parts) tensors |= std::holds_alternative<Tensor>(part);
  Tensor next;
  const Tensor* mask = parts.empty() ? nullptr : std::get_if<Tensor>(&parts[0]);
  if (!tensors) {
    next = box_set(*this, parts, value);
  } else if (mask != nullptr && is_bool(mask->dtype()) && index.size() == 1 && value.rank() == 0) {
    Dims shape = mask->dims();
    if (!std::equal(shape.begin(), shape.end(), dims().begin())) {
      call_error("a mask of shape {} does not fit shape {}", to_string(shape), to_string(dims()));
    }
    shape.resize(rank(), Dim(1));
    next = brisk::masked_fill(*this, mask->reshape(shape), value);
  } else {
    // Which flat positions the index names, whatever its parts.
    const Tensor flat = arange(numel()).reshape(dims())[index];
    const Node node = node_of(*this);
    const Node source = to_dtype(node_of(value), node.dtype());
    next = tensor_of(brisk::scatter(stored(node), node_of(flat),
                                    expand_to(source, node_of(flat).shape()), StoreMode::replace));
  }
  const Node node = node_of(next);
  const std::lock_guard lock(state_->mutex);
  state_->node = brisk::is_leaf(*state_) ? gradient_leaf(node, state_->gradient) : node;
  state_->number = false;
}

}  // namespace brisk
