// Random graphs over every operation that users reach, with values that make results comparable:
// floats hold small integers, so that sums and products are exact in any order, until a function
// like exp2 makes a value inexact; inexact values reach no comparison and no index. Input: a seed
// and an engine for the buffers; output: roots, the values of their variables.
#pragma once

#include <fmt/core.h>

#include <algorithm>
#include <cmath>
#include <limits>
#include <random>
#include <string>
#include <vector>

#include "engine/engine.h"
#include "graph/elementwise.h"
#include "graph/evaluate.h"
#include "graph/print.h"

namespace brisk {

class RandomTensorGraph {
 public:
  struct Value {
    Node node;
    double bound = 0;  // of what it holds
    bool exact = true;
    double loss = 0;  // relative to the bound, where it is not exact
  };

  /// Every eighth graph has arrays of several tasks.
  RandomTensorGraph(unsigned seed, Engine& engine)
      : random_(seed), engine_(engine), large_(seed % 8 == 0) {
    if (chance(3)) {
      values["n"] = below(8);
      values["p"] = below(4);
      length_ = variable("n", 0, 7);
      start_ = variable("p", 0, 3);
    }
    const int steps = 3 + below(10);
    pool.push_back(leaf(float_type(), shape(), true));
    while (static_cast<int>(pool.size()) < steps) {
      const Value next = step(chance(2) ? pool.back() : any());
      if (next.node && elements(next.node) <= (large_ ? 200'000 : 20'000)) pool.push_back(next);
    }
    roots.push_back(pool.back());
    for (int i = below(3); i > 0; --i) roots.push_back(any());
    std::erase_if(roots, [](const Value& root) { return root.node.is(Op::store_); });
    for (const Value& store : latest_) roots.push_back(store);
    if (roots.empty()) roots.push_back(pool[0]);
  }

  /// Puts back what the buffers held at first.
  void rewind() const {
    for (const auto& [node, bytes] : contents_) engine_.write(node, bytes);
  }

  Bindings bindings() const {
    return {values, [this](const Node& node) {
              return Array{node.dtype(), static_shape(node.shape()), engine_.read(node)};
            }};
  }

  /// What is wrong with the engine's results for these roots; "" where nothing is.
  std::string difference(const std::vector<Value>& chosen) const {
    rewind();
    std::vector<Node> nodes;
    for (const Value& value : chosen) nodes.push_back(value.node);
    const std::vector<Array> want = evaluate(nodes, bindings());
    std::vector<Node> got;
    try {
      got = engine_.realize(nodes, values);
    } catch (const std::exception& error) {
      return std::string("throws ") + error.what();
    }
    for (std::size_t r = 0; r < chosen.size(); ++r) {
      const std::vector<double> a = reals(want[r].dtype, want[r].bytes);
      const std::vector<double> b = reals(want[r].dtype, engine_.read(got[r]));
      if (a.size() != b.size()) return fmt::format("root {} has another size", r);
      const double tolerance =
          chosen[r].exact ? 0 : chosen[r].loss * std::max(1.0, chosen[r].bound);
      for (std::size_t i = 0; i < a.size(); ++i) {
        const bool same = a[i] == b[i] || (std::isnan(a[i]) && std::isnan(b[i])) ||
                          std::fabs(a[i] - b[i]) <= tolerance;
        if (!same) {
          return fmt::format("root {}, element {}: {} for {} (tolerance {})", r, i, b[i], a[i],
                             tolerance);
        }
      }
    }
    return "";
  }

  /// The difference of the first value that differs on its own, with its graph.
  std::string first_difference() const {
    for (const Value& value : pool) {
      const std::string wrong = difference({value});
      if (!wrong.empty()) return describe({value}, wrong);
    }
    return describe(roots, difference(roots) + " (only together)");
  }

  std::vector<Value> pool;
  std::vector<Value> roots;
  Variables values;

 private:
  std::string describe(const std::vector<Value>& chosen, const std::string& wrong) const {
    std::vector<Node> nodes;
    for (const Value& value : chosen) nodes.push_back(value.node);
    std::string text = wrong + "\n" + print(nodes);
    for (const auto& [name, value] : values) text += fmt::format("{} = {}\n", name, value);
    return text;
  }

  // ---- choices
  // -----------------------------------------------------------------------------------

