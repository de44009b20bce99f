#include "codegen/opencl_c/render.h"

#include <algorithm>
#include <map>
#include <optional>
#include <unordered_map>

#include <fmt/format.h>
#include <fmt/ranges.h>

#include "base/error.h"
#include "codegen/alignment.h"
#include "codegen/decompose.h"
#include "codegen/meetings.h"
#include "codegen/opencl_c/helpers.h"
#include "codegen/opencl_c/operations.h"
#include "codegen/opencl_c/text.h"

namespace brisk::opencl_c {

namespace {

constexpr std::int64_t most_private_bytes =
    1024;                                   // of a scratch local; larger ones are in the slab
constexpr std::size_t longest_inline = 60;  // letters of an expression without a name

std::string symbol_of(const Kernel& kernel) { return "brisk_" + kernel.name; }

// The start of a vector index that is start, start + 1, start + 2, …
std::optional<Node> contiguous_start(const Node& index) {
  if (index.is(Op::ramp_)) return index.src(0);
  if (!index.is(Op::add_)) return std::nullopt;
  for (std::size_t i = 0; i < 2; ++i) {
    Node other = index.src(1 - i);
    if (other.is(Op::splat_)) other = other.src(0);
    if (other.lanes() > 1 || index.src(i).lanes() == 1) continue;
    if (const auto start = contiguous_start(index.src(i))) return add(*start, other);
  }
  return std::nullopt;
}

class Renderer {
 public:
  Renderer(const Kernel& kernel, const Target& target)
      : kernel_(kernel), target_(target), helpers_(target) {}

  std::string kernel() {
    const Node body = decompose(kernel_.body, [](const Node& node) { return node.is(Op::sin_); });
    std::vector<Node> phases = {body};
    if (body.is(Op::block_)) phases = body.srcs();
    for (const Node& node : topological_order({&body, 1})) place_scratch(node);
    std::string functions;
    for (std::size_t i = 0; i < phases.size(); ++i) functions += phase(phases[i], i);
    return head() + helpers_.definitions() + functions;
  }

 private:
  // ---- the file ----------------------------------------------------------------------------

  std::string head() const {
    std::string text = fmt::format("// OpenCL C of the kernel {}\n", kernel_.name);
    if (uses_float64_) text += "#pragma OPENCL EXTENSION cl_khr_fp64 : enable\n";
    if (target_.has_half_convert) text += "#pragma OPENCL EXTENSION cl_khr_fp16 : enable\n";
    if (target_.has_exchange) {
      text += "#pragma OPENCL EXTENSION cl_khr_subgroups : enable\n";
      text += "#pragma OPENCL EXTENSION cl_khr_subgroup_shuffle : enable\n";
    }
    if (target_.has_int8_dot) {
      text += "#pragma OPENCL EXTENSION cl_khr_integer_dot_product : enable\n";
    }
    return text + "#pragma OPENCL FP_CONTRACT ON\n\n";
  }

  void place_scratch(const Node& node) {
    if (node.dtype() == DType::float64) want_float64();
    if (!node.is(Op::local_) || memory_of(node) != Memory::scratch) return;
    scratch_offset_.emplace(node, scratch_size_);
    scratch_size_ += (node.ints(1) * byte_size(node.dtype()) + 63) / 64 * 64;
  }

  void want_float64() {
    uses_float64_ = true;
    if (target_.has_float64) return;
    user_error(
        "{} has no float64, and the kernel {} computes in it; use float32, or another device",
        target_.cpu, kernel_.name);
  }

  static Memory memory_of(const Node& local) { return static_cast<Memory>(local.ints(2)); }
  static bool is_private(const Node& local) {
    return memory_of(local) == Memory::registers ||
           local.ints(1) * byte_size(local.dtype()) <= most_private_bytes;
  }

  // ---- phases ------------------------------------------------------------------------------

  bool in_groups() const { return target_.group_threads > 0; }

