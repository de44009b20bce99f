// Matrix products of narrow numbers for the strategies of matrix units: graphs with data, and their
// kernels for a target.
#pragma once

#include <gtest/gtest.h>

#include <cmath>
#include <limits>
#include <random>
#include <unordered_map>

#include "graph/elementwise.h"
#include "graph/evaluate.h"
#include "graph/rules_simplify.h"
#include "kernel/interpret.h"
#include "kernel/lower.h"
#include "kernel/print.h"
#include "kernel/verify.h"
#include "optimize/optimize.h"
#include "schedule/fuse.h"

namespace brisk::test {

/// A product of X (batch × m × k) and Y (batch × n × k), either lying transposed.
struct TileCase {
  const char* name;
  DType dtype = DType::bfloat16;
  DType result = DType::bfloat16;
  std::int64_t batch = 1, m = 128, n = 128, k = 128;
  bool x_turned = false;
  bool y_turned = false;
  bool fused = false;      // a factor of X before it, a bias, a residual and a maximum after it
  bool gated = false;      // times the same X's product with another Y
  int residuals = 1;       // where fused
  bool rounded = false;    // to the operands' dtype, before what follows
  std::int64_t heads = 1;  // the result's columns lie in so many matrices, one after the other
};

/// Tiles of the second operand are copied by two groups together, where they may be.
inline std::optional<std::string> two_sharers(const std::string& shapes) {
  return shapes.ends_with(" sharers") ? std::optional<std::string>("2") : std::nullopt;
}
/// Products with an even number of rows of tiles.
inline std::vector<TileCase> shared_cases() {
  return {{.name = "plain", .m = 512, .n = 384, .k = 1024},
          {.name = "turned", .m = 256, .n = 96, .k = 128, .x_turned = true, .y_turned = true},
          {.name = "ragged", .m = 250, .n = 200, .k = 136, .fused = true},
          {.name = "gated", .m = 256, .n = 192, .k = 320, .gated = true},
          {.name = "bytes", .dtype = DType::int8, .result = DType::int32, .m = 256, .k = 512},
          {.name = "batched", .batch = 8, .m = 512, .n = 128, .k = 192}};
}

/// A convolution of images (height × width × channels) with `filters` of kernel × kernel.
struct ConvolutionCase {
  const char* name;
  DType dtype = DType::bfloat16;
  DType result = DType::bfloat16;
  std::int64_t images = 2, height = 14, width = 14, channels = 64, filters = 64, kernel = 3;
  std::int64_t padding = 1, stride = 1, dilation = 1, groups = 1;
  bool filters_turned = false;  // filters × channels × kernel × kernel in memory
  bool channels_first = false;  // in the images and the result
  bool fused = false;           // a bias, a residual and a maximum after it
  bool computed = false;        // images: a shift by channel and a maximum before it
  bool copied_first = false;    // the windows, into memory; not read from where the images lie
};

/// Attention of `heads` times queries × width with keys × width, and values of `columns`.
struct AttentionCase {
  const char* name;
  DType dtype = DType::bfloat16;
  DType result = DType::bfloat16;
  std::int64_t heads = 1, queries = 128, keys = 128, width = 64, columns = 64;
  bool causal = false;
  bool falling = false;     // a causal mask, but of later rows that see less
  bool masked = false;      // by numbers that are added
  std::int64_t shared = 1;  // heads of queries that share keys
  bool totals = false;      // the logarithms of the exponentials' sums are wanted too
  /// Bytes known not to find room in registers: of few keys all rounds are written out, and of
  /// masks every element's counters are computed.
  std::int64_t spilled = 0;
};

class TileProgram {
 public:
  explicit TileProgram(const AttentionCase& c) {
    const auto as_float = [&](std::vector<std::int64_t> sizes) {
      return cast(leaf(c.dtype, std::move(sizes)), DType::float32);
    };
    const std::int64_t groups = c.heads / c.shared;
    const Shape scored = {groups, c.shared, c.queries, c.keys};
    const auto product = [](const Node& a, const Node& b, const Shape& cube) {
      const Shape to = {cube[0], cube[1], cube[2], cube[3], cube[4]};
      return mul(expand(a, to), expand(b, to));
    };
    const Node query =
        reshape(as_float({c.heads, c.queries, c.width}), {groups, c.shared, c.queries, 1, c.width});
    const Node keys = reshape(as_float({groups, c.keys, c.width}), {groups, 1, 1, c.keys, c.width});
    const Node score = reduce(
        ReduceOp::add, product(query, keys, {groups, c.shared, c.queries, c.keys, c.width}), {4});
    Node scores = mul(reshape(score, scored), constant(0.125F, scored));
    if (c.masked) {
      const Node mask = cast(leaf(DType::float32, {c.queries, c.keys}), DType::float32);
      scores = add(scores, expand(reshape(mask, {1, 1, c.queries, c.keys}), scored));
    }
    if (c.causal) {
      const Node row = c.falling ? flip(iota(c.queries), {0}) : iota(c.queries);
      const Node last = expand(reshape(row, {1, 1, c.queries, 1}), scored);
      const Node key = expand(reshape(iota(c.keys), {1, 1, 1, c.keys}), scored);
      const Node hides = expand(reshape(constant_int(1, DType::boolean), {1, 1, 1, 1}), scored);
      scores = where(cmpne(cmplt(last, key), hides), scores,
                     constant(-std::numeric_limits<float>::infinity(), scored));
    }
    const Shape column = {groups, c.shared, c.queries, 1};
    const Node greatest = expand(reshape(reduce(ReduceOp::max, scores, {3}), column), scored);
    const Node below = add(scores, mul(greatest, constant(-1, scored)));
    const Node e = exp2(mul(below, constant(1.4426950408889634F, scored)));
    const Node total = reshape(reduce(ReduceOp::add, e, {3}), column);
    const Node weight = cast(mul(e, expand(recip(total), scored)), c.dtype);
    const Node value = permute(as_float({groups, c.keys, c.columns}), {0, 2, 1});
    const Node weights =
        reshape(cast(weight, DType::float32), {groups, c.shared, c.queries, 1, c.keys});
    const Node values = reshape(value, {groups, 1, 1, c.columns, c.keys});
    const Node sum =
        reduce(ReduceOp::add,
               product(weights, values, {groups, c.shared, c.queries, c.columns, c.keys}), {4});
    root = cast(reshape(sum, {c.heads, c.queries, c.columns}), c.result);
    if (c.totals) {
      const Node most = reshape(reduce(ReduceOp::max, scores, {3}), column);
      totals = reshape(add(log2(total), most), {c.heads, c.queries});
    }
  }