  int below(int limit) { return static_cast<int>(random_() % static_cast<unsigned>(limit)); }
  bool chance(int one_in) { return below(one_in) == 0; }
  const Value& any() {
    return pool[static_cast<std::size_t>(below(static_cast<int>(pool.size())))];
  }
  DType float_type() {
    constexpr DType types[] = {DType::float32, DType::float32,  DType::float32,
                               DType::float16, DType::bfloat16, DType::float64};
    return types[below(6)];
  }
  DType integer_type() {
    constexpr DType types[] = {DType::int32, DType::int64, DType::uint8,
                               DType::int8,  DType::int16, DType::uint32};
    return types[below(6)];
  }
  Shape shape() {
    constexpr std::int64_t sizes[] = {1, 2, 3, 4, 5, 7, 8, 16, 17, 33};
    Shape result;
    double count = 1;
    if (large_) {
      constexpr std::int64_t large[] = {1, 2, 16, 31, 64, 100, 130};
      for (int i = below(3); i >= 0 && count < 5000; --i) {
        result.emplace_back(large[below(7)]);
        count *= static_cast<double>(result.back().value());
      }
      return result;
    }
    for (int i = below(4); i >= 0 && count < 300; --i) {
      result.emplace_back(sizes[below(chance(3) ? 10 : 7)]);
      count *= static_cast<double>(result.back().upper());
    }
    return result;
  }

  static double elements(const Node& node) {
    double count = 1;
    for (const Size& size : node.shape()) count *= static_cast<double>(size.upper());
    return count;
  }
  // The greatest magnitude below which every integer has an exact float.
  static double limit(DType dtype) {
    switch (dtype) {
      case DType::float16: return 1024;
      case DType::bfloat16: return 128;
      case DType::float32: return 1 << 22;
      default: return 1e15;
    }
  }
  static double rounding(DType dtype) {
    return dtype == DType::float16 ? 2e-3 : dtype == DType::bfloat16 ? 2e-2 : 2e-6;
  }
  static double whole_bound(DType dtype) {
    return is_bool(dtype) ? 1
                          : std::max(-static_cast<double>(min_value(dtype)),
                                     static_cast<double>(max_value(dtype)));
  }

  // ---- leaves
  // ------------------------------------------------------------------------------------

  Node memory(DType dtype, const Shape& sizes, double bound) {
    std::int64_t count = 1;
    for (const Size& size : sizes) count *= size.value();
    std::vector<std::int64_t> whole(static_cast<std::size_t>(count));
    const auto reach = static_cast<int>(bound);
    for (auto& value : whole) value = below(2 * reach + 1) - (is_signed(dtype) ? reach : 0);
    if (is_integer(dtype) && chance(4)) {
      for (auto& value : whole) value = static_cast<std::int64_t>(random_()) << below(33);
    }
    std::vector<std::byte> bytes(whole.size() * static_cast<std::size_t>(byte_size(dtype)));
    const Operand source{DType::int64, reinterpret_cast<const std::byte*>(whole.data()), 1};
    apply(Op::cast_, dtype, {&source, 1}, count, bytes.data());
    const Node node = engine_.upload(dtype, sizes, bytes, nullptr);
    contents_.emplace_back(node, std::move(bytes));
    return node;
  }

  // Values of a shape; an axis of it may be cut out of a larger buffer at variable positions.
  Value leaf(DType dtype, Shape wanted, bool may_vary = false) {
    const double bound = is_bool(dtype) ? 1 : 4;
    const double held = is_integer(dtype) ? whole_bound(dtype) : bound;
    if (may_vary && length_ && !wanted.empty())
      wanted[static_cast<std::size_t>(below(static_cast<int>(wanted.size())))] = Size(length_);
    if (is_static(wanted)) return {memory(dtype, wanted, bound), held};
    Shape whole;
    Shape box;
    for (const Size& size : wanted) {
      if (size.is_constant()) {
        whole.push_back(size);
        box.insert(box.end(), {0, size});
      } else {
        const Size begin = chance(2) ? Size(start_) : Size(0);
        whole.emplace_back(size.upper() + 3);
        box.insert(box.end(), {begin, begin + size});
      }
    }
    return {shrink(memory(dtype, whole, bound), box), held};
  }

