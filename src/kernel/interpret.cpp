#include "kernel/interpret.h"

#include <algorithm>
#include <cstring>
#include <map>
#include <memory>
#include <unordered_map>
#include <utility>

#include "base/error.h"
#include "graph/elementwise.h"
#include "graph/evaluate.h"
#include "kernel/panel_product.h"
#include "kernel/print.h"
#include "kernel/tile.h"

namespace brisk {

namespace {

constexpr std::size_t longest_text = 300;  // of a statement in a message

std::size_t bytes_of(DType dtype, std::int64_t count) {
  return static_cast<std::size_t>(count * byte_size(dtype));
}

// What a pointer stands for.
struct Block {
  std::byte* bytes = nullptr;
  std::int64_t size = -1;      // bytes
  std::vector<std::byte> own;  // of locals and workspace; of registers and scratch for each thread
};

// Where a node's value is while its statement runs.
struct Slot {
  std::byte* bytes = nullptr;
  DType dtype = DType::none;
  int lanes = 1;
  Operand operand() const { return {dtype, bytes, lanes == 1 ? 0 : 1}; }
  std::int64_t index(int lane = 0) const {
    return reinterpret_cast<const std::int64_t*>(bytes)[lanes == 1 ? 0 : lane];
  }
  bool holds(int lane) const { return bytes[lanes == 1 ? 0 : lane] != std::byte{0}; }
};

struct Step;
using Program = std::vector<Step>;

// One node's evaluation: sources are evaluated by earlier steps.
struct Step {
  Node node;
  bool elementwise = false;
  Slot result;
  std::vector<Slot> srcs;
  std::vector<Operand> operands;
  Block* memory = nullptr;  // of a load or store
  struct Loop {
    std::int64_t* counter;
    Slot size;
  };
  std::vector<Loop> loops;  // of a reduction, with the sizes' values
  Program body;             // … and what is evaluated for each of their values
};

class Machine {
 public:
  Machine(std::string name, const std::vector<Param>& params, const std::vector<Node>& variables,
          std::span<const HostBuffer> buffers, std::span<const std::int64_t> values)
      : name_(std::move(name)) {
    check(buffers.size() == params.size(), "interpret: a buffer for each param");
    check(values.size() == variables.size(), "interpret: a value for each variable");
    for (std::size_t i = 0; i < params.size(); ++i) {
      params_.push_back({buffers[i].bytes, buffers[i].size, {}});
    }
    for (std::size_t i = 0; i < variables.size(); ++i) {
      std::memcpy(slot(variables[i]).bytes, &values[i], sizeof(std::int64_t));
    }
  }

  void add_workspace(std::int64_t bytes) {
    Block block;
    block.own.assign(static_cast<std::size_t>(bytes), std::byte{0xff});
    block.bytes = block.own.data();
    block.size = bytes;
    params_.push_back(std::move(block));
  }

  /// Locals start undefined in every task, a group of `threads`.
  void start_task(std::int64_t threads = 1) {
    threads_ = threads;
    for (auto& [local, block] : locals_) start_undefined(local, block);
    enter_thread(0);
  }

  /// What the task loaded together with its neighbours is what they did.
  void end_task(std::int64_t task, std::int64_t sharers) {
    const bool first = task % sharers == sharers - 1;  // tasks run from the last one on
    check(first || shared_loads_ == neighbours_loads_, "interpret: tasks that share load the same");
    neighbours_loads_ = std::exchange(shared_loads_, {});
  }

  /// Registers and scratch are this thread's from here on.
  void enter_thread(std::int64_t thread) {
    thread_ = thread;
    for (auto& [local, block] : locals_) show_thread(local, block);
  }

  /// See kernel.h: the upper halves of the threads onto the lower ones until one is left.
  void run_group_reduce(const Node& node) {
    constexpr Op ops[] = {Op::add_, Op::mul_, Op::max_};
    Block& block = memory(node.src(0));
    const DType dtype = node.src(0).dtype();
    const std::int64_t width = node.ints(2);
    for (std::int64_t e = 0; e < node.ints(1); ++e) {
      const auto at = [&](std::int64_t thread) {
        return block.own.data() + thread * block.size +
               (node.src(1).int_value() + e) * byte_size(dtype);
      };
      for (std::int64_t first = 0; first < node.ints(3); first += width) {
        for (std::int64_t half = width / 2; half > 0; half /= 2) {
          for (std::int64_t i = first; i < first + half; ++i) {
            const Operand both[] = {{dtype, at(i), 0}, {dtype, at(i + half), 0}};
            apply(ops[node.ints(0)], dtype, both, 1, at(i));
          }
        }
        for (std::int64_t i = first + 1; i < first + width; ++i)
          std::memcpy(at(i), at(first), static_cast<std::size_t>(byte_size(dtype)));
      }
    }
  }

