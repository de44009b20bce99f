// Random graphs, lowered and interpreted, against the evaluator: what lowering makes of movement,
// reductions, loads and stores has the graph's meaning.
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
#include "kernel/random_graph.h"
#include "kernel/verify.h"

namespace brisk {
namespace {

TEST(InterpretLowered, agreesWithTheEvaluatorOnRandomGraphs) {
  int kernels = 0;
  for (unsigned seed = 0; seed < 400 && !HasFatalFailure(); ++seed) {
    expect_the_evaluators_values(seed, 8, [&](const LoweredKernel& kernel, const auto& buffers) {
      interpret(kernel, buffers, {});
      ++kernels;
    });
  }
  EXPECT_GT(kernels, 300);
}

// int64 data goes through the normal form of index arithmetic.
TEST(InterpretLowered, integersFromMemoryAreArithmeticLikeIndices) {
  for (unsigned seed = 0; seed < 1000; ++seed) {
    std::mt19937 random(seed);
    const auto below = [&](int limit) {
      return static_cast<int>(random() % static_cast<unsigned>(limit));
    };
    const Node data = buffer(DType::int64, {12}, nullptr);
    Array content{DType::int64, {12}, std::vector<std::byte>(96)};
    auto* values = reinterpret_cast<std::int64_t*>(content.bytes.data());
    for (int i = 0; i < 12; ++i) values[i] = below(41) - 20;
    std::vector<Node> nodes = {data, iota(Size(12))};
    for (int i = 0; i < 8; ++i) {
      const Node a = nodes[static_cast<std::size_t>(below(static_cast<int>(nodes.size())))];
      const Node b = below(2)
                         ? constant_int(below(15) - 4)
                         : nodes[static_cast<std::size_t>(below(static_cast<int>(nodes.size())))];
      switch (below(8)) {
        case 0:
        case 1: nodes.push_back(add(a, b)); break;
        case 2: nodes.push_back(mul(a, constant_int(below(9) - 3))); break;
        case 3: nodes.push_back(idiv(a, b)); break;
        case 4: nodes.push_back(mod(a, b)); break;
        case 5: nodes.push_back(where(cmplt(a, b), a, add(b, constant_int(1)))); break;
        case 6: nodes.push_back(max(a, b)); break;
        default: nodes.push_back(cast(cmpne(mod(a, constant_int(4)), b), DType::int64));
      }
    }
    const Node root = nodes.back();
    const Array wanted = evaluate(root, {{}, [&](const Node&) { return content; }});
    const Lowering lowering = lower({root}, {root});
    verify_kernel(lowering.kernel, "lower");
    Array result{DType::int64, {12}, std::vector<std::byte>(96)};
    std::vector<HostBuffer> buffers;
    for (const Node& argument : lowering.arguments) {
      buffers.push_back({(argument == data ? content : result).bytes.data(), 96});
    }
    interpret(lowering.kernel, buffers, {});
    ASSERT_EQ(result.bytes, wanted.bytes) << "seed " << seed << "\n"
                                          << print(root) << print(lowering.kernel);
  }
}

TEST(InterpretLowered, oneKernelServesEveryValueOfAVariable) {
  const Node n = variable("n", 0, 16);
  const Node a = buffer(DType::float32, {16, 3}, nullptr);
  const Node rows = shrink(a, {0, Size(n), 0, 3});
  const Node centred =
      add(rows, expand(mul(reduce(ReduceOp::max, rows, {0}), constant_float(-1)), {Size(n), 3}));
  const Node root = reduce(ReduceOp::add, mul(centred, cast(n, DType::float32)), {0, 1});
  const Lowering lowering = lower({root}, {root});
  verify_kernel(lowering.kernel, "lower");
  ASSERT_EQ(lowering.kernel.variables, std::vector<Node>{n});
  Array content{DType::float32, {16, 3}, std::vector<std::byte>(16 * 3 * 4)};
  for (int i = 0; i < 48; ++i) {
    const auto value = static_cast<float>(i * 7 % 11);
    std::memcpy(content.bytes.data() + 4 * i, &value, 4);
  }
  for (const std::int64_t size : {0, 1, 7, 16}) {
    const Array wanted = evaluate(root, {{{"n", size}}, [&](const Node&) { return content; }});
    float result = 0;
    std::vector<HostBuffer> buffers;
    for (const Node& argument : lowering.arguments) {
      buffers.push_back(argument == a ? HostBuffer{content.bytes.data(), 16 * 3 * 4}
                                      : HostBuffer{reinterpret_cast<std::byte*>(&result), 4});
    }
    interpret(lowering.kernel, buffers, {{size}});
    float expected = 0;
    std::memcpy(&expected, wanted.bytes.data(), 4);
    EXPECT_EQ(result, expected) << size;
  }
}

TEST(InterpretLowered, laterStagesReadTheScratchOfEarlierOnes) {
  // Each row divided by its sum; the sum is kept in scratch.
  const Node row = make_range(0, 2);
  const Node column = make_range(1, 4);
  const Node inner = make_range(2, 4);
  const Node in = make_param(1, DType::float32);
  const Node out = make_param(0, DType::float32);
  const Node sum = make_local(0, DType::float32, 1, Memory::scratch);
  const Node zero = constant_int(0);
  const auto at = [&](const Node& i) { return add(mul(row, constant_int(4)), i); };
  LoweredKernel kernel;
  kernel.params = {{DType::float32, true, false}, {DType::float32, false, true}};
  Part part{{row}, {}};
  part.stages.push_back(
      {{}, {store_to(sum, zero, reduce_over(ReduceOp::add, load_from(in, at(inner)), {inner}))}});
  part.stages.push_back(
      {{column},
       {store_to(out, at(column), mul(load_from(in, at(column)), recip(load_from(sum, zero))))}});
  kernel.parts = {part};
  verify_kernel(kernel, "test");
  std::vector<float> values = {1, 2, 3, 2, 4, 4, 4, 4};
  std::vector<float> result(8);
  const HostBuffer buffers[] = {{reinterpret_cast<std::byte*>(result.data()), 32},
                                {reinterpret_cast<std::byte*>(values.data()), 32}};
  interpret(kernel, buffers, {});
  EXPECT_EQ(result, (std::vector<float>{0.125, 0.25, 0.375, 0.25, 0.25, 0.25, 0.25, 0.25}));
  EXPECT_EQ(print(kernel),
            "lowered(out float32 p0, in float32 p1)\n"
            "  scratch float32[1] m0\n"
            "  part r0 < 2:\n"
            "    stage:\n"
            "      m0[0] = add[r2 < 4](p1[((r0 * 4) + r2)])\n"
            "    stage r1 < 4:\n"
            "      p0[((r0 * 4) + r1)] = (p1[((r0 * 4) + r1)] * recip(m0[0]))\n");
}

TEST(LoweredVerify, namesThePassAndTheNodeThatIsNotLegal) {
  const Node i = make_range(0, 4);
  const Node j = make_range(1, 4);
  const Node p = make_param(0, DType::float32);
  const Node a = make_param(1, DType::float32);
  const Node x = load_from(a, i);
  const auto expect = [](const Node& store, std::vector<Node> ranges, const std::string& part) {
    LoweredKernel kernel;
    kernel.params = {{DType::float32, true, false}, {DType::float32, false, true}};
    kernel.parts = {{{}, {{std::move(ranges), {store}}}}};
    try {
      verify_kernel(kernel, "a pass");
      FAIL() << "no error, wanted " << part;
    } catch (const InternalError& error) {
      EXPECT_NE(std::string(error.what()).find("lowered kernel after 'a pass': " + part),
                std::string::npos)
          << error.what();
    }
  };
  const auto sum = [](const Node& value, const Node& range) {
    return reduce_over(ReduceOp::add, value, {range});
  };
  expect(store_to(p, i, x), {}, "r0 is not bound: store");
  expect(store_to(p, i, sum(x, i)), {i}, "r0 is bound twice: store");
  expect(store_to(p, j, sum(sum(x, i), i)), {j}, "a range is bound twice: reduce");
  expect(store_to(p, i, x), {i, i}, "is bound twice: range");
  expect(store_to(p, constant_int(0), load_from(a, constant_int(0), {}, 4)), {},
         "does not belong to lowered kernels: load");
  expect(store_to(p, i, cast(reshape(x, {1}), DType::float32)), {i}, "belongs to graphs: reshape");
  expect(loop(LoopKind::serial, i, store_to(p, i, x)), {},
         "does not belong to lowered kernels: loop");
}

}  // namespace
}  // namespace brisk
