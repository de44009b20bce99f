#include "kernel/print.h"

#include <fmt/format.h>

#include <unordered_map>
#include <unordered_set>

#include "graph/print.h"
#include "kernel/tile.h"

namespace brisk {

namespace {

std::string_view infix(Op op) {
  switch (op) {
    case Op::add_: return "+";
    case Op::mul_: return "*";
    case Op::cmplt_: return "<";
    case Op::cmpne_: return "!=";
    case Op::idiv_: return "/";
    case Op::mod_: return "%";
    case Op::and_: return "&";
    case Op::or_: return "|";
    case Op::xor_: return "^";
    case Op::shl_: return "<<";
    case Op::shr_: return ">>";
    default: return {};
  }
}

constexpr std::size_t shortest_named = 24;  // an index shorter than this is written out each time
constexpr double most_repeated = 500;       // operations that are written out within reductions

bool is_leaf(const Node& node) { return node.srcs().empty() || node.is(Op::range_); }

std::string joined(const std::vector<std::int64_t>& ints) {
  return fmt::format("{}", fmt::join(ints, " "));
}

std::string range_name(const Node& range) { return fmt::format("r{}", range.ints(0)); }

// The texts of expressions; nodes that have one already are not written out again.
class Writer {
 public:
  std::string text(const Node& node) {
    if (const auto found = names_.find(node.get()); found != names_.end()) return found->second;
    const auto call = [&](std::string name, const std::string& extra = "") {
      for (std::size_t i = 0; i < node.srcs().size(); ++i) {
        name += (i == 0 ? "(" : ", ") + text(node.src(i));
      }
      return name + (extra.empty() ? ")" : ", " + extra + ")");
    };
    switch (node.op()) {
      case Op::constant_: return constant_text(node);
      case Op::variable_: return node.attr().name;
      case Op::range_: return range_name(node);
      case Op::param_: return fmt::format("p{}", node.ints(0));
      case Op::local_: return fmt::format("m{}", node.ints(0));
      case Op::cast_:
      case Op::bitcast_: return call(fmt::format("{}<{}>", name(node.op()), type_text(node)));
      case Op::where_:
        return fmt::format("({} ? {} : {})", text(node.src(0)), text(node.src(1)),
                           text(node.src(2)));
      case Op::load_: {
        const std::string gate = node.srcs().size() == 3 ? " if " + text(node.src(2)) : "";
        const std::string lanes = node.lanes() == 1 ? "" : fmt::format(" x{}", node.lanes());
        return fmt::format("{}[{}{}{}]", text(node.src(0)), text(node.src(1)), lanes, gate);
      }
      case Op::reduce_: {
        if (node.srcs().size() == 1) return call("reduce");
        std::string ranges;
        for (std::size_t i = 1; i < node.srcs().size(); ++i) {
          ranges += (i == 1 ? "" : ", ") + range_text(node.src(i));
        }
        return fmt::format("{}[{}]({})", name(static_cast<ReduceOp>(node.ints(0))), ranges,
                           text(node.src(0)));
      }
      case Op::horizontal_:
        return call(fmt::format("horizontal_{}", name(static_cast<ReduceOp>(node.ints(0)))));
      case Op::ramp_:
      case Op::splat_: return call(fmt::format("{}x{}", name(node.op()), node.lanes()));
      case Op::lane_: return fmt::format("{}.{}", text(node.src(0)), node.ints(0));
      case Op::shuffle_: return call("shuffle", joined(node.attr().ints));
      default: break;
    }
    const std::string_view sign = infix(node.op());
    if (sign.empty() || node.srcs().size() != 2) return call(std::string(name(node.op())));
    return fmt::format("({} {} {})", text(node.src(0)), sign, text(node.src(1)));
  }

  std::string range_text(const Node& range) {
    return fmt::format("{} < {}", range_name(range), text(range.src(0)));
  }