  void run_arrive(const Node& node) {
    const std::int64_t place = run_size(node.src(1));
    check(place >= 0 && place < node.ints(1), "interpret: a place to arrive at");
    std::int64_t& arrived = arrivals_[{node.get(), place}];
    const std::int32_t last = ++arrived == node.ints(0) ? 1 : 0;
    std::memcpy(memory(node.src(0)).bytes, &last, sizeof(last));
  }

  /// See tile.h.
  void run_tile_copy(const Node& node) {
    const TileView view = view_of(node);
    const bool loads = node.is(Op::load_tile_);
    const std::int64_t width = byte_size(view.pointer.dtype());
    std::vector<std::int64_t> at;
    for (std::size_t i = 2; i < node.srcs().size(); ++i) at.push_back(run_size(node.src(i)));
    if (view.sharers > 1) shared_loads_.emplace_back(node.get(), at);
    std::vector<std::int64_t> sizes;
    std::vector<std::int64_t> strides = {1};
    for (const Size& size : view.sizes) sizes.push_back(run_size(size.node()));
    for (const Size& stride : view.strides) strides.push_back(run_size(stride.node()));
    const std::int64_t start = run_size(view.start.node());
    Block& tile = memory(node.src(0));
    Block& array = memory(view.pointer);
    for (std::int64_t r = 0; r < rows_in_box(view); ++r) {
      std::int64_t row = start;  // where its first column lies
      bool row_inside = true;
      std::int64_t left = r;
      for (std::size_t d = 1; d < at.size(); ++d) {
        const std::int64_t i = at[d] + left % view.box[d - 1] * view.steps[d - 1];
        left /= view.box[d - 1];
        row += i * strides[d];
        row_inside = row_inside && i >= 0 && i < sizes[d];
      }
      for (std::int64_t c = 0; c < view.columns; ++c) {
        const std::int64_t place = tile_index(static_cast<int>(width), view.rows, r, c) * width;
        check(place + width <= tile.size, "room for the tile");
        const std::int64_t column = at[0] + c;
        const bool inside = row_inside && column >= 0 && column < sizes[0];
        const std::int64_t from = (row + column) * width;
        check(!inside || array.size < 0 || (from >= 0 && from + width <= array.size),
              "a tile's array lies in its buffer");
        if (loads && !inside) std::memset(tile.bytes + place, 0, static_cast<std::size_t>(width));
        if (!inside) continue;
        std::byte* to = loads ? tile.bytes + place : array.bytes + from;
        const std::byte* source = loads ? array.bytes + from : tile.bytes + place;
        std::memcpy(to, source, static_cast<std::size_t>(width));
      }
    }
  }

  void run_matrix_step(const Node& node) {
    const MatrixStep step = step_of(node);
    const std::vector<double> a = is_local(node.src(1), Memory::registers)
                                      ? fragments(node.src(1), step.threads, step.rows, step.depth)
                                      : tile(node.src(1), step.rows, step.depth, step.a_by_depth);
    const std::vector<double> b = tile(node.src(2), step.columns, step.depth, step.b_by_depth);
    const bool accumulate = run_condition(node.src(3));
    Block& sums = memory(node.src(0));
    const bool integers = node.src(0).dtype() == DType::int32;
    for (std::int64_t r = 0; r < step.rows; ++r) {
      for (std::int64_t c = 0; c < step.columns; ++c) {
        const FragmentPlace place = fragment_place(step.threads, step.columns, r, c);
        std::byte* at = sums.own.data() + place.thread * sums.size + place.index * 4;
        double sum = 0;
        if (accumulate && integers) sum = *reinterpret_cast<const std::int32_t*>(at);
        if (accumulate && !integers) sum = *reinterpret_cast<const float*>(at);
        for (std::int64_t k = 0; k < step.depth; ++k)
          sum += a[static_cast<std::size_t>(r * step.depth + k)] *
                 b[static_cast<std::size_t>(c * step.depth + k)];
        if (integers) {
          *reinterpret_cast<std::int32_t*>(at) =
              static_cast<std::int32_t>(static_cast<std::int64_t>(sum));
        } else {
          *reinterpret_cast<float*>(at) = static_cast<float>(sum);
        }
      }
    }
  }

