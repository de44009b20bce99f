#include "formats/quantise.h"

#include <gtest/gtest.h>

#include <algorithm>
#include <cmath>
#include <filesystem>
#include <fstream>
#include <limits>
#include <nlohmann/json.hpp>
#include <random>
#include <string>
#include <vector>

#include "formats/mapped_file.h"
#include "shared_data.h"
#include "temporary_folder.h"

namespace brisk {
namespace {

constexpr BlockType block_types[] = {
    BlockType::q4_0,   BlockType::q4_1,   BlockType::q5_0, BlockType::q5_1, BlockType::q8_0,
    BlockType::q2_k,   BlockType::q3_k,   BlockType::q4_k, BlockType::q5_k, BlockType::q6_k,
    BlockType::iq4_nl, BlockType::iq4_xs, BlockType::mxfp4};

std::vector<float> there_and_back(BlockType type, const std::vector<float>& values) {
  const BlockInfo& info = block_info(type);
  const auto n = static_cast<std::int64_t>(values.size());
  std::vector<std::byte> blocks(static_cast<std::size_t>(n / info.values * info.bytes));
  encode_block_row(type, values.data(), blocks.data(), n);
  std::vector<float> out(values.size());
  decode_block_row(type, blocks.data(), out.data(), n);
  return out;
}

double relative_error(const std::vector<float>& got, const std::vector<float>& want) {
  double error = 0, power = 0;
  for (std::size_t i = 0; i < want.size(); ++i) {
    const double expected = want[i], difference = got[i] - expected;
    error += difference * difference;
    power += expected * expected;
  }
  return std::sqrt(error / power);
}

std::vector<float> normal_values(std::size_t n, float scale) {
  std::mt19937 generator(1);
  std::vector<float> out(n);
  for (float& value : out) {  // a sum of uniforms: the same on every standard library
    float sum = 0;
    for (int i = 0; i < 12; ++i) sum += static_cast<float>(generator() >> 8) * 0x1p-24f;
    value = scale * (sum - 6);
  }
  return out;
}

TEST(Quantise, keeps_plain_floats) {
  const std::vector<float> values = {0, 1, -2.5f, 65504};
  EXPECT_EQ(there_and_back(BlockType::f32, values), values);
  EXPECT_EQ(there_and_back(BlockType::f16, values), values);
  EXPECT_EQ(there_and_back(BlockType::bf16, {1, -2.5f}), (std::vector<float>{1, -2.5f}));
}

TEST(Quantise, does_not_depend_on_the_rows_around) {
  const auto values = normal_values(512, 1);
  for (const BlockType type : block_types) {
    const auto both = there_and_back(type, values);
    const auto second = there_and_back(type, {values.begin() + 256, values.end()});
    EXPECT_TRUE(std::equal(second.begin(), second.end(), both.begin() + 256));
  }
}

TEST(Quantise, keeps_zeros) {
  for (const BlockType type : block_types) {
    EXPECT_EQ(there_and_back(type, std::vector<float>(256)), std::vector<float>(256))
        << block_info(type).name;
  }
}

// Relative error that a Gaussian of any ordinary scale may have, by type.
TEST(Quantise, keeps_gaussian_values_as_near_as_the_bits_allow) {
  const double bounds[] = {0.09,  0.078, 0.045, 0.038, 0.006, 0.30, 0.155,
                           0.075, 0.037, 0.02,  0.08,  0.08,  0.12};
  for (const float scale : {1e-3f, 1.0f, 1000.0f}) {
    const auto values = normal_values(256 * 64, scale);
    for (std::size_t i = 0; i < std::size(block_types); ++i) {
      EXPECT_LE(relative_error(there_and_back(block_types[i], values), values), bounds[i])
          << block_info(block_types[i]).name << " at " << scale;
    }
  }
}

TEST(Quantise, is_exact_for_values_on_the_grid) {
  std::vector<float> values(256);
  for (int i = 0; i < 256; ++i) values[i] = 0.5f * static_cast<float>(i % 16 - 8);
  EXPECT_EQ(there_and_back(BlockType::q4_0, values), values);
  EXPECT_EQ(there_and_back(BlockType::q4_1, values), values);
  EXPECT_EQ(there_and_back(BlockType::q5_0, values), values);
  for (int i = 0; i < 256; ++i) values[i] = 0.25f * static_cast<float>(iq4_levels[i % 16]);
  EXPECT_EQ(there_and_back(BlockType::iq4_nl, values), values);
  for (int i = 0; i < 256; ++i) values[i] = 0.25f * static_cast<float>(fp4_doubled[i % 16]);
  EXPECT_EQ(there_and_back(BlockType::mxfp4, values), values);
}

TEST(Quantise, takes_the_smallest_and_constant_values) {
  for (const BlockType type : block_types) {
    for (const float value : {1e-30f, -1e-30f, 1e-42f, 3.0f, -3.0f}) {
      const auto out = there_and_back(type, std::vector<float>(256, value));
      const float bound = std::max(0.15f * std::fabs(value), 1e-6f);
      for (const float got : out) ASSERT_NEAR(got, value, bound) << block_info(type).name;
    }
  }
}

TEST(Quantise, refuses_values_that_no_block_can_hold) {
  std::vector<float> values(256, 1.0f);
  for (const BlockType type : block_types) {
    const std::string name(block_info(type).name);
    for (const float bad : {std::numeric_limits<float>::infinity(), std::nanf("")}) {
      values[77] = bad;
      EXPECT_EQ(user_error_of([&] { there_and_back(type, values); }),
                "cannot quantise to " + name + ": a value is not finite");
    }
  }
  for (const float large : {1e10f, 1e30f, 3e38f}) {
    values.assign(256, 0.0f);
    values[77] = large;
    for (const BlockType type : block_types) {
      if (type == BlockType::mxfp4 && large < 1e38f) {
        EXPECT_LE(relative_error(there_and_back(type, values), values), 0.21);
        continue;
      }
      const std::string name(block_info(type).name);
      EXPECT_EQ(user_error_of([&] { there_and_back(type, values); }),
                "cannot quantise to " + name + ": a value is too large");
    }
  }
  EXPECT_EQ(user_error_of([&] { there_and_back(BlockType::i8, values); }), "cannot quantise to I8");
}

const std::filesystem::path vectors = shared_data() / "quant-blocks";

TEST(Quantise, is_no_worse_than_the_shared_vectors) {
  if (!std::filesystem::exists(vectors)) GTEST_SKIP() << "no " << vectors;
  const auto index = nlohmann::json::parse(std::ifstream(vectors / "index.json"));
  const MappedFile source = MappedFile::open(vectors / "source.f16");
  std::vector<float> values(source.bytes().size() / 2);
  decode_block_row(BlockType::f16, source.bytes().data(), values.data(),
                   static_cast<std::int64_t>(values.size()));
  for (const auto& entry : index) {
    const std::string name = entry["type"];
    const double error =
        relative_error(there_and_back(find_block_type(name)->type, values), values);
    EXPECT_LE(error, entry["relative_error"].get<double>()) << name;
    RecordProperty(name, std::to_string(error));
  }
}

}  // namespace
}  // namespace brisk
