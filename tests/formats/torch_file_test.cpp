// PyTorch's files: what torch.save writes is read, anything else is refused and nothing is
// executed.
#include "formats/torch_file.h"

#include "base/error.h"
#include "formats/zip_file.h"

#include <gtest/gtest.h>

#include <cstring>
#include <random>
#include <string>

namespace brisk {
namespace {

using namespace std::string_literals;

std::string text(const std::string& value) {
  return "X" + number(static_cast<std::uint32_t>(value.size())) + value;
}
std::string integer(std::uint8_t value) { return "K"s + static_cast<char>(value); }

// What torch.save writes for a tensor of two axes on a storage of six elements.
std::string tensor(const std::string& key, const std::string& sizes, const std::string& strides,
                   std::uint8_t offset = 0, const std::string& type = "FloatStorage") {
  return "ctorch._utils\n_rebuild_tensor_v2\n((" + text("storage") + "ctorch\n" + type + "\n" +
         text(key) + text("cpu") + integer(6) + "tQ" + integer(offset) + sizes + strides +
         "\x89"
         "ccollections\nOrderedDict\n)RtR"s;
}
std::string pair(std::uint8_t a, std::uint8_t b) { return integer(a) + integer(b) + "\x86"s; }

std::string floats() {
  std::string bytes;
  for (int i = 0; i < 6; ++i) bytes += number(static_cast<float>(i));
  return bytes;
}

std::string saved(const std::string& pickle, bool zip64 = false) {
  return zip({{"model/data.pkl", "\x80\x02"s + pickle + "."},
              {"model/byteorder", "little"},
              {"model/data/0", floats()}},
             zip64);
}

TorchFile parse(const std::string& bytes) {
  return TorchFile::parse(std::as_bytes(std::span(bytes)), "model.pt");
}

std::vector<float> values(const TorchTensor& tensor) {
  std::vector<float> read(tensor.bytes.size() / sizeof(float));
  std::memcpy(read.data(), tensor.bytes.data(), tensor.bytes.size());
  return read;
}

std::string state_dict() {
  return "ccollections\nOrderedDict\nq\x01)R("s + text("fc.weight") +
         tensor("0", pair(2, 3), pair(3, 1)) + text("fc.turned") +
         tensor("0", pair(3, 2), pair(1, 3)) + "u}" + text("_metadata") +
         "ccollections\nOrderedDict\n)Rsb";
}

TEST(TorchFile, tensorsOfAStateDictAreReadInPlaceAndByTheirStrides) {
  for (const bool zip64 : {false, true}) {
    const std::string bytes = saved(state_dict(), zip64);
    const TorchFile file = parse(bytes);
    ASSERT_EQ(file.tensors().size(), 2U);
    EXPECT_EQ(file.tensors()[0].name, "fc.weight");
    EXPECT_EQ(file.tensors()[0].dtype, DType::float32);
    EXPECT_EQ(file.tensors()[0].shape, (std::vector<std::int64_t>{2, 3}));
    EXPECT_EQ(values(file.tensors()[0]), (std::vector<float>{0, 1, 2, 3, 4, 5}));
    EXPECT_EQ(file.tensors()[1].shape, (std::vector<std::int64_t>{3, 2}));
    EXPECT_EQ(values(file.tensors()[1]), (std::vector<float>{0, 3, 1, 4, 2, 5}));
  }
}

TEST(TorchFile, dictsAndListsWithinGiveDottedNamesAndNumbersArePassedOver) {
  const std::string bytes =
      saved("}(" + text("epoch") + integer(3) + text("model") + "}" + text("w") +
            tensor("0", pair(1, 2), pair(3, 1), 1) + "s" + text("all") + "](" +
            tensor("0", pair(0, 9), pair(1, 1)) + "G" + std::string(8, '\0') + "e" + "u");
  const TorchFile file = parse(bytes);
  ASSERT_EQ(file.tensors().size(), 2U);
  EXPECT_EQ(file.tensors()[0].name, "model.w");
  EXPECT_EQ(values(file.tensors()[0]), (std::vector<float>{1, 2}));
  EXPECT_EQ(file.tensors()[1].name, "all.0");
  EXPECT_TRUE(file.tensors()[1].bytes.empty());
}

TEST(TorchFile, anythingElseIsRefusedWithItsReason) {
  const auto tensor_of = [](const std::string& t) { return saved("}" + text("w") + t + "s"); };
  const std::pair<std::string, std::string> cases[] = {
      {"", "not a zip file"},
      {std::string(100, 'x'), "not a zip file"},
      {saved(state_dict()).substr(0, 200), "no directory"},
      {zip({{"a/b", "c"}}), "no file data.pkl"},
      {zip({{"a/data.pkl", ".", 8}}), "compressed (method 8)"},
      {saved("cos\nsystem\n" + text("echo") + "\x85R"s), "Python's 'os.system'"},
      {saved("cbuiltins\neval\n"), "nothing is executed"},
      {saved(text("os") + text("system") + "\x93"s), "Python's 'os.system'"},
      {saved("cargparse\nNamespace\n)\x81"s), "save the model's state_dict() alone"},
      {saved(integer(1) + ")R"), "calls what is no function"},
      {saved("i"), "opcode 0x69"},
      {saved("}s"), "empty stack"},
      {saved("(((u"), "empty stack"},
      {saved("t"), "no mark"},
      {saved("h\7"), "recalls 7"},
      {saved("}(" + text("a") + "u"), "no dict"},
      {saved(integer(1) + integer(2) + "a"), "no list"},
      {saved("\x8a\x09"s + std::string(9, 'a')), "integer of 9 bytes"},
      {saved("}}" + integer(1) + "s"), "key that is no text"},
      {tensor_of(tensor("1", pair(2, 3), pair(3, 1))), "storage '1' of tensor 'w' is missing"},
      {tensor_of(tensor("0", pair(2, 3), pair(3, 1), 0, "HalfStorage")), "has 24 bytes, 6 of"},
      {tensor_of(tensor("0", pair(2, 3), pair(3, 1), 0, "QInt8Storage")), "'torch.QInt8Storage'"},
      {tensor_of(tensor("0", pair(2, 3), pair(3, 1), 1)), "does not lie in its storage"},
      {tensor_of(tensor("0", pair(2, 3), pair(9, 1))), "does not lie in its storage"},
      {tensor_of(tensor("0", pair(99, 99), pair(0, 0))), "does not lie in its storage"},
      {tensor_of(tensor("0", pair(2, 3), integer(1) + "\x85"s)), "does not lie in its storage"},
      {saved("}q\1" + text("a") + "h\1s"), "nests more than"},
  };
  for (const auto& [bytes, want] : cases) {
    try {
      parse(bytes);
      ADD_FAILURE() << "accepted, though " << want;
    } catch (const UserError& error) {
      const std::string got = error.what();
      EXPECT_TRUE(got.starts_with("model.pt: ")) << got;
      EXPECT_NE(got.find(want), std::string::npos) << got << "\nis not about: " << want;
      EXPECT_EQ(got.find('\n'), std::string::npos) << got;
    }
  }
}

// Every prefix, and random changes: an error or tensors, nothing worse.
TEST(TorchFile, rubbishIsAnErrorOfTheUser) {
  const std::string good = saved(state_dict(), true);
  std::mt19937 random(1);
  const auto survives = [](const std::string& bytes) {
    try {
      const TorchFile file = parse(bytes);
      for (const TorchTensor& tensor : file.tensors()) values(tensor);
    } catch (const UserError&) {
    }
  };
  for (std::size_t length = 0; length < good.size(); ++length) survives(good.substr(0, length));
  for (int i = 0; i < 20000; ++i) {
    std::string bytes = good;
    for (int change = random() % 4; change >= 0; --change) {
      bytes[random() % bytes.size()] = static_cast<char>(random());
    }
    survives(bytes);
  }
}

}  // namespace
}  // namespace brisk