  std::string phase(const Node& body, std::size_t number) {
    lines_.clear();
    indent_ = 1;
    values_.clear();
    threads_ = threads_of(body);
    accesses_ = in_groups() ? shared_accesses(body) : SharedAccesses();
    meetings_.met();
    const bool parallel = is_loop(body, LoopKind::parallel);
    if (!in_groups()) line("if (first + (long)get_global_id(0) >= tasks) return;");
    for (const Node& node : topological_order({&body, 1})) declare(node);
    if (in_groups()) declare_rooms(body);
    if (parallel) {
      line("const long {} = first + (long){}(0);", range_name(body.src(0)),
           in_groups() ? "get_group_id" : "get_global_id");
    }
    statement(parallel ? body.src(1) : body);
    const std::string size = in_groups() ? std::to_string(threads_) : "GROUP";
    return fmt::format(
        "__kernel __attribute__((reqd_work_group_size({}, 1, 1)))\nvoid {}_{}({}) {{\n{}}}\n\n",
        size, symbol_of(kernel_), number, fmt::join(parameters(), ", "), lines_);
  }

  std::vector<std::string> parameters() const {
    std::vector<std::string> list;
    for (std::size_t i = 0; i < kernel_.params.size() + kernel_.workspace.size(); ++i) {
      const std::string_view alone = exchanged(i) ? "" : " restrict";
      list.push_back(fmt::format("__global uchar*{1} b{0}, const long at{0}", i, alone));
    }
    for (std::size_t i = 0; i < kernel_.variables.size(); ++i) {
      list.push_back(fmt::format("const long n{}", i));
    }
    list.emplace_back("__global uchar* restrict scratch, const long first, const long tasks");
    return list;
  }

  // Whether threads of a group may read there what others have written: the compiler must not take
  // what this thread knows of it for all there is to know.
  bool exchanged(std::size_t argument) const {
    const auto is_it = [&](const Node& memory) {
      return memory.is(Op::param_) && memory.ints(0) == static_cast<std::int64_t>(argument);
    };
    return std::any_of(accesses_.read.begin(), accesses_.read.end(), is_it) &&
           std::any_of(accesses_.written.begin(), accesses_.written.end(), is_it);
  }

  void declare(const Node& node) {
    if (node.is(Op::param_)) {
      line("__global {0}* const p{1} = (__global {0}*)(b{1} + at{1});",
           memory_type_name(node.dtype()), node.ints(0));
    }
    if (!node.is(Op::local_)) return;
    const std::string type = memory_type_name(node.dtype());
    if (memory_of(node) == Memory::shared) {
      declare_shared(node.dtype(), pointer_name(node), node.ints(1));
    } else if (is_private(node)) {
      line("{} {}[{}];", type, pointer_name(node), node.ints(1));
    } else {
      line(
          "__global {0}* const {1} = (__global {0}*)(scratch + (long)get_global_id(0) * {2} + "
          "{3});",
          type, pointer_name(node), scratch_size_, scratch_offset_.at(node));
    }
  }

  void declare_shared(DType dtype, const std::string& name, std::int64_t elements) {
    line("__local {} {}[{}] __attribute__((aligned({})));", memory_type_name(dtype), name, elements,
         group_alignment);
  }

  // An element for each thread, of each dtype in which threads combine what they hold.
  void declare_rooms(const Node& body) {
    std::map<DType, std::int64_t> widest;
    for (const Node& node : topological_order({&body, 1})) {
      if (!node.is(Op::group_reduce_)) continue;
      std::int64_t& width = widest[node.src(0).dtype()];
      width = std::max(width, node.ints(2));
    }
    for (const auto& [dtype, width] : widest) {
      declare_shared(dtype, room_name(dtype), (threads_ + width - 1) / width * width);
    }
  }
  static std::string room_name(DType dtype) { return fmt::format("room_{}", name(dtype)); }

  static std::string range_name(const Node& range) { return fmt::format("i{}", range.ints(0)); }

  static std::string pointer_name(const Node& pointer) {
    if (pointer.is(Op::param_)) return fmt::format("p{}", pointer.ints(0));
    const char letter = memory_of(pointer) == Memory::registers ? 'r' : 's';
    return fmt::format("{}{}", letter, pointer.ints(0));
  }

  static std::string_view space(const Node& pointer) {
    if (is_local(pointer, Memory::shared)) return "__local";
    return pointer.is(Op::local_) && is_private(pointer) ? "__private" : "__global";
  }

  std::string variable_name(const Node& variable) const {
    const auto found = std::find(kernel_.variables.begin(), kernel_.variables.end(), variable);
    check(found != kernel_.variables.end(), "a kernel lists its variables");
    return fmt::format("n{}", found - kernel_.variables.begin());
  }

