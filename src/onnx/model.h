// An ONNX model as plain data: what its protobuf says, checked, and nothing else. Input: an .onnx
// file that need not be trusted; every defect is a UserError of one line. Output: graphs of nodes
// over names.
//
// The format (https://onnx.ai): ModelProto { opset_import, graph, functions }; a graph's nodes
// stand in the order of computation and refer to values by name; a node's attributes may be graphs
// that see the names around them. Tensors lie in the file, or in files beside it ("external data").
#pragma once

#include <cstddef>
#include <cstdint>
#include <filesystem>
#include <map>
#include <memory>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "base/dtype.h"

namespace brisk::onnx {

/// TensorProto.DataType. Schemas before 1.14 do not know the last ones; files may have them all the
/// same.
enum class ElementType : std::int32_t {
  undefined = 0,
  float32 = 1,
  uint8 = 2,
  int8 = 3,
  uint16 = 4,
  int16 = 5,
  int32 = 6,
  int64 = 7,
  string = 8,
  boolean = 9,
  float16 = 10,
  float64 = 11,
  uint32 = 12,
  uint64 = 13,
  complex64 = 14,
  complex128 = 15,
  bfloat16 = 16,
  float8e4m3fn = 17,
  float8e4m3fnuz = 18,
  float8e5m2 = 19,
  float8e5m2fnuz = 20,
  uint4 = 21,
  int4 = 22,
  float4e2m1 = 23,
  float8e8m0 = 24,
  uint2 = 25,
  int2 = 26,
};
std::string element_name(ElementType type);
/// How brisk keeps such elements: integers of fewer than 8 bits as 8-bit ones, floating-point types
/// that brisk does not have as float32. DType::none: it keeps none of them (strings, complex).
DType stored_dtype(ElementType type);
ElementType element_of(DType dtype);

/// A tensor in the host's memory, in its stored_dtype, row-major.
struct HostTensor {
  std::string name;
  ElementType type = ElementType::undefined;
  std::vector<std::int64_t> shape;
  std::shared_ptr<const void> owner;  // of the bytes
  std::span<const std::byte> bytes;
  std::vector<std::string> strings;  // where the type is string

  DType dtype() const { return stored_dtype(type); }
};
/// UserError (beginning with `what`) unless sizes are not negative and their product is at most
/// 2^40; gives the product.
std::int64_t element_count(const std::vector<std::int64_t>& shape, const std::string& what);
/// The values converted.
std::vector<std::int64_t> integers_of(const HostTensor& tensor);
std::vector<double> numbers_of(const HostTensor& tensor);

struct Type {
  enum class Kind { unknown, tensor, sequence, optional, other };
  struct Size {
    std::int64_t value = -1;  // -1: not said
    std::string name;         // of a size that is not fixed
  };
  Kind kind = Kind::unknown;
  ElementType element = ElementType::undefined;  // of the innermost tensor
  bool has_shape = false;
  std::vector<Size> shape;
  std::shared_ptr<Type> of;  // a sequence's or optional's
};
/// "float32 [batch, 3, 224, 224]".
std::string to_string(const Type& type);

struct Graph;

struct Attribute {
  enum class Kind {
    none,
    number,
    integer,
    string,
    tensor,
    graph,
    numbers,
    integers,
    strings,
    graphs,
    other,
    reference  // to an attribute of the function around it, `string`
  };
  Kind kind = Kind::none;
  float number = 0;
  std::int64_t integer = 0;
  std::string string;
  HostTensor tensor;
  std::vector<float> numbers;
  std::vector<std::int64_t> integers;
  std::vector<std::string> strings;
  std::vector<std::shared_ptr<const Graph>> graphs;
};

struct NodeDef {
  std::string name;  // "" where it has none
  std::string op;
  std::string domain;                        // "" for ai.onnx
  std::vector<std::string> inputs, outputs;  // "": not given
  std::map<std::string, Attribute> attributes;

  /// For messages: "node 'conv1' (Conv)".
  std::string text() const;
};

struct Port {
  std::string name;
  Type type;
};

struct Graph {
  std::string name;
  std::vector<Port> inputs, outputs;
  std::vector<HostTensor> initializers;
  std::vector<NodeDef> nodes;
};

struct Function {
  std::string name, domain;
  std::vector<std::string> inputs, outputs, attributes;
  std::map<std::string, Attribute> defaults;
  std::vector<NodeDef> nodes;
  std::map<std::string, std::int64_t> opsets;
};

struct ModelDef {
  std::string file;
  std::int64_t ir_version = 0;
  std::string producer;
  std::map<std::string, std::int64_t> opsets;  // version by domain
  std::map<std::string, std::string> metadata;
  Graph graph;
  std::vector<Function> functions;
  std::size_t initializer_bytes = 0;
};

/// Reads a file; external data may lie in its folder or below.
ModelDef read_model(const std::filesystem::path& path);
/// The same from bytes that outlive the call; `folder` is where external data may lie ("":
/// nowhere).
ModelDef parse_model(std::span<const std::byte> bytes, const std::string& name,
                     const std::filesystem::path& folder);

/// What the .pb files beside test models hold: a tensor, a sequence or an optional.
struct StoredValue {
  bool present = true;
  bool is_sequence = false;
  HostTensor tensor;
  std::vector<StoredValue> elements;
};
StoredValue read_value(const std::filesystem::path& path, const Type& type);
/// A lone TensorProto.
HostTensor parse_tensor(std::span<const std::byte> bytes, const std::string& name);
/// The bytes of a lone TensorProto.
std::string tensor_proto(const HostTensor& tensor);

}  // namespace brisk::onnx
