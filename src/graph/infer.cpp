#include "graph/infer.h"

#include "base/error.h"
#include "graph/integer.h"

namespace brisk {

namespace {

void want_axes(Op op, const std::vector<std::int64_t>& axes, std::size_t first, int rank) {
  std::int64_t last = -1;
  for (std::size_t i = first; i < axes.size(); ++i) {
    if (axes[i] <= last || axes[i] >= rank) {
      user_error("{}: axis {} is repeated, out of order or outside a tensor of rank {}", name(op),
                 axes[i], rank);
    }
    last = axes[i];
  }
}

Shape elementwise(Op op, DType dtype, const std::vector<Node>& srcs) {
  Shape shape;
  for (const Node& src : srcs) {
    if (src.rank() == 0) continue;
    if (shape.empty()) {
      shape = src.shape();
    } else if (shape != src.shape()) {
      user_error("{}: shapes {} and {} differ", name(op), to_string(shape), to_string(src.shape()));
    }
  }
  const std::size_t first = op == Op::where_ ? 1 : 0;
  if (op == Op::where_ && srcs[0].dtype() != DType::boolean) {
    user_error("where: the condition must be bool, not {}", name(srcs[0].dtype()));
  }
  for (std::size_t i = first + 1; i < srcs.size(); ++i) {
    if (srcs[i].dtype() != srcs[first].dtype()) {
      user_error("{}: dtypes {} and {} differ", name(op), name(srcs[first].dtype()),
                 name(srcs[i].dtype()));
    }
  }
  const DType in = srcs[first].dtype();
  switch (op) {
    case Op::exp2_:
    case Op::log2_:
    case Op::sin_:
    case Op::sqrt_:
    case Op::recip_:
      if (!is_float(in)) user_error("{}: wants floating point, got {}", name(op), name(in));
      break;
    case Op::idiv_:
    case Op::mod_:
    case Op::shl_:
    case Op::shr_:
      if (!is_integer(in)) user_error("{}: wants integers, got {}", name(op), name(in));
      break;
    case Op::and_:
    case Op::or_:
    case Op::xor_:
      if (is_float(in)) user_error("{}: wants integers or bool, got {}", name(op), name(in));
      break;
    case Op::bitcast_:
      if (byte_size(in) != byte_size(dtype)) {
        user_error("bitcast: {} and {} differ in size", name(in), name(dtype));
      }
      break;
    default: break;
  }
  return shape;
}

Shape movement(Op op, const Node& src, const Attr& attr) {
  const Shape& from = src.shape();
  const std::size_t rank = from.size();
  const auto want = [&](bool holds, const char* wanted) {
    if (holds) return;
    user_error("{}: a tensor of shape {} cannot go to {}: {}", name(op), to_string(from),
               to_string(attr.sizes), wanted);
  };
  switch (op) {
    case Op::reshape_:
      for (const Size& size : attr.sizes) want(size.lower() >= 0, "sizes must not be negative");
      want(element_count(from) == element_count(attr.sizes), "the number of elements differs");
      return attr.sizes;
    case Op::expand_:
      want(attr.sizes.size() == rank, "the rank differs");
      for (std::size_t i = 0; i < rank; ++i) {
        want(from[i] == attr.sizes[i] || from[i] == Size(1), "only axes of size 1 expand");
      }
      return attr.sizes;
    case Op::permute_: {
      std::vector<bool> seen(rank);
      Shape shape;
      for (const auto axis : attr.ints) {
        if (axis < 0 || axis >= static_cast<std::int64_t>(rank) || seen[axis]) {
          user_error("permute: axis {} is repeated or outside a tensor of shape {}", axis,
                     to_string(from));
        }
        seen[axis] = true;
        shape.push_back(from[axis]);
      }
      if (shape.size() != rank) {
        user_error("permute: got {} axes for a tensor of shape {}", shape.size(), to_string(from));
      }
      return shape;
    }
    case Op::pad_: {
      want(attr.sizes.size() == 2 * rank, "wants two sizes per axis");
      Shape shape;
      for (std::size_t i = 0; i < rank; ++i) {
        want(attr.sizes[2 * i].lower() >= 0 && attr.sizes[2 * i + 1].lower() >= 0,
             "padding must not be negative");
        shape.push_back(attr.sizes[2 * i] + from[i] + attr.sizes[2 * i + 1]);
      }
      return shape;
    }
    case Op::shrink_: {
      want(attr.sizes.size() == 2 * rank, "wants two sizes per axis");
      Shape shape;
      for (std::size_t i = 0; i < rank; ++i) {
        const Size& begin = attr.sizes[2 * i];
        const Size& end = attr.sizes[2 * i + 1];
        const Size length = end - begin;
        const bool inside =
            begin.lower() >= 0 && length.lower() >= 0 &&
            (!end.is_constant() || !from[i].is_constant() || end.value() <= from[i].value());
        want(inside, "the box must lie inside");
        shape.push_back(length);
      }
      return shape;
    }
    case Op::after_: return from;
    case Op::flip_: want_axes(op, attr.ints, 0, static_cast<int>(rank)); return from;
    default: unreachable("a movement operation");
  }
}

Shape load_shape(const std::vector<Node>& srcs) {
  if (srcs[1].dtype() != DType::int64) {
    user_error("load: the index must be int64, not {}", name(srcs[1].dtype()));
  }
  if (srcs.size() == 3 && (srcs[2].dtype() != DType::boolean ||
                           (srcs[2].rank() != 0 && srcs[2].shape() != srcs[1].shape()))) {
    user_error("load: the gate must be bool of shape {}, not {} of shape {}",
               to_string(srcs[1].shape()), name(srcs[2].dtype()), to_string(srcs[2].shape()));
  }
  return srcs[1].shape();
}

Shape store_shape(const std::vector<Node>& srcs) {
  const Node& target = srcs[0];
  if (target.is(Op::param_) || target.is(Op::local_)) return {};  // a kernel's statement
  const Node& value = srcs.back();
  if (value.dtype() != target.dtype()) {
    user_error("store: the target is {}, the value {}", name(target.dtype()), name(value.dtype()));
  }
  const Shape& wanted = srcs.size() == 3 ? srcs[1].shape() : target.shape();
  if (value.shape() != wanted && value.rank() != 0) {
    user_error("store: wants a value of shape {}, got {}", to_string(wanted),
               to_string(value.shape()));
  }
  if (srcs.size() == 3 && srcs[1].dtype() != DType::int64) {
    user_error("store: the index must be int64, not {}", name(srcs[1].dtype()));
  }
  return base_buffer(target).shape();
}

}  // namespace

Shape infer_shape(Op op, DType dtype, const std::vector<Node>& srcs, const Attr& attr) {
  const int arity = info(op).arity;
  check(arity < 0 || static_cast<std::size_t>(arity) == srcs.size(), "an operation's arity");
  for (const Node& src : srcs) check(static_cast<bool>(src), "sources are nodes");
  if (is_elementwise(op)) return elementwise(op, dtype, srcs);
  if (is_movement(op)) return movement(op, srcs[0], attr);
  switch (op) {
    case Op::reduce_: {
      if (srcs.size() > 1) return {};  // a kernel's reduction over ranges
      Shape shape = srcs[0].shape();
      want_axes(op, attr.ints, 1, static_cast<int>(shape.size()));
      for (std::size_t i = 1; i < attr.ints.size(); ++i) shape[attr.ints[i]] = 1;
      return shape;
    }
    case Op::load_: return load_shape(srcs);
    case Op::store_: return store_shape(srcs);
    case Op::buffer_: return attr.sizes;
    case Op::iota_: return attr.sizes;
    case Op::copy_:
    case Op::with_gradient_: return srcs[0].shape();
    default: return {};
  }
}

}  // namespace brisk