  /// See panel_product.h.
  void run_panel_product(const Node& node) {
    const PanelProduct product = panel_product_of(node);
    const Node& a = node.src(1);
    const Node& b = node.src(2);
    const std::int64_t group = group_bytes / byte_size(b.dtype());
    const std::int64_t a_first = run_size(node.src(3));
    const std::int64_t apart = run_size(node.src(4));
    const std::int64_t b_first = run_size(node.src(5));
    const std::int64_t there = std::min(run_size(node.src(6)), product.rows);
    Block& sums = memory(node.src(0));
    std::fill_n(sums.bytes, product.rows * product.columns * product.count * 4, std::byte{0xff});
    for (std::int64_t g = 0; g < product.count; ++g) {
      for (std::int64_t r = 0; r < there; ++r) {
        for (std::int64_t c = 0; c < product.columns; ++c) {
          double sum = 0;
          for (std::int64_t k = g * product.depth; k < (g + 1) * product.depth; ++k) {
            const std::int64_t in_panel =
                (k / group * product.columns + c) * group + k % group + b_first;
            sum += element(a, a_first + r * apart + k) * element(b, in_panel);
          }
          std::byte* at = sums.bytes + ((g * product.rows + r) * product.columns + c) * 4;
          if (is_integer(b.dtype())) {
            *reinterpret_cast<std::int32_t*>(at) = static_cast<std::int32_t>(sum);
          } else {
            *reinterpret_cast<float*>(at) = static_cast<float>(sum);
          }
        }
      }
    }
  }

  void run_store(const Node& store) { run(program(store)); }

  bool run_condition(const Node& condition) {
    run(program(condition));
    return slot(condition).holds(0);
  }

  std::int64_t run_size(const Node& size) {
    run(program(size));
    return slot(size).index();
  }

  std::int64_t& counter(const Node& range) {
    return *reinterpret_cast<std::int64_t*>(slot(range).bytes);
  }

 private:
  // An operand of a matrix step, row by row (or, of B, column by column), each of `depth` values.
  std::vector<double> tile(const Node& local, std::int64_t rows, std::int64_t depth,
                           bool by_depth) {
    const DType dtype = local.dtype();
    std::vector<double> values(static_cast<std::size_t>(rows * depth));
    for (std::int64_t r = 0; r < rows; ++r) {
      for (std::int64_t k = 0; k < depth; ++k) {
        const int width = byte_size(dtype);
        const std::int64_t at =
            by_depth ? tile_index(width, depth, k, r) : tile_index(width, rows, r, k);
        values[static_cast<std::size_t>(r * depth + k)] =
            number_at(dtype, memory(local).bytes + at * width);
      }
    }
    return values;
  }

  std::vector<double> fragments(const Node& local, std::int64_t threads, std::int64_t rows,
                                std::int64_t columns) {
    const Block& block = memory(local);
    const int width = byte_size(local.dtype());
    std::vector<double> values(static_cast<std::size_t>(rows * columns));
    for (std::int64_t r = 0; r < rows; ++r) {
      for (std::int64_t c = 0; c < columns; ++c) {
        const FragmentPlace place = fragment_place(threads, columns, r, c);
        values[static_cast<std::size_t>(r * columns + c)] = number_at(
            local.dtype(), block.own.data() + place.thread * block.size + place.index * width);
      }
    }
    return values;
  }

  double element(const Node& pointer, std::int64_t index) {
    const Block& block = memory(pointer);
    const int width = byte_size(pointer.dtype());
    check(index >= 0 && (block.size < 0 || (index + 1) * width <= block.size),
          "interpret: an operand of a product lies in its memory");
    return number_at(pointer.dtype(), block.bytes + index * width);
  }

