#include "formats/quant_blocks.h"

#include <gtest/gtest.h>

#include <bit>
#include <cmath>
#include <cstring>
#include <filesystem>
#include <fstream>
#include <limits>
#include <nlohmann/json.hpp>
#include <vector>

#include "base/error.h"
#include "formats/mapped_file.h"
#include "shared_data.h"

namespace brisk {
namespace {

using Bytes = std::vector<std::uint8_t>;

std::vector<float> decode(BlockType type, const Bytes& block) {
  const BlockInfo& info = block_info(type);
  EXPECT_EQ(static_cast<std::int64_t>(block.size()) % info.bytes, 0);
  std::vector<float> out(block.size() / info.bytes * info.values);
  decode_block_row(type, reinterpret_cast<const std::byte*>(block.data()), out.data(),
                   static_cast<std::int64_t>(out.size()));
  return out;
}

void put_half(Bytes& block, std::size_t at, float value) {
  const std::uint16_t bits = float_to_half(value);
  std::memcpy(&block[at], &bits, sizeof bits);
}

/// A block of zeros with the half `d` at `at`.
Bytes block_of(BlockType type, std::size_t at, float d) {
  Bytes block(block_info(type).bytes);
  put_half(block, at, d);
  return block;
}

TEST(BlockTypes, are_found_by_id_and_by_name) {
  EXPECT_EQ(find_block_type(12u)->type, BlockType::q4_k);
  EXPECT_EQ(find_block_type("q4_k")->type, BlockType::q4_k);
  EXPECT_EQ(find_block_type("BF16")->dtype, DType::bfloat16);
  EXPECT_EQ(find_block_type(4u), nullptr);
  EXPECT_EQ(find_block_type(std::numeric_limits<std::uint32_t>::max()), nullptr);
  EXPECT_EQ(find_block_type("q4"), nullptr);
  EXPECT_EQ(gguf_type_name(16), "IQ2_XXS");
  EXPECT_EQ(gguf_type_name(39), "MXFP4");
  EXPECT_EQ(gguf_type_name(1000), "");
}

TEST(BlockTypes, of_plain_elements_have_the_size_of_their_dtype) {
  for (std::uint32_t id = 0; id < 64; ++id) {
    const BlockInfo* info = find_block_type(id);
    if (info && info->dtype != DType::none) {
      EXPECT_EQ(info->values, 1) << info->name;
      EXPECT_EQ(info->bytes, byte_size(info->dtype)) << info->name;
    }
  }
}

// Each layout by hand: every field of the block is set where one value shows it.
TEST(Decode, reads_plain_elements_at_any_alignment) {
  const Bytes half = {0xff, 0x00, 0x3c, 0x00, 0xc0};  // one byte, then 1 and -2
  float out[2];
  decode_block_row(BlockType::f16, reinterpret_cast<const std::byte*>(half.data() + 1), out, 2);
  EXPECT_EQ(out[0], 1.0f);
  EXPECT_EQ(out[1], -2.0f);
  EXPECT_EQ(decode(BlockType::bf16, {0x80, 0x3f})[0], 1.0f);
  EXPECT_EQ(decode(BlockType::f32, {0, 0, 0x80, 0x3f})[0], 1.0f);
  EXPECT_EQ(decode(BlockType::f64, {0, 0, 0, 0, 0, 0, 0xf0, 0xbf})[0], -1.0f);
  EXPECT_EQ(decode(BlockType::i8, {0xff})[0], -1.0f);
  EXPECT_EQ(decode(BlockType::i16, {0xfe, 0xff})[0], -2.0f);
  EXPECT_EQ(decode(BlockType::i32, {0, 0, 1, 0})[0], 65536.0f);
  EXPECT_EQ(decode(BlockType::i64, {0, 0, 0, 0, 1, 0, 0, 0})[0], 4294967296.0f);
}

TEST(Decode, reads_q4_0) {
  Bytes block = block_of(BlockType::q4_0, 0, 0.5f);
  block[2] = 0xf9;
  const auto x = decode(BlockType::q4_0, block);
  EXPECT_EQ(x[0], 0.5f);
  EXPECT_EQ(x[16], 3.5f);
  EXPECT_EQ(x[1], -4.0f);
}

TEST(Decode, reads_q4_1) {
  Bytes block = block_of(BlockType::q4_1, 0, 0.5f);
  put_half(block, 2, -1.0f);
  block[19] = 0x3f;
  const auto x = decode(BlockType::q4_1, block);
  EXPECT_EQ(x[15], 6.5f);
  EXPECT_EQ(x[31], 0.5f);
  EXPECT_EQ(x[0], -1.0f);
}

TEST(Decode, reads_q5_0) {
  Bytes block = block_of(BlockType::q5_0, 0, 1.0f);
  block[2] = 0x01;  // bit 0: value 0
  block[5] = 0x80;  // bit 31: value 31
  block[6] = 0x02;
  const auto x = decode(BlockType::q5_0, block);
  EXPECT_EQ(x[0], 2.0f);
  EXPECT_EQ(x[31], 0.0f);
  EXPECT_EQ(x[16], -16.0f);
}

TEST(Decode, reads_q5_1) {
  Bytes block = block_of(BlockType::q5_1, 0, 1.0f);
  put_half(block, 2, 0.25f);
  block[4] = 0x02;
  block[9] = 0x43;
  const auto x = decode(BlockType::q5_1, block);
  EXPECT_EQ(x[1], 19.25f);
  EXPECT_EQ(x[17], 4.25f);
}

TEST(Decode, reads_q8_0) {
  Bytes block = block_of(BlockType::q8_0, 0, 2.0f);
  block[2] = 0x80;
  block[33] = 0x7f;
  const auto x = decode(BlockType::q8_0, block);
  EXPECT_EQ(x[0], -256.0f);
  EXPECT_EQ(x[31], 254.0f);
}

TEST(Decode, reads_iq4_nl) {
  Bytes block = block_of(BlockType::iq4_nl, 0, 1.0f);
  block[2] = 0xf8;
  const auto x = decode(BlockType::iq4_nl, block);
  EXPECT_EQ(x[0], 1.0f);
  EXPECT_EQ(x[16], 113.0f);
  EXPECT_EQ(x[1], -127.0f);
}

TEST(Decode, reads_mxfp4_over_the_whole_range_of_its_exponent) {
  for (int e = 0; e < 256; ++e) {
    Bytes block(17);
    block[0] = static_cast<std::uint8_t>(e);
    block[1] = 0x71;
    block[2] = 0x9f;
    const auto x = decode(BlockType::mxfp4, block);
    EXPECT_EQ(x[0], std::ldexp(1.0f, e - 128)) << e;
    EXPECT_EQ(x[16], std::ldexp(12.0f, e - 128)) << e;
    EXPECT_EQ(x[1], -std::ldexp(12.0f, e - 128)) << e;
    EXPECT_EQ(x[17], -std::ldexp(1.0f, e - 128)) << e;
    EXPECT_EQ(std::bit_cast<std::uint32_t>(x[2]), 0u) << e;
  }
}

TEST(Decode, reads_q2_k) {
  Bytes block = block_of(BlockType::q2_k, 80, 0.5f);
  put_half(block, 82, 0.25f);
  block[15] = 0x34;            // values 240…255: scale 4, minimum 3
  block[16 + 32 + 31] = 0xc0;  // value 128 + 96 + 31
  block[16 + 17] = 0x04;       // value 32 + 17, scale 3
  block[3] = 0x02;
  const auto x = decode(BlockType::q2_k, block);
  EXPECT_EQ(x[255], 0.5f * 4 * 3 - 0.25f * 3);
  EXPECT_EQ(x[254], -0.25f * 3);
  EXPECT_EQ(x[49], 0.5f * 2 * 1);
  EXPECT_EQ(x[0], 0.0f);
}

TEST(Decode, reads_q3_k) {
  Bytes block = block_of(BlockType::q3_k, 108, 0.5f);
  block[31] = 0x80;              // high bit of value 255
  block[32 + 32 + 31] = 0xc0;    // low bits of value 255
  block[96 + 7] = 0x10;          // scale 15: low four bits 1
  block[96 + 11] = 0xc0 | 0x02;  // scale 15: high bits 3; scale 3: high bits 2
  const auto x = decode(BlockType::q3_k, block);
  EXPECT_EQ(x[255], 0.5f * (0x31 - 32) * 3);
  EXPECT_EQ(x[254], 0.5f * (0x31 - 32) * -4);
  EXPECT_EQ(x[48], 0.0f);  // scale 3 is 0x20 - 32
  EXPECT_EQ(x[0], 0.5f * -32 * -4);
}

Bytes block_with_scales(BlockType type) {
  Bytes block = block_of(type, 0, 0.5f);
  put_half(block, 2, 0.25f);
  block[4 + 3] = 0xc0 | 5;  // j = 3: scale 5; j = 7: high bits of the scale 3
  block[4 + 7] = 0x80 | 6;  // j = 3: minimum 6; j = 7: high bits of the minimum 2
  block[4 + 11] = 0x21;     // j = 7: low bits of the scale 1, of the minimum 2
  return block;
}

TEST(Decode, reads_q4_k) {
  Bytes block = block_with_scales(BlockType::q4_k);
  block[16 + 127] = 0x90;  // value 255
  block[16 + 32] = 0x70;   // value 96, of j = 3
  const auto x = decode(BlockType::q4_k, block);
  EXPECT_EQ(x[255], 0.5f * 0x31 * 9 - 0.25f * 0x22);
  EXPECT_EQ(x[254], -0.25f * 0x22);
  EXPECT_EQ(x[96], 0.5f * 5 * 7 - 0.25f * 6);
  EXPECT_EQ(x[0], 0.0f);
}

TEST(Decode, reads_q5_k) {
  Bytes block = block_with_scales(BlockType::q5_k);
  block[48 + 127] = 0x90;
  block[48 + 32] = 0x70;
  block[16 + 31] = 0x80;  // high bit of value 255
  block[16] = 0x08;       // high bit of value 96
  const auto x = decode(BlockType::q5_k, block);
  EXPECT_EQ(x[255], 0.5f * 0x31 * 25 - 0.25f * 0x22);
  EXPECT_EQ(x[254], -0.25f * 0x22);
  EXPECT_EQ(x[96], 0.5f * 5 * 23 - 0.25f * 6);
}

TEST(Decode, reads_q6_k) {
  Bytes block = block_of(BlockType::q6_k, 208, 0.5f);
  block[127] = 0x50;       // low bits of value 255
  block[128 + 63] = 0xc0;  // high bits of value 255
  block[192 + 15] = 0xfe;  // scale 15 is -2
  block[64 + 5] = 0x07;    // low bits of value 128 + 5
  block[192 + 8] = 3;
  const auto x = decode(BlockType::q6_k, block);
  EXPECT_EQ(x[255], 0.5f * -2 * (0x35 - 32));
  EXPECT_EQ(x[254], 0.5f * -2 * -32);
  EXPECT_EQ(x[133], 0.5f * 3 * (7 - 32));
}

TEST(Decode, reads_iq4_xs) {
  Bytes block = block_of(BlockType::iq4_xs, 0, 0.5f);
  block[3] = 0x80;        // high bits of scale 7 are 2
  block[4 + 3] = 0x50;    // low bits of scale 7 are 5, of scale 6 are 0
  block[8 + 127] = 0xf0;  // value 255
  const auto x = decode(BlockType::iq4_xs, block);
  EXPECT_EQ(x[255], 0.5f * 5 * 113);
  EXPECT_EQ(x[239], 0.5f * 5 * -127);
  EXPECT_EQ(x[192], 0.5f * -32 * -127);
}

TEST(Decode, refuses_a_part_of_a_block) {
  float out[32];
  const std::byte block[34] = {};
  EXPECT_THROW(decode_block_row(BlockType::q8_0, block, out, 31), InternalError);
}

// The vectors of another project; absent in a plain clone.
const std::filesystem::path vectors = shared_data() / "quant-blocks";

TEST(Decode, gives_the_shared_vectors_bit_for_bit) {
  if (!std::filesystem::exists(vectors)) GTEST_SKIP() << "no " << vectors;
  const auto index = nlohmann::json::parse(std::ifstream(vectors / "index.json"));
  EXPECT_EQ(index.size(), 13u);
  for (const auto& entry : index) {
    const std::string name = entry["type"];
    const BlockInfo* info = find_block_type(entry["ggml_type"].get<std::uint32_t>());
    ASSERT_NE(info, nullptr) << name;
    EXPECT_EQ(info->name, name);
    const MappedFile blocks = MappedFile::open(vectors / (name + ".blocks"));
    const MappedFile expected = MappedFile::open(vectors / (name + ".f32"));
    std::vector<float> out(entry["values"].get<std::size_t>());
    ASSERT_EQ(expected.bytes().size(), out.size() * sizeof(float));
    ASSERT_EQ(blocks.bytes().size(), out.size() / info->values * info->bytes);
    decode_block_row(info->type, blocks.bytes().data(), out.data(),
                     static_cast<std::int64_t>(out.size()));
    EXPECT_EQ(std::memcmp(out.data(), expected.bytes().data(), expected.bytes().size()), 0) << name;
  }
}

}  // namespace
}  // namespace brisk