  explicit TileProgram(const TileCase& c) {
    const Node x = operand(c.dtype, c.batch, c.m, c.k, c.x_turned);
    const Node y = operand(c.dtype, c.batch, c.n, c.k, c.y_turned);
    const DType sum = is_integer(c.dtype) ? DType::int32 : DType::float32;
    const Shape cube = {c.batch, c.m, c.n, c.k};
    Node factor = x;
    if (c.fused) factor = cast(mul(cast(x, sum), constant_float(0.5)), c.dtype);
    const Node a = expand(reshape(cast(factor, sum), {c.batch, c.m, 1, c.k}), cube);
    const Node b = expand(reshape(cast(y, sum), {c.batch, 1, c.n, c.k}), cube);
    Node result = reshape(reduce(ReduceOp::add, mul(a, b), {3}), {c.batch, c.m, c.n});
    if (c.gated) {
      const Node gate = operand(c.dtype, c.batch, c.n, c.k, c.y_turned);
      const Node g = expand(reshape(cast(gate, sum), {c.batch, 1, c.n, c.k}), cube);
      result = mul(result, reshape(reduce(ReduceOp::add, mul(a, g), {3}), {c.batch, c.m, c.n}));
    }
    if (c.rounded) result = cast(cast(result, c.dtype), sum);
    if (c.fused) {
      const Shape all = {c.batch, c.m, c.n};
      const Node bias = expand(reshape(leaf(DType::float32, {c.n}), {1, 1, c.n}), all);
      result = add(result, bias);
      for (int i = 0; i < c.residuals; ++i)
        result = add(result, cast(leaf(c.dtype, {c.batch, c.m, c.n}), sum));
      result = max(result, expand(reshape(constant_float(-3), {1, 1, 1}), all));
    }
    if (c.heads > 1) {
      const Shape split = {c.batch, c.m, c.heads, c.n / c.heads};
      result = permute(reshape(result, split), {0, 2, 1, 3});
    }
    root = c.result == sum ? result : cast(result, c.result);
  }

