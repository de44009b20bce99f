#include "kernel/verify.h"

#include <algorithm>
#include <unordered_map>

#include "base/error.h"
#include "base/power_of_two.h"
#include "graph/print.h"
#include "graph/verify.h"
#include "kernel/panel_product.h"
#include "kernel/print.h"
#include "kernel/tile.h"

namespace brisk {

namespace {

using Text = std::string_view;
using RangeList = std::vector<const NodeData*>;

constexpr std::size_t longest_text = 400;  // of an expression in a message

bool contains(const RangeList& list, const Node& range) {
  return std::find(list.begin(), list.end(), range.get()) != list.end();
}

void insert(RangeList& list, const NodeData* range) {
  if (std::find(list.begin(), list.end(), range) == list.end()) list.push_back(range);
}

bool is_of_tiles(const Node& node) {
  return node.is(Op::load_tile_) || node.is(Op::store_tile_) || node.is(Op::matrix_step_) ||
         node.is(Op::finish_steps_);
}
bool is_pointer(const Node& node) { return node.is(Op::param_) || node.is(Op::local_); }
bool fits(int lanes, int wanted) { return lanes == 1 || lanes == wanted; }

Text index_error(const Node& index, int lanes) {
  if (index.dtype() != DType::int64) return "the index is not int64";
  return fits(index.lanes(), lanes) ? Text() : "the index's lanes differ";
}

Text gate_error(const Node& gate, int lanes) {
  if (gate.dtype() != DType::boolean) return "the gate is not bool";
  return fits(gate.lanes(), lanes) ? Text() : "the gate's lanes differ";
}

Text lanes_error(const Node& node) {
  const int lanes = node.lanes();
  switch (node.op()) {
    case Op::load_: {
      if (const Text error = index_error(node.src(1), lanes); !error.empty()) return error;
      return node.srcs().size() == 3 ? gate_error(node.src(2), lanes) : Text();
    }
    case Op::store_: {
      const int wide = node.src(2).lanes();
      if (node.src(2).dtype() != node.src(0).dtype())
        return "the value's dtype is not the memory's";
      if (const Text error = index_error(node.src(1), wide); !error.empty()) return error;
      return node.srcs().size() == 4 ? gate_error(node.src(3), wide) : Text();
    }
    case Op::ramp_:
      if (node.dtype() != DType::int64 || node.src(0).dtype() != DType::int64) return "not int64";
      return node.src(0).lanes() == 1 && lanes > 1 ? Text() : "wants one lane, gives several";
    case Op::splat_:
      if (node.dtype() != node.src(0).dtype()) return "the dtype is not the source's";
      return node.src(0).lanes() == 1 && lanes > 1 ? Text() : "wants one lane, gives several";
    case Op::lane_:
      if (node.dtype() != node.src(0).dtype()) return "the dtype is not the source's";
      if (node.ints(0) < 0 || node.ints(0) >= node.src(0).lanes()) return "no such lane";
      return lanes == 1 ? Text() : "a lane has one lane";
    case Op::horizontal_:
      if (node.dtype() != node.src(0).dtype()) return "the dtype is not the source's";
      return lanes == 1 && node.src(0).lanes() > 1 ? Text() : "wants several lanes, gives one";
    case Op::dot_: {
      const DType a = node.src(1).dtype();
      const DType b = node.src(2).dtype();
      const bool bytes = (a == DType::uint8 || a == DType::int8) && b == DType::int8 &&
                         node.dtype() == DType::int32;
      const bool words = a == DType::int16 && b == DType::int16 && node.dtype() == DType::int32;
      const bool halves =
          a == DType::bfloat16 && b == DType::bfloat16 && node.dtype() == DType::float32;
      if (!bytes && !words && !halves) return "no such product of dtypes";
      if (node.src(0).dtype() != node.dtype()) return "the accumulator's dtype is not the result's";
      const int wide = lanes * (bytes ? 4 : 2);
      return node.src(0).lanes() == lanes && node.src(1).lanes() == wide &&
                     node.src(2).lanes() == wide
                 ? Text()
                 : "the lanes do not fit";
    }
    case Op::shuffle_: {
      if (node.srcs().empty() || node.srcs().size() > 2) return "wants one or two vectors";
      const int from = node.src(0).lanes();
      for (const Node& src : node.srcs()) {
        if (src.lanes() != from || src.dtype() != node.dtype()) return "the vectors differ";
      }
      for (const auto pick : node.attr().ints) {
        if (pick < 0 || pick >= from * static_cast<std::int64_t>(node.srcs().size())) {
          return "no such lane";
        }
      }
      return node.attr().ints.size() == static_cast<std::size_t>(lanes) ? Text()
                                                                        : "one pick for each lane";
    }
    case Op::range_:
      if (node.srcs().size() != 1 || node.src(0).dtype() != DType::int64 ||
          node.src(0).lanes() != 1 || node.attr().ints.size() != 1) {
        return "a range has an id and an int64 size";
      }
      return lanes == 1 && node.dtype() == DType::int64 ? Text() : "a range is one int64";
    default: break;
  }
  if (is_elementwise(node.op())) {
    int widest = 1;
    for (const Node& src : node.srcs()) {
      if (!fits(src.lanes(), lanes)) return "the sources' lanes differ";
      widest = std::max(widest, src.lanes());
    }
    return widest == lanes ? Text() : "no source has the lanes";
  }
  return {};
}

// The checks that both forms share, over every node of some statements.
class Checker {
 public:
  Checker(std::string form, Text pass, const std::vector<Param>& params,
          const std::vector<Node>& variables, std::size_t workspace)
      : form_(std::move(form)),
        pass_(pass),
        params_(params),
        variables_(variables),
        workspace_(workspace) {}