  // Another value of x's dtype and shape.
  Value like(const Value& x) {
    for (int tries = 0; tries < 3; ++tries) {
      const Value& other = any();
      if (other.node.shape() == x.node.shape() && other.node.dtype() == x.node.dtype())
        return other;
    }
    if (chance(2) && x.node.rank() > 0) {  // broadcast along some axes
      Shape thin = x.node.shape();
      for (Size& size : thin) {
        if (chance(2)) size = 1;
      }
      Value value = leaf(x.node.dtype(), thin);
      value.node = expand(value.node, x.node.shape());
      return value;
    }
    if (chance(4))
      return {expand_to(constant_like(1 + below(3), x.node.dtype()), x.node.shape()), 3};
    return leaf(x.node.dtype(), x.node.shape());
  }

  static Node expand_to(const Node& scalar, const Shape& shape) {
    return expand(reshape(scalar, Shape(shape.size(), Size(1))), shape);
  }
  static Node filled(double value, const Node& as) {
    return expand_to(constant_like(value, as.dtype()), as.shape());
  }
  static Value inexact(Node node, double bound, double loss) {
    return {std::move(node), bound, false, loss};
  }

  // ---- steps
  // -------------------------------------------------------------------------------------

  Value step(const Value& x) {
    switch (below(12)) {
      case 0: return is_float(x.node.dtype()) ? function(x) : whole_operation(x);
      case 1:
      case 2: return binary(x);
      case 3:
      case 4: return reduction(x);
      case 5:
      case 6:
      case 7: return movement(x);
      case 8: return chance(2) ? gather(x) : centred(x);
      case 9: return product(x);
      case 10: return convert(x);
      default: return chance(2) ? selection(x) : stored(x);
    }
  }

  Value binary(const Value& x) {
    const Value y = like(x);
    const bool exact = x.exact && y.exact;
    const double loss = x.loss + y.loss + (exact ? 0 : rounding(x.node.dtype()));
    const DType dtype = x.node.dtype();
    const bool real = is_float(dtype);
    const int kind = below(3);
    if (kind == 0 && (!real || x.bound + y.bound <= limit(dtype))) {
      return {add(x.node, y.node), real ? x.bound + y.bound : whole_bound(dtype), exact, loss};
    }
    if (kind == 1 && (!real || x.bound * y.bound <= limit(dtype))) {
      return {mul(x.node, y.node), real ? x.bound * y.bound : whole_bound(dtype), exact, 2 * loss};
    }
    return {max(x.node, y.node), std::max(x.bound, y.bound), exact, loss};
  }

  Value function(const Value& x) {
    const Node scaled = x.bound <= 8 ? x.node : mul(x.node, filled(1.0 / 256, x.node));
    const double bound = x.bound <= 8 ? x.bound : x.bound / 256;
    const double unit = rounding(x.node.dtype());
    const double loss = (x.exact ? 0 : x.loss * std::max(1.0, bound)) + unit;
    if (bound > 8) return {};
    const Node above = max(scaled, filled(1, scaled));
    switch (below(6)) {
      case 0: return inexact(exp2(scaled), std::exp2(bound), loss * 2);
      case 1: return inexact(log2(above), 3, loss * 2);
      case 2: return inexact(sin(scaled), 1, loss * 2);
      case 3: return inexact(sqrt(above), 3, loss * 2);
      case 4: return inexact(recip(above), 1, loss * 2);
      default: return {mul(x.node, filled(-1, x.node)), x.bound, x.exact, x.loss};
    }
  }

  Value whole_operation(const Value& x) {
    const DType dtype = x.node.dtype();
    const Value y = like(x);
    const double bound = whole_bound(dtype);
    const int kind = below(is_bool(dtype) ? 3 : 7);
    switch (kind) {
      case 0: return {bit_and(x.node, y.node), bound};
      case 1: return {bit_or(x.node, y.node), bound};
      case 2: return {bit_xor(x.node, y.node), bound};
      case 3: return {idiv(x.node, chance(2) ? y.node : filled(1 + below(9), x.node)), bound};
      case 4: return {mod(x.node, chance(2) ? y.node : filled(1 + below(9), x.node)), bound};
      case 5: return {shl(x.node, chance(2) ? y.node : filled(below(9), x.node)), bound};
      default: return {shr(x.node, chance(2) ? y.node : filled(below(9), x.node)), bound};
    }
  }