  // ---- lines -------------------------------------------------------------------------------

  template <typename... Args>
  void line(fmt::format_string<Args...> format, Args&&... args) {
    lines_.append(static_cast<std::size_t>(indent_) * 2, ' ');
    lines_ += fmt::format(format, std::forward<Args>(args)...);
    lines_ += '\n';
  }

  void open(const std::string& before) {
    line("{} {{", before);
    ++indent_;
  }
  void close() {
    --indent_;
    line("}}");
  }

  // ---- statements --------------------------------------------------------------------------

  void statement(const Node& node) {
    switch (node.op()) {
      case Op::block_:
        for (const Node& src : node.srcs()) statement(src);
        return;
      case Op::loop_:
        if (is_loop(node, LoopKind::threads)) return threads_loop(node);
        if (!in_groups() || !has_threads(node)) return loop(node);
        // It begins as it was found, or as one of its rounds leaves it.
        return meetings_.around(shared_accesses(node), [&] { loop(node); });
      case Op::branch_:
        if (!in_groups() || !has_threads(node)) return branch(node);
        meet_before(shared_accesses(node.src(0)));
        return meetings_.around({}, [&] { branch(node); });
      case Op::group_reduce_: return group_reduce(node);
      case Op::store_: return store(node);
      case Op::prefetch_: return;  // a hint, which OpenCL's drivers do without
      default: unreachable("a statement");
    }
  }

  // Values live as long as their statement: it may have changed the memory that they read.
  void begin_statement(const Node& node) {
    values_.clear();
    uses_.clear();
    if (node.is(Op::store_)) count_uses(node);
    if (node.is(Op::branch_)) count_uses(node.src(0));
    if (node.is(Op::loop_)) count_uses(node.src(0).src(0));
  }

  void count_uses(const Node& root) {
    ++uses_[root];
    for (const Node& inner : topological_order({&root, 1})) {
      for (const Node& src : inner.srcs()) ++uses_[src];
    }
  }

  // ---- groups of threads ---------------------------------------------------------------------

  void meet_before(const SharedAccesses& next) {
    if (meetings_.wanted_before(next)) {
      line("barrier(CLK_LOCAL_MEM_FENCE | CLK_GLOBAL_MEM_FENCE);");
      meetings_.met();
    }
    meetings_.note(next);
  }

  // For the loop's threads, the first of the group.
  void threads_loop(const Node& node) {
    meet_before(shared_accesses(node));
    const std::int64_t size = Size(node.src(0).src(0)).value();
    open(size < threads_ ? fmt::format("if (get_local_id(0) < {})", size) : "");
    line("const long {} = (long)get_local_id(0);", range_name(node.src(0)));
    statement(node.src(1));
    close();
  }

  void group_reduce(const Node& node) {
    const DType dtype = node.src(0).dtype();
    for (std::int64_t i = 0; i < node.ints(1); ++i) {
      begin_statement(node);
      const std::string place =
          element(node.src(0), literal(constant_int(node.src(1).int_value() + i)), 0);
      const std::string mine = is_bool(dtype) ? fmt::format("({} != 0)", place) : place;
      line("{} = {};", place,
           opencl_c::group_reduce(helpers_, static_cast<ReduceOp>(node.ints(0)), dtype,
                                  node.ints(2), mine, room_name(dtype)));
    }
  }

  // ---- statements of one thread --------------------------------------------------------------

  void branch(const Node& node) {
    begin_statement(node);
    open(fmt::format("if ({})", bare(scalar(node.src(0)))));
    statement(node.src(1));
    close();
  }

  void loop(const Node& node) {
    begin_statement(node);
    check(static_cast<LoopKind>(node.ints(0)) != LoopKind::parallel, "a parallel loop is a phase");
    const std::string count = scalar(node.src(0).src(0));  // with its parentheses
    if (static_cast<LoopKind>(node.ints(0)) == LoopKind::unrolled) line("#pragma unroll");
    const std::string name = range_name(node.src(0));
    open(fmt::format("for (long {0} = 0; {0} < {1}; ++{0})", name, count));
    statement(node.src(1));
    close();
  }