  [[noreturn]] void fail(const Node& node, Text what) const {
    std::string text = describe(node);
    if (node.is(Op::store_) || !node.srcs().empty()) {
      const std::string full =
          node.dtype() == DType::none ? print_statement(node) : print_expression(node);
      text += ": " + full.substr(0, longest_text);
    }
    throw InternalError(fmt::format("{} after '{}': {}: {}", form_, pass_, what, text));
  }

  void nodes(std::span<const Node> roots, bool lowered) {
    std::unordered_map<std::int64_t, Node> locals;
    std::unordered_map<std::int64_t, Node> ranges;
    for (const Node& node : topological_order(roots)) {
      const OpGroup group = info(node.op()).group;
      if (group == OpGroup::movement || node.is(Op::buffer_) || node.is(Op::copy_) ||
          node.is(Op::iota_)) {
        fail(node, "belongs to graphs");
      }
      if (node.rank() != 0) fail(node, "is no scalar or vector");
      const bool statement = node.is(Op::store_) || node.is(Op::block_) || node.is(Op::loop_) ||
                             node.is(Op::branch_) || node.is(Op::prefetch_) ||
                             node.is(Op::group_reduce_) || node.is(Op::arrive_) ||
                             node.is(Op::panel_product_) || is_of_tiles(node);
      if (statement != (node.dtype() == DType::none)) fail(node, "a statement has no dtype");
      if (lowered && (node.lanes() != 1 ||
                      (group == OpGroup::kernel && !node.is(Op::range_) && !is_pointer(node)))) {
        fail(node, "does not belong to lowered kernels");
      }
      pointers(node);
      if (node.is(Op::store_)) {
        if (node.srcs().size() < 3 || node.srcs().size() > 4)
          fail(node, "wants three or four sources");
      } else if (const Text error = type_error(node); !error.empty()) {
        fail(node, error);
      }
      if (const Text error = lanes_error(node); !error.empty()) fail(node, error);
      if (node.is(Op::local_)) once(locals, node, "two locals have one id");
      if (node.is(Op::range_)) once(ranges, node, "two ranges have one id");
      if (node.is(Op::variable_) &&
          std::find(variables_.begin(), variables_.end(), node) == variables_.end()) {
        fail(node, "is not among the kernel's variables");
      }
      if (node.is(Op::reduce_)) reduction(node, lowered);
      free(node);
    }
  }

