#include "graph/verify.h"

#include "base/error.h"
#include "graph/infer.h"
#include "graph/print.h"

namespace brisk {

namespace {

using Text = std::string_view;

bool is_reduce_op(std::int64_t value) { return value >= 0 && value <= 2; }

Text elementwise_error(const Node& node) {
  const Op op = node.op();
  const DType in = node.src(op == Op::where_ ? 1 : 0).dtype();
  if (in == DType::none) return "a source has no value";
  if (op == Op::cast_ || op == Op::bitcast_) return {};
  const bool compares = op == Op::cmplt_ || op == Op::cmpne_;
  if (node.dtype() != (compares ? DType::boolean : in)) {
    return compares ? "a comparison's dtype is not bool" : "the dtype is not the sources'";
  }
  return {};
}

Text memory_error(const Node& node) {
  const auto& ints = node.attr().ints;
  switch (node.op()) {
    case Op::constant_: return ints.size() == 1 ? Text() : "a constant's attribute is one value";
    case Op::buffer_: return ints.size() == 1 ? Text() : "a buffer's attribute is its id";
    case Op::load_:
      if (node.srcs().size() < 2 || node.srcs().size() > 3) return "wants two or three sources";
      return node.dtype() == node.src(0).dtype() ? Text() : "the dtype is not the source's";
    case Op::copy_:
      return node.dtype() == node.src(0).dtype() ? Text() : "the dtype is not the source's";
    case Op::variable_:
      if (node.dtype() != DType::int64) return "a variable's dtype is not int64";
      return ints.size() == 2 && ints[0] <= ints[1] ? Text() : "a variable's bounds";
    case Op::iota_: return node.dtype() == DType::int64 ? Text() : "iota's dtype is not int64";
    default: return {};
  }
}

// Sizes are integer scalars over variables.
Text size_error(const Size& size) {
  if (size.is_constant()) return {};
  for (const Node& node : topological_order({&size.expr(), 1})) {
    const bool legal = node.is(Op::constant_) || node.is(Op::variable_) ||
                       (is_elementwise(node.op()) && !is_float(node.dtype()));
    if (!legal || node.rank() != 0) return "a size is made of more than variables and integers";
  }
  return {};
}

Text graph_error(const Node& node) {
  if (info(node.op()).group == OpGroup::kernel) return "belongs to kernels";
  if (info(node.op()).group == OpGroup::gradient) return "is for gradients and has no kernel";
  if (node.lanes() != 1) return "has lanes";
  if (node.dtype() == DType::none) return "has no dtype";
  if (node.is(Op::reduce_) && node.srcs().size() != 1) return "reduces over ranges";
  if (node.is(Op::store_)) {
    if (node.srcs().size() < 2 || node.srcs().size() > 3) return "wants two or three sources";
    if (node.dtype() != node.src(0).dtype()) return "the dtype is not the target's";
    const auto& ints = node.attr().ints;
    const bool scatters = node.srcs().size() == 3;
    if (scatters ? ints.size() != 1 || ints[0] < 0 || ints[0] > 4 : !ints.empty()) {
      return "the attribute is not a StoreMode";
    }
  }
  if (const Text error = type_error(node); !error.empty()) return error;
  for (const Size& size : node.shape()) {
    if (const Text error = size_error(size); !error.empty()) return error;
  }
  for (const Size& size : node.attr().sizes) {
    if (const Text error = size_error(size); !error.empty()) return error;
  }
  return {};
}

}  // namespace

std::string_view type_error(const Node& node) {
  const int arity = info(node.op()).arity;
  if (arity >= 0 && static_cast<std::size_t>(arity) != node.srcs().size()) return "the arity";
  for (const Node& src : node.srcs()) {
    if (!src) return "a source is missing";
  }
  if (is_elementwise(node.op())) return elementwise_error(node);
  if (is_movement(node.op())) {
    return node.dtype() == node.src(0).dtype() ? Text() : "the dtype is not the source's";
  }
  if (node.is(Op::reduce_)) {
    if (node.srcs().empty() || node.attr().ints.empty() || !is_reduce_op(node.ints(0))) {
      return "the attribute is not a ReduceOp";
    }
    return node.dtype() == node.src(0).dtype() ? Text() : "the dtype is not the source's";
  }
  return memory_error(node);
}

void verify_graph(std::span<const Node> roots, std::string_view pass) {
  for (const Node& node : topological_order(roots)) {
    const auto fail = [&](std::string_view what) {
      std::string sources;
      for (const Node& src : node.srcs())
        sources += (sources.empty() ? " of " : ", ") + describe(src);
      throw InternalError(
          fmt::format("graph after '{}': {}{}: {}", pass, describe(node), sources, what));
    };
    if (const Text error = graph_error(node); !error.empty()) fail(error);
    try {
      if (infer_shape(node.op(), node.dtype(), node.srcs(), node.attr()) != node.shape()) {
        fail("the shape is not the one its sources give");
      }
    } catch (const UserError& error) {
      fail(error.what());
    }
  }
}

}  // namespace brisk