  void store(const Node& node) {
    begin_statement(node);
    const Node& pointer = node.src(0);
    const Node& index = node.src(1);
    const int lanes = std::max(index.lanes(), node.src(2).lanes());
    std::optional<Value> gate;
    if (node.srcs().size() > 3) gate = value(node.src(3));
    const bool branches = gate && gate->lanes == 1;
    if (branches) {
      open(fmt::format("if ({})", bare(gate->pieces[0])));
      gate.reset();
    }
    const auto saved = values_;  // what only the branch computes stays in it
    const Value stored = value(node.src(2));
    const std::optional<Node> start =
        index.lanes() == 1 ? std::optional(index) : contiguous_start(index);
    if (start) {
      store_neighbours(pointer, *start, lanes, stored, gate);
    } else {
      store_each(pointer, value(index), lanes, stored, gate);
    }
    if (!branches) return;
    values_ = saved;
    close();
  }

  // A value's piece as it lies in memory.
  static std::string in_memory(DType dtype, int lanes, const std::string& text) {
    if (!is_bool(dtype) || lanes == 1) return bare(text);
    return fmt::format("as_uchar{}(-{})", lanes, text);
  }

  // How many neighbours an access may take at once as one aligned vector, given where it begins.
  int aligned_lanes(const Node& pointer, const Node& start) const {
    if (!in_groups() || space(pointer) == "__private") return 1;
    return aligned_elements(pointer.dtype(), start, group_alignment);
  }

  // With a name where several accesses begin from it.
  std::string first_place(const Node& start, const std::vector<int>& widths, int aligned) {
    const bool several = widths.size() > 1 || (aligned > 1 && aligned < widths[0]);
    return several ? named(DType::int64, 1, scalar(start)) : scalar(start);
  }

  void store_neighbours(const Node& pointer, const Node& start, int lanes, const Value& stored,
                        const std::optional<Value>& gate) {
    const DType dtype = pointer.dtype();
    const int aligned = aligned_lanes(pointer, start);
    const std::vector<int> widths = piece_lanes(lanes);
    const std::string at = first_place(start, widths, aligned);
    int offset = 0;
    for (std::size_t i = 0; i < widths.size(); ++i) {
      const std::string text = in_memory(dtype, widths[i], operand(stored, i, widths[i]));
      const std::string to = place(pointer, at, offset);
      if (gate && widths[i] == 1) {
        line("if ({}) *({}) = {};", bare(gate->pieces[i]), to, text);
      } else if (gate) {
        line("{};", helpers_.store(dtype, widths[i], space(pointer), to, text, gate->pieces[i]));
      } else if (widths[i] == 1) {
        line("{} = {};", element(pointer, at, offset), text);
      } else if (aligned > 1) {
        const int width = std::min(aligned, widths[i]);
        const std::string whole =
            width < widths[i] ? named(memory_type_name(dtype, widths[i]), text) : text;
        for (int k = 0; k < widths[i]; k += width) {
          line("*({} {}*)({}) = {};", space(pointer), memory_type_name(dtype, width),
               place(pointer, at, offset + k), part(whole, k, width, widths[i]));
        }
      } else {
        line("vstore{}({}, 0, {});", widths[i], text, to);
      }
      offset += widths[i];
    }
  }

  // The lanes from..from+lanes-1 of a vector of `all`.
  static std::string part(const std::string& vector, int from, int lanes, int all) {
    if (lanes == all) return vector;
    std::string text = vector + ".s";
    for (int i = 0; i < lanes; ++i) text += fmt::format("{:x}", from + i);
    return text;
  }

  void store_each(const Node& pointer, const Value& index, int lanes, const Value& stored,
                  const std::optional<Value>& gate) {
    for (int i = 0; i < lanes; ++i) {
      const std::string text = component(stored, i);
      const std::string to = element(pointer, component(index, i), 0);
      if (gate) {
        line("if ({}) {} = {};", bare(component(*gate, i)), to, bare(text));
      } else {
        line("{} = {};", to, bare(text));
      }
    }
  }

  static std::string component(const Value& value, int lane) {
    return value.lanes == 1 ? value.pieces[0] : gather(value.dtype, {{&value, lane}}).pieces[0];
  }

  static std::string place(const Node& pointer, const std::string& start, int offset) {
    return offset == 0 ? fmt::format("{} + {}", pointer_name(pointer), start)
                       : fmt::format("{} + {} + {}", pointer_name(pointer), start, offset);
  }
  static std::string element(const Node& pointer, const std::string& start, int offset) {
    return offset == 0 ? fmt::format("{}[{}]", pointer_name(pointer), bare(start))
                       : fmt::format("{}[{} + {}]", pointer_name(pointer), start, offset);
  }

