// Products with quantised matrices, as the engine computes them, against sums of the decoded values
// in float64: for every type of blocks, numbers of rows and numbers of blocks in one.
#include <gtest/gtest.h>

#include <cmath>
#include <random>

#include "brisk/create.h"
#include "formats/quant_tensors.h"
#include "formats/quantise.h"

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

  void expect_sums(std::int64_t rows, std::int64_t out, std::int64_t columns) {
    const BlockType type = GetParam();
    const BlockInfo& info = block_info(type);
    const std::vector<float> wanted = normal(out * columns);
    std::vector<std::byte> blocks(
        static_cast<std::size_t>(out * columns / info.values * info.bytes));
    encode_block_row(type, wanted.data(), blocks.data(), out * columns);
    std::vector<float> matrix(wanted.size());
    decode_block_row(type, blocks.data(), matrix.data(), out * columns);

    const std::vector<float> values = normal(rows * columns);
    const RoundedRows x = round_rows(from_host(std::span<const float>(values), {rows, columns}));
    const auto q = x.q.to_vector<std::int8_t>();
    const auto scale = x.scale.to_vector<float>();
    const Dims shape = {out, static_cast<std::int64_t>(blocks.size()) / out};
    const auto y =
        quantised_linear(x, from_bytes(blocks, shape, DType::uint8), type).to_vector<float>();
    ASSERT_EQ(y.size(), static_cast<std::size_t>(rows * out));
    for (std::int64_t i = 0; i < rows * out; ++i) {
      double sum = 0;
      double size = 0;
      for (std::int64_t k = 0; k < columns; ++k) {
        const auto at = static_cast<std::size_t>(i / out * columns + k);
        const double term = static_cast<double>(q[at]) * scale[at / 32] *
                            matrix[static_cast<std::size_t>(i % out * columns + k)];
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

TEST_P(QuantisedLinear, IsTheSumOfTheDecodedValues) {
  for (const std::int64_t rows : {1, 5, 9}) {
    for (const std::int64_t blocks : {1, 8, 11}) expect_sums(rows, 7, blocks * 256);
  }
  expect_sums(1, 64, 4096);
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