  Value reduction(const Value& x) {
    std::vector<int> axes;
    double count = 1;
    for (int i = 0; i < x.node.rank(); ++i) {
      if (!chance(2)) continue;
      axes.push_back(i);
      count *= static_cast<double>(x.node.shape()[static_cast<std::size_t>(i)].upper());
    }
    if (axes.empty()) return {};
    const DType dtype = x.node.dtype();
    Value result = x;
    const int kind = below(4);
    const bool no_rows = count == 0 || !is_static(x.node.shape());
    if (kind < 2 && (!is_float(dtype) || x.bound * count <= limit(dtype))) {
      result.node = reduce(ReduceOp::add, x.node, axes);
      result.bound = is_float(dtype) ? x.bound * count : whole_bound(dtype);
      result.loss = x.exact ? 0 : x.loss + rounding(dtype);
    } else if (kind == 2 && !is_float(dtype)) {
      result.node = reduce(ReduceOp::mul, x.node, axes);
      result.bound = whole_bound(dtype);
    } else if (is_float(dtype) && no_rows) {
      return {};  // the largest of nothing is infinite
    } else {
      result.node = reduce(ReduceOp::max, x.node, axes);
      if (!is_float(dtype)) result.bound = whole_bound(dtype);
    }
    if (chance(3)) {
      Shape kept;
      for (int i = 0; i < x.node.rank(); ++i) {
        if (std::find(axes.begin(), axes.end(), i) == axes.end())
          kept.push_back(x.node.shape()[static_cast<std::size_t>(i)]);
      }
      result.node = reshape(result.node, kept);
    }
    return result;
  }

  // x less its greatest along an axis: what softmax and norms are made of.
  Value centred(const Value& x) {
    const DType dtype = x.node.dtype();
    if (x.node.rank() == 0 || !is_float(dtype) || !is_static(x.node.shape()) ||
        2 * x.bound > limit(dtype))
      return {};
    const Node top = reduce(ReduceOp::max, x.node, {below(x.node.rank())});
    return {add(x.node, expand(mul(top, filled(-1, top)), x.node.shape())), 2 * x.bound, x.exact,
            2 * x.loss};
  }

  Value movement(const Value& x) {
    const Shape& sizes = x.node.shape();
    const int rank = x.node.rank();
    Value result = x;
    if (rank == 0) {
      result.node = expand_to(x.node, shape());
      return result;
    }
    const int axis = below(rank);
    const auto at = static_cast<std::size_t>(axis);
    switch (below(7)) {
      case 0: {
        std::vector<int> order(static_cast<std::size_t>(rank));
        for (int i = 0; i < rank; ++i) order[static_cast<std::size_t>(i)] = i;
        std::shuffle(order.begin(), order.end(), random_);
        result.node = permute(x.node, order);
        return result;
      }
      case 1: {
        Shape around(static_cast<std::size_t>(2 * rank), Size(0));
        around[2 * at] = below(3);
        around[2 * at + 1] = length_ && chance(3) ? Size(length_) : Size(below(4));
        result.node = pad(x.node, around);
        return result;
      }
      case 2: {
        Shape box;
        for (int i = 0; i < rank; ++i) {
          const Size& size = sizes[static_cast<std::size_t>(i)];
          Size begin = 0;
          Size end = size;
          if (i == axis && size.is_constant() && size.value() > 0) {
            const auto room = static_cast<int>(size.value());
            begin = below(room);
            end = begin + (1 + below(room - static_cast<int>(begin.value())));
            if (start_ && room > 3 && chance(2)) {
              begin = start_;
              end = begin + (room - 3);
            }
          }
          box.insert(box.end(), {begin, end});
        }
        result.node = shrink(x.node, box);
        return result;
      }
      case 3: result.node = flip(x.node, {axis}); return result;
      case 4: {  // an axis in two
        if (!sizes[at].is_constant()) return {};
        Shape split = sizes;
        const std::int64_t size = sizes[at].value();
        std::int64_t part = 1 + below(static_cast<int>(std::max<std::int64_t>(size, 1)));
        while (size % part != 0) --part;
        split[at] = part;
        split.insert(split.begin() + axis, Size(size / part));
        result.node = reshape(x.node, split);
        return result;
      }
      case 5: {  // neighbours in one
        if (rank < 2) return {};
        Shape joined = sizes;
        const auto left = static_cast<std::size_t>(below(rank - 1));
        joined[left] = joined[left] * joined[left + 1];
        joined.erase(joined.begin() + static_cast<std::ptrdiff_t>(left) + 1);
        result.node = reshape(x.node, joined);
        return result;
      }
      default: {
        Shape grown = sizes;
        grown.insert(grown.begin() + axis, Size(1));
        const Node thin = reshape(x.node, grown);
        grown[at] = length_ && chance(3) ? Size(length_) : Size(2 + below(4));
        result.node = expand(thin, grown);
        return result;
      }
    }
  }