  /// Lines that name what the statement's expressions share; what belongs inside of a reduction too
  /// where it is long, for such texts would double with every level of reductions.
  std::string shared(const Node& statement, const std::string& margin) {
    std::unordered_map<const NodeData*, int> uses;
    std::unordered_map<const NodeData*, double> written;  // operations of the text
    std::string lines;
    const auto order = topological_order(statement.srcs());
    for (const Node& node : order) {
      for (const Node& src : node.srcs()) ++uses[src.get()];
    }
    for (const Node& src : statement.srcs()) ++uses[src.get()];
    for (const Node& node : order) {
      double& operations = written[node.get()] = 1;
      for (const Node& src : node.srcs()) operations += written[src.get()];
      if (uses[node.get()] < 2 || is_leaf(node)) continue;
      if (bound_.contains(node.get()) && operations < most_repeated) continue;
      std::string value = text(node);
      if (node.dtype() == DType::int64 && value.size() < shortest_named) continue;
      operations = 1;
      names_[node.get()] = fmt::format("t{}", next_++);
      lines += fmt::format("{}{}: {} = {}\n", margin, names_[node.get()], type_text(node), value);
    }
    return lines;
  }

  void forget() { names_.clear(); }

  /// Marks what depends on a reduction's ranges: it belongs inside of the reduction.
  void bind(const Node& statement) {
    const auto order = topological_order({&statement, 1});
    for (const Node& node : order) {
      if (!node.is(Op::reduce_)) continue;
      for (std::size_t i = 1; i < node.srcs().size(); ++i) bound_.insert(node.src(i).get());
    }
    for (const Node& node : order) {
      if (node.is(Op::range_) || node.is(Op::reduce_)) continue;
      for (const Node& src : node.srcs()) {
        if (bound_.contains(src.get())) bound_.insert(node.get());
      }
    }
  }

