#include "formats/safetensors.h"

#include <gtest/gtest.h>

#include <cstdlib>
#include <cstring>
#include <nlohmann/json.hpp>

#include "shared_data.h"
#include "temporary_folder.h"

namespace brisk {
namespace {

std::string file_of(std::string_view json, std::size_t data_size) {
  const std::uint64_t length = json.size();
  std::string text(reinterpret_cast<const char*>(&length), sizeof length);
  return (text += json) + std::string(data_size, '\x01');
}

std::string error_of_file(const std::string& text) {
  const std::string error =
      user_error_of([&] { Safetensors::parse(as_bytes(text), "m.safetensors"); });
  EXPECT_TRUE(error.starts_with("m.safetensors: ")) << error;
  return error.substr(std::min<std::size_t>(error.size(), 15));
}

std::string error_of(std::string_view json, std::size_t data_size = 16) {
  return error_of_file(file_of(json, data_size));
}

/// The error of a file with one tensor, t, of the given fields.
std::string error_of_tensor(std::string_view fields, std::size_t data_size = 16) {
  return error_of(fmt::format("{{\"t\":{{{}}}}}", fields), data_size);
}

TEST(Safetensors, reads_every_dtype) {
  const std::pair<std::string_view, DType> dtypes[] = {{"BOOL", DType::boolean},
                                                       {"U8", DType::uint8},
                                                       {"I8", DType::int8},
                                                       {"U16", DType::uint16},
                                                       {"I16", DType::int16},
                                                       {"U32", DType::uint32},
                                                       {"I32", DType::int32},
                                                       {"U64", DType::uint64},
                                                       {"I64", DType::int64},
                                                       {"F8_E4M3", DType::float8_e4m3},
                                                       {"F8_E5M2", DType::float8_e5m2},
                                                       {"F16", DType::float16},
                                                       {"BF16", DType::bfloat16},
                                                       {"F32", DType::float32},
                                                       {"F64", DType::float64}};
  for (const auto& [name, dtype] : dtypes) {
    const int size = 2 * byte_size(dtype);
    const std::string text = file_of(
        fmt::format(R"({{"t":{{"dtype":"{}","shape":[2,1],"data_offsets":[0,{}]}}}})", name, size),
        static_cast<std::size_t>(size));
    const Safetensors file = Safetensors::parse(as_bytes(text), "m");
    EXPECT_EQ(file.tensor("t").dtype, dtype);
    EXPECT_EQ(file.tensor("t").shape, (std::vector<std::int64_t>{2, 1}));
    EXPECT_EQ(file.tensor("t").bytes.size(), static_cast<std::size_t>(size));
    EXPECT_EQ(safetensors_name(dtype), name);
  }
}

TEST(Safetensors, reads_scalars_empty_tensors_and_metadata) {
  const std::string text = file_of(
      " {\"z\":{\"shape\":[],\"dtype\":\"F32\",\"data_offsets\":[0,4]},"
      "\"__metadata__\":{\"format\":\"pt\",\"\":\"\"},"
      "\"a\\u00e9\":{\"dtype\":\"I64\",\"shape\":[3,0],\"data_offsets\":[4,4]}}\n ",
      4);
  const Safetensors file = Safetensors::parse(as_bytes(text), "m");
  ASSERT_EQ(file.tensors().size(), 2u);
  EXPECT_EQ(file.tensors()[0].name, "a\xc3\xa9");
  EXPECT_TRUE(file.tensors()[0].bytes.empty());
  EXPECT_EQ(file.tensor("z").bytes.size(), 4u);
  EXPECT_EQ(file.metadata(), (std::map<std::string, std::string>{{"format", "pt"}, {"", ""}}));
  EXPECT_EQ(file.find("other"), nullptr);
  EXPECT_EQ(user_error_of([&] { file.tensor("other"); }), "m: tensor 'other' is missing");
}

TEST(Safetensors, reads_tensors_in_any_order_of_the_header) {
  const std::string text = file_of(R"({"a":{"dtype":"U8","shape":[2],"data_offsets":[4,6]},)"
                                   R"("b":{"dtype":"U8","shape":[4],"data_offsets":[0,4]}})",
                                   6);
  const Safetensors file = Safetensors::parse(as_bytes(text), "m");
  EXPECT_EQ(file.tensor("a").bytes.data() - file.tensor("b").bytes.data(), 4);
}

TEST(SafetensorsErrors, for_a_bad_header_length) {
  EXPECT_EQ(error_of_file("1234567"),
            "not a safetensors file: 7 bytes cannot hold the header's length");
  EXPECT_EQ(error_of_file("GGUF1234"),
            "the header has 3761405300999276359 bytes, at most 100000000 are allowed (is it a "
            "safetensors file?)");
  EXPECT_EQ(error_of_file(file_of("{}", 0).substr(0, 9)),
            "the file is truncated: the header has 2 bytes, 1 are left");
  EXPECT_EQ(error_of(""), "the header is not a JSON object");
}

TEST(SafetensorsErrors, for_a_header_that_is_not_json) {
  EXPECT_EQ(error_of("[1]"), "the header is not a JSON object");
  EXPECT_EQ(error_of("{"), "the header is not valid JSON in UTF-8 at byte 2");
  EXPECT_EQ(error_of("{} x"), "the header is not valid JSON in UTF-8 at byte 4");
  EXPECT_EQ(error_of("{}{}"), "the header is not valid JSON in UTF-8 at byte 3");
  EXPECT_EQ(error_of("{\"\xff\":{}}"), "the header is not valid JSON in UTF-8 at byte 3");
  EXPECT_EQ(error_of("{\"a\":}"), "the header is not valid JSON in UTF-8 at byte 6");
  EXPECT_EQ(error_of("{\"t\":{\"shape\":[1e999]}}"),
            "the header has a number out of range at byte 20");
}

TEST(SafetensorsErrors, for_entries_of_the_wrong_kind) {
  EXPECT_EQ(error_of("{\"t\":1}"), "the entry 't' is a number, an object is wanted");
  EXPECT_EQ(error_of("{\"t\":null}"), "the entry 't' is null, an object is wanted");
  EXPECT_EQ(error_of("{\"t\":[[[[]]]]}"), "the entry 't' is an array, an object is wanted");
  EXPECT_EQ(error_of("{\"__metadata__\":{\"a\":1}}"),
            "the metadata 'a' is a number, a string is wanted");
  EXPECT_EQ(error_of("{\"__metadata__\":{\"a\":{}}}"),
            "the metadata 'a' is an object, a string is wanted");
  EXPECT_EQ(error_of("{\"__metadata__\":{\"a\":\"\",\"a\":\"\"}}"),
            "the header has the metadata 'a' twice");
  EXPECT_EQ(error_of("{\"__metadata__\":{},\"__metadata__\":{}}"),
            "the header has '__metadata__' twice");
  EXPECT_EQ(error_of_tensor(R"("dtype":1)"), "tensor 't' has a number where it does not belong");
  EXPECT_EQ(error_of_tensor(R"("dtype":["F32"])"),
            "tensor 't' has an array where it does not belong");
  EXPECT_EQ(error_of_tensor(R"("dtype":{})"), "tensor 't' has an object where it does not belong");
  EXPECT_EQ(error_of_tensor(R"("shape":"")"), "tensor 't' has a string where it does not belong");
  EXPECT_EQ(error_of_tensor(R"("shape":[[1]])"),
            "tensor 't' has an array where it does not belong");
  EXPECT_EQ(error_of_tensor(R"("shape":[true])"), "tensor 't' has a bool where it does not belong");
  EXPECT_EQ(error_of_tensor(R"("shape":[-1])"),
            "tensor 't' has a negative number where it does not belong");
  EXPECT_EQ(error_of_tensor(R"("shape":[1.0])"),
            "tensor 't' has a number that is fractional or too large where it does not belong");
  EXPECT_EQ(error_of_tensor(R"("shape":[18446744073709551616])"),
            "tensor 't' has a number that is fractional or too large where it does not belong");
}

TEST(SafetensorsErrors, for_bad_fields) {
  EXPECT_EQ(error_of_tensor(""), "tensor 't' lacks the field 'dtype'");
  EXPECT_EQ(error_of_tensor(R"("dtype":"F32","data_offsets":[0,4])"),
            "tensor 't' lacks the field 'shape'");
  EXPECT_EQ(error_of_tensor(R"("dtype":"F32","shape":[1])"),
            "tensor 't' lacks the field 'data_offsets'");
  EXPECT_EQ(error_of_tensor(R"("dtype":"F32","dtype":"F32")"),
            "tensor 't' has the field 'dtype' twice");
  EXPECT_EQ(error_of_tensor(R"("dtype":"F32","stride":[])"),
            "tensor 't' has the unknown field 'stride'");
  EXPECT_EQ(error_of_tensor(R"("dtype":"f32\n")"), "tensor 't' has the unknown dtype 'f32\\x0a'");
  EXPECT_EQ(error_of_tensor(R"("shape":[9223372036854775808])"),
            "tensor 't' has a dimension of 9223372036854775808");
  std::string many = "1";
  for (int i = 0; i < 64; ++i) many += ",1";
  EXPECT_EQ(error_of_tensor("\"shape\":[" + many + "]"), "tensor 't' has more than 64 dimensions");
  EXPECT_EQ(error_of_tensor(R"("data_offsets":[0,4,8])"), "tensor 't' has more than two offsets");
  EXPECT_EQ(error_of_tensor(R"("dtype":"F32","shape":[1],"data_offsets":[4])"),
            "tensor 't' has wrong offsets [4]");
  EXPECT_EQ(error_of_tensor(R"("dtype":"F32","shape":[1],"data_offsets":[8,4])"),
            "tensor 't' has wrong offsets [8, 4]");
}

TEST(SafetensorsErrors, for_offsets_that_do_not_fit) {
  EXPECT_EQ(error_of_tensor(R"("dtype":"F32","shape":[2],"data_offsets":[0,16])"),
            "tensor 't' has 16 bytes, F32 of shape [2] takes 8");
  EXPECT_EQ(
      error_of_tensor(R"("dtype":"F32","shape":[4294967296,4294967296],"data_offsets":[0,16])"),
      "tensor 't' has more than 2^63 bytes");
  EXPECT_EQ(error_of_tensor(R"("dtype":"F32","shape":[5],"data_offsets":[0,20])"),
            "the file is truncated: tensor 't' ends at byte 20 of the data, which has 16");
  EXPECT_EQ(error_of_tensor(R"("dtype":"F32","shape":[3],"data_offsets":[4,16])"),
            "tensor 't' begins at byte 4 of the data, where 0 ended: a hole");
  EXPECT_EQ(error_of_tensor(R"("dtype":"F32","shape":[3],"data_offsets":[0,12])"),
            "4 bytes follow the last tensor");
  EXPECT_EQ(error_of("{}", 1), "1 bytes follow the last tensor");
}

TEST(SafetensorsErrors, for_tensors_that_contradict_each_other) {
  EXPECT_EQ(error_of(R"({"a":{"dtype":"F32","shape":[2],"data_offsets":[0,8]},)"
                     R"("b":{"dtype":"F32","shape":[2],"data_offsets":[4,12]}})",
                     12),
            "tensor 'b' begins at byte 4 of the data, where 8 ended: an overlap");
  EXPECT_EQ(error_of(R"({"a":{"dtype":"F32","shape":[2],"data_offsets":[0,8]},)"
                     R"("a":{"dtype":"F32","shape":[2],"data_offsets":[8,16]}})"),
            "tensor 'a' appears twice");
}

TEST(SafetensorsErrors, for_a_file_cut_anywhere) {
  const std::string text = file_of(
      R"({"__metadata__":{"a":"b"},"t":{"dtype":"F32","shape":[2],"data_offsets":[0,8]}})", 8);
  EXPECT_NO_THROW(Safetensors::parse(as_bytes(text), "m"));
  for (std::size_t size = 0; size < text.size(); ++size) {
    SCOPED_TRACE(size);
    error_of_file(text.substr(0, size));
  }
}

std::string index_of(std::string_view map) { return fmt::format("{{\"weight_map\":{}}}", map); }

/// A folder with the shards one (tensors a, b) and two (tensor c).
void write_shards(const TemporaryFolder& folder) {
  const std::string data(4, '\x01');
  SafetensorsWriter one, two;
  one.add("a", DType::uint8, {4}, as_bytes(data));
  one.add("b", DType::uint8, {4}, as_bytes(data));
  one.add_metadata("format", "pt");
  two.add("c", DType::float32, {}, as_bytes(data));
  one.write(folder.path() / "one.safetensors");
  two.write(folder.path() / "two.safetensors");
}

TEST(SafetensorsFolder, reads_one_whole_file) {
  const TemporaryFolder folder;
  const std::string data(4, '\x01');
  SafetensorsWriter writer;
  writer.add("a", DType::uint8, {4}, as_bytes(data));
  writer.write(folder.path() / "model.safetensors");
  EXPECT_EQ(Safetensors::open(folder.path()).tensors().size(), 1u);
}

TEST(SafetensorsFolder, reads_the_tensors_that_the_index_lists) {
  const TemporaryFolder folder;
  write_shards(folder);
  folder.write("model.safetensors.index.json",
               R"({"metadata":{"total_size":12,"x":[{"weight_map":{}}, null, -1, 1.5, true]},)"
               R"("weight_map":{"c":"two.safetensors","a":"one.safetensors"}})");
  const Safetensors model = Safetensors::open(folder.path());
  ASSERT_EQ(model.tensors().size(), 2u);
  EXPECT_EQ(model.tensors()[0].name, "a");
  EXPECT_EQ(model.tensor("c").dtype, DType::float32);
  EXPECT_EQ(model.tensor("c").bytes[0], std::byte{1});
  EXPECT_EQ(model.files().size(), 2u);
  EXPECT_EQ(model.metadata().at("format"), "pt");
}

TEST(SafetensorsFolder, refuses_a_bad_index) {
  const TemporaryFolder folder;
  write_shards(folder);
  const std::string path = folder.path() / "model.safetensors.index.json";
  const auto error = [&](std::string_view index) {
    folder.write("model.safetensors.index.json", index);
    const std::string text = user_error_of([&] { Safetensors::open(folder.path()); });
    EXPECT_TRUE(text.starts_with(folder.path().native())) << text;
    return text.starts_with(path) ? text.substr(path.size() + 2)
                                  : text.substr(folder.path().native().size() + 1);
  };
  EXPECT_EQ(error("{}"), "it has no 'weight_map'");
  EXPECT_EQ(error("{"), "the index is not valid JSON in UTF-8 at byte 2");
  EXPECT_EQ(error("[]"), "the index is not a JSON object");
  EXPECT_EQ(error(index_of("[]")), "'weight_map' has an array at 'weight_map', a string is wanted");
  EXPECT_EQ(error(index_of(R"({"a":1})")), "'weight_map' has a number at 'a', a string is wanted");
  EXPECT_EQ(error(index_of(R"({"a":{}})")),
            "'weight_map' has an object at 'a', a string is wanted");
  EXPECT_EQ(error(R"({"weight_map":{},"weight_map":{}})"), "it has 'weight_map' twice");
  EXPECT_EQ(error(index_of(R"({"a":"one.safetensors","a":"one.safetensors"})")),
            "'weight_map' has tensor 'a' twice");
  EXPECT_EQ(error(index_of(R"({"c":"one.safetensors"})")),
            "one.safetensors: tensor 'c' is missing");
}

TEST(SafetensorsFolder, refuses_shards_that_are_not_files_inside_it) {
  const TemporaryFolder folder;
  write_shards(folder);
  for (const std::string_view shard :
       {"../one.safetensors", "/etc/passwd", "sub/../../x", "", "sub/", "one.safetensors\\u0000"}) {
    folder.write("model.safetensors.index.json", index_of(fmt::format("{{\"a\":\"{}\"}}", shard)));
    const std::string text = user_error_of([&] { Safetensors::open(folder.path()); });
    EXPECT_TRUE(text.ends_with(" of tensor 'a' is not a path inside the folder")) << text;
  }
  folder.write("model.safetensors.index.json", index_of(R"({"a":"."})"));
  EXPECT_TRUE(
      user_error_of([&] { Safetensors::open(folder.path()); }).ends_with("it is a directory"));
}

TEST(SafetensorsFolder, refuses_a_folder_without_a_model) {
  const TemporaryFolder folder;
  EXPECT_EQ(
      user_error_of([&] { Safetensors::open(folder.path()); }),
      folder.path().native() + " has neither model.safetensors nor model.safetensors.index.json");
  EXPECT_TRUE(user_error_of([&] {
                Safetensors::open(folder.path() / "none");
              }).ends_with("No such file or directory"));
}

TEST(SafetensorsWriter, writes_what_the_reader_reads_aligned_to_the_elements) {
  const std::string data = "0123456789abcdef0123";
  SafetensorsWriter writer;
  writer.add("bytes \"x\"", DType::uint8, {3}, as_bytes(data).first(3));
  writer.add("halves", DType::bfloat16, {1, 2}, as_bytes(data).subspan(3, 4));
  writer.add("doubles", DType::float64, {1}, as_bytes(data).subspan(7, 8));
  writer.add_metadata("format", "pt");
  const TemporaryFolder folder;
  writer.write(folder.path() / "a.safetensors");
  const Safetensors file = Safetensors::open(folder.path() / "a.safetensors");
  EXPECT_TRUE(std::ranges::equal(file.files()[0].bytes(), writer.bytes()));
  EXPECT_EQ(std::memcmp(file.tensor("bytes \"x\"").bytes.data(), data.data(), 3), 0);
  EXPECT_EQ(std::memcmp(file.tensor("halves").bytes.data(), data.data() + 3, 4), 0);
  EXPECT_EQ(std::memcmp(file.tensor("doubles").bytes.data(), data.data() + 7, 8), 0);
  EXPECT_EQ(file.tensor("halves").shape, (std::vector<std::int64_t>{1, 2}));
  EXPECT_EQ(file.metadata().at("format"), "pt");
  for (const SafeTensor& tensor : file.tensors()) {
    EXPECT_EQ(reinterpret_cast<std::uintptr_t>(tensor.bytes.data()) % byte_size(tensor.dtype), 0u);
  }
}

TEST(SafetensorsWriter, refuses_contradictions) {
  const std::string data(8, ' ');
  SafetensorsWriter writer;
  writer.add("a", DType::uint8, {8}, as_bytes(data));
  EXPECT_EQ(user_error_of([&] { writer.add("a", DType::uint8, {8}, as_bytes(data)); }),
            "tensor 'a' cannot be written: the name is taken");
  EXPECT_EQ(user_error_of([&] { writer.add("b", DType::float32, {8}, as_bytes(data)); }),
            "tensor 'b' of F32 [8] does not have 8 bytes");
  writer.add("\xff", DType::uint8, {8}, as_bytes(data));
  EXPECT_EQ(user_error_of([&] { writer.bytes(); }), "'\\xff' cannot be written: it is not UTF-8");
}

const std::filesystem::path shared = shared_data();

TEST(Safetensors, gives_the_verdicts_of_the_shared_cases) {
  const auto cases = shared / "safetensors-cases";
  if (!std::filesystem::exists(cases)) GTEST_SKIP() << "no " << cases;
  const auto list = nlohmann::json::parse(std::ifstream(cases / "cases.json"));
  EXPECT_EQ(list.size(), 18u);
  const TemporaryFolder folder;
  for (const auto& entry : list) {
    std::filesystem::path path = cases / entry["file"].get<std::string>();
    if (path.extension() == ".xz") {
      const auto plain = folder.path() / path.stem();
      const std::string command = "xz -dc '" + path.native() + "' > '" + plain.native() + "'";
      ASSERT_EQ(std::system(command.c_str()), 0) << "xz is needed";
      path = plain;
    }
    SCOPED_TRACE(path);
    if (entry["reference"] == "ok") {
      EXPECT_NO_THROW(Safetensors::open(path));
    } else {
      user_error_of([&] { Safetensors::open(path); });
    }
  }
}

TEST(Safetensors, reads_the_shared_models) {
  if (!std::filesystem::exists(shared / "models")) GTEST_SKIP() << "no " << shared / "models";
  for (const auto& entry : std::filesystem::directory_iterator(shared / "models")) {
    SCOPED_TRACE(entry.path());
    EXPECT_GT(Safetensors::open(entry.path()).tensors().size(), 10u);
    EXPECT_GT(Safetensors::open(entry.path() / "io.safetensors").tensors().size(), 1u);
  }
}

}  // namespace
}  // namespace brisk