  static double number_at(DType dtype, const std::byte* at) {
    double value = 0;
    const Operand operand{dtype, at, 0};
    apply(Op::cast_, DType::float64, {&operand, 1}, 1, reinterpret_cast<std::byte*>(&value));
    return value;
  }

  // ---- programs
  // ----------------------------------------------------------------------------------

  struct Scope {
    Program* program;
    std::vector<Node> ranges;
    std::unordered_map<const NodeData*, bool> done;
  };

  Program& program(const Node& root) {
    if (const auto found = programs_.find(root.get()); found != programs_.end())
      return found->second;
    Program& result = programs_[root.get()];
    std::vector<Scope> scopes(1);
    scopes[0].program = &result;
    emit(root, scopes);
    return result;
  }

  // Ranges that a value depends on, those of its ranges' sizes among them.
  const std::vector<Node>& free(const Node& node) {
    const auto found = free_.find(node.get());
    if (found != free_.end()) return found->second;
    std::vector<Node> ranges;
    const auto take = [&](const Node& range) {
      if (std::find(ranges.begin(), ranges.end(), range) == ranges.end()) ranges.push_back(range);
    };
    for (const Node& src : node.srcs()) {
      for (const Node& range : free(src)) take(range);
    }
    if (node.is(Op::range_)) take(node);
    if (node.is(Op::reduce_)) {
      std::erase_if(ranges, [&](const Node& range) {
        return std::find(node.srcs().begin() + 1, node.srcs().end(), range) != node.srcs().end();
      });
    }
    return free_.emplace(node.get(), std::move(ranges)).first->second;
  }

  // Appends the node's steps to the innermost scope whose ranges it depends on.
  void emit(const Node& node, std::vector<Scope>& scopes) {
    if (node.is(Op::range_)) return;
    if (node.is(Op::variable_)) {
      return check(slots_.contains(node.get()), "interpret: a variable that the kernel has");
    }
    std::size_t level = scopes.size() - 1;
    if (level > 0) {
      const std::vector<Node>& ranges = free(node);
      const auto depends = [&](const Scope& scope) {
        return std::any_of(ranges.begin(), ranges.end(), [&](const Node& range) {
          return std::find(scope.ranges.begin(), scope.ranges.end(), range) != scope.ranges.end();
        });
      };
      while (level > 0 && !depends(scopes[level])) --level;
    }
    if (scopes[level].done[node.get()]) return;
    scopes[level].done[node.get()] = true;
    if (node.is(Op::constant_)) return write_constant(node, slot(node).bytes);
    // Steps of outer scopes that are found on the way come before this one.
    std::vector<Scope> inner;
    while (scopes.size() > level + 1) {
      inner.insert(inner.begin(), std::move(scopes.back()));
      scopes.pop_back();
    }
    Step step;
    step.node = node;
    step.elementwise = is_elementwise(node.op());
    if (node.dtype() != DType::none) step.result = slot(node);
    if (node.is(Op::reduce_)) {
      reduction(node, step, scopes);
    } else {
      for (const Node& src : node.srcs()) {
        if (src.is(Op::param_) || src.is(Op::local_)) {
          step.memory = &memory(src);
          step.srcs.emplace_back();
          continue;
        }
        emit(src, scopes);
        step.srcs.push_back(slot(src));
        step.operands.push_back(slot(src).operand());
      }
    }
    scopes[level].program->push_back(std::move(step));
    for (Scope& scope : inner) scopes.push_back(std::move(scope));
  }

  void reduction(const Node& node, Step& step, std::vector<Scope>& scopes) {
    Scope scope;
    scope.program = &step.body;
    scope.ranges.assign(node.srcs().begin() + 1, node.srcs().end());
    for (const Node& range : scope.ranges) {
      emit(range.src(0), scopes);
      step.loops.push_back({&counter(range), slot(range.src(0))});
    }
    step.srcs = {slot(node.src(0))};
    scopes.push_back(std::move(scope));
    emit(node.src(0), scopes);
    scopes.pop_back();
  }

  const Slot& slot(const Node& node) {
    const auto found = slots_.find(node.get());
    if (found != slots_.end()) return found->second;
    const std::size_t bytes = bytes_of(node.dtype(), node.lanes());
    arena_.push_back(std::make_unique<std::uint64_t[]>((bytes + 7) / 8));
    kept_.push_back(node);
    const Slot fresh{reinterpret_cast<std::byte*>(arena_.back().get()), node.dtype(), node.lanes()};
    return slots_.emplace(node.get(), fresh).first->second;
  }

