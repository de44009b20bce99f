#include "graph/movement.h"

#include <algorithm>

#include "base/error.h"
#include "graph/integer.h"

namespace brisk {

Node flatten(const Index& index, const Shape& shape) {
  Node position = constant_int(0);
  Size stride = 1;
  for (std::size_t i = shape.size(); i-- > 0;) {
    position = add(position, mul(index[i], stride.node()));
    stride = stride * shape[i];
  }
  return position;
}

namespace {

struct Division {
  Node quotient, remainder;
};

Division divide(const Node& position, const Size& size, bool may_seem_negative) {
  const std::int64_t least = bounds(position).least;
  if (!may_seem_negative || least >= 0)
    return {idiv(position, size.node()), mod(position, size.node())};
  const std::int64_t times = (size.value() - 1 - least) / size.value();
  const Node there = add(position, constant_int(times * size.value()));
  return {add(idiv(there, size.node()), constant_int(-times)), mod(there, size.node())};
}

// Of a position that is not negative wherever it counts: behind the gate of a pad it is one less
// what the pad put in front. Some multiple of a size brings its bounds to where rules for quotients
// hold, and the quotients of neighbours are seen to be one.
bool lies_behind_a_pad(const Node& position, const Shape& shape) {
  constexpr std::int64_t farthest = std::int64_t{1} << 40;
  const bool less =
      position.is(Op::add_) && position.src(1).is_constant() && position.src(1).int_value() < 0;
  return less && bounds(position).least > -farthest &&
         std::all_of(shape.begin(), shape.end(),
                     [](const Size& size) { return size.is_constant(); });
}

}  // namespace

Index unflatten(const Node& position, const Shape& shape) {
  Index index(shape.size());
  const bool behind = lies_behind_a_pad(position, shape);
  Node rest = position;
  std::size_t outermost = 0;
  while (outermost < shape.size() && shape[outermost] == Size(1)) ++outermost;
  for (std::size_t i = shape.size(); i-- > 0;) {
    if (shape[i] == Size(1)) {
      index[i] = constant_int(0);
    } else if (i == outermost) {
      index[i] = rest;
    } else {
      const Division parts = divide(rest, shape[i], behind);
      index[i] = parts.remainder;
      rest = parts.quotient;
    }
  }
  return index;
}

namespace {

// Splits both shapes into runs of axes with equal products and converts run by run, so that axes
// that a reshape leaves alone keep their index as it is.
Index through_reshape(const Shape& from, const Shape& to, const Index& index) {
  Index result;
  std::size_t i = 0;
  std::size_t j = 0;
  while (i < from.size() || j < to.size()) {
    Shape source;
    Shape target;
    Index target_index;
    Size a = 1;
    Size b = 1;
    const auto take_source = [&] {
      a = a * from[i];
      source.push_back(from[i++]);
    };
    const auto take_target = [&] {
      b = b * to[j];
      target.push_back(to[j]);
      target_index.push_back(index[j++]);
    };
    if (i < from.size()) take_source();
    if (j < to.size()) take_target();
    while (!(a == b)) {
      const bool source_left = i < from.size();
      const bool target_left = j < to.size();
      if (source_left && (!target_left || a.upper() <= b.upper())) {
        take_source();
      } else {
        check(target_left, "a reshape keeps the number of elements");
        take_target();
      }
    }
    if (source.size() == 1 && target.size() == 1) {
      result.push_back(target_index[0]);
    } else {
      for (Node& part : unflatten(flatten(target_index, target), source)) {
        result.push_back(std::move(part));
      }
    }
  }
  return result;
}

}  // namespace

Index source_index(const Node& view, const Index& index, Node& gate) {
  const Shape& from = view.src(0).shape();
  const Attr& attr = view.attr();
  Index result = index;
  switch (view.op()) {
    case Op::reshape_: return through_reshape(from, view.shape(), index);
    case Op::permute_:
      for (std::size_t i = 0; i < index.size(); ++i) result[attr.ints[i]] = index[i];
      return result;
    case Op::expand_:
      for (std::size_t i = 0; i < index.size(); ++i) {
        if (from[i] == Size(1)) result[i] = constant_int(0);
      }
      return result;
    case Op::after_: return index;
    case Op::flip_:
      for (const auto axis : attr.ints) {
        result[axis] = integer_sub((from[axis] - 1).node(), index[axis]);
      }
      return result;
    case Op::shrink_:
      for (std::size_t i = 0; i < index.size(); ++i) {
        result[i] = add(index[i], attr.sizes[2 * i].node());
      }
      return result;
    case Op::pad_:
      for (std::size_t i = 0; i < index.size(); ++i) {
        const Size& before = attr.sizes[2 * i];
        const Size& after = attr.sizes[2 * i + 1];
        if (before == Size(0) && after == Size(0)) continue;
        result[i] = integer_sub(index[i], before.node());
        if (!(before == Size(0))) {
          gate = logical_and(gate, integer_less((before - 1).node(), index[i]));
        }
        if (!(after == Size(0))) {
          gate = logical_and(gate, integer_less(index[i], (before + from[i]).node()));
        }
      }
      return result;
    default: unreachable("a movement operation");
  }
}

std::vector<int> inverse_order(const std::vector<int>& order) {
  std::vector<int> result(order.size());
  for (std::size_t i = 0; i < order.size(); ++i)
    result[static_cast<std::size_t>(order[i])] = static_cast<int>(i);
  return result;
}

}  // namespace brisk
