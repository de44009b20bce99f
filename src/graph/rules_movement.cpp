// Simplification of movement operations: what cancels or combines, and movement of what is the same
// everywhere.
#include <algorithm>

#include "graph/integer.h"
#include "graph/rules_simplify.h"

namespace brisk {

namespace {

std::vector<int> axes_of(const Node& node) {
  return {node.attr().ints.begin(), node.attr().ints.end()};
}

// The scalar that the node repeats, or an empty node.
Node repeated_scalar(const Node& node) {
  const Node* at = &node;
  while (is_movement(at->op()) && !at->is(Op::pad_)) at = &at->src(0);
  return at->rank() == 0 ? *at : Node();
}

bool repeats_scalar(const Node& node) { return node.rank() != 0 && repeated_scalar(node); }

// ---- one movement operation
// ----------------------------------------------------------------------

Node without_effect(const Match& match) {
  const Node& node = match.root();
  const Node& src = node.src(0);
  switch (node.op()) {
    case Op::reshape_:
    case Op::expand_:
    case Op::shrink_: return node.shape() == src.shape() ? src : Node();
    case Op::pad_: return pad(src, node.attr().sizes);  // itself, unless it pads nothing
    case Op::permute_: return permute(src, axes_of(node));
    default: return {};
  }
}

// Flips of axes of size 1 do nothing.
Node flip_less(const Match& match) {
  const Node& node = match.root();
  std::vector<int> axes;
  for (const int axis : axes_of(node)) {
    if (!(node.shape()[static_cast<std::size_t>(axis)] == Size(1))) axes.push_back(axis);
  }
  return axes.size() < node.attr().ints.size() ? flip(node.src(0), axes) : Node();
}

// A permutation that keeps the order of the axes that are not of size 1 is a reshape.
Node permute_of_ones(const Match& match) {
  const Node& node = match.root();
  const Shape& from = node.src(0).shape();
  int last = -1;
  for (const int axis : axes_of(node)) {
    if (from[static_cast<std::size_t>(axis)] == Size(1)) continue;
    if (axis < last) return {};
    last = axis;
  }
  return reshape(node.src(0), node.shape());
}

// ---- two movement operations
// ---------------------------------------------------------------------

Node permute_permute(const Match& match) {
  const Node& outer = match.root();
  const Node& inner = outer.src(0);
  std::vector<int> axes;
  for (const auto axis : outer.attr().ints) {
    axes.push_back(static_cast<int>(inner.ints(static_cast<std::size_t>(axis))));
  }
  return permute(inner.src(0), axes);
}

Node flip_flip(const Match& match) {
  const std::vector<int> a = axes_of(match.root());
  const std::vector<int> b = axes_of(match.root().src(0));
  std::vector<int> axes;
  std::set_symmetric_difference(a.begin(), a.end(), b.begin(), b.end(), std::back_inserter(axes));
  return flip(match.root().src(0).src(0), axes);
}

Node pad_pad(const Match& match) {
  Shape around = match.root().attr().sizes;
  const Shape& inner = match.root().src(0).attr().sizes;
  for (std::size_t i = 0; i < around.size(); ++i) around[i] = around[i] + inner[i];
  return pad(match.root().src(0).src(0), around);
}

Node shrink_shrink(const Match& match) {
  Shape box = match.root().attr().sizes;
  const Shape& inner = match.root().src(0).attr().sizes;
  for (std::size_t i = 0; i < box.size(); ++i) box[i] = box[i] + inner[i / 2 * 2];
  return shrink(match.root().src(0).src(0), box);
}

// A box of a padded tensor: a box of the tensor, padded less.
Node shrink_pad(const Match& match) {
  const Shape& box = match.root().attr().sizes;
  const Node& padded = match.root().src(0);
  const Node& x = padded.src(0);
  Shape inside;
  Shape around;
  for (std::size_t i = 0; i < x.shape().size(); ++i) {
    const Size& before = padded.attr().sizes[2 * i];
    const Size& begin = box[2 * i];
    const Size& end = box[2 * i + 1];
    const Size& size = x.shape()[i];
    if (before == Size(0) && padded.attr().sizes[2 * i + 1] == Size(0)) {
      inside.insert(inside.end(), {begin, end});
      around.insert(around.end(), {Size(0), Size(0)});
      continue;
    }
    if (begin == before && end == before + size) {  // the padding, undone
      inside.insert(inside.end(), {Size(0), size});
      around.insert(around.end(), {Size(0), Size(0)});
      continue;
    }
    if (!before.is_constant() || !begin.is_constant() || !end.is_constant() ||
        !size.is_constant()) {
      return {};
    }
    const std::int64_t n = size.value();
    const std::int64_t low = begin.value() - before.value();
    const std::int64_t high = end.value() - before.value();
    const std::int64_t from = std::clamp<std::int64_t>(low, 0, n);
    const std::int64_t to = std::clamp<std::int64_t>(high, from, n);
    const std::int64_t zeros = std::clamp<std::int64_t>(-low, 0, high - low);
    inside.insert(inside.end(), {Size(from), Size(to)});
    around.insert(around.end(), {Size(zeros), Size(high - low - (to - from) - zeros)});
  }
  return pad(shrink(x, inside), around);
}

// A box of a tensor that is repeated along axes: a box of the tensor, repeated less.
Node shrink_expand(const Match& match) {
  const Shape& box = match.root().attr().sizes;
  const Node& expanded = match.root().src(0);
  const Node& x = expanded.src(0);
  Shape inside;
  for (std::size_t i = 0; i < x.shape().size(); ++i) {
    if (x.shape()[i] == expanded.shape()[i]) {
      inside.insert(inside.end(), {box[2 * i], box[2 * i + 1]});
    } else {
      inside.insert(inside.end(), {Size(0), Size(1)});
    }
  }
  return expand(shrink(x, inside), match.root().shape());
}

// The order of equal elements does not matter.
Node flip_expand(const Match& match) {
  const Node& expanded = match.root().src(0);
  const Shape& from = expanded.src(0).shape();
  std::vector<int> axes;
  for (const int axis : axes_of(match.root())) {
    const auto i = static_cast<std::size_t>(axis);
    if (from[i] == expanded.shape()[i]) axes.push_back(axis);
  }
  return axes.size() < match.root().attr().ints.size() ? flip(expanded, axes) : Node();
}

// ---- what is the same everywhere
// -----------------------------------------------------------------

Node move_repeated(const Match& match) {
  const Node scalar = repeated_scalar(match.root());
  return scalar ? broadcast(scalar, match.root().shape()) : Node();
}

Node pad_repeated_zero(const Match& match) {
  const Node zero = repeated_scalar(match.root().src(0));
  const bool zeros = zero && zero.is_constant() && zero.ints(0) == 0;  // not -0
  return zeros ? broadcast(zero, match.root().shape()) : Node();
}

// A scalar stands for every element, so elementwise operations take it as it is; where all sources
// are scalars, the result is one.
Node scalar_operands(const Match& match) {
  const Node& node = match.root();
  if (node.rank() == 0) return {};
  std::vector<Node> srcs = node.srcs();
  bool changed = false;
  for (Node& src : srcs) {
    const Node scalar = repeated_scalar(src);
    changed |= repeats_scalar(src);
    if (scalar) src = scalar;
  }
  return changed ? make_node(node.op(), node.dtype(), srcs, node.attr(), node.lanes()) : Node();
}

std::vector<Rule> make_rules() {
  const Pattern x = any();
  const Pattern repeated = any().when(repeats_scalar);
  const auto two = [&](Op outer, Op inner) { return pattern(outer, pattern(inner, x)); };
  std::vector<Op> elementwise;
  for (int i = 0; i < op_count(); ++i) {
    if (is_elementwise(static_cast<Op>(i))) elementwise.push_back(static_cast<Op>(i));
  }
  const std::vector<Op> movement = {Op::reshape_, Op::permute_, Op::expand_, Op::shrink_,
                                    Op::flip_};

  return {
      rule("move_repeated", Pattern::operation(movement, {repeated}), move_repeated),
      rule("pad_repeated_zero", pattern(Op::pad_, x), pad_repeated_zero),
      rule("scalar_operands", Pattern::operation(elementwise, {}), scalar_operands),

      rule(
          "move_nothing",
          Pattern::operation({Op::reshape_, Op::permute_, Op::expand_, Op::shrink_, Op::pad_}, {x}),
          without_effect),
      rule("flip_ones", pattern(Op::flip_, x), flip_less),
      rule("permute_ones", pattern(Op::permute_, x), permute_of_ones),

      rule("reshape_reshape", two(Op::reshape_, Op::reshape_),
           [x](const Match& m) { return reshape(m[x], m.root().shape()); }),
      rule("expand_expand", two(Op::expand_, Op::expand_),
           [x](const Match& m) { return expand(m[x], m.root().shape()); }),
      rule("permute_permute", two(Op::permute_, Op::permute_), permute_permute),
      rule("flip_flip", two(Op::flip_, Op::flip_), flip_flip),
      rule("pad_pad", two(Op::pad_, Op::pad_), pad_pad),
      rule("shrink_shrink", two(Op::shrink_, Op::shrink_), shrink_shrink),
      rule("shrink_pad", two(Op::shrink_, Op::pad_), shrink_pad),
      rule("shrink_expand", two(Op::shrink_, Op::expand_), shrink_expand),
      rule("flip_expand", two(Op::flip_, Op::expand_), flip_expand),
  };
}

}  // namespace

std::span<const Rule> movement_rules() {
  static const std::vector<Rule> rules = make_rules();
  return rules;
}

}  // namespace brisk