  Block& memory(const Node& pointer) {
    if (pointer.is(Op::param_)) {
      const auto i = static_cast<std::size_t>(pointer.ints(0));
      check(i < params_.size(), "interpret: a param that the kernel has");
      return params_[i];
    }
    Block& block = locals_[pointer.get()];
    if (block.bytes == nullptr) {
      block.size = pointer.ints(1) * byte_size(pointer.dtype());
      start_undefined(pointer.get(), block);
      show_thread(pointer.get(), block);
    }
    return block;
  }

  static bool is_shared(const NodeData* local) {
    return local->attr.ints[2] == static_cast<std::int64_t>(Memory::shared);
  }

  void start_undefined(const NodeData* local, Block& block) const {
    const std::int64_t copies = is_shared(local) ? 1 : threads_;
    block.own.assign(static_cast<std::size_t>(block.size * copies), std::byte{0xff});
  }

  void show_thread(const NodeData* local, Block& block) const {
    block.bytes = block.own.data() + (is_shared(local) ? 0 : thread_ * block.size);
  }

  // ---- running
  // -----------------------------------------------------------------------------------

  void run(const Program& steps) {
    for (const Step& step : steps) {
      const Node& node = step.node;
      if (step.elementwise) {
        apply(node.op(), node.dtype(), step.operands, step.result.lanes, step.result.bytes);
        continue;
      }
      switch (node.op()) {
        case Op::load_: load(step); break;
        case Op::store_: store(step); break;
        case Op::reduce_: reduce(step); break;
        case Op::horizontal_: horizontal(step); break;
        case Op::dot_: dot(step); break;
        case Op::ramp_: {
          auto* out = reinterpret_cast<std::int64_t*>(step.result.bytes);
          for (int i = 0; i < step.result.lanes; ++i) out[i] = step.srcs[0].index() + i;
          break;
        }
        case Op::splat_:
          for (int i = 0; i < step.result.lanes; ++i) copy_lane(step, i, step.srcs[0], 0);
          break;
        case Op::lane_: copy_lane(step, 0, step.srcs[0], static_cast<int>(node.ints(0))); break;
        case Op::shuffle_:
          for (int i = 0; i < step.result.lanes; ++i) {
            const auto pick = static_cast<int>(node.ints(static_cast<std::size_t>(i)));
            const int lanes = step.srcs[0].lanes;
            copy_lane(step, i, step.srcs[pick < lanes ? 0 : 1], pick % lanes);
          }
          break;
        default:
          throw InternalError(
              fmt::format("interpret {}: '{}' is no part of a kernel", name_, name(node.op())));
      }
    }
  }

  static void copy_lane(const Step& step, int to, const Slot& from, int lane) {
    const int width = byte_size(from.dtype);
    std::memcpy(step.result.bytes + to * width, from.bytes + lane * width,
                static_cast<std::size_t>(width));
  }

  // Calls f(lane, address) for the lanes of an access that the gate lets through.
  template <typename F>
  void access(const Step& step, int lanes, std::size_t gate, F f) const {
    const Slot& index = step.srcs[1];
    const std::int64_t width = byte_size(step.node.src(0).dtype());
    for (int i = 0; i < lanes; ++i) {
      if (step.srcs.size() > gate && !step.srcs[gate].holds(i)) continue;
      const std::int64_t at = index.lanes == 1 ? index.index() + i : index.index(i);
      const std::int64_t size = step.memory->size;
      if (size >= 0 && (at < 0 || at >= size / width)) {
        throw InternalError(fmt::format("interpret {}: index {} is outside of {} elements, in {}",
                                        name_, at, size / width, text(step.node)));
      }
      f(i, step.memory->bytes + at * width, static_cast<std::size_t>(width));
    }
  }

  static std::string text(const Node& node) {
    const std::string full = node.is(Op::store_) ? print_statement(node) : print_expression(node);
    return full.substr(0, longest_text);
  }