  explicit TileProgram(const ConvolutionCase& c) {
    const DType sum = is_integer(c.dtype) ? DType::int32 : DType::float32;
    const std::int64_t k = c.kernel;
    const Size none(0);
    Node x = c.channels_first
                 ? permute(leaf(c.dtype, {c.images, c.channels, c.height, c.width}), {0, 2, 3, 1})
                 : leaf(c.dtype, {c.images, c.height, c.width, c.channels});
    if (c.computed) {
      const Shape image = x.shape();
      const Node shift = expand(reshape(leaf(c.dtype, {c.channels}), {1, 1, 1, c.channels}), image);
      x = max(add(x, shift), cast(constant(1, image), c.dtype));
    }
    x = pad(x, {none, none, c.padding, c.padding, c.padding, c.padding, none, none});
    x = windows(windows(x, 1, c), 2, c);  // image, y, x, channel, dy, dx
    const Shape places(x.shape().begin(), x.shape().begin() + 3);
    const std::int64_t each = c.channels / c.groups;
    Shape cube = {places[0], places[1], places[2], c.groups, c.filters / c.groups, each, k, k};
    const Node w = c.filters_turned ? leaf(c.dtype, {c.filters, each, k, k})
                                    : permute(leaf(c.dtype, {c.filters, k, k, each}), {0, 3, 1, 2});
    const Node a = expand(
        reshape(cast(x, sum), {places[0], places[1], places[2], c.groups, 1, each, k, k}), cube);
    const Node b =
        expand(reshape(cast(w, sum), {1, 1, 1, c.groups, c.filters / c.groups, each, k, k}), cube);
    const Shape all = {places[0], places[1], places[2], c.filters};
    Node result = reshape(reduce(ReduceOp::add, mul(a, b), {5, 6, 7}), all);
    if (c.fused) {
      const Node bias = leaf(DType::float32, {c.filters});
      const Node residual = leaf(c.dtype, static_shape(all));
      result =
          add(add(result, expand(reshape(bias, {1, 1, 1, c.filters}), all)), cast(residual, sum));
      result = max(result, constant(0, all));
    }
    if (c.channels_first) result = permute(result, {0, 3, 1, 2});
    root = c.result == sum ? result : cast(result, c.result);
  }

  /// Calls `visit(lowered, buffers)` for each kernel.
  template <typename Visit>
  void each(const Target& target, const Visit& visit) {
    std::vector<Node> roots = {root};
    if (totals) roots.push_back(totals);
    const std::vector<Node> simple = simplify(roots);
    const KernelList list = fuse(simple, target);
    for (const ScheduledKernel& scheduled : list.kernels) {
      const Lowering lowering = lower(scheduled.outputs, list.stored);
      std::vector<HostBuffer> buffers;
      for (const Node& argument : lowering.arguments) buffers.push_back(memory(argument));
      visit(lowering.kernel, buffers);
    }
    result = memory(memory_of(simple[0]));
    if (totals) result_totals = memory(memory_of(simple[1]));
  }