  // ---- expressions -------------------------------------------------------------------------

  std::string scalar(const Node& node) { return value(node).pieces[0]; }

  Value value(const Node& node) {
    if (const auto found = values_.find(node); found != values_.end()) return found->second;
    Value result = render(node);
    if (!may_stay(node, result)) {
      const std::vector<int> widths = piece_lanes(result.lanes);
      for (std::size_t i = 0; i < widths.size(); ++i) {
        result.pieces[i] = named(result.dtype, widths[i], result.pieces[i]);
      }
    }
    values_.emplace(node, result);
    return result;
  }

  // Short scalars that are used once are written where they are used.
  bool may_stay(const Node& node, const Value& rendered) const {
    if (node.is_constant() || node.is(Op::range_) || node.is(Op::variable_)) return true;
    if (rendered.lanes > 1 || rendered.pieces[0].size() > longest_inline) return false;
    const auto uses = uses_.find(node);
    return (uses != uses_.end() && uses->second == 1) || rendered.pieces[0].size() <= 3;
  }

  std::string named(DType dtype, int lanes, const std::string& text) {
    return named(type_name(dtype, lanes), text);
  }
  std::string named(const std::string& type, const std::string& text) {
    std::string name = fmt::format("t{}", next_name_++);
    line("const {} {} = {};", type, name, bare(text));
    return name;
  }

  Value render(const Node& node) {
    switch (node.op()) {
      case Op::constant_: return {node.dtype(), 1, {literal(node)}};
      case Op::variable_: return {node.dtype(), 1, {variable_name(node)}};
      case Op::range_: return {node.dtype(), 1, {range_name(node)}};
      case Op::load_: return load(node);
      case Op::sin_: return sine(node);
      case Op::add_:
        if (std::optional<Value> sum = multiply_add(node)) return *sum;
        break;
      default: break;
    }
    std::vector<Value> srcs;
    for (const Node& src : node.srcs()) srcs.push_back(value(src));
    switch (node.op()) {
      case Op::splat_: return splat(node, srcs[0]);
      case Op::ramp_: return ramp(node, srcs[0]);
      case Op::lane_: return gather(node.dtype(), {{srcs.data(), static_cast<int>(node.ints(0))}});
      case Op::shuffle_: return shuffle(node, srcs);
      case Op::horizontal_: return horizontal(static_cast<ReduceOp>(node.ints(0)), srcs[0]);
      case Op::dot_: return dot(helpers_, srcs[0], srcs[1], srcs[2]);
      default:
        check(is_elementwise(node.op()), "an expression of a kernel");
        return elementwise(helpers_, node, srcs);
    }
  }

  // a * b + c as one expression, which the compiler may contract.
  std::optional<Value> multiply_add(const Node& node) {
    if (!is_float(node.dtype()) || is_narrow(node.dtype())) return std::nullopt;
    for (const std::size_t i : {1, 0}) {
      const Node& product = node.src(i);
      const auto uses = uses_.find(product);
      if (!product.is(Op::mul_) || uses == uses_.end() || uses->second > 1 ||
          values_.contains(product) || product.lanes() != node.lanes()) {
        continue;
      }
      const Value other = value(node.src(1 - i));
      const std::vector<Value> factors = {value(product.src(0)), value(product.src(1))};
      const Value inner = elementwise(helpers_, product, factors);
      const std::vector<Value> terms =
          i == 1 ? std::vector<Value>{other, inner} : std::vector<Value>{inner, other};
      return elementwise(helpers_, node, terms);
    }
    return std::nullopt;
  }

  static Value splat(const Node& node, const Value& source) {
    Value result{node.dtype(), node.lanes(), {}};
    const std::vector<int> widths = piece_lanes(node.lanes());
    for (std::size_t i = 0; i < widths.size(); ++i) {
      result.pieces.push_back(operand(source, i, widths[i]));
    }
    return result;
  }

