// .npy and .npz, sound: what is written reads the same, and damage is told in one line.
#include "formats/npy.h"

#include <gtest/gtest.h>

#include <cstring>

#include "base/error.h"
#include "formats/wav.h"
#include "formats/zip_file.h"

namespace brisk {
namespace {

std::span<const std::byte> bytes_of(const std::string& text) {
  return std::as_bytes(std::span(text.data(), text.size()));
}

std::string npy(const std::string& header, const std::string& content) {
  std::string text = "\x93NUMPY";
  text += std::string("\1\0", 2) + static_cast<char>(header.size()) + '\0' + header + content;
  return text;
}

std::string error_of(const std::string& text) {
  try {
    parse_npy(bytes_of(text), "a.npy");
  } catch (const UserError& error) {
    return error.what();
  }
  return "no error";
}

TEST(Npy, what_is_written_reads_the_same) {
  const std::vector<float> values = {1, 2, 3, 4, 5, 6};
  for (const std::vector<std::int64_t>& shape : {std::vector<std::int64_t>{6}, {2, 3}, {1, 6, 1}}) {
    const auto file = npy_bytes(DType::float32, shape, std::as_bytes(std::span(values)));
    EXPECT_EQ(file.size() % 64, 6 * 4 % 64U);
    const NpyArray array = parse_npy(file, "a.npy");
    EXPECT_EQ(array.dtype, DType::float32);
    EXPECT_EQ(array.shape, shape);
    ASSERT_EQ(array.bytes.size(), 24U);
    EXPECT_EQ(std::memcmp(array.bytes.data(), values.data(), 24), 0);
  }
}

TEST(Npy, columns_become_rows) {
  const std::string content("\1\2\3\4\5\6", 6);
  const NpyArray array = parse_npy(
      bytes_of(npy("{'descr': '|u1', 'fortran_order': True, 'shape': (2, 3), }", content)),
      "a.npy");
  const std::byte want[] = {std::byte{1}, std::byte{3}, std::byte{5},
                            std::byte{2}, std::byte{4}, std::byte{6}};
  EXPECT_EQ(std::memcmp(array.bytes.data(), want, 6), 0);
}

TEST(Npy, damage_is_told) {
  EXPECT_EQ(error_of("rubbish and more"), "a.npy: this is no .npy file");
  EXPECT_EQ(error_of(npy("{'descr': '<c8', 'fortran_order': False, 'shape': (), }", "")),
            "a.npy: elements of type '<c8' are not supported");
  EXPECT_EQ(error_of(npy("{'descr': '<f4', 'fortran_order': False, 'shape': (3,), }", "1234")),
            "a.npy: 4 bytes of elements, wants 12");
  EXPECT_EQ(error_of(npy("{'descr': '<f4', 'shape': (3,), }", "1234")),
            "a.npy: its .npy header is damaged");
  EXPECT_EQ(
      error_of(npy("{'descr': '<f4', 'fortran_order': False, 'shape': (4611686018427387904, 16), }",
                   "")),
      "a.npy: its array is too large");
}

// A deflated block that holds its bytes as they are.
std::string deflated(const std::string& text) {
  const auto size = static_cast<std::uint16_t>(text.size());
  return "\1" + number(size) + number(static_cast<std::uint16_t>(~size)) + text;
}

TEST(Npz, members_that_are_stored_and_deflated) {
  const std::string header = "{'descr': '<i2', 'fortran_order': False, 'shape': (2,), }";
  const std::string a = npy(header, number<std::int16_t>(7) + number<std::int16_t>(-1));
  const std::string b = npy(header, number<std::int16_t>(300) + number<std::int16_t>(2));
  const auto size = static_cast<std::uint32_t>(b.size());
  const auto arrays =
      parse_npz(bytes_of(zip({{"a.npy", a}, {"b.npy", deflated(b), 8, size}})), "x.npz");
  ASSERT_EQ(arrays.size(), 2U);
  for (const auto& [name, first] : {std::pair("a", 7), std::pair("b", 300)}) {
    const NpyArray& array = arrays.at(name);
    EXPECT_EQ(array.dtype, DType::int16);
    std::int16_t value = 0;
    ASSERT_EQ(array.bytes.size(), 4U);
    std::memcpy(&value, array.bytes.data(), 2);
    EXPECT_EQ(value, first);
  }
}

TEST(Npz, members_that_are_damaged) {
  const std::string packed = deflated("some bytes");
  for (const ZippedFile& file :
       {ZippedFile{"a.npy", packed, 8, 11}, ZippedFile{"a.npy", packed.substr(1), 8, 10},
        ZippedFile{"a.npy", packed, 8, 0xfffffff0}, ZippedFile{"a.npy", packed, 12, 10}}) {
    EXPECT_THROW(parse_npz(bytes_of(zip({file})), "x.npz"), UserError);
  }
}

TEST(Npz, bytes_that_are_none) {
  EXPECT_THROW(parse_npz(bytes_of("PK and then nothing of the kind, long enough"), "a.npz"),
               UserError);
}

TEST(Wav, reads_samples_of_16_bits) {
  std::string file = "RIFF----WAVEfmt ";
  const auto put = [&](std::uint64_t value, int count) {
    for (int i = 0; i < count; ++i) file += static_cast<char>(value >> (8 * i));
  };
  put(16, 4), put(1, 2), put(2, 2), put(8000, 4), put(32000, 4), put(4, 2), put(16, 2);
  file += "data";
  put(8, 4), put(0x4000, 2), put(0x8000, 2), put(0, 2), put(0x7fff, 2);
  const Sound sound = parse_wav(bytes_of(file), "a.wav");
  EXPECT_EQ(sound.rate, 8000);
  EXPECT_EQ(sound.channels, 2);
  EXPECT_EQ(sound.samples, (std::vector<float>{0.5F, -1.0F, 0.0F, 32767.0F / 32768}));
  EXPECT_THROW(parse_wav(bytes_of(file.substr(0, 30)), "a.wav"), UserError);
  EXPECT_THROW(parse_wav(bytes_of("RIFF----WAVE"), "a.wav"), UserError);
}

}  // namespace
}  // namespace brisk
