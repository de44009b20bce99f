#include "formats/gguf.h"

#include <gtest/gtest.h>

#include <array>
#include <cstdlib>
#include <cstring>
#include <limits>

#include "shared_data.h"
#include "temporary_folder.h"

namespace brisk {
namespace {

/// A file put together byte by byte, independent of GgufWriter.
struct Raw {
  std::string text;

  template <typename T>
  Raw& put(T value) {
    text.append(reinterpret_cast<const char*>(&value), sizeof value);
    return *this;
  }
  Raw& u32(std::uint32_t value) { return put(value); }
  Raw& u64(std::uint64_t value) { return put(value); }
  Raw& string(std::string_view value) {
    u64(value.size());
    text += value;
    return *this;
  }
  Raw& pad(std::size_t alignment = 32) {
    text.resize((text.size() + alignment - 1) / alignment * alignment);
    return *this;
  }
  Raw& bytes(std::size_t count) {
    text.append(count, '\x01');
    return *this;
  }
  Raw& key(std::string_view name, GgufType type) {
    return string(name).u32(static_cast<std::uint32_t>(type));
  }
  Raw& tensor(std::string_view name, std::initializer_list<std::uint64_t> dimensions,
              std::uint32_t type, std::uint64_t offset) {
    string(name).u32(static_cast<std::uint32_t>(dimensions.size()));
    for (const std::uint64_t dimension : dimensions) u64(dimension);
    return u32(type).u64(offset);
  }
};

Raw header(std::uint64_t tensors, std::uint64_t entries, std::uint32_t version = 3) {
  Raw raw{"GGUF"};
  return raw.u32(version).u64(tensors).u64(entries);
}

GgufFile parse(const Raw& raw) { return GgufFile::parse(as_bytes(raw.text), "m.gguf"); }

std::string error_of(const Raw& raw) {
  const std::string text = user_error_of([&] { parse(raw); });
  EXPECT_TRUE(text.starts_with("m.gguf: ")) << text;
  return text.substr(std::min<std::size_t>(text.size(), 8));
}

TEST(Gguf, reads_every_type_of_value) {
  Raw raw = header(0, 13);
  raw.key("u8", GgufType::uint8).put<std::uint8_t>(200);
  raw.key("i8", GgufType::int8).put<std::int8_t>(-100);
  raw.key("u16", GgufType::uint16).put<std::uint16_t>(60000);
  raw.key("i16", GgufType::int16).put<std::int16_t>(-30000);
  raw.key("u32", GgufType::uint32).u32(4000000000u);
  raw.key("i32", GgufType::int32).put<std::int32_t>(-2000000000);
  raw.key("f32", GgufType::float32).put(1.5f);
  raw.key("bool", GgufType::boolean).put<std::uint8_t>(1);
  raw.key("string", GgufType::string).string("hello");
  raw.key("array", GgufType::array).u32(4).u64(2).u32(7).u32(9);
  raw.key("u64", GgufType::uint64).u64(std::uint64_t{1} << 40);
  raw.key("i64", GgufType::int64).put<std::int64_t>(-(std::int64_t{1} << 40));
  raw.key("f64", GgufType::float64).put(0.1);
  const GgufFile file = parse(raw);
  EXPECT_EQ(file.version(), 3u);
  EXPECT_EQ(file.metadata().size(), 13u);
  EXPECT_EQ(file.metadata()[8].key, "string");
  EXPECT_EQ(file.get("u8").integer(), 200);
  EXPECT_EQ(file.get("i8").integer(), -100);
  EXPECT_EQ(file.get("u16").integer(), 60000);
  EXPECT_EQ(file.get("i16").integer(), -30000);
  EXPECT_EQ(file.get("u32").integer(), 4000000000);
  EXPECT_EQ(file.get("i32").integer(), -2000000000);
  EXPECT_EQ(file.get("f32").number(), 1.5);
  EXPECT_TRUE(file.get("bool").boolean());
  EXPECT_EQ(file.get("string").string(), "hello");
  EXPECT_EQ(file.get("array").integers(), (std::vector<std::int64_t>{7, 9}));
  EXPECT_EQ(file.get("u64").integer(), std::int64_t{1} << 40);
  EXPECT_EQ(file.get("i64").integer(), -(std::int64_t{1} << 40));
  EXPECT_EQ(file.get("f64").number(), 0.1);
  EXPECT_EQ(file.get("i8").number(), -100);
  EXPECT_EQ(file.find("other"), nullptr);
}

TEST(Gguf, reads_arrays_of_strings_and_of_arrays) {
  Raw raw = header(0, 3);
  raw.key("strings", GgufType::array).u32(8).u64(3).string("a").string("").string("bc");
  raw.key("nested", GgufType::array).u32(9).u64(2);
  raw.u32(6).u64(1).put(2.5f).u32(8).u64(1).string("x");
  raw.key("after", GgufType::uint8).put<std::uint8_t>(1);
  const GgufFile file = parse(raw);
  EXPECT_EQ(file.get("strings").strings(), (std::vector<std::string_view>{"a", "", "bc"}));
  EXPECT_EQ(file.get("strings").element_type(), GgufType::string);
  const auto nested = file.get("nested").values();
  ASSERT_EQ(nested.size(), 2u);
  EXPECT_EQ(nested[0].floats(), std::vector<float>{2.5f});
  EXPECT_EQ(nested[1].strings(), std::vector<std::string_view>{"x"});
  EXPECT_EQ(file.get("after").integer(), 1);
}

TEST(Gguf, reads_tensors_with_the_outermost_dimension_first) {
  Raw raw = header(3, 0, 2);
  raw.tensor("matrix", {64, 3}, 8, 32).tensor("scalar", {}, 0, 0).tensor("cube", {4, 3, 2}, 1, 256);
  raw.pad().bytes(256 + 48);
  const GgufFile file = parse(raw);
  EXPECT_EQ(file.version(), 2u);
  const GgufTensor& matrix = file.tensor("matrix");
  EXPECT_EQ(matrix.type, BlockType::q8_0);
  EXPECT_EQ(matrix.shape, (std::vector<std::int64_t>{3, 64}));
  EXPECT_EQ(matrix.bytes.size(), 3u * 2 * 34);
  EXPECT_EQ(file.tensor("scalar").shape.size(), 0u);
  EXPECT_EQ(file.tensor("scalar").bytes.size(), 4u);
  EXPECT_EQ(file.tensor("cube").shape, (std::vector<std::int64_t>{2, 3, 4}));
  const auto* start = reinterpret_cast<const std::byte*>(raw.text.data());
  EXPECT_EQ(file.tensor("cube").bytes.data(), start + raw.text.size() - 48);
  EXPECT_EQ(file.tensors()[0].name, "matrix");
}

TEST(Gguf, honours_the_alignment_of_the_file) {
  Raw raw = header(2, 1);
  raw.key("general.alignment", GgufType::uint32).u32(8);
  raw.tensor("a", {1}, 0, 0).tensor("b", {1}, 0, 8);
  raw.pad(8).bytes(12);
  const GgufFile file = parse(raw);
  EXPECT_EQ(file.alignment(), 8u);
  EXPECT_EQ(file.tensor("b").bytes.data() - file.tensor("a").bytes.data(), 8);
}

TEST(Gguf, needs_no_padding_where_there_are_no_tensors) {
  EXPECT_TRUE(parse(header(0, 0)).tensors().empty());
}

TEST(Gguf, names_the_key_when_a_value_is_of_another_type) {
  Raw raw = header(0, 3);
  raw.key("name", GgufType::string).string("hello");
  raw.key("big", GgufType::uint64).u64(std::numeric_limits<std::uint64_t>::max());
  raw.key("mixed", GgufType::array).u32(6).u64(1).put(1.0f);
  const GgufFile file = parse(raw);
  const auto error = [](const auto& action) { return user_error_of(action); };
  EXPECT_EQ(error([&] { file.get("name").integer(); }),
            "metadata 'name' is a string where a whole number is wanted");
  EXPECT_EQ(error([&] { file.get("name").number(); }),
            "metadata 'name' is a string where a number is wanted");
  EXPECT_EQ(error([&] { file.get("big").boolean(); }),
            "metadata 'big' is a uint64 where a bool is wanted");
  EXPECT_EQ(error([&] { file.get("big").string(); }),
            "metadata 'big' is a uint64 where a string is wanted");
  EXPECT_EQ(error([&] { file.get("big").strings(); }),
            "metadata 'big' is a uint64 where an array is wanted");
  EXPECT_EQ(error([&] { file.get("big").integer(); }),
            "metadata 'big' is 18446744073709551615, above 2^63");
  EXPECT_EQ(error([&] { file.get("mixed").integers(); }),
            "metadata 'mixed' is a float32 where a whole number is wanted");
  EXPECT_EQ(error([&] { file.get("none"); }), "m.gguf: metadata 'none' is missing");
  EXPECT_EQ(error([&] { file.tensor("none"); }), "m.gguf: tensor 'none' is missing");
}

TEST(GgufErrors, for_a_file_that_is_not_gguf) {
  EXPECT_EQ(error_of({"GGU"}), "not a GGUF file: it does not begin with \"GGUF\"");
  EXPECT_EQ(error_of({"PK\x03\x04 and so on"}), "not a GGUF file: it does not begin with \"GGUF\"");
}

TEST(GgufErrors, for_a_version_that_is_not_supported) {
  EXPECT_EQ(error_of(header(0, 0, 1)), "GGUF version 1 is not supported, versions 2 and 3 are");
  EXPECT_EQ(error_of(header(0, 0, 4)), "GGUF version 4 is not supported, versions 2 and 3 are");
  EXPECT_EQ(error_of(header(0, 0, 0)), "GGUF version 0 is not supported, versions 2 and 3 are");
  EXPECT_EQ(error_of(header(0, 0, 0x03000000)), "a big-endian GGUF file, not supported");
}

TEST(GgufErrors, for_a_file_cut_anywhere) {
  Raw raw = header(1, 2);
  raw.key("general.name", GgufType::string).string("hello");
  raw.key("list", GgufType::array).u32(8).u64(2).string("a").string("b");
  raw.tensor("t", {8}, 0, 0).pad().bytes(32);
  EXPECT_NO_THROW(parse(raw));
  for (std::size_t size = 0; size < raw.text.size(); ++size) {
    SCOPED_TRACE(size);
    error_of({raw.text.substr(0, size)});
  }
  EXPECT_EQ(error_of({raw.text.substr(0, 6)}),
            "the file is truncated or damaged: header field 0 needs 4 bytes at byte 4, 2 are left");
  EXPECT_EQ(error_of({raw.text.substr(0, raw.text.size() - 1)}),
            "the file is truncated or damaged: tensor 't' needs 32 bytes at offset 0 of the data, "
            "which has 31");
}

TEST(GgufErrors, for_counts_that_the_file_cannot_hold) {
  constexpr std::uint64_t huge = std::numeric_limits<std::uint64_t>::max();
  EXPECT_EQ(error_of(header(0, huge)),
            "the header claims 18446744073709551615 metadata entries, 0 bytes follow");
  EXPECT_EQ(error_of(header(huge, 0)),
            "the header claims 18446744073709551615 tensors, 0 bytes follow");
  EXPECT_EQ(
      error_of(header(0, 1).string("k").u32(9).u32(8).u64(huge)),
      "metadata entry 0 claims an array of 18446744073709551615 elements, 0 bytes of file are "
      "left");
  EXPECT_EQ(error_of(header(0, 1).string("k").u32(9).u32(10).u64(std::uint64_t{1} << 61).u64(0)),
            "metadata entry 0 claims an array of 2305843009213693952 elements, 8 bytes of file are "
            "left");
  EXPECT_EQ(
      error_of(header(0, 1).string("k").u32(8).u64(huge).u64(0)),
      "the file is truncated or damaged: metadata entry 0 needs 18446744073709551615 bytes at "
      "byte 45, 8 are left");
}

TEST(GgufErrors, for_values_of_unknown_or_too_deep_type) {
  EXPECT_EQ(error_of(header(0, 1).string("k").u32(13).u64(0)),
            "metadata entry 0 has the unknown value type 13");
  EXPECT_EQ(error_of(header(0, 1).string("k").u32(9).u32(99).u64(0)),
            "metadata entry 0 has the unknown value type 99");
  Raw deep = header(0, 1);
  deep.string("k").u32(9);
  for (int i = 0; i < 100000; ++i) deep.u32(9).u64(1);
  EXPECT_EQ(error_of(deep), "metadata entry 0 has arrays nested deeper than 4");
}

TEST(GgufErrors, for_bad_keys) {
  EXPECT_EQ(error_of(header(0, 1).string("").u32(0).u32(0)),
            "the key of metadata entry 0 has 0 bytes, 1 to 65535 are allowed");
  EXPECT_EQ(error_of(header(0, 1).string(std::string(65536, 'k')).u32(0).u32(0)),
            "the key of metadata entry 0 has 65536 bytes, 1 to 65535 are allowed");
  Raw twice = header(0, 2);
  twice.key("a\n", GgufType::uint8).put<std::uint8_t>(1);
  twice.key("a\n", GgufType::boolean).put<std::uint8_t>(1);
  EXPECT_EQ(error_of(twice), "metadata 'a\\x0a' appears twice");
}

TEST(GgufErrors, for_a_bad_alignment) {
  const auto alignment = [](GgufType type, std::uint32_t value) {
    Raw raw = header(0, 1);
    raw.key("general.alignment", type).u32(value).pad();
    return error_of(raw);
  };
  EXPECT_EQ(alignment(GgufType::uint32, 0), "general.alignment is 0, a power of two is wanted");
  EXPECT_EQ(alignment(GgufType::uint32, 24), "general.alignment is 24, a power of two is wanted");
  EXPECT_EQ(alignment(GgufType::int32, 0x80000000),
            "general.alignment is -2147483648, a power of two is wanted");
  EXPECT_EQ(alignment(GgufType::float32, 0x42000000),
            "metadata 'general.alignment' is a float32 where a whole number is wanted");
}

TEST(GgufErrors, for_bad_tensor_infos) {
  const auto tensor = [](std::string_view name, std::initializer_list<std::uint64_t> dimensions,
                         std::uint32_t type, std::uint64_t offset) {
    return error_of(header(1, 0).tensor(name, dimensions, type, offset).pad().bytes(64));
  };
  constexpr std::uint64_t big = std::uint64_t{1} << 62;
  EXPECT_EQ(tensor("", {1}, 0, 0), "a tensor's name has 0 bytes, 1 to 65535 are allowed");
  EXPECT_EQ(tensor("t", {1, 1, 1, 1, 1}, 0, 0),
            "tensor 't' has 5 dimensions, at most 4 are allowed");
  EXPECT_EQ(tensor("t", {4, 0}, 0, 0), "tensor 't' has a dimension of 0");
  EXPECT_EQ(tensor("t", {std::uint64_t{1} << 63}, 24, 0),
            "tensor 't' has a dimension of 9223372036854775808");
  EXPECT_EQ(tensor("t", {big, 2}, 24, 0), "tensor 't' has more than 2^63 bytes");
  EXPECT_EQ(tensor("t", {big}, 0, 0), "tensor 't' has more than 2^63 bytes");
  EXPECT_EQ(tensor("t", {big, big, big, big}, 0, 0), "tensor 't' has more than 2^63 bytes");
  EXPECT_EQ(tensor("t", {32}, 4, 0), "tensor 't' has the unknown type 4");
  EXPECT_EQ(tensor("t", {256}, 16, 0), "tensor 't' is in IQ2_XXS, which brisk cannot read");
  EXPECT_EQ(tensor("t", {48}, 2, 0),
            "tensor 't' has rows of 48 values, Q4_0 needs a multiple of 32");
  EXPECT_EQ(tensor("t", {1}, 0, 16),
            "tensor 't' is at offset 16, which is not a multiple of the alignment 32");
  EXPECT_EQ(tensor("t", {16}, 0, 32),
            "the file is truncated or damaged: tensor 't' needs 64 bytes at offset 32 of the data, "
            "which has 64");
  EXPECT_EQ(tensor("t", {16}, 0, std::uint64_t{0} - 32),
            "the file is truncated or damaged: tensor 't' needs 64 bytes at offset "
            "18446744073709551584 of the data, which has 64");
}

TEST(GgufErrors, for_tensors_that_contradict_each_other) {
  Raw twice = header(2, 0);
  twice.tensor("t", {1}, 0, 0).tensor("t", {1}, 0, 32).pad().bytes(64);
  EXPECT_EQ(error_of(twice), "tensor 't' appears twice");
  Raw overlap = header(2, 0);
  overlap.tensor("a", {1}, 0, 32).tensor("b", {9}, 0, 0).pad().bytes(64);
  EXPECT_EQ(error_of(overlap), "tensors 'b' and 'a' overlap");
}

TEST(GgufWriter, writes_what_the_reader_reads) {
  const std::vector<float> numbers = {1, 2, 3, 4, 5, 6};
  const std::vector<std::byte> blocks(2 * 18, std::byte{7});
  const std::array<std::string_view, 2> words = {"a", "b"};
  const std::array<std::int32_t, 3> kinds = {-1, 2, 3};
  GgufWriter writer(64);
  writer.add("name", "tiny");
  writer.add("yes", true);
  writer.add("u8", std::uint8_t{1});
  writer.add("i64", std::int64_t{-5});
  writer.add("eps", 1e-5f);
  writer.add("exact", 0.1);
  writer.add_array("words", std::span<const std::string_view>(words));
  writer.add_array("kinds", std::span<const std::int32_t>(kinds));
  const std::array<std::int64_t, 2> shape = {2, 3}, block_shape = {2, 32};
  writer.add_tensor("m", shape, BlockType::f32, std::as_bytes(std::span(numbers)));
  writer.add_tensor("q", block_shape, BlockType::q4_0, blocks);

  const TemporaryFolder folder;
  writer.write(folder.path() / "a.gguf");
  const GgufFile file = GgufFile::open(folder.path() / "a.gguf");
  EXPECT_TRUE(std::ranges::equal(file.file().bytes(), writer.bytes()));
  EXPECT_EQ(file.alignment(), 64u);
  EXPECT_EQ(file.get("name").string(), "tiny");
  EXPECT_TRUE(file.get("yes").boolean());
  EXPECT_EQ(file.get("u8").type(), GgufType::uint8);
  EXPECT_EQ(file.get("i64").integer(), -5);
  EXPECT_EQ(file.get("eps").number(), 1e-5f);
  EXPECT_EQ(file.get("exact").type(), GgufType::float64);
  EXPECT_EQ(file.get("words").strings(), (std::vector<std::string_view>{"a", "b"}));
  EXPECT_EQ(file.get("kinds").integers(), (std::vector<std::int64_t>{-1, 2, 3}));
  EXPECT_EQ(file.tensor("m").shape, (std::vector<std::int64_t>{2, 3}));
  EXPECT_EQ(std::memcmp(file.tensor("m").bytes.data(), numbers.data(), 24), 0);
  EXPECT_TRUE(std::ranges::equal(file.tensor("q").bytes, blocks));
  EXPECT_EQ(reinterpret_cast<std::uintptr_t>(file.tensor("q").bytes.data()) % 64, 0u);
}

TEST(GgufWriter, copies_values_of_another_file) {
  Raw raw = header(0, 2);
  raw.key("nested", GgufType::array).u32(9).u64(1).u32(8).u64(1).string("x");
  raw.key("n", GgufType::int16).put<std::int16_t>(-3);
  const GgufFile source = parse(raw);
  GgufWriter writer;
  for (const GgufEntry& entry : source.metadata()) writer.add(entry.key, entry.value);
  const auto bytes = writer.bytes();
  const GgufFile copy = GgufFile::parse(bytes, "copy");
  EXPECT_EQ(copy.get("nested").values()[0].strings(), std::vector<std::string_view>{"x"});
  EXPECT_EQ(copy.get("n").type(), GgufType::int16);
}

TEST(GgufWriter, refuses_contradictions) {
  GgufWriter writer;
  writer.add("k", 1);
  EXPECT_EQ(user_error_of([&] { writer.add("k", 2); }), "metadata 'k' is written twice");
  const std::byte data[18] = {};
  const std::array<std::int64_t, 1> row = {32}, half_row = {16};
  writer.add_tensor("t", row, BlockType::q4_0, data);
  EXPECT_EQ(user_error_of([&] { writer.add_tensor("t", row, BlockType::q4_0, data); }),
            "tensor 't' is written twice");
  EXPECT_EQ(user_error_of([&] { writer.add_tensor("u", row, BlockType::f16, data); }),
            "tensor 'u' of [32] in F16 does not have 18 bytes");
  EXPECT_EQ(user_error_of([&] { writer.add_tensor("v", half_row, BlockType::q4_0, data); }),
            "tensor 'v' of [16] in Q4_0 does not have 18 bytes");
}

const std::filesystem::path stories = shared_data() / "stories260K";

TEST(Gguf, reads_the_shared_models) {
  if (!std::filesystem::exists(stories)) GTEST_SKIP() << "no " << stories;
  const GgufFile plain = GgufFile::open(stories / "stories260K-F32.gguf");
  EXPECT_EQ(plain.get("general.architecture").string(), "llama");
  EXPECT_EQ(plain.get("llama.block_count").integer(), 5);
  EXPECT_EQ(plain.get("tokenizer.ggml.tokens").size(), 512u);
  EXPECT_EQ(plain.tensor("blk.0.ffn_down.weight").shape, (std::vector<std::int64_t>{64, 172}));

  // The quantised ones store rows of 172 values in blocks of 32, which no row of blocks can hold.
  for (const std::string name : {"Q8_0", "Q4_0"}) {
    const auto path = stories / ("stories260K-" + name + ".gguf");
    EXPECT_EQ(user_error_of([&] { GgufFile::open(path); }),
              path.native() + ": tensor 'blk.0.ffn_down.weight' has rows of 172 values, " + name +
                  " needs a multiple of 32");
  }
}

TEST(Gguf, reads_the_shared_vocabularies) {
  const std::filesystem::path archive = shared_data() / "ggml-vocab-gguf/ggml-vocab.tar.xz";
  if (!std::filesystem::exists(archive)) GTEST_SKIP() << "no " << archive;
  const TemporaryFolder folder;
  const std::string command =
      "tar -xJf '" + archive.native() + "' -C '" + folder.path().native() + "'";
  ASSERT_EQ(std::system(command.c_str()), 0) << "tar and xz are needed";
  int files = 0;
  for (const auto& entry : std::filesystem::recursive_directory_iterator(folder.path())) {
    if (entry.path().extension() != ".gguf") continue;
    SCOPED_TRACE(entry.path());
    const GgufFile file = GgufFile::open(entry.path());
    const auto tokens = file.get("tokenizer.ggml.tokens").strings();
    EXPECT_GT(tokens.size(), 30000u);
    EXPECT_EQ(file.get("tokenizer.ggml.token_type").integers().size(), tokens.size());
    EXPECT_TRUE(file.tensors().empty());
    ++files;
  }
  EXPECT_EQ(files, 5);
}

}  // namespace
}  // namespace brisk