  /// Every range that a node depends on is bound, and none is bound again inside of it.
  void bound(const Node& node, const RangeList& ranges) {
    for (const NodeData* range : free_[node.get()]) {
      if (std::find(ranges.begin(), ranges.end(), range) == ranges.end()) {
        fail(node, fmt::format("r{} is not bound", range->attr.ints[0]));
      }
    }
    for (const NodeData* range : inner_[node.get()]) {
      if (std::find(ranges.begin(), ranges.end(), range) != ranges.end()) {
        fail(node, fmt::format("r{} is bound twice", range->attr.ints[0]));
      }
    }
  }

  void bind(const Node& range, RangeList& ranges) {
    if (!range.is(Op::range_)) fail(range, "is no range");
    bound(range.src(0), ranges);
    if (contains(ranges, range)) fail(range, "is bound twice");
    ranges.push_back(range.get());
  }

 private:
  void once(std::unordered_map<std::int64_t, Node>& seen, const Node& node, Text what) const {
    const auto [at, fresh] = seen.emplace(node.ints(0), node);
    if (!fresh && !(at->second == node)) fail(node, what);
  }

  void pointers(const Node& node) const {
    const bool accesses = node.is(Op::load_) || node.is(Op::store_) || node.is(Op::prefetch_) ||
                          node.is(Op::group_reduce_) || node.is(Op::arrive_);
    const bool copies = node.is(Op::load_tile_) || node.is(Op::store_tile_);
    const bool products = node.is(Op::matrix_step_) || node.is(Op::panel_product_);
    const std::size_t pointers = products ? 3 : copies ? 2 : accesses;
    for (std::size_t i = 0; i < node.srcs().size(); ++i) {
      const Node& src = node.src(i);
      if (is_pointer(src) != (i < pointers)) {
        fail(node, "a pointer is the first source of an access, and nothing else");
      }
      if (src.dtype() == DType::none && !node.is(Op::block_) && !node.is(Op::loop_) &&
          !node.is(Op::branch_)) {
        fail(node, "a source has no value");
      }
    }
    if (accesses && node.src(0).is(Op::param_)) param(node, node.src(0));
    if (node.is(Op::group_reduce_)) return group(node, node.src(0));
    if (node.is(Op::arrive_)) return arrival(node);
    if (node.is(Op::matrix_step_)) return product(node);
    if (node.is(Op::panel_product_)) return of_panel(node);
    if (copies) return tile_copy(node);
    if (accesses && node.src(0).is(Op::local_) && !node.is(Op::prefetch_)) local(node, node.src(0));
  }

  void arrival(const Node& node) const {
    if (!is_local(node.src(0), Memory::shared) || node.src(0).dtype() != DType::int32)
      fail(node, "the flag is no int32 of shared memory");
    if (node.attr().ints.size() != 2 || node.ints(0) < 1 || node.ints(1) < 1)
      fail(node, "wants numbers of groups and places");
  }

  void param(const Node& access, const Node& pointer) const {
    const auto i = static_cast<std::size_t>(pointer.ints(0));
    if (i >= params_.size() + workspace_) fail(access, "no such param");
    if (i >= params_.size()) return;
    if (params_[i].dtype != pointer.dtype()) fail(access, "the param has another dtype");
    if (access.is(Op::store_) && !params_[i].written) fail(access, "the param is not written");
    if (access.is(Op::load_) && !params_[i].read) fail(access, "the param is not read");
  }

  void group(const Node& node, const Node& pointer) const {
    if (!is_local(pointer, Memory::registers)) fail(node, "a group combines registers");
    const std::int64_t width = node.ints(2);
    if (!is_power_of_two(width) || node.ints(3) % width != 0)
      fail(node, "the width is no power of two that divides the threads");
    if (!node.src(1).is_constant() || node.src(1).int_value() < 0 || node.ints(1) < 1 ||
        node.src(1).int_value() + node.ints(1) > pointer.ints(1)) {
      fail(node, "the index is outside of the local");
    }
  }