 private:
  std::unordered_map<const NodeData*, std::string> names_;
  std::unordered_set<const NodeData*> bound_;
  int next_ = 0;
};

// Rows × columns of a tile; where its rows are a box of several dimensions, or of elements apart,
// their extents (and steps) after it, the fastest first.
std::string box_text(const TileView& view) {
  std::string extents;
  for (std::size_t d = 0; d < view.box.size(); ++d) {
    if (d > 0) extents += " x ";
    extents += std::to_string(view.box[d]);
    if (view.steps[d] != 1) extents += fmt::format(" by {}", view.steps[d]);
  }
  const std::string tile = fmt::format("{} x {}", view.rows, view.columns);
  const bool plain = view.box[0] == view.rows && view.steps[0] == 1;
  const std::string shared =
      view.sharers > 1 ? fmt::format(" shared by {}", view.sharers) : std::string();
  return (plain ? tile : fmt::format("{} (rows {})", tile, extents)) + shared;
}

std::string store_text(const Node& store, const std::string& margin, Writer& writer) {
  writer.forget();
  writer.bind(store);
  std::string lines = writer.shared(store, margin);
  const int lanes = store.src(2).lanes();
  const std::string gate =
      store.srcs().size() == 4 ? " if " + writer.text(store.src(3)) : std::string();
  return lines + fmt::format("{}{}[{}{}{}] = {}\n", margin, writer.text(store.src(0)),
                             writer.text(store.src(1)),
                             lanes == 1 ? "" : fmt::format(" x{}", lanes), gate,
                             writer.text(store.src(2)));
}

void write(const Node& node, int indent, Writer& writer, std::string& text) {
  const std::string margin(static_cast<std::size_t>(indent) * 2, ' ');
  switch (node.op()) {
    case Op::block_:
      for (const Node& statement : node.srcs()) write(statement, indent, writer, text);
      break;
    case Op::loop_: {
      constexpr std::string_view kinds[] = {"for", "parallel", "unrolled", "threads", "pipeline"};
      writer.forget();
      text +=
          fmt::format("{}{} {}:\n", margin, kinds[node.ints(0)], writer.range_text(node.src(0)));
      write(node.src(1), indent + 1, writer, text);
      break;
    }
    case Op::branch_:
      writer.forget();
      text += fmt::format("{}if {}:\n", margin, writer.text(node.src(0)));
      write(node.src(1), indent + 1, writer, text);
      break;
    case Op::store_: text += store_text(node, margin, writer); break;
    case Op::group_reduce_:
      text += fmt::format("{}group_{} over {} of {} threads: {}[{} x{}]\n", margin,
                          name(static_cast<ReduceOp>(node.ints(0))), node.ints(2), node.ints(3),
                          writer.text(node.src(0)), writer.text(node.src(1)), node.ints(1));
      break;
    case Op::arrive_:
      text +=
          fmt::format("{}arrive at {} of {}: {} = last of {}\n", margin, writer.text(node.src(1)),
                      node.ints(1), writer.text(node.src(0)), node.ints(0));
      break;
    case Op::load_tile_:
    case Op::store_tile_:
      text += fmt::format("{}{} {}\n", margin, writer.text(node), box_text(view_of(node)));
      break;
    case Op::finish_steps_:
      text += fmt::format("{}finish_steps but {}\n", margin, node.ints(0));
      break;
    case Op::matrix_step_:
      text += fmt::format("{}{} {} x {} x {}\n", margin, writer.text(node), node.ints(0),
                          node.ints(1), node.ints(2));
      break;
    case Op::panel_product_:
      text += fmt::format("{}{} {} x {} x {}, {} times\n", margin, writer.text(node), node.ints(0),
                          node.ints(1), node.ints(2), node.ints(3));
      break;
    default: text += margin + writer.text(node) + "\n";
  }
}

std::string param_text(const Param& param, std::size_t i) {
  return fmt::format("{}{} p{}", param.written ? (param.read ? "inout " : "out ") : "in ",
                     name(param.dtype), i);
}

template <typename AnyKernel>
std::string head(std::string_view name, const AnyKernel& kernel) {
  std::string text = fmt::format("{}(", name);
  for (std::size_t i = 0; i < kernel.params.size(); ++i) {
    text += (i == 0 ? "" : ", ") + param_text(kernel.params[i], i);
  }
  for (std::size_t i = 0; i < kernel.variables.size(); ++i) {
    text += (i == 0 ? "; " : ", ") + kernel.variables[i].attr().name;
  }
  return text + ")\n";
}

// The memory that a kernel's statements own.
std::string locals(std::span<const Node> roots) {
  std::string text;
  for (const Node& node : topological_order(roots)) {
    if (!node.is(Op::local_)) continue;
    constexpr std::string_view kinds[] = {"registers", "scratch", "shared"};
    text += fmt::format("  {} {}[{}] m{}\n", kinds[node.ints(2)], name(node.dtype()), node.ints(1),
                        node.ints(0));
  }
  return text;
}

}  // namespace

std::string print_expression(const Node& expression) { return Writer().text(expression); }

std::string print_statement(const Node& statement, int indent) {
  Writer writer;
  std::string text;
  write(statement, indent, writer, text);
  return text;
}

std::string print(const LoweredKernel& kernel) {
  std::string text = head("lowered", kernel);
  std::vector<Node> stores;
  for (const Part& part : kernel.parts) {
    for (const Stage& stage : part.stages) {
      stores.insert(stores.end(), stage.stores.begin(), stage.stores.end());
    }
  }
  text += locals(stores);
  Writer writer;
  for (const Part& part : kernel.parts) {
    text += "  part";
    for (const Node& range : part.outer) text += " " + writer.range_text(range);
    text += ":\n";
    for (const Stage& stage : part.stages) {
      text += "    stage";
      for (const Node& range : stage.ranges) text += " " + writer.range_text(range);
      text += ":\n";
      for (const Node& store : stage.stores) text += store_text(store, "      ", writer);
      writer.forget();
    }
  }
  return text;
}

std::string print(const Kernel& kernel) {
  std::string text = head(kernel.name, kernel);
  for (std::size_t i = 0; i < kernel.workspace.size(); ++i) {
    text += fmt::format("  workspace {}[{}] p{}\n", name(kernel.workspace[i].dtype),
                        to_string(kernel.workspace[i].elements), kernel.params.size() + i);
  }
  return text + locals({&kernel.body, 1}) + print_statement(kernel.body, 1);
}

}  // namespace brisk
