// Products with quantised matrices, as the engine computes them, against sums of the decoded values
// in float64: for every type of blocks, numbers of rows and numbers of blocks in one.
#include <gtest/gtest.h>

#include <cmath>
#include <cstring>
#include <map>
#include <random>
#include <unordered_map>

#include "brisk/create.h"
#include "engine/engine.h"
#include "formats/quant_tensors.h"
#include "formats/quantise.h"
#include "graph/rules_simplify.h"
#include "kernel/interpret.h"
#include "kernel/lower.h"
#include "kernel/verify.h"
#include "optimize/optimize.h"
#include "schedule/fuse.h"
#include "tensor/node_of.h"

namespace brisk {
namespace {

class QuantisedLinear : public testing::TestWithParam<BlockType> {
 protected:
  std::vector<float> normal(std::int64_t count) {
    std::normal_distribution<float> distribution;
    std::vector<float> values(static_cast<std::size_t>(count));
    for (float& value : values) value = distribution(random_);
    return values;
  }

  struct Product {
    std::vector<float> matrix;  // decoded
    RoundedRows x;
    Tensor raw, y;
  };

  Product random_product(std::int64_t rows, std::int64_t out, std::int64_t columns) {
    const BlockType type = GetParam();
    const BlockInfo& info = block_info(type);
    Product product;
    product.matrix = normal(out * columns);
    std::vector<std::byte> blocks(
        static_cast<std::size_t>(out * columns / info.values * info.bytes));
    encode_block_row(type, product.matrix.data(), blocks.data(), out * columns);
    decode_block_row(type, blocks.data(), product.matrix.data(), out * columns);
    const std::vector<float> values = normal(rows * columns);
    product.x = round_rows(from_host(std::span<const float>(values), {rows, columns}));
    const Dims shape = {out, static_cast<std::int64_t>(blocks.size()) / out};
    product.raw = from_bytes(blocks, shape, DType::uint8);
    product.y = quantised_linear(product.x, product.raw, type);
    return product;
  }

  void expect_sums(std::int64_t rows, std::int64_t out, std::int64_t columns) {
    const Product product = random_product(rows, out, columns);
    const auto y = product.y.to_vector<float>();
    const auto q = product.x.q.to_vector<std::int8_t>();
    const auto scale = product.x.scale.to_vector<float>();
    ASSERT_EQ(y.size(), static_cast<std::size_t>(rows * out));
    for (std::int64_t i = 0; i < rows * out; ++i) {
      double sum = 0;
      double size = 0;
      for (std::int64_t k = 0; k < columns; ++k) {
        const auto at = static_cast<std::size_t>(i / out * columns + k);
        const double term = static_cast<double>(q[at]) * scale[at / RoundedRows::group] *
                            product.matrix[static_cast<std::size_t>(i % out * columns + k)];
        sum += term;
        size += std::fabs(term);
      }
      ASSERT_NEAR(y[static_cast<std::size_t>(i)], sum, 1e-6 * size)
          << rows << " x " << columns << " -> " << out << ", element " << i;
    }
  }

