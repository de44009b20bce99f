// Random graphs, lowered and interpreted, against the evaluator: what lowering makes of movement,
// reductions, loads and stores has the graph's meaning.
#include <gtest/gtest.h>

#include <cmath>
#include <cstring>
#include <random>

#include "graph/evaluate.h"
#include "graph/print.h"
#include "graph/verify.h"
#include "kernel/interpret.h"
#include "kernel/lower.h"
#include "kernel/print.h"
#include "kernel/verify.h"

namespace brisk {
namespace {

// Small integers as floats, so that sums are exact in any order.
class Builder {
 public:
  explicit Builder(unsigned seed) : random_(seed) {}

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
    for (auto& size : sizes) size = 1 + below(4);
    return sizes;
  }

  Node step(const Node& a) {
    const auto sizes = static_shape(a.shape());
    const int rank = a.rank();
    const int axis = rank == 0 ? 0 : below(rank);
    if (element_count(a.shape()).value() > 400) return reduce(ReduceOp::add, a, {axis});
    switch (below(13)) {
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
        return add(reshape(expand(reshape(picked, {9, 1}), {9, element_count(a.shape())}),
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

  std::unordered_map<Node, Array, NodeHash> arrays;

 private:
  std::mt19937 random_;
};

TEST(InterpretLowered, agreesWithTheEvaluatorOnRandomGraphs) {
  int kernels = 0;
  for (unsigned seed = 0; seed < 400; ++seed) {
    Builder builder(seed);
    Node node = builder.leaf(builder.shape());
    NodeSet stored;
    std::vector<Node> results;
    for (int i = 0; i < 3 + builder.below(6); ++i) {
      node = builder.step(node);
      if (node.is(Op::store_)) {
        stored.insert(node);
        results.push_back(node);
      }
    }
    if (!is_movement(node.op()) && !node.is(Op::buffer_) && stored.insert(node).second) {
      results.push_back(node);
    }
    verify_graph(results, "random");
    const auto read = [&](const Node& b) { return builder.arrays.at(b); };
    const std::vector<Array> wanted = evaluate(results, {{}, read});
    std::unordered_map<Node, Array, NodeHash> memory;
    for (std::size_t r = 0; r < results.size(); ++r) {
      SCOPED_TRACE(print(results[r]));
      const Lowering lowering = lower({results[r]}, stored);
      verify_kernel(lowering.kernel, "lower");
      std::vector<HostBuffer> buffers;
      for (const Node& argument : lowering.arguments) {
        auto found = memory.find(argument);
        if (found == memory.end()) {
          Array array = argument.is(Op::buffer_)
                            ? builder.arrays.at(argument)
                            : Array{argument.dtype(), static_shape(argument.shape()), {}};
          array.bytes.resize(static_cast<std::size_t>(element_count(argument.shape()).value() * 4));
          found = memory.emplace(argument, std::move(array)).first;
        }
        buffers.push_back({found->second.bytes.data(),
                           static_cast<std::int64_t>(found->second.bytes.size())});
      }
      SCOPED_TRACE(print(lowering.kernel));
      interpret(lowering.kernel, buffers, {});
      ++kernels;
      const std::vector<std::byte>& got = memory.at(memory_of(results[r])).bytes;
      ASSERT_EQ(got.size(), wanted[r].bytes.size());
      const auto* x = reinterpret_cast<const float*>(got.data());
      const auto* y = reinterpret_cast<const float*>(wanted[r].bytes.data());
      for (std::size_t i = 0; i < got.size() / 4; ++i) {
        ASSERT_EQ(x[i], y[i]) << "seed " << seed << " element " << i;
      }
    }
  }
  EXPECT_GT(kernels, 300);
}

}  // namespace
}  // namespace brisk
