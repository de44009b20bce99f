// Planes made by many threads are those of one loop over the bytes, whatever the matrices' sizes,
// and what fails in a thread or in who takes them reaches the caller.
#include "formats/planes_stream.h"

#include <gtest/gtest.h>

#include <chrono>
#include <cstring>
#include <random>
#include <stdexcept>
#include <thread>
#include <vector>

#include "brisk/error.h"

namespace brisk {
namespace {

using Bytes = std::vector<std::byte>;

constexpr BlockType block_types[] = {
    BlockType::q4_0,  BlockType::q4_1,   BlockType::q5_0,  BlockType::q5_1, BlockType::q8_0,
    BlockType::q2_k,  BlockType::q3_k,   BlockType::q4_k,  BlockType::q5_k, BlockType::q6_k,
    BlockType::mxfp4, BlockType::iq4_nl, BlockType::iq4_xs};

std::size_t row_bytes(BlockType type, std::int64_t columns) {
  const BlockInfo& info = block_info(type);
  return static_cast<std::size_t>(columns / info.values * info.bytes);
}

Bytes random_bytes(std::size_t size) {
  std::mt19937_64 random(size);
  Bytes bytes(size);
  for (std::size_t at = 0; at < size; at += 8) {
    const std::uint64_t word = random();
    std::memcpy(&bytes[at], &word, std::min<std::size_t>(8, size - at));
  }
  return bytes;
}

// Byte k of block b of a row lies behind the fields before it, of all blocks.
Bytes planes_by_definition(const BlockRows& rows) {
  const auto size = static_cast<std::size_t>(block_info(rows.type).bytes);
  const std::size_t row = row_bytes(rows.type, rows.columns);
  const std::size_t blocks = row / size;
  const auto offsets = plane_offsets(rows.type);
  std::vector<std::size_t> field_begin(size);
  std::vector<std::size_t> field_size(size);
  for (std::size_t i = 0; i < offsets.size(); ++i) {
    const auto begin = static_cast<std::size_t>(offsets[i]);
    const auto end = i + 1 < offsets.size() ? static_cast<std::size_t>(offsets[i + 1]) : size;
    for (std::size_t k = begin; k < end; ++k) field_begin[k] = begin, field_size[k] = end - begin;
  }
  Bytes planes(rows.bytes.size());
  for (std::size_t at = 0; at < planes.size(); at += size) {
    const std::size_t first = at / row * row;
    const std::size_t block = (at - first) / size;
    for (std::size_t k = 0; k < size; ++k) {
      const std::size_t place = first + blocks * field_begin[k] + block * field_size[k];
      planes[place + k - field_begin[k]] = rows.bytes[at + k];
    }
  }
  return planes;
}

// Also that parts come in order and leave nothing out.
void expect_planes(std::span<const BlockRows> matrices, int threads) {
  std::vector<Bytes> planes(matrices.size());
  std::size_t last = 0;
  stream_planes(matrices, threads,
                [&](std::size_t index, std::size_t offset, std::span<const std::byte> part) {
                  ASSERT_GE(index, last);
                  last = index;
                  ASSERT_EQ(offset, planes[index].size());
                  planes[index].insert(planes[index].end(), part.begin(), part.end());
                });
  for (std::size_t i = 0; i < matrices.size(); ++i) {
    EXPECT_TRUE(planes[i] == planes_by_definition(matrices[i]))
        << block_info(matrices[i].type).name << ", matrix " << i << ", " << threads << " threads";
  }
}

TEST(PlanesStream, gives_the_bytes_of_one_loop_for_every_type_and_odd_numbers_of_rows) {
  std::vector<Bytes> bytes;
  std::vector<BlockRows> matrices;
  for (const BlockType type : block_types) {
    for (const auto& [rows, blocks] : {std::pair{1, 1}, {7, 3}, {301, 16}, {5, 4097}}) {
      const std::int64_t columns = blocks * block_info(type).values;
      bytes.push_back(random_bytes(static_cast<std::size_t>(rows) * row_bytes(type, columns)));
      matrices.push_back({type, columns, bytes.back()});
    }
  }
  for (std::size_t i = 0; i < bytes.size(); ++i) matrices[i].bytes = bytes[i];
  for (const int threads : {1, 2, 7}) expect_planes(matrices, threads);
  for (const BlockRows& matrix : matrices)
    EXPECT_TRUE(split_planes(matrix.type, matrix.bytes, matrix.columns) ==
                planes_by_definition(matrix));
}

TEST(PlanesStream, cuts_up_what_is_larger_than_its_memory) {
  const std::int64_t columns = 4096;
  const std::size_t rows = 60001;  // 132 MiB: three parts, the last one of an odd number of rows
  const Bytes bytes = random_bytes(rows * row_bytes(BlockType::q4_0, columns));
  const BlockRows matrix = {BlockType::q4_0, columns, bytes};
  expect_planes({&matrix, 1}, 3);
}

TEST(PlanesStream, takes_nothing_and_matrices_without_rows) {
  expect_planes({}, 2);
  const BlockRows none = {BlockType::q8_0, 64, {}};
  expect_planes({&none, 1}, 2);
}

TEST(PlanesStream, passes_on_what_the_taker_throws) {
  const Bytes bytes = random_bytes(1000 * row_bytes(BlockType::q8_0, 64));
  const std::vector<BlockRows> matrices(20, {BlockType::q8_0, 64, bytes});
  const auto take = [](std::size_t index, std::size_t, std::span<const std::byte>) {
    if (index == 3) throw std::runtime_error("full");
  };
  for (const int threads : {1, 4})
    EXPECT_THROW(stream_planes(matrices, threads, take), std::runtime_error);
}

// F64 has no planes, which the thread that makes them finds out.
TEST(PlanesStream, passes_on_what_a_thread_throws) {
  const Bytes good = random_bytes(1000 * row_bytes(BlockType::q8_0, 64));
  const Bytes bad = random_bytes(800);
  std::vector<BlockRows> matrices(20, {BlockType::q8_0, 64, good});
  matrices[10] = {BlockType::f64, 10, bad};
  for (const int threads : {1, 4}) {
    std::size_t taken = 0;
    const auto take = [&](std::size_t index, std::size_t, std::span<const std::byte>) {
      taken = index;
    };
    EXPECT_THROW(stream_planes(matrices, threads, take), InternalError);
    EXPECT_LT(taken, 10U);
  }
}

TEST(PlanesStream, waits_for_a_slow_taker) {
  const Bytes bytes = random_bytes(100 * row_bytes(BlockType::q6_k, 512));
  const std::vector<BlockRows> matrices(12, {BlockType::q6_k, 512, bytes});
  std::size_t taken = 0;
  const Bytes wanted = planes_by_definition(matrices[0]);
  stream_planes(matrices, 4, [&](std::size_t, std::size_t, std::span<const std::byte> part) {
    std::this_thread::sleep_for(std::chrono::milliseconds(3));
    EXPECT_TRUE(std::equal(part.begin(), part.end(), wanted.begin(), wanted.end()));
    ++taken;
  });
  EXPECT_EQ(taken, matrices.size());
}

}  // namespace
}  // namespace brisk