  void tile_copy(const Node& node) const {
    const TileView view = view_of(node);
    const Node& tile = node.src(0);
    if (!is_local(tile, Memory::shared) || !view.pointer.is(Op::param_))
      fail(node, "a tile is copied between shared memory and a param");
    if (tile.dtype() != view.pointer.dtype()) fail(node, "the tile has another dtype");
    if (view.rows % 8 != 0 || rows_in_box(view) < 1 || rows_in_box(view) > view.rows ||
        tile.ints(1) < tile_elements(byte_size(tile.dtype()), view.rows, view.columns)) {
      fail(node, "the tile's shape does not fit");
    }
    if (view.sizes.size() > most_dimensions) fail(node, "the array has too many dimensions");
    for (std::size_t d = 0; d < view.box.size(); ++d) {
      if (view.box[d] < 1 || view.steps[d] < 1 || view.steps[d] > most_step ||
          view.box[d] * view.steps[d] > most_of_box) {
        fail(node, "no such box");
      }
      if (node.is(Op::store_tile_) && view.steps[d] != 1) fail(node, "stores in steps");
    }
    if (node.is(Op::store_tile_) && view.columns * byte_size(tile.dtype()) % strip_bytes != 0)
      fail(node, "stores a part of a strip");
    if (view.sharers > 1 && (node.is(Op::store_tile_) || view.box[0] != rows_in_box(view) ||
                             view.steps[0] != 1 || view.box[0] % (8 * view.sharers) != 0)) {
      fail(node, "a box that groups cannot share");
    }
    for (std::size_t i = 2; i < node.srcs().size(); ++i) {
      if (node.src(i).dtype() != DType::int64 || node.src(i).lanes() != 1)
        fail(node, "a coordinate is one int64");
    }
    const auto i = static_cast<std::size_t>(view.pointer.ints(0));
    if (i >= params_.size() + workspace_) fail(node, "no such param");
    if (i < params_.size() && node.is(Op::store_tile_) && !params_[i].written)
      fail(node, "the param is not written");
    if (i < params_.size() && node.is(Op::load_tile_) && !params_[i].read)
      fail(node, "the param is not read");
  }

  void product(const Node& node) const {
    const MatrixStep step = step_of(node);
    const Node& sums = node.src(0);
    const Node& a = node.src(1);
    const Node& b = node.src(2);
    const bool in_registers = is_local(a, Memory::registers);
    if (!is_local(sums, Memory::registers) || (!in_registers && !is_local(a, Memory::shared)) ||
        !is_local(b, Memory::shared)) {
      fail(node, "multiplies tiles in shared memory into registers");
    }
    const bool integers = is_integer(a.dtype());
    if (byte_size(a.dtype()) != byte_size(b.dtype()) || integers != is_integer(b.dtype()) ||
        sums.dtype() != (integers ? DType::int32 : DType::float32)) {
      fail(node, "no such product of dtypes");
    }
    if (step.threads % 32 != 0 || step.rows % (step.threads / 2) != 0 || step.columns % 8 != 0 ||
        sums.ints(1) < step.rows * step.columns / step.threads) {
      fail(node, "the shape does not fit the threads");
    }
    if (node.src(3).dtype() != DType::boolean || node.src(3).lanes() != 1)
      fail(node, "whether it accumulates is one bool");
  }

