// Random graphs of movement, arithmetic, reductions, loads, stores, matrix products and norms, with
// content for their buffers, and a comparison of a way to run kernels with the evaluator.
#pragma once

#include <gtest/gtest.h>

#include <cmath>
#include <cstring>
#include <random>

#include "base/error.h"
#include "graph/evaluate.h"
#include "graph/print.h"
#include "graph/verify.h"
#include "kernel/interpret.h"
#include "kernel/lower.h"
#include "kernel/print.h"
#include "kernel/verify.h"

namespace brisk {

// Small integers (and halves) as floats, so that most sums are exact in any order.
class RandomGraph {
 public:
  RandomGraph(unsigned seed, int largest) : random_(seed), largest_(largest) {}

  int below(int limit) { return static_cast<int>(random_() % static_cast<unsigned>(limit)); }

  Node leaf(std::vector<std::int64_t> shape) {
    const Node node = buffer(DType::float32, Shape(shape.begin(), shape.end()), nullptr);
    Array array{DType::float32, shape, {}};
    std::int64_t count = 1;
    for (const auto size : shape) count *= size;
    std::vector<float> values(static_cast<std::size_t>(count));
    for (float& value : values) value = static_cast<float>(below(9) - 4);
    array.bytes.resize(values.size() * 4);
    std::memcpy(array.bytes.data(), values.data(), array.bytes.size());
    arrays.emplace(node, std::move(array));
    return node;
  }

  std::vector<std::int64_t> shape() {
    std::vector<std::int64_t> sizes(static_cast<std::size_t>(1 + below(3)));
    for (auto& size : sizes) size = 1 + below(below(4) ? 4 : largest_);
    return sizes;
  }

  Node step(const Node& a) {
    const auto sizes = static_shape(a.shape());
    const int rank = a.rank();
    const int axis = rank == 0 ? 0 : below(rank);
    if (element_count(a.shape()).value() > 400 + 60 * largest_)
      return reduce(ReduceOp::add, a, {axis});
    switch (below(17)) {
      case 12: {  // matrix product
        const std::int64_t k = sizes.back(), m = element_count(a.shape()).value() / k,
                           n = 1 + below(largest_);
        if (m * n * k > 200000) return reduce(ReduceOp::add, a, {axis});
        Node l = expand(reshape(a, {m, 1, k}), {m, n, k});
        Node w = below(2) ? expand(reshape(leaf({n, k}), {1, n, k}), {m, n, k})
                          : expand(reshape(permute(leaf({k, n}), {1, 0}), {1, n, k}), {m, n, k});
        Node c = reshape(reduce(ReduceOp::add, mul(l, w), {2}), {m, n});
        return below(2) ? c : add(c, expand(leaf({1, n}), {m, n}));
      }
      case 14: {  // repeated places, some of them outside
        const Node target = leaf({1 + below(largest_), 2});
        const Size count = element_count(a.shape());
        const Node places = mod(mul(iota(count), constant_int(1 + below(5))),
                                constant_int(3 + 2 * below(largest_)));
        constexpr StoreMode modes[] = {StoreMode::replace, StoreMode::add, StoreMode::max,
                                       StoreMode::min};
        return scatter(target, add(places, constant_int(-1)), reshape(a, {count}), modes[below(4)]);
      }
      case 13: {  // norm
        const int last = rank - 1;
        Node most = reduce(ReduceOp::max, a, {last});
        Node shifted = add(a, mul(expand(most, a.shape()), constant_float(-1)));
        return add(shifted, mul(expand(reduce(ReduceOp::add, shifted, {last}), a.shape()),
                                constant_float(0.5)));
      }
      case 0: return add(a, leaf(sizes));
      case 1: return max(a, mul(a, constant_float(-1)));
      case 2: return where(cmplt(a, leaf(sizes)), a, constant_float(2));
      case 3: {
        std::vector<int> order(static_cast<std::size_t>(rank));
        for (int i = 0; i < rank; ++i) order[static_cast<std::size_t>(i)] = (i + 1) % rank;
        return permute(a, order);
      }
      case 4: return reduce(below(2) == 0 ? ReduceOp::add : ReduceOp::max, a, {axis});
      case 5: {
        Shape around(static_cast<std::size_t>(2 * rank), Size(0));
        around[static_cast<std::size_t>(2 * axis)] = below(3);
        around[static_cast<std::size_t>(2 * axis + 1)] = below(3);
        return pad(a, around);
      }
      case 6: {
        Shape box;
        for (int i = 0; i < rank; ++i) {
          const auto size = static_cast<int>(sizes[static_cast<std::size_t>(i)]);
          const int begin = i == axis ? below(size) : 0;
          box.emplace_back(begin);
          box.emplace_back(i == axis ? begin + 1 + below(size - begin) : size);
        }
        return shrink(a, box);
      }
      case 7: return flip(a, {axis});
      case 8: {
        Shape flat = {element_count(a.shape())};
        if (below(2) == 0 && flat[0].value() % 2 == 0) flat = {Size(2), Size(flat[0].value() / 2)};
        return reshape(a, flat);
      }
      case 9: {
        Shape wide = a.shape();
        for (Size& size : wide) {
          if (size == Size(1)) size = 1 + below(3);
        }
        return expand(a, wide);
      }
      case 10: {
        const Node source = leaf({7, 3});
        const Node index = add(iota(Size(9)), constant_int(-2));
        const Node inside = cmplt(constant_int(-1), index);
        const Node picked = load(source, mul(index, constant_int(2)), inside);
        return add(
            reshape(expand(reshape(picked, {9, 1}), {9, element_count(a.shape())}),
                    {9, element_count(a.shape())}),
            expand(reshape(a, {1, element_count(a.shape())}), {9, element_count(a.shape())}));
      }
      case 11: {
        const Node target = leaf({4, static_cast<std::int64_t>(element_count(a.shape()).value())});
        return store(flip(shrink(target, {1, 2, 0, element_count(a.shape())}), {1}),
                     reshape(a, {1, element_count(a.shape())}));
      }
      default: return mul(a, constant_float(0.5));
    }
  }