  /// Runs `run(kernel, buffers)` for each kernel, scheduled by what is known of decisions; gives
  /// their names.
  template <typename Run>
  std::vector<std::string> run(const Target& target, const Run& run_kernel,
                               const Decisions::Known& known = {}) {
    std::vector<std::string> names;
    each(target, [&](const LoweredKernel& lowered, const std::vector<HostBuffer>& buffers) {
      Decisions decisions(known);
      const Kernel kernel = optimize(lowered, target, decisions);
      text += print(kernel);
      verify_kernel(kernel, "optimize");
      run_kernel(kernel, buffers);
      names.push_back(kernel.name);
    });
    return names;
  }

  Array wanted() const { return wanted(root); }
  Array wanted(const Node& value) const {
    return evaluate(value, {{}, [&](const Node& b) { return arrays_.at(b); }});
  }

  Node root, totals;
  HostBuffer result, result_totals;
  std::string text;  // of the kernels

 private:
  static Node constant(float value, const Shape& shape) {
    Shape ones(shape.size(), 1);
    return expand(reshape(constant_float(value), ones), shape);
  }

  // Windows along the axis, places where it was, what is in them as a last axis: repeated, and cut
  // into rows of which each begins `dilation` later.
  static Node windows(const Node& x, int axis, const ConvolutionCase& c) {
    const std::int64_t have = x.shape()[axis].value();
    const std::int64_t span = ((have - c.dilation * (c.kernel - 1) - 1) / c.stride + 1) * c.stride;
    const std::int64_t row = (span > have ? 2 : 1) * have + c.dilation;
    const std::int64_t repeats = (c.kernel * row + have - 1) / have;
    const auto with = [&](const Node& node, std::vector<std::int64_t> sizes, int old) {
      Shape shape = node.shape();
      shape.erase(shape.begin() + axis, shape.begin() + axis + old);
      shape.insert(shape.begin() + axis, sizes.begin(), sizes.end());
      return shape;
    };
    const auto cut = [&](const Node& node, int at, std::int64_t size) {
      Shape box;
      for (const Size& whole : node.shape()) box.insert(box.end(), {Size(0), whole});
      box[2 * at + 1] = size;
      return shrink(node, box);
    };
    Node y = reshape(x, with(x, {1, have}, 1));
    y = expand(y, with(y, {repeats, have}, 2));
    y = cut(reshape(y, with(y, {repeats * have}, 2)), axis, c.kernel * row);
    y = cut(reshape(y, with(y, {c.kernel, row}, 1)), axis + 1, span);
    y = cut(reshape(y, with(y, {c.kernel, span / c.stride, c.stride}, 2)), axis + 2, 1);
    y = reshape(y, with(y, {c.kernel, span / c.stride}, 3));
    std::vector<int> order;
    for (int i = 0; i < y.rank(); ++i) {
      if (i != axis) order.push_back(i);
    }
    order.push_back(axis);
    return permute(y, order);
  }

  // Small whole numbers and halves, which every narrow dtype holds.
  Node leaf(DType dtype, std::vector<std::int64_t> sizes) {
    const Node node = buffer(dtype, Shape(sizes.begin(), sizes.end()), nullptr);
    std::int64_t count = 1;
    for (const std::int64_t size : sizes) count *= size;
    std::vector<float> values(static_cast<std::size_t>(count));
    for (float& value : values) {
      value = static_cast<float>(static_cast<int>(random_() % 9) - 4);
      if (is_float(dtype)) value /= 2;
    }
    Array array{dtype, std::move(sizes), {}};
    array.bytes.resize(static_cast<std::size_t>(count * byte_size(dtype)));
    const Operand all{DType::float32, reinterpret_cast<const std::byte*>(values.data()), 1};
    apply(Op::cast_, dtype, {&all, 1}, count, array.bytes.data());
    arrays_.emplace(node, std::move(array));
    return node;
  }