  static Value ramp(const Node& node, const Value& start) {
    Value result{node.dtype(), node.lanes(), {}};
    int first = 0;
    for (const int width : piece_lanes(node.lanes())) {
      std::vector<int> steps;
      for (int i = 0; i < width; ++i) steps.push_back(first + i);
      const std::string type = type_name(node.dtype(), width);
      result.pieces.push_back(
          fmt::format("({} + ({})({}))", start.pieces[0], type, fmt::join(steps, ", ")));
      first += width;
    }
    return result;
  }

  static Value shuffle(const Node& node, const std::vector<Value>& srcs) {
    std::vector<Pick> picks;
    for (const std::int64_t lane : node.attr().ints) {
      const auto from = static_cast<std::size_t>(lane / srcs[0].lanes);
      picks.push_back({&srcs[from], static_cast<int>(lane % srcs[0].lanes)});
    }
    return gather(node.dtype(), picks);
  }

  // The upper half onto the lower one, an odd lane in the middle waiting, as kernel/interpret does.
  Value horizontal(ReduceOp op, Value vector) {
    while (vector.lanes > 1) {
      const int pairs = vector.lanes / 2;
      const int half = vector.lanes - pairs;
      Value sums = combine(helpers_, op, slice(vector, 0, pairs), slice(vector, half, pairs));
      const std::vector<int> widths = piece_lanes(pairs);
      for (std::size_t i = 0; i < widths.size(); ++i) {
        sums.pieces[i] = named(sums.dtype, widths[i], sums.pieces[i]);
      }
      if (pairs != half) {
        std::vector<Pick> picks;
        for (int i = 0; i < pairs; ++i) picks.push_back({&sums, i});
        picks.push_back({&vector, pairs});
        Value joined = gather(sums.dtype, picks);
        const std::vector<int> joined_widths = piece_lanes(half);
        for (std::size_t i = 0; i < joined_widths.size(); ++i) {
          joined.pieces[i] = named(joined.dtype, joined_widths[i], joined.pieces[i]);
        }
        sums = std::move(joined);
      }
      vector = std::move(sums);
    }
    return vector;
  }

  // Without float64 there is no reduction of large arguments to build on: the driver's sine, which
  // may be 4 ulp off. Otherwise large arguments branch into the long way.
  Value sine(const Node& node) {
    if (!target_.has_float64) {
      const std::vector<Value> srcs = {value(node.src(0))};
      return elementwise(helpers_, node, srcs);
    }
    const SplitSin split = split_sin(node.src(0));
    for (const Node& root : {split.near, split.is_near, split.anywhere}) count_uses(root);
    Value near = value(split.near);
    const Value is_near = value(split.is_near);
    const std::vector<int> widths = piece_lanes(node.lanes());
    std::string all_near;
    for (std::size_t i = 0; i < widths.size(); ++i) {
      const std::string text =
          widths[i] == 1 ? is_near.pieces[i] : fmt::format("all({})", bare(is_near.pieces[i]));
      all_near += (i == 0 ? "" : " && ") + text;
      const std::string name = fmt::format("t{}", next_name_++);
      line("{} {} = {};", type_name(node.dtype(), widths[i]), name, bare(near.pieces[i]));
      near.pieces[i] = name;
    }
    open(fmt::format("if (!({}))", bare(all_near)));
    uses_float64_ = true;
    const auto saved = values_;
    const Value far = value(split.anywhere);
    for (std::size_t i = 0; i < widths.size(); ++i) {
      line("{} = {};", near.pieces[i], bare(far.pieces[i]));
    }
    values_ = saved;
    close();
    return near;
  }

  // ---- memory ------------------------------------------------------------------------------

  Value load(const Node& node) {
    const Node& pointer = node.src(0);
    const Node& index = node.src(1);
    std::optional<Value> gate;
    if (node.srcs().size() > 2) gate = value(node.src(2));
    if (node.lanes() > 1 && index.is(Op::splat_) && (!gate || gate->lanes == 1)) {
      const std::string one = load_one(pointer, scalar(index.src(0)), gate, 0);
      return splat(node, {node.dtype(), 1, {one}});
    }
    const std::optional<Node> start =
        index.lanes() == 1 ? std::optional(index) : contiguous_start(index);
    if (start) return load_neighbours(node, *start, gate);
    const Value places = value(index);
    Value result{node.dtype(), node.lanes(), {}};
    int lane = 0;
    for (const int width : piece_lanes(node.lanes())) {
      std::vector<std::string> parts;
      for (int i = 0; i < width; ++i, ++lane) {
        parts.push_back(load_one(pointer, component(places, lane), gate, lane));
        if (width > 1 && is_bool(node.dtype())) parts.back() = "(char)(-" + parts.back() + ")";
      }
      result.pieces.push_back(width == 1 ? parts[0]
                                         : fmt::format("({})({})", type_name(node.dtype(), width),
                                                       fmt::join(parts, ", ")));
    }
    return result;
  }