  void of_panel(const Node& node) const {
    const PanelProduct product = panel_product_of(node);
    const Node& sums = node.src(0);
    const auto bytes = [](const Node& operand) {
      return operand.dtype() == DType::int8 || operand.dtype() == DType::uint8;
    };
    const auto halves = [](const Node& operand) { return operand.dtype() == DType::bfloat16; };
    const bool integers = bytes(node.src(1)) && bytes(node.src(2));
    if ((!integers && !(halves(node.src(1)) && halves(node.src(2)))) ||
        sums.dtype() != (integers ? DType::int32 : DType::float32)) {
      fail(node, "no such product of dtypes");
    }
    if (!is_local(sums, Memory::scratch) ||
        sums.ints(1) < product.rows * product.columns * product.count) {
      fail(node, "sums lie in scratch memory that has room for them");
    }
    if (product.rows % tile_rows != 0 || product.columns % tile_rows != 0 ||
        product.depth * byte_size(node.src(1).dtype()) % group_bytes != 0) {
      fail(node, "the shape is not made of tiles");
    }
    for (std::size_t i = 1; i < 3; ++i) {
      if (node.src(i).is(Op::param_)) param(node, node.src(i));
    }
    for (std::size_t i = 3; i < 7; ++i) {
      if (node.src(i).dtype() != DType::int64 || node.src(i).lanes() != 1)
        fail(node, "a place is one int64");
    }
  }

  void local(const Node& access, const Node& pointer) const {
    const Node& index = access.src(1);
    if (!index.is_constant()) return;
    const Node& value = access.is(Op::store_) ? access.src(2) : access;
    const int lanes = index.lanes() == 1 ? value.lanes() : 1;
    if (index.int_value() < 0 || index.int_value() + lanes > pointer.ints(1)) {
      fail(access, "the index is outside of the local");
    }
  }

  void reduction(const Node& node, bool lowered) const {
    if (!lowered) fail(node, "reductions belong to lowered kernels");
    if (node.srcs().size() < 2 || node.attr().ints.size() != 1) fail(node, "reduces no range");
    for (std::size_t i = 1; i < node.srcs().size(); ++i) {
      if (!node.src(i).is(Op::range_)) fail(node, "reduces over no range");
    }
  }

  // Ranges that are free in the node, and those that reductions inside of it bind.
  void free(const Node& node) {
    RangeList& free = free_[node.get()];
    RangeList& inner = inner_[node.get()];
    for (const Node& src : node.srcs()) {
      for (const NodeData* range : free_[src.get()]) insert(free, range);
      for (const NodeData* range : inner_[src.get()]) insert(inner, range);
    }
    if (node.is(Op::range_)) insert(free, node.get());
    if (!node.is(Op::reduce_)) return;
    for (std::size_t i = 1; i < node.srcs().size(); ++i) {
      if (contains(inner_[node.src(0).get()], node.src(i))) fail(node, "a range is bound twice");
      insert(inner, node.src(i).get());
      std::erase(free, node.src(i).get());
    }
  }

  std::string form_;
  Text pass_;
  const std::vector<Param>& params_;
  const std::vector<Node>& variables_;
  std::size_t workspace_;
  std::unordered_map<const NodeData*, RangeList> free_;
  std::unordered_map<const NodeData*, RangeList> inner_;
};

class Statements {
 public:
  explicit Statements(Checker& checker) : checker_(checker) {}

  void phase(const Node& statement) {
    grouped_ = threads_of(statement) > 1;
    if (groups_of_task(statement) > 1) cluster(statement);
    if (is_loop(statement, LoopKind::parallel)) {
      loop(statement);
    } else {
      visit(statement);
    }
  }

 private:
  void cluster(const Node& statement) const {
    for (const Node& node : topological_order({&statement, 1})) {
      if (is_local(node, Memory::shared))
        checker_.fail(statement, "groups of a cluster have no memory in common");
    }
    constexpr std::int64_t step = 32;  // threads that run in step
    if (threads_of(statement) % (cluster_groups * step) != 0)
      checker_.fail(statement, "the threads of a cluster make no groups of equal size");
  }