  Value gather(const Value& x) {
    Node flat = x.node;
    if (chance(2)) flat = leaf(x.node.dtype(), shape()).node;
    const double bound =
        std::max(x.bound, is_float(x.node.dtype()) ? 4.0 : whole_bound(x.node.dtype()));
    const Size room = element_count(flat.shape());
    Value index = leaf(DType::int64, shape(), true);
    const Node last = expand_to(room.node(), index.node.shape());
    if (chance(2)) {  // any index, behind a gate
      const Node at = mod(index.node, expand_to((room + 3).node(), index.node.shape()));
      const Node inside = bit_and(cmplt(at, last), cmplt(filled(-1, at), at));
      return {load(flat, at, inside), bound, x.exact, x.loss};
    }
    if (!room.is_constant() || room.value() == 0) return {};
    const Node remainder = mod(index.node, last);
    return {
        load(flat, where(cmplt(remainder, filled(0, remainder)), add(remainder, last), remainder)),
        bound, x.exact, x.loss};
  }

  Value product(const Value& x) {
    const DType dtype = x.node.dtype();
    const int rank = x.node.rank();
    if (rank < 1 || is_bool(dtype)) return {};
    const Size inner = x.node.shape().back();
    const double bound = x.bound * 4 * static_cast<double>(inner.upper());
    if (is_float(dtype) && bound > limit(dtype)) return {};
    const std::int64_t columns = chance(3) || large_ ? 17 + below(100) : 1 + below(9);
    if (elements(x.node) * static_cast<double>(columns) > (large_ ? 2'000'000 : 200'000)) return {};
    const bool turned = chance(2);
    Node weight = leaf(dtype, turned ? Shape{columns, inner} : Shape{inner, columns}).node;
    if (turned) weight = permute(weight, {1, 0});
    Shape left = x.node.shape();
    left.emplace_back(1);
    Shape right(left.size() - 2, Size(1));
    right.insert(right.end(), {inner, Size(columns)});
    Shape all = x.node.shape();
    all.emplace_back(columns);
    const Node terms = mul(expand(reshape(x.node, left), all), expand(reshape(weight, right), all));
    Node sum = reduce(ReduceOp::add, terms, {rank - 1});
    all.erase(all.end() - 2);
    return {reshape(sum, all), is_float(dtype) ? bound : whole_bound(dtype), x.exact,
            x.exact ? 0 : x.loss * 2 + rounding(dtype)};
  }

  Value convert(const Value& x) {
    const DType from = x.node.dtype();
    if (is_float(from) && chance(2)) {
      const DType to = chance(2) ? DType::int32 : DType::int64;
      if (!x.exact || x.bound > 1e9) return {};
      return {cast(x.node, to), whole_bound(to)};
    }
    if (chance(3) && x.exact) return {cast(x.node, DType::boolean), 1};
    if (!is_float(from) && chance(2)) {
      const DType to = integer_type();
      return {cast(x.node, to), whole_bound(to)};
    }
    const DType to = float_type();
    if (x.bound > limit(to)) {
      if (is_float(from)) return {};
      const Node small = mod(x.node, filled(5, x.node));
      return {cast(small, to), 127};
    }
    return {cast(x.node, to), x.bound, x.exact, x.exact ? 0 : x.loss + rounding(to)};
  }

  Value selection(const Value& x) {
    const Value y = like(x);
    Node condition;
    if (x.exact && y.exact && chance(2)) {
      condition = chance(2) ? cmplt(x.node, y.node) : cmpne(x.node, y.node);
    } else if (chance(2)) {
      condition = leaf(DType::boolean, x.node.shape()).node;
    } else if (x.node.rank() > 0) {
      const Size& size = x.node.shape().back();
      Shape thin(x.node.shape().size(), Size(1));
      thin.back() = size;
      const Node at = reshape(iota(size), thin);
      condition = expand(cmplt(at, filled(1 + below(4), at)), x.node.shape());
    } else {
      return {};
    }
    return {where(condition, x.node, y.node), std::max(x.bound, y.bound), x.exact && y.exact,
            std::max(x.loss, y.loss)};
  }

  // x into memory, or more of it into memory stored into before; what is stored may read the
  // memory.
  Value stored(const Value& x) {
    const DType dtype = x.node.dtype();
    const double bound = std::max(x.bound, 4.0);
    if (chance(3)) return scattered(x);
    const bool again = !latest_.empty() && chance(2);
    Node target;
    Value* before = nullptr;
    Shape box;
    Shape other;
    if (again) {
      before = &latest_[static_cast<std::size_t>(below(static_cast<int>(latest_.size())))];
      Value into = *before;
      for (const Size& size : into.node.shape()) {
        const std::int64_t begin = below(static_cast<int>(size.value()));
        box.insert(box.end(), {Size(begin), size});
      }
      target = shrink(into.node, box);
      Value value = like({target, into.bound, into.exact, into.loss});
      if (chance(2) && 2 * bound + into.bound < limit(target.dtype())) {
        value.node = add(value.node, flip(target, {below(target.rank())}));
        value.bound += into.bound;
        value.exact = value.exact && into.exact;
        value.loss += into.loss;
      }
      *before = {store(target, value.node), std::max(value.bound, into.bound),
                 value.exact && into.exact, std::max(value.loss, into.loss)};
      return *before;
    }
    if (x.node.rank() == 0) return {};
    Shape whole;
    for (const Size& size : x.node.shape()) {
      const std::int64_t more = below(4);
      const std::int64_t begin = more == 0 ? 0 : below(static_cast<int>(more));
      whole.emplace_back(size.upper() + more);
      box.insert(box.end(), {Size(begin), Size(begin) + size});
      other.insert(other.end(), {Size(more - begin), Size(more - begin) + size});
    }
    const Node room = memory(dtype, whole, is_bool(dtype) ? 1 : 4);
    target = shrink(room, box);
    Node value = x.node;
    double reach = x.bound;
    if (is_static(x.node.shape()) && x.bound + 4 <= limit(dtype) && chance(2)) {
      Node old = shrink(room, chance(2) ? box : other);  // the same elements, or shifted ones
      if (chance(3)) old = flip(old, {below(x.node.rank())});
      value = add(value, old);
      reach += 4;
    }
    if (chance(3)) {
      target = flip(target, {below(x.node.rank())});
    }
    latest_.push_back({store(target, value),
                       is_float(dtype) ? std::max(reach, 4.0) : whole_bound(dtype), x.exact,
                       x.loss});
    return latest_.back();
  }

  Value scattered(const Value& x) {
    const DType dtype = x.node.dtype();
    if (x.node.rank() == 0 || !x.exact) return {};
    const Node room = memory(dtype, shape(), is_bool(dtype) ? 1 : 4);
    const auto count = static_cast<int>(element_count(room.shape()).value());
    const Value index = leaf(DType::int64, x.node.shape());
    const Node at = mod(index.node, filled(count + 2, index.node));
    double bound = std::max(x.bound, 4.0);
    StoreMode mode = StoreMode::replace;
    const double sum = bound + x.bound * elements(x.node);
    switch (below(4)) {
      case 0:
        if (!is_float(dtype) || sum <= limit(dtype)) {
          mode = StoreMode::add;
          bound = sum;
        }
        break;
      case 1: mode = StoreMode::max; break;
      case 2: mode = StoreMode::min; break;
      default: break;
    }
    latest_.push_back(
        {scatter(room, at, x.node, mode), is_float(dtype) ? bound : whole_bound(dtype)});
    return latest_.back();
  }

  std::mt19937 random_;
  Engine& engine_;
  bool large_;
  Node length_;  // variable n, or nothing
  Node start_;   // variable p
  std::vector<std::pair<Node, std::vector<std::byte>>> contents_;
  std::vector<Value> latest_;  // the last store into each memory
};

}  // namespace brisk