  /// Over the last axis. Its values are no small integers: a last step, not one to compare with.
  Node softmax(const Node& a) {
    const int last = a.rank() - 1;
    const Node most = expand(reduce(ReduceOp::max, a, {last}), a.shape());
    const Node powers = exp2(add(a, mul(most, constant_float(-1))));
    return mul(powers, expand(recip(reduce(ReduceOp::add, powers, {last})), a.shape()));
  }

  /// The rows of `a` as queries of random keys and values.
  Node attention(const Node& a) {
    const std::int64_t width = a.shape().back().value();
    const std::int64_t rows = element_count(a.shape()).value() / width;
    const std::int64_t keys = 1 + below(largest_);
    const std::int64_t columns = 1 + below(largest_);
    const auto product = [&](const Node& x, const Node& y, std::int64_t n, std::int64_t k) {
      const Shape shape = {rows, n, k};
      const Node left = expand(reshape(x, {rows, 1, k}), shape);
      const Node right = expand(reshape(y, {1, n, k}), shape);
      return reshape(reduce(ReduceOp::add, mul(left, right), {2}), {rows, n});
    };
    const Node scores = product(a, leaf({keys, width}), keys, width);
    const Node weights = softmax(mul(scores, constant_float(0.0625)));
    return product(weights, permute(leaf({keys, columns}), {1, 0}), columns, keys);
  }

  std::unordered_map<Node, Array, NodeHash> arrays;

 private:
  std::mt19937 random_;
  int largest_;  // size of an axis
};

/// Runs `run(lowered, buffers)` for each result of a random graph, in order.
template <typename Run>
void expect_the_evaluators_values(unsigned seed, int largest, const Run& run) {
  RandomGraph graph(seed, largest);
  Node node = graph.leaf(graph.shape());
  NodeSet stored;
  std::vector<Node> results;
  const int steps = 3 + graph.below(6);
  for (int i = 0; i < steps; ++i) {
    node = graph.step(node);
    if (node.is(Op::store_) && stored.insert(node).second) results.push_back(node);
  }
  if (!is_movement(node.op()) && !node.is(Op::buffer_) && stored.insert(node).second) {
    results.push_back(node);
  }
  verify_graph(results, "random");
  const auto read = [&](const Node& b) { return graph.arrays.at(b); };
  const std::vector<Array> wanted = evaluate(results, {{}, read});
  std::unordered_map<Node, Array, NodeHash> memory;
  for (std::size_t r = 0; r < results.size(); ++r) {
    SCOPED_TRACE(fmt::format("seed {}\n{}", seed, print(results[r])));
    const Lowering lowering = lower({results[r]}, stored);
    verify_kernel(lowering.kernel, "lower");
    std::vector<HostBuffer> buffers;
    for (const Node& argument : lowering.arguments) {
      auto found = memory.find(argument);
      if (found == memory.end()) {
        Array array = argument.is(Op::buffer_)
                          ? graph.arrays.at(argument)
                          : Array{argument.dtype(), static_shape(argument.shape()), {}};
        array.bytes.resize(static_cast<std::size_t>(element_count(argument.shape()).value() * 4));
        found = memory.emplace(argument, std::move(array)).first;
      }
      buffers.push_back(
          {found->second.bytes.data(), static_cast<std::int64_t>(found->second.bytes.size())});
    }
    SCOPED_TRACE(print(lowering.kernel));
    ASSERT_NO_THROW(run(lowering.kernel, buffers));
    const std::vector<std::byte>& got = memory.at(memory_of(results[r])).bytes;
    ASSERT_EQ(got.size(), wanted[r].bytes.size());
    const auto* x = reinterpret_cast<const float*>(got.data());
    const auto* y = reinterpret_cast<const float*>(wanted[r].bytes.data());
    for (std::size_t i = 0; i < got.size() / 4; ++i) {
      ASSERT_LE(std::fabs(x[i] - y[i]), 1e-5F * std::fabs(y[i])) << "element " << i;
    }
  }
}

}  // namespace brisk