  void load(const Step& step) const {
    if (step.srcs.size() == 3) {
      std::memset(step.result.bytes, 0, bytes_of(step.result.dtype, step.result.lanes));
    }
    access(step, step.result.lanes, 2, [&](int lane, const std::byte* at, std::size_t width) {
      std::memcpy(step.result.bytes + static_cast<std::size_t>(lane) * width, at, width);
    });
  }

  void store(const Step& step) const {
    const Slot& value = step.srcs[2];
    access(step, value.lanes, 3, [&](int lane, std::byte* at, std::size_t width) {
      std::memcpy(at, value.bytes + static_cast<std::size_t>(lane) * width, width);
    });
  }

  void reduce(const Step& step) {
    Accumulators sum(static_cast<ReduceOp>(step.node.ints(0)), step.result.dtype);
    reduce_loops(step, 0, sum);
    sum.finish(step.result.bytes);
  }

  void reduce_loops(const Step& step, std::size_t depth, Accumulators& sum) {
    if (depth == step.loops.size()) {
      run(step.body);
      return sum.take(0, 0, step.srcs[0].bytes, 1);
    }
    const std::int64_t size = step.loops[depth].size.index();
    for (std::int64_t i = 0; i < size; ++i) {
      *step.loops[depth].counter = i;
      reduce_loops(step, depth + 1, sum);
    }
  }

  // Halves are combined until one lane is left.
  static void horizontal(const Step& step) {
    constexpr Op ops[] = {Op::add_, Op::mul_, Op::max_};
    const Slot& vector = step.srcs[0];
    const int width = byte_size(vector.dtype);
    std::vector<std::byte> rest(vector.bytes, vector.bytes + vector.lanes * width);
    for (int lanes = vector.lanes; lanes > 1; lanes = (lanes + 1) / 2) {
      const int half = (lanes + 1) / 2;
      const Operand both[] = {{vector.dtype, rest.data(), 1},
                              {vector.dtype, rest.data() + half * width, 1}};
      apply(ops[step.node.ints(0)], vector.dtype, both, lanes - half, rest.data());
    }
    std::memcpy(step.result.bytes, rest.data(), static_cast<std::size_t>(width));
  }

  // Of 8 or 16 bits.
  static std::int64_t integer_at(const Slot& vector, int lane) {
    switch (vector.dtype) {
      case DType::uint8: return reinterpret_cast<const std::uint8_t*>(vector.bytes)[lane];
      case DType::int8: return reinterpret_cast<const std::int8_t*>(vector.bytes)[lane];
      default: return reinterpret_cast<const std::int16_t*>(vector.bytes)[lane];
    }
  }

  static void dot(const Step& step) {
    for (int i = 0; i < step.result.lanes; ++i) {
      if (step.result.dtype == DType::int32) {
        const int group = byte_size(step.srcs[1].dtype) == 1 ? 4 : 2;
        std::int64_t sum = reinterpret_cast<const std::int32_t*>(step.srcs[0].bytes)[i];
        for (int j = group * i; j < group * (i + 1); ++j) {
          sum += integer_at(step.srcs[1], j) * integer_at(step.srcs[2], j);
        }
        reinterpret_cast<std::int32_t*>(step.result.bytes)[i] = static_cast<std::int32_t>(sum);
      } else {
        const auto* a = reinterpret_cast<const std::uint16_t*>(step.srcs[1].bytes) + 2 * i;
        const auto* b = reinterpret_cast<const std::uint16_t*>(step.srcs[2].bytes) + 2 * i;
        double sum = reinterpret_cast<const float*>(step.srcs[0].bytes)[i];
        for (int j = 0; j < 2; ++j) {
          sum += static_cast<double>(bfloat16_to_float(a[j])) * bfloat16_to_float(b[j]);
        }
        reinterpret_cast<float*>(step.result.bytes)[i] = static_cast<float>(sum);
      }
    }
  }