 private:
  std::mt19937 random_{5};
};

// The product's kernels for `target`, interpreted.
std::vector<float> interpreted(const Tensor& product, const Target& target) {
  const Node root = simplify(node_of(product));
  const KernelList list = fuse({&root, 1});
  std::unordered_map<Node, std::vector<std::byte>, NodeHash> memory;
  for (const ScheduledKernel& scheduled : list.kernels) {
    const Lowering lowering = lower(scheduled.outputs, list.stored);
    const Kernel kernel = optimize(lowering.kernel, target);
    verify_kernel(kernel, "optimize");
    std::vector<HostBuffer> buffers;
    for (const Node& argument : lowering.arguments) {
      auto& bytes = memory[argument];
      if (bytes.empty() && argument.is(Op::buffer_)) bytes = Engine::shared().read(argument);
      bytes.resize(static_cast<std::size_t>(element_count(argument.shape()).value()) *
                   static_cast<std::size_t>(byte_size(argument.dtype())));
      buffers.push_back({bytes.data(), static_cast<std::int64_t>(bytes.size())});
    }
    interpret(kernel, buffers, {});
  }
  const std::vector<std::byte>& bytes = memory.at(memory_of(root));
  std::vector<float> values(bytes.size() / sizeof(float));
  std::memcpy(values.data(), bytes.data(), bytes.size());
  return values;
}

TEST_P(QuantisedLinear, IsTheSameInEveryTargetsKernels) {
  for (const std::int64_t rows : {1, 3, 17}) {
    const Product product = random_product(rows, 18, 256);
    std::map<std::string, std::vector<float>> computed;
    for (const char* name : {"x86-64-v2", "x86-64-v4", "sapphirerapids", "neoverse-n1"})
      computed[name] = interpreted(product.y, target_for(name));
    const auto wanted = product.y.to_vector<float>();  // from here on it is a buffer
    for (const auto& [name, got] : computed) {
      ASSERT_EQ(got.size(), wanted.size());
      for (std::size_t i = 0; i < got.size(); ++i) ASSERT_NEAR(got[i], wanted[i], 1e-3) << name;
    }
  }
}

// As attention wants them: each head's columns are fewer than a vector has lanes.
TEST_P(QuantisedLinear, IsTheSameInNarrowHeads) {
  constexpr std::int64_t rows = 17, heads = 5, width = 8;
  const Product product = random_product(rows, heads * width, 256);
  const Tensor apart = product.y.reshape({rows, heads, width}).permute({1, 0, 2});
  std::map<std::string, std::vector<float>> computed;
  for (const char* name : {"x86-64-v3", "x86-64-v4", "sapphirerapids"})
    computed[name] = interpreted(apart, target_for(name));
  computed["this machine"] = apart.to_vector<float>();
  const auto wanted = product.y.to_vector<float>();
  for (const auto& [name, got] : computed) {
    ASSERT_EQ(got.size(), wanted.size());
    for (std::int64_t i = 0; i < rows * heads * width; ++i) {
      const std::int64_t head = i / (rows * width), row = i / width % rows;
      const std::int64_t from = (row * heads + head) * width + i % width;
      ASSERT_NEAR(got[static_cast<std::size_t>(i)], wanted[static_cast<std::size_t>(from)], 1e-3)
          << name << ", element " << i;
    }
  }
}

TEST_P(QuantisedLinear, IsTheSumOfTheDecodedValues) {
  for (const std::int64_t rows : {1, 5, 9}) {
    for (const std::int64_t blocks : {1, 8, 11}) expect_sums(rows, 7, blocks * 256);
    expect_sums(rows, 43, 512);
  }
  expect_sums(1, 64, 4096);
  expect_sums(7, 64, 4096);
}

// Where the number of rows is known late, as that of a short prompt's tokens is.
TEST_P(QuantisedLinear, TakesAnyNumberOfRows) {
  constexpr std::int64_t out = 43;
  const Product all = random_product(8, out, 512);
  const auto wanted = all.y.to_vector<float>();
  const Dim rows = Dim::variable("rows", 1, 8);
  const RoundedRows some = {all.x.q.narrow(0, 0, rows), all.x.scale.narrow(0, 0, rows)};
  const Node y = node_of(quantised_linear(some, all.raw, GetParam()));
  Engine& engine = Engine::shared();
  for (std::int64_t count = 1; count <= 8; ++count) {
    const Node computed = engine.realize({&y, 1}, {{"rows", count}})[0];
    const std::vector<std::byte> bytes = engine.read(computed);
    std::vector<float> got(bytes.size() / sizeof(float));
    std::memcpy(got.data(), bytes.data(), bytes.size());
    ASSERT_EQ(got.size(), static_cast<std::size_t>(count * out));
    for (std::size_t i = 0; i < got.size(); ++i) ASSERT_NEAR(got[i], wanted[i], 1e-3) << count;
  }
}

// A few rows of nibbles go side by side through a machine's products of small bytes.
TEST(QuantisedLinearKernels, FewRowsMeetInterleavedRowsOfTheMatrix) {
  const auto phases = [](std::int64_t rows, const char* machine) {
    const Tensor x = empty({rows, 512}, DType::float32);
    const Tensor raw = empty({64, 512 / 32 * 18}, DType::uint8);
    const Node root = simplify(node_of(quantised_linear(round_rows(x), raw, BlockType::q4_0)));
    const KernelList list = fuse({&root, 1});
    const ScheduledKernel& last = list.kernels.back();
    return optimize(lower(last.outputs, list.stored).kernel, target_for(machine)).name;
  };
  EXPECT_EQ(phases(1, "x86-64-v3"), "matrix_vector_bytes");
  EXPECT_EQ(phases(5, "x86-64-v3"), "interleaved_rows");
  EXPECT_EQ(phases(5, "x86-64-v4"), "interleaved_rows");
  EXPECT_EQ(phases(5, "sapphirerapids"), "interleaved_rows");
  EXPECT_EQ(phases(9, "x86-64-v3"), "contraction_int16");
}

INSTANTIATE_TEST_SUITE_P(Types, QuantisedLinear,
                         testing::Values(BlockType::q4_0, BlockType::q4_1, BlockType::q5_0,
                                         BlockType::q5_1, BlockType::q8_0, BlockType::q2_k,
                                         BlockType::q3_k, BlockType::q4_k, BlockType::q5_k,
                                         BlockType::q6_k, BlockType::mxfp4, BlockType::iq4_nl,
                                         BlockType::iq4_xs),
                         [](const auto& info) { return std::string(block_info(info.param).name); });

}  // namespace
}  // namespace brisk