  void visit(const Node& statement) {
    switch (statement.op()) {
      case Op::block_:
        for (const Node& part : statement.srcs()) visit(part);
        break;
      case Op::loop_:
        if (is_loop(statement, LoopKind::parallel)) {
          checker_.fail(statement, "parallel loops stand only at the top of phases");
        }
        loop(statement);
        break;
      case Op::arrive_:
      case Op::load_tile_:
      case Op::store_tile_:
      case Op::matrix_step_: checker_.bound(statement, ranges_); [[fallthrough]];
      case Op::finish_steps_:
      case Op::group_reduce_:
        if (in_thread_) checker_.fail(statement, "belongs to the group, not to a thread");
        break;
      case Op::branch_:
        if (statement.src(0).dtype() != DType::boolean || statement.src(0).lanes() != 1) {
          checker_.fail(statement, "the condition is not one bool");
        }
        same_everywhere(statement.src(0));
        checker_.bound(statement.src(0), ranges_);
        visit(statement.src(1));
        break;
      case Op::store_:
      case Op::panel_product_:
      case Op::prefetch_:
        if (grouped_ && !in_thread_) checker_.fail(statement, "which thread of the group runs it?");
        checker_.bound(statement, ranges_);
        break;
      default: checker_.fail(statement, "is no statement");
    }
  }

  void loop(const Node& statement) {
    const std::size_t described = is_loop(statement, LoopKind::pipeline) ? 3 : 1;
    if (statement.attr().ints.size() != described || statement.ints(0) < 0 ||
        statement.ints(0) > 4) {
      checker_.fail(statement, "the attribute is not a LoopKind");
    }
    const bool threads = is_loop(statement, LoopKind::threads);
    if (threads && in_thread_) checker_.fail(statement, "a thread is no group of threads");
    if (threads && !Size(statement.src(0).src(0)).is_constant())
      checker_.fail(statement, "a group has a constant number of threads");
    if (!is_loop(statement, LoopKind::parallel)) same_everywhere(statement.src(0).src(0));
    checker_.bind(statement.src(0), ranges_);
    in_thread_ = in_thread_ || threads;
    visit(statement.src(1));
    in_thread_ = in_thread_ && !threads;
    ranges_.pop_back();
  }

  // Conditions and sizes around the threads of a group: what each thread has of its own is not read
  // there.
  void same_everywhere(const Node& expression) const {
    if (!grouped_ || in_thread_) return;
    for (const Node& node : topological_order({&expression, 1})) {
      if (node.is(Op::local_) && !is_local(node, Memory::shared))
        checker_.fail(expression, "threads of a group may differ here");
    }
  }

  Checker& checker_;
  RangeList ranges_;
  bool grouped_ = false;    // the phase's tasks are groups of threads
  bool in_thread_ = false;  // inside a loop of threads
};

}  // namespace

void verify_kernel(const LoweredKernel& kernel, std::string_view pass) {
  Checker checker("lowered kernel", pass, kernel.params, kernel.variables, 0);
  std::vector<Node> roots;
  for (const Part& part : kernel.parts) {
    roots.insert(roots.end(), part.outer.begin(), part.outer.end());
    for (const Stage& stage : part.stages) {
      roots.insert(roots.end(), stage.ranges.begin(), stage.ranges.end());
      roots.insert(roots.end(), stage.stores.begin(), stage.stores.end());
    }
  }
  checker.nodes(roots, true);
  for (const Part& part : kernel.parts) {
    RangeList outer;
    for (const Node& range : part.outer) checker.bind(range, outer);
    for (const Stage& stage : part.stages) {
      RangeList ranges = outer;
      for (const Node& range : stage.ranges) checker.bind(range, ranges);
      for (const Node& store : stage.stores) {
        if (!store.is(Op::store_)) checker.fail(store, "a stage is made of stores");
        checker.bound(store, ranges);
      }
    }
  }
}

void verify_kernel(const Kernel& kernel, std::string_view pass) {
  if (!kernel.body) throw InternalError(fmt::format("kernel after '{}': has no body", pass));
  Checker checker("kernel " + kernel.name, pass, kernel.params, kernel.variables,
                  kernel.workspace.size());
  checker.nodes({&kernel.body, 1}, false);
  if (!kernel.body.is(Op::block_)) return Statements(checker).phase(kernel.body);
  for (const Node& phase : kernel.body.srcs()) Statements(checker).phase(phase);
}

}  // namespace brisk
