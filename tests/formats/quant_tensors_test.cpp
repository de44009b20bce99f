// Dequantisation as a tensor expression against the scalar decoder, on the evaluator.
#include "formats/quant_tensors.h"

#include <gtest/gtest.h>

#include <cstring>

#include <bit>
#include <cmath>
#include <filesystem>
#include <fstream>
#include <iterator>
#include <memory>
#include <random>
#include <string>
#include <vector>

#include "base/error.h"
#include "brisk/create.h"
#include "graph/node.h"
#include "shared_data.h"
#include "tensor/node_of.h"
#include "tensor/realize.h"

namespace brisk {
namespace {

constexpr BlockType block_types[] = {
    BlockType::q4_0,  BlockType::q4_1,   BlockType::q5_0,  BlockType::q5_1, BlockType::q8_0,
    BlockType::q2_k,  BlockType::q3_k,   BlockType::q4_k,  BlockType::q5_k, BlockType::q6_k,
    BlockType::mxfp4, BlockType::iq4_nl, BlockType::iq4_xs};
constexpr BlockType plain_types[] = {BlockType::f32, BlockType::f16, BlockType::bf16};

class DequantiseTest : public testing::TestWithParam<BlockType> {
 protected:
  DequantiseTest() : evaluator_(evaluator()), before_(use_executor(evaluator_.get())) {}
  ~DequantiseTest() override { use_executor(before_); }

  // The expression's values are those of the decoder, bit by bit; NaN equals NaN.
  static void expect_equal(std::span<const std::byte> bytes, std::int64_t rows,
                           std::int64_t columns) {
    const BlockType type = GetParam();
    const Dims shape = {rows, static_cast<std::int64_t>(bytes.size()) / rows};
    const auto values =
        dequantise(from_bytes(bytes, shape, DType::uint8), type, columns).to_vector<float>();
    if (block_info(type).dtype == DType::none) {
      const auto planes = split_planes(type, bytes, columns);
      const Tensor apart = from_bytes(planes, shape, DType::uint8);
      const auto same = dequantise(apart, type, columns, BlockLayout::planes).to_vector<float>();
      ASSERT_EQ(std::memcmp(same.data(), values.data(), values.size() * sizeof(float)), 0);
    }
    std::vector<float> wanted(static_cast<std::size_t>(rows * columns));
    decode_block_row(type, bytes.data(), wanted.data(), rows * columns);
    ASSERT_EQ(values.size(), wanted.size());
    for (std::size_t i = 0; i < wanted.size(); ++i) {
      if (std::isnan(wanted[i]) && std::isnan(values[i])) continue;
      ASSERT_EQ(values[i], wanted[i]) << block_info(type).name << ", value " << i;
    }
  }

 private:
  std::unique_ptr<Executor> evaluator_;
  Executor* before_;
};

TEST_P(DequantiseTest, decodes_any_bytes_as_the_scalar_decoder_does) {
  const BlockInfo& info = block_info(GetParam());
  std::mt19937 random(static_cast<unsigned>(info.type));
  const std::int64_t rows = 3;
  const std::int64_t blocks = 5;
  std::vector<std::byte> bytes(static_cast<std::size_t>(rows * blocks * info.bytes));
  for (int round = 0; round < 4; ++round) {
    for (std::byte& byte : bytes) byte = static_cast<std::byte>(random());
    expect_equal(bytes, rows, blocks * info.values);
  }
}

class DequantiseBlocksTest : public DequantiseTest {};

TEST_P(DequantiseBlocksTest, decodes_the_blocks_of_another_project) {
  const std::string name(block_info(GetParam()).name);
  const auto path = shared_data() / "quant-blocks" / (name + ".blocks");
  if (!std::filesystem::exists(path)) GTEST_SKIP() << "needs " << path.string();
  std::ifstream file(path, std::ios::binary);
  const std::vector<char> text(std::istreambuf_iterator<char>(file), {});
  expect_equal(std::as_bytes(std::span(text)), 6, 1024);
}

TEST_P(DequantiseTest, is_a_small_expression_that_stores_nothing) {
  const BlockInfo& info = block_info(GetParam());
  const Tensor raw = zeros({4, 2 * info.bytes}, DType::uint8).realize();
  const Node root = node_of(dequantise(raw, info.type, 2 * info.values));
  const auto nodes = topological_order({&root, 1});
  EXPECT_LT(nodes.size(), 150U);
  for (const Node& node : nodes) {
    EXPECT_FALSE(node.is(Op::reduce_) || node.is(Op::store_) || node.is(Op::load_));
  }
}

std::string type_name(const testing::TestParamInfo<BlockType>& type) {
  return std::string(block_info(type.param).name);
}
INSTANTIATE_TEST_SUITE_P(blocks, DequantiseTest, testing::ValuesIn(block_types), type_name);
INSTANTIATE_TEST_SUITE_P(plain, DequantiseTest, testing::ValuesIn(plain_types), type_name);
INSTANTIATE_TEST_SUITE_P(blocks, DequantiseBlocksTest, testing::ValuesIn(block_types), type_name);

TEST(Dequantise, says_what_does_not_fit) {
  const auto host = evaluator();
  Executor* before = use_executor(host.get());
  try {
    dequantise(zeros({2, 17}, DType::uint8), BlockType::q4_0, 32);
    ADD_FAILURE() << "17 bytes are no block of Q4_0";
  } catch (const UserError& error) {
    EXPECT_STREQ(error.what(),
                 "dequantise: 32 columns of Q4_0 do not lie in uint8 of shape [2, 17]");
  }
  use_executor(before);
}

}  // namespace
}  // namespace brisk