  Node operand(DType dtype, std::int64_t batch, std::int64_t rows, std::int64_t k, bool turned) {
    if (!turned) return leaf(dtype, {batch, rows, k});
    return permute(leaf(dtype, {batch, k, rows}), {0, 2, 1});
  }

  HostBuffer memory(const Node& argument) {
    auto found = arrays_.find(argument);
    if (found == arrays_.end()) {
      Array array{argument.dtype(), static_shape(argument.shape()), {}};
      const std::int64_t count = element_count(argument.shape()).value();
      array.bytes.resize(static_cast<std::size_t>(count * byte_size(argument.dtype())),
                         std::byte{0xff});
      found = arrays_.emplace(argument, std::move(array)).first;
    }
    auto& bytes = found->second.bytes;
    return {bytes.data(), static_cast<std::int64_t>(bytes.size())};
  }

  std::mt19937 random_{1};
  std::unordered_map<Node, Array, NodeHash> arrays_;
};

inline const std::vector<TileCase>& tile_cases() {
  static const std::vector<TileCase> cases = {
      {.name = "plain"},
      {.name = "wide", .m = 256, .n = 512, .k = 192},
      {.name = "x_turned", .x_turned = true},
      {.name = "y_turned", .y_turned = true},
      {.name = "both_turned", .x_turned = true, .y_turned = true},
      {.name = "ragged", .m = 200, .n = 136, .k = 104},
      {.name = "odd", .m = 131, .n = 67, .k = 99},
      {.name = "odd_turned", .m = 65, .n = 99, .k = 77, .x_turned = true, .y_turned = true},
      {.name = "batched", .batch = 3, .m = 72, .n = 64, .k = 64},
      {.name = "fused", .m = 130, .n = 96, .k = 80, .fused = true},
      {.name = "residuals", .m = 130, .n = 104, .k = 80, .fused = true, .residuals = 2},
      {.name = "rounded",
       .m = 260,
       .n = 256,
       .k = 96,
       .fused = true,
       .residuals = 2,
       .rounded = true},
      {.name = "gated", .result = DType::float32, .m = 192, .n = 160, .k = 96, .gated = true},
      {.name = "heads", .m = 130, .n = 192, .k = 96, .heads = 3},
      {.name = "odd_heads", .batch = 2, .m = 70, .n = 132, .k = 72, .heads = 6},
      {.name = "to_float32", .result = DType::float32, .m = 64, .n = 256},
      {.name = "halves", .dtype = DType::float16, .result = DType::float16},
      {.name = "bytes", .dtype = DType::int8, .result = DType::int32, .k = 256},
      {.name = "e4m3", .dtype = DType::float8_e4m3, .result = DType::float32, .k = 256},
      {.name = "e5m2_turned", .dtype = DType::float8_e5m2, .y_turned = true},
  };
  return cases;
}

/// Products for groups of threads without matrix units: of numbers that these do not take, or, on
/// processors that have none, of any.
inline const std::vector<TileCase>& group_cases() {
  constexpr DType f32 = DType::float32;
  const auto with = [](TileCase c, DType dtype, DType result) {
    c.dtype = dtype;
    c.result = result;
    return c;
  };
  static const std::vector<TileCase> cases = {
      with({.name = "plain", .k = 40}, f32, f32),
      with({.name = "x_turned", .m = 64, .k = 48, .x_turned = true}, f32, f32),
      with({.name = "y_turned", .m = 64, .k = 48, .y_turned = true}, f32, f32),
      with({.name = "both_turned", .m = 64, .k = 48, .x_turned = true, .y_turned = true}, f32, f32),
      with({.name = "least", .m = 16, .n = 16, .k = 16}, f32, f32),
      with({.name = "ragged", .m = 100, .n = 68, .k = 44}, f32, f32),
      with(
          {.name = "ragged_turned", .m = 100, .n = 68, .k = 44, .x_turned = true, .y_turned = true},
          f32, f32),
      with({.name = "odd", .m = 131, .n = 67, .k = 37}, f32, f32),
      with({.name = "odd_turned", .m = 65, .n = 99, .k = 29, .x_turned = true, .y_turned = true},
           f32, f32),
      with({.name = "short", .m = 17, .n = 1024, .k = 18}, f32, f32),
      with({.name = "batched", .batch = 3, .m = 72, .n = 64, .k = 24}, f32, f32),
      with({.name = "deep", .m = 40, .n = 24, .k = 1'000}, f32, f32),
      with({.name = "fused", .m = 130, .n = 96, .k = 32, .fused = true}, f32, f32),
      with({.name = "gated", .m = 72, .n = 160, .k = 32, .gated = true}, f32, f32),
      with({.name = "heads", .m = 70, .n = 192, .k = 24, .heads = 3}, f32, f32),
      with({.name = "odd_heads", .batch = 2, .m = 70, .n = 66, .k = 24, .heads = 6}, f32, f32),
      with({.name = "bytes", .m = 66, .n = 64, .k = 40}, DType::int8, DType::int32),
      with({.name = "halves", .m = 66, .n = 72, .k = 40}, DType::float16, DType::float16),
      with({.name = "bfloat16_turned", .m = 66, .n = 72, .k = 40, .y_turned = true},
           DType::bfloat16, DType::bfloat16),
  };
  return cases;
}

/// Products for threads that multiply tiles of registers.
inline const std::vector<TileCase>& register_tile_cases() {
  static const std::vector<TileCase> cases = {
      {.name = "plain"},
      {.name = "panels", .m = 96, .n = 416, .k = 192},
      {.name = "few_rows", .m = 9},
      {.name = "one_tile", .m = 16, .n = 32, .k = 64},
      {.name = "ragged", .m = 75, .n = 136, .k = 96},
      {.name = "ragged_by_one", .m = 65, .n = 97, .k = 48},
      {.name = "x_turned", .m = 70, .x_turned = true},
      {.name = "y_turned", .m = 70, .y_turned = true},
      {.name = "both_turned", .m = 40, .n = 99, .k = 80, .x_turned = true, .y_turned = true},
      {.name = "batched", .batch = 3, .m = 72, .n = 64, .k = 64},
      {.name = "fused", .m = 66, .n = 96, .k = 80, .fused = true},
      {.name = "gated", .result = DType::float32, .m = 64, .n = 160, .k = 96, .gated = true},
      {.name = "odd_heads", .batch = 2, .m = 70, .n = 132, .k = 64, .heads = 6},
      {.name = "to_float32", .result = DType::float32, .m = 64, .n = 256},
      {.name = "bytes", .dtype = DType::int8, .result = DType::int32, .m = 70, .k = 256},
      {.name = "bytes_turned",
       .dtype = DType::int8,
       .result = DType::int32,
       .m = 40,
       .n = 70,
       .k = 80,
       .y_turned = true},
  };
  return cases;
}

inline const std::vector<ConvolutionCase>& convolution_cases() {
  static const std::vector<ConvolutionCase> cases = {
      {.name = "padded"},
      {.name = "wide", .images = 3, .channels = 128, .filters = 256},
      {.name = "valid", .height = 12, .width = 20, .padding = 0},
      {.name = "in_steps", .height = 28, .width = 28, .stride = 2},
      {.name = "in_odd_steps", .height = 23, .width = 17, .kernel = 2, .padding = 0, .stride = 3},
      {.name = "dilated", .padding = 2, .dilation = 2},
      {.name = "points", .images = 3, .kernel = 1, .padding = 0, .stride = 2},
      {.name = "ragged", .channels = 48, .filters = 80},
      {.name = "odd", .height = 13, .width = 17, .filters = 67},
      {.name = "groups", .channels = 96, .filters = 128, .groups = 2},
      {.name = "thin", .height = 20, .channels = 16, .filters = 32, .kernel = 5, .padding = 2},
      {.name = "one_image", .images = 1, .height = 30, .width = 9},
      {.name = "filters_turned", .channels = 40, .filters_turned = true},
      {.name = "fused", .height = 11, .fused = true},
      {.name = "fused_steps",
       .dtype = DType::float16,
       .result = DType::float16,
       .height = 19,
       .channels = 72,
       .filters = 96,
       .stride = 2,
       .fused = true},
      {.name = "to_float32", .result = DType::float32, .filters = 128},
      {.name = "bytes", .dtype = DType::int8, .result = DType::int32, .channels = 128},
      {.name = "channels_first", .channels = 40, .filters_turned = true, .channels_first = true},
      {.name = "channels_first_in_steps",
       .height = 17,
       .filters = 72,
       .stride = 2,
       .channels_first = true,
       .fused = true},
      {.name = "computed", .computed = true},
      {.name = "computed_in_steps",
       .height = 15,
       .channels = 40,
       .stride = 2,
       .channels_first = true,
       .computed = true},
      {.name = "few_channels", .channels = 3, .kernel = 7, .padding = 3, .copied_first = true},
  };
  return cases;
}

inline const std::vector<AttentionCase>& attention_cases() {
  static const std::vector<AttentionCase> cases = {
      {.name = "full", .heads = 2, .queries = 192, .keys = 256, .spilled = 400},
      {.name = "causal", .heads = 2, .queries = 384, .keys = 384, .causal = true},
      {.name = "wide_causal",
       .queries = 256,
       .keys = 256,
       .width = 128,
       .columns = 128,
       .causal = true},
      {.name = "widest", .queries = 128, .keys = 128, .width = 256, .columns = 256},
      {.name = "ragged", .heads = 3, .queries = 100, .keys = 77, .width = 80, .columns = 48},
      {.name = "ragged_causal",
       .queries = 200,
       .keys = 200,
       .width = 128,
       .columns = 128,
       .causal = true},
      {.name = "grouped", .heads = 4, .queries = 130, .keys = 130, .causal = true, .shared = 2},
      {.name = "falling",
       .queries = 192,
       .keys = 192,
       .columns = 32,
       .causal = true,
       .falling = true,
       .spilled = 460},
      {.name = "masked", .queries = 64, .keys = 192, .masked = true, .spilled = 80},
      {.name = "with_totals",
       .heads = 4,
       .queries = 130,
       .keys = 130,
       .causal = true,
       .shared = 2,
       .totals = true},
      {.name = "halves",
       .dtype = DType::float16,
       .result = DType::float32,
       .queries = 96,
       .keys = 96},
  };
  return cases;
}

/// Of two arrays of floats.
inline double largest_difference(const HostBuffer& got, const Array& wanted) {
  double largest = 0;
  const std::int64_t count = got.size / byte_size(wanted.dtype);
  std::vector<float> a(static_cast<std::size_t>(count)), b(a);
  const Operand first{wanted.dtype, got.bytes, 1}, second{wanted.dtype, wanted.bytes.data(), 1};
  apply(Op::cast_, DType::float32, {&first, 1}, count, reinterpret_cast<std::byte*>(a.data()));
  apply(Op::cast_, DType::float32, {&second, 1}, count, reinterpret_cast<std::byte*>(b.data()));
  for (std::size_t i = 0; i < a.size(); ++i) {
    const double difference = std::fabs(static_cast<double>(a[i]) - b[i]);
    largest = difference <= largest ? largest : difference;  // NaN is largest
  }
  return largest;
}

template <typename Case>
std::string name_of(const testing::TestParamInfo<Case>& info) {
  return info.param.name;
}

}  // namespace brisk::test