  // One element, 0 where the gate (its one lane, or lane `lane`) is false.
  static std::string load_one(const Node& pointer, const std::string& at,
                              const std::optional<Value>& gate, int lane) {
    std::string text = element(pointer, at, 0);
    if (gate) text = fmt::format("({} ? {} : 0)", component(*gate, lane), text);
    if (is_bool(pointer.dtype())) return fmt::format("({} != 0)", text);
    return gate ? fmt::format("({}){}", type_name(pointer.dtype()), text) : text;
  }

  Value load_neighbours(const Node& node, const Node& start, const std::optional<Value>& gate) {
    const Node& pointer = node.src(0);
    const DType dtype = node.dtype();
    if (node.lanes() == 1) return {dtype, 1, {load_one(pointer, scalar(start), gate, 0)}};
    Value result{dtype, node.lanes(), {}};
    const int aligned = aligned_lanes(pointer, start);
    const std::vector<int> widths = piece_lanes(node.lanes());
    const std::string at = first_place(start, widths, aligned);
    int offset = 0;
    for (std::size_t i = 0; i < widths.size(); ++i) {
      const int width = widths[i];
      const std::string from = place(pointer, at, offset);
      std::string text;
      if (width == 1) {
        text = load_one(pointer, bare(from.substr(from.find('+') + 2)), gate, offset);
        result.pieces.push_back(text);
        offset += width;
        continue;
      }
      if (gate && gate->lanes > 1) {
        text = helpers_.load(dtype, width, space(pointer), from, gate->pieces[i]);
      } else {
        text = aligned > 1 ? aligned_load(pointer, at, offset, width, std::min(aligned, width))
                           : fmt::format("vload{}(0, {})", width, from);
        if (gate) {
          text = fmt::format("({} ? {} : ({})(0))", gate->pieces[0], text,
                             memory_type_name(dtype, width));
        }
      }
      if (is_bool(dtype))
        text = fmt::format("({} != ({})(0))", text, memory_type_name(dtype, width));
      result.pieces.push_back(text);
      offset += width;
    }
    return result;
  }

  // `lanes` neighbours as vectors of `width`.
  static std::string aligned_load(const Node& pointer, const std::string& at, int offset, int lanes,
                                  int width) {
    std::vector<std::string> parts;
    for (int k = 0; k < lanes; k += width) {
      parts.push_back(fmt::format("*(const {} {}*)({})", space(pointer),
                                  memory_type_name(pointer.dtype(), width),
                                  place(pointer, at, offset + k)));
    }
    if (parts.size() == 1) return "(" + parts[0] + ")";
    return fmt::format("({})({})", memory_type_name(pointer.dtype(), lanes),
                       fmt::join(parts, ", "));
  }

  const Kernel& kernel_;
  const Target& target_;
  Helpers helpers_;
  std::unordered_map<Node, std::int64_t, NodeHash> scratch_offset_;
  std::int64_t scratch_size_ = 0;
  bool uses_float64_ = false;

  // Of the phase being rendered.
  std::string lines_;
  int indent_ = 1;
  int next_name_ = 0;
  std::int64_t threads_ = 1;  // of a group
  SharedAccesses accesses_;   // of its threads
  Meetings meetings_;
  std::unordered_map<Node, Value, NodeHash> values_;  // of the statement
  std::unordered_map<Node, int, NodeHash> uses_;      // in the statement
};

}  // namespace

}  // namespace brisk::opencl_c

namespace brisk {

std::string opencl_source(const Kernel& kernel, const Target& target) {
  return opencl_c::Renderer(kernel, target).kernel();
}

CodeObject compile_opencl_c(const Kernel& kernel, const Target& target) {
  const std::string text = opencl_source(kernel, target);
  const auto* first = reinterpret_cast<const std::byte*>(text.data());
  return {{first, first + text.size()}, opencl_c::symbol_of(kernel)};
}

}  // namespace brisk