  std::string name_;
  std::vector<Block> params_;
  using Load = std::pair<const NodeData*, std::vector<std::int64_t>>;  // and its coordinates
  std::vector<Load> shared_loads_, neighbours_loads_;                  // of tasks that share
  std::map<std::pair<const NodeData*, std::int64_t>, std::int64_t> arrivals_;  // groups at a place
  std::unordered_map<const NodeData*, Block> locals_;
  std::int64_t threads_ = 1;  // of the task, a group
  std::int64_t thread_ = 0;   // the one that runs
  std::unordered_map<const NodeData*, Slot> slots_;
  std::vector<std::unique_ptr<std::uint64_t[]>> arena_;
  std::vector<Node> kept_;  // nodes with slots stay alive, so that their addresses stay theirs
  std::unordered_map<const NodeData*, Program> programs_;
  std::unordered_map<const NodeData*, std::vector<Node>> free_;
};

void run_statement(const Node& statement, Machine& machine) {
  switch (statement.op()) {
    case Op::block_:
      for (const Node& part : statement.srcs()) run_statement(part, machine);
      break;
    case Op::loop_: {
      const std::int64_t size = machine.run_size(statement.src(0).src(0));
      std::int64_t& counter = machine.counter(statement.src(0));
      if (is_loop(statement, LoopKind::threads)) {
        for (std::int64_t thread = size; thread-- > 0;) {
          machine.enter_thread(thread);
          counter = thread;
          run_statement(statement.src(1), machine);
        }
        break;
      }
      for (std::int64_t i = 0; i < size; ++i) {
        counter = i;
        run_statement(statement.src(1), machine);
      }
      break;
    }
    case Op::branch_:
      if (machine.run_condition(statement.src(0))) run_statement(statement.src(1), machine);
      break;
    case Op::prefetch_:
    case Op::finish_steps_: break;
    case Op::group_reduce_: machine.run_group_reduce(statement); break;
    case Op::arrive_: machine.run_arrive(statement); break;
    case Op::load_tile_:
    case Op::store_tile_: machine.run_tile_copy(statement); break;
    case Op::matrix_step_: machine.run_matrix_step(statement); break;
    case Op::panel_product_: machine.run_panel_product(statement); break;
    default: machine.run_store(statement);
  }
}

void run_phase(const Node& phase, Machine& machine) {
  const std::int64_t threads = threads_of(phase);
  if (!is_loop(phase, LoopKind::parallel)) {
    machine.start_task(threads);
    return run_statement(phase, machine);
  }
  std::int64_t& counter = machine.counter(phase.src(0));
  const std::int64_t tasks = machine.run_size(phase.src(0).src(0));
  const std::int64_t sharers = sharers_of(phase);
  check(tasks % sharers == 0, "interpret: tasks that share are complete");
  for (std::int64_t task = tasks; task-- > 0;) {
    counter = task;
    machine.start_task(threads);
    run_statement(phase.src(1), machine);
    machine.end_task(task, sharers);
  }
}

// Calls f for every value of the ranges, outermost first.
template <typename F>
void for_ranges(std::span<const Node> ranges, Machine& machine, const F& f) {
  if (ranges.empty()) return f();
  const std::int64_t size = machine.run_size(ranges[0].src(0));
  std::int64_t& counter = machine.counter(ranges[0]);
  for (std::int64_t i = 0; i < size; ++i) {
    counter = i;
    for_ranges(ranges.subspan(1), machine, f);
  }
}

}  // namespace

void interpret(const Kernel& kernel, std::span<const HostBuffer> params,
               std::span<const std::int64_t> variables) {
  Machine machine(kernel.name, kernel.params, kernel.variables, params, variables);
  Variables named;
  for (std::size_t i = 0; i < variables.size(); ++i) {
    named[kernel.variables[i].attr().name] = variables[i];
  }
  for (const Kernel::Workspace& space : kernel.workspace) {
    machine.add_workspace(evaluate_size(space.elements, named) * byte_size(space.dtype));
  }
  if (!kernel.body.is(Op::block_)) return run_phase(kernel.body, machine);
  for (const Node& phase : kernel.body.srcs()) run_phase(phase, machine);
}

void interpret(const LoweredKernel& kernel, std::span<const HostBuffer> params,
               std::span<const std::int64_t> variables) {
  Machine machine("a lowered kernel", kernel.params, kernel.variables, params, variables);
  for (const Part& part : kernel.parts) {
    for_ranges(part.outer, machine, [&] {
      machine.start_task();
      for (const Stage& stage : part.stages) {
        for_ranges(stage.ranges, machine, [&] {
          for (const Node& store : stage.stores) machine.run_store(store);
        });
      }
    });
  }
}

}  // namespace brisk
