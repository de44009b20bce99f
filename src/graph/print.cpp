#include "graph/print.h"

#include <fmt/format.h>

#include <unordered_map>

#include "base/error.h"

namespace brisk {

namespace {

std::string joined(const std::vector<std::int64_t>& ints, std::size_t first = 0) {
  return fmt::format("{}",
                     fmt::join(ints.begin() + static_cast<std::ptrdiff_t>(first), ints.end(), " "));
}

// Pairs of sizes, one pair an axis: "0:2 1:3".
std::string pairs(const Shape& sizes) {
  std::string text;
  for (std::size_t i = 0; i < sizes.size(); ++i) {
    text += (i == 0 ? "" : i % 2 == 1 ? ":" : " ") + to_string(sizes[i]);
  }
  return text;
}

std::string_view mode_text(std::int64_t mode) {
  constexpr std::string_view names[] = {"replace", "add", "mul", "max", "min"};
  return mode >= 0 && mode < 5 ? names[mode] : "?";
}

// What a node's attribute says beyond its shape.
std::string attribute(const Node& node) {
  switch (node.op()) {
    case Op::reduce_:
      return fmt::format("{}, axes {}", name(static_cast<ReduceOp>(node.ints(0))),
                         joined(node.attr().ints, 1));
    case Op::permute_:
    case Op::flip_: return "axes " + joined(node.attr().ints);
    case Op::pad_:
    case Op::shrink_: return pairs(node.attr().sizes);
    case Op::buffer_: return fmt::format("#{}", node.ints(0));
    case Op::store_: return node.attr().ints.empty() ? "" : std::string(mode_text(node.ints(0)));
    case Op::copy_: return "to " + node.attr().name;
    case Op::reshape_:
    case Op::expand_:
    case Op::iota_: return "";
    default: return joined(node.attr().ints);
  }
}

}  // namespace

std::string type_text(const Node& node) {
  return node.lanes() == 1 ? std::string(name(node.dtype()))
                           : fmt::format("{}x{}", name(node.dtype()), node.lanes());
}

std::string constant_text(const Node& constant) {
  if (is_bool(constant.dtype())) return constant.int_value() != 0 ? "true" : "false";
  if (is_float(constant.dtype())) return fmt::format("{}", constant.float_value());
  if (constant.dtype() == DType::uint64) {
    return fmt::format("{}", static_cast<std::uint64_t>(constant.int_value()));
  }
  return fmt::format("{}", constant.int_value());
}

std::string describe(const Node& node) {
  return fmt::format("{} {}{}", name(node.op()), type_text(node), to_string(node.shape()));
}

std::string print(std::span<const Node> roots) {
  std::unordered_map<const NodeData*, std::string> names;
  std::string text;
  int next = 0;
  for (const Node& node : topological_order(roots)) {
    std::string& own = names[node.get()];
    if (node.is(Op::constant_)) {
      own = constant_text(node);
      continue;
    }
    if (node.is(Op::variable_)) {
      own = node.attr().name;
      text += fmt::format("variable {}: {} … {}\n", own, node.ints(0), node.ints(1));
      continue;
    }
    own = fmt::format("%{}", next++);
    std::string arguments;
    for (const Node& src : node.srcs()) {
      arguments += (arguments.empty() ? "" : ", ") + names[src.get()];
      if (src.is(Op::constant_) && !(src.dtype() == node.dtype())) {
        arguments += fmt::format(":{}", name(src.dtype()));
      }
    }
    const std::string extra = attribute(node);
    if (!extra.empty()) arguments += (arguments.empty() ? "" : ", ") + extra;
    text += fmt::format("{}: {}{} = {}({})\n", own, type_text(node), to_string(node.shape()),
                        name(node.op()), arguments);
  }
  for (const Node& root : roots) {
    if (root) text += fmt::format("return {}\n", names[root.get()]);
  }
  return text;
}

std::string print(const Node& root) { return print({&root, 1}); }

}  // namespace brisk
