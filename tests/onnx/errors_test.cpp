// What hostile and wrong models are told: one clear line each.
#include <gtest/gtest.h>

#include <fstream>
#include <functional>

#include "brisk/onnx.h"
#include "formats/temporary_folder.h"
#include "onnx/session.h"
#include "onnx/wire.h"

namespace brisk::onnx {
namespace {

std::string error_of(const std::function<void()>& work) {
  try {
    work();
  } catch (const UserError& error) {
    return error.what();
  }
  return "no error";
}

std::string entry(const std::string& key, const std::string& value) {
  return text(1, key) + text(2, value);
}
// float32 [2] whose elements are in a file.
std::string external_tensor(const std::string& location, const std::string& offset = "0") {
  return number(1, 2) + number(2, 1) + text(8, "w") + text(13, entry("location", location)) +
         text(13, entry("offset", offset)) + text(13, entry("length", "8")) + number(14, 1);
}
std::string node_bytes(const std::string& op, const std::vector<std::string>& inputs,
                       const std::string& output) {
  std::string bytes;
  for (const std::string& input : inputs) bytes += text(1, input);
  return bytes + text(2, output) + text(4, op);
}
std::string port_bytes(const std::string& name) {
  const std::string shape = text(1, number(1, 2));  // [2]
  return text(1, name) + text(2, text(1, number(1, 1) + text(2, shape)));
}
std::string model_bytes(const std::string& initializers, const std::string& nodes) {
  const std::string graph =
      nodes + initializers + text(11, port_bytes("x")) + text(12, port_bytes("y"));
  return number(1, 8) + text(8, number(2, 13)) + text(7, graph);
}
ModelDef parsed(const std::string& bytes, const std::filesystem::path& folder = {}) {
  return parse_model(std::as_bytes(std::span(bytes.data(), bytes.size())), "m.onnx", folder);
}

TEST(OnnxErrors, bytes_that_are_no_model) {
  EXPECT_EQ(error_of([] { parsed("rubbish"); }),
            "m.onnx: this is no model of ONNX, or it is damaged");
  EXPECT_EQ(error_of([] { parsed(""); }), "m.onnx: this is no model of ONNX: it has no graph");
  const std::string whole = model_bytes("", text(1, node_bytes("Relu", {"x"}, "y")));
  EXPECT_EQ(error_of([&] { Session session(parsed(whole)); }), "no error");
  EXPECT_EQ(error_of([&] { parsed(whole.substr(0, whole.size() - 3)); }),
            "m.onnx: this is no model of ONNX, or it is damaged");
}

TEST(OnnxErrors, external_data_stays_in_the_folder) {
  const TemporaryFolder folder;
  std::filesystem::create_directory(folder.path() / "model");
  std::ofstream(folder.path() / "secret", std::ios::binary) << "12345678";
  std::ofstream(folder.path() / "model" / "data", std::ios::binary) << std::string(8, '\0');
  std::filesystem::create_symlink("../secret", folder.path() / "model" / "link");
  const std::string node = text(1, node_bytes("Add", {"x", "w"}, "y"));
  const auto read = [&](const std::string& tensor) {
    return error_of([&] { parsed(model_bytes(text(5, tensor), node), folder.path() / "model"); });
  };
  EXPECT_EQ(read(external_tensor("data")), "no error");
  EXPECT_EQ(read(external_tensor("../secret")),
            "m.onnx: tensor 'w': its data at '../secret' lies outside the model's folder");
  EXPECT_EQ(read(external_tensor("link")),
            "m.onnx: tensor 'w': its data at 'link' lies outside the model's folder");
  EXPECT_EQ(read(external_tensor(folder.path() / "secret")),
            "m.onnx: tensor 'w': its data is at '" + (folder.path() / "secret").string() +
                "', wants a path inside the model's folder");
  EXPECT_EQ(read(external_tensor("data", "4")),
            "m.onnx: tensor 'w': its data, 8 bytes from 4 on, is not in 'data', which has 8");
  EXPECT_EQ(read(external_tensor("data", "-1")),
            "m.onnx: tensor 'w': its data's offset '-1' is no number");
}

TEST(OnnxErrors, sizes_that_are_not_possible) {
  const std::string node = text(1, node_bytes("Add", {"x", "w"}, "y"));
  const auto read = [&](const std::string& dims) {
    return error_of([&] {
      parsed(model_bytes(text(5, dims + number(2, 1) + text(8, "w") + text(9, "1234")), node));
    });
  };
  EXPECT_EQ(read(number(1, std::uint64_t{1} << 62)),
            "m.onnx: tensor 'w': a size of 4611686018427387904 is too large");
  EXPECT_EQ(read(number(1, ~std::uint64_t{0})), "m.onnx: tensor 'w': a size of -1 is negative");
  EXPECT_EQ(read(number(1, std::uint64_t{1} << 30) + number(1, std::uint64_t{1} << 30)),
            "m.onnx: tensor 'w': its shape has more than 2^40 elements");
  EXPECT_EQ(read(number(1, 2)), "m.onnx: tensor 'w': 4 bytes for 2 elements of float32, wants 8");
}

TEST(OnnxErrors, names_that_nothing_makes) {
  const auto opened = [](const std::string& nodes) {
    return error_of([&] { Session session(parsed(model_bytes("", nodes))); });
  };
  EXPECT_EQ(opened(text(1, node_bytes("Add", {"x", "w"}, "y"))),
            "m.onnx: the node of 'y' (Add) reads 'w', which is no input, no initializer and made "
            "by no node");
  EXPECT_EQ(
      opened(text(1, node_bytes("Add", {"x", "z"}, "y")) + text(1, node_bytes("Neg", {"y"}, "z"))),
      "m.onnx: the node of 'y' (Add) reads 'z' before it is made: the graph has a cycle or is not "
      "in order");
  EXPECT_EQ(opened(text(1, node_bytes("Neg", {"x"}, "z"))), "m.onnx: no node makes the output 'y'");
  EXPECT_EQ(opened(text(1, node_bytes("Neg", {"x"}, "y")) + text(1, node_bytes("Neg", {"x"}, "y"))),
            "m.onnx: the node of 'y' (Neg) makes 'y', which is there already");
}

TEST(OnnxErrors, all_operators_that_are_missing_are_named_at_once) {
  const std::string nodes = text(1, node_bytes("Foo", {"x"}, "a")) +
                            text(1, node_bytes("Bar", {"a"}, "b")) +
                            text(1, node_bytes("Foo", {"b"}, "y"));
  EXPECT_EQ(error_of([&] { Session session(parsed(model_bytes("", nodes))); }),
            "m.onnx: operators that are not supported (opset 13): Bar (1 node: 'of b'); Foo (2 "
            "nodes: 'of a', 'of y')");
}

TEST(OnnxErrors, inputs_that_do_not_fit) {
  Session session(parsed(model_bytes("", text(1, node_bytes("Relu", {"x"}, "y")))));
  const auto run = [&](const NamedValues& inputs) {
    return error_of([&] { session.run(inputs); });
  };
  EXPECT_EQ(run({}), "m.onnx: input 'x' is missing (float32 [2])");
  EXPECT_EQ(run({{"z", Value(zeros({2}))}}), "m.onnx: there is no input 'z'; it has 'x'");
  EXPECT_EQ(run({{"x", Value(zeros({3}))}}),
            "m.onnx: input 'x' wants float32 [2], got float32 [3]");
  EXPECT_EQ(run({{"x", Value(zeros({2}, DType::int64))}}),
            "m.onnx: input 'x' wants float32 [2], got int64 [2]");
  EXPECT_EQ(error_of([&] {
              session.run({{"x", Value(zeros({2}))}}, {"nothing"});
            }),
            "m.onnx: there is no value 'nothing'");
}

TEST(OnnxErrors, a_node_that_does_not_fit_is_named) {
  Session session(parsed(model_bytes("", text(1, node_bytes("MaxPool", {"x"}, "y")))));
  EXPECT_EQ(error_of([&] {
              session.run({{"x", Value(zeros({2}))}});
            }),
            "m.onnx: the node of 'y' (MaxPool): wants [batch, channels, spatial…], got rank 1");
}

}  // namespace
}  // namespace brisk::onnx
