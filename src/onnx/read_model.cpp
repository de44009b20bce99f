// From protobuf to plain data. The classes of the messages are made from the schema that the
// distribution's libonnx-dev has, at build time (cmake/onnx.cmake).
#include "onnx/model.h"

#include <fmt/core.h>
#include <onnx/onnx.pb.h>
#include <value.pb.h>

#include <algorithm>
#include <bit>
#include <charconv>
#include <cmath>
#include <cstring>
#include <limits>
#include <optional>

#include "base/error.h"
#include "formats/mapped_file.h"
#include "formats/quote.h"
#include "onnx/weights.h"

namespace brisk::onnx {

namespace {

static_assert(std::endian::native == std::endian::little);

// What tensors are read from: the message that owns their bytes, and the folder of external data.
class Reader {
 public:
  Reader(std::string file, std::shared_ptr<const void> owner, std::filesystem::path folder,
         std::filesystem::path real_folder = {})
      : file_(std::move(file)),
        owner_(std::move(owner)),
        folders_{std::move(folder), std::move(real_folder)} {}

  HostTensor tensor(const ::onnx::TensorProto& from, const Weight& weight = {});
  Graph graph(const ::onnx::GraphProto& from, const std::vector<Weight>& weights = {});
  Function function(const ::onnx::FunctionProto& from);
  StoredValue value(const ::onnx_value::Sequence& from);
  StoredValue value(const ::onnx_value::Optional& from);
  std::size_t initializer_bytes() const { return initializer_bytes_; }

 private:
  template <typename... Args>
  [[noreturn]] void fail(fmt::format_string<Args...> format, Args&&... args) const {
    user_error("{}: {}", file_, fmt::format(format, std::forward<Args>(args)...));
  }
  std::span<const std::byte> external(const ::onnx::TensorProto& from, const std::string& what,
                                      std::size_t wanted, std::shared_ptr<const void>& owner);
  const std::shared_ptr<const MappedFile>& mapped(const std::string& location,
                                                  const std::string& what);
  void keep(HostTensor& tensor, std::vector<std::byte> bytes) const;
  Attribute attribute(const ::onnx::AttributeProto& from);
  NodeDef node(const ::onnx::NodeProto& from);

  std::string file_;
  std::shared_ptr<const void> owner_;
  std::filesystem::path folders_[2];
  std::map<std::string, std::shared_ptr<const MappedFile>> mapped_;
  std::size_t initializer_bytes_ = 0;
};

std::span<const std::byte> bytes_of(const std::string& text) {
  return std::as_bytes(std::span(text.data(), text.size()));
}

int packed_bits(ElementType type) {
  switch (type) {
    case ElementType::uint4:
    case ElementType::int4:
    case ElementType::float4e2m1: return 4;
    case ElementType::uint2:
    case ElementType::int2: return 2;
    default: return 0;
  }
}

// Of one element as the file has it.
std::size_t file_bits(ElementType type) {
  if (const int packed = packed_bits(type)) return static_cast<std::size_t>(packed);
  switch (type) {
    case ElementType::float8e4m3fnuz:
    case ElementType::float8e5m2fnuz:
    case ElementType::float8e8m0: return 8;
    case ElementType::complex64: return 64;
    case ElementType::complex128: return 128;
    default: return 8 * static_cast<std::size_t>(byte_size(stored_dtype(type)));
  }
}

// The 8-bit floating-point types without infinities and negative zero ("FNUZ"): 0x80 is NaN, and
// exponents are biased by one more than in the others.
float fnuz_to_float(std::uint8_t bits, int mantissa_bits, int bias) {
  if (bits == 0x80) return std::numeric_limits<float>::quiet_NaN();
  const int exponent = (bits & 0x7f) >> mantissa_bits;
  const int mantissa = bits & ((1 << mantissa_bits) - 1);
  const float fraction = static_cast<float>(mantissa) / static_cast<float>(1 << mantissa_bits);
  const float value =
      exponent == 0 ? std::ldexp(fraction, 1 - bias) : std::ldexp(1 + fraction, exponent - bias);
  return (bits & 0x80) != 0 ? -value : value;
}

float e2m1_to_float(unsigned bits) {
  constexpr float values[] = {0, 0.5F, 1, 1.5F, 2, 3, 4, 6};
  return (bits & 8U) != 0 ? -values[bits & 7U] : values[bits & 7U];
}

// Elements of types that brisk stores as others: the value of code `code`.
template <typename Put>
void put_decoded(ElementType type, unsigned code, Put put) {
  switch (type) {
    case ElementType::uint4:
    case ElementType::uint2: put(static_cast<std::uint8_t>(code)); break;
    case ElementType::int4:
      put(static_cast<std::int8_t>(code >= 8 ? static_cast<int>(code) - 16
                                             : static_cast<int>(code)));
      break;
    case ElementType::int2:
      put(static_cast<std::int8_t>(code >= 2 ? static_cast<int>(code) - 4
                                             : static_cast<int>(code)));
      break;
    case ElementType::float4e2m1: put(e2m1_to_float(code)); break;
    case ElementType::float8e4m3fnuz:
      put(fnuz_to_float(static_cast<std::uint8_t>(code), 3, 8));
      break;
    case ElementType::float8e5m2fnuz:
      put(fnuz_to_float(static_cast<std::uint8_t>(code), 2, 16));
      break;
    case ElementType::float8e8m0:
      put(code == 255 ? std::numeric_limits<float>::quiet_NaN()
                      : std::ldexp(1.0F, static_cast<int>(code) - 127));
      break;
    default: unreachable("a type that is stored as another");
  }
}

bool is_decoded(ElementType type) {
  return packed_bits(type) != 0 || type == ElementType::float8e4m3fnuz ||
         type == ElementType::float8e5m2fnuz || type == ElementType::float8e8m0;
}

std::vector<std::byte> decoded(ElementType type, std::span<const std::byte> raw,
                               std::size_t count) {
  std::vector<std::byte> bytes;
  const unsigned bits = packed_bits(type) != 0 ? static_cast<unsigned>(packed_bits(type)) : 8;
  for (std::size_t i = 0; i < count; ++i) {
    const std::size_t at = i * bits;
    const unsigned code = (std::to_integer<unsigned>(raw[at / 8]) >> (at % 8)) & ((1U << bits) - 1);
    put_decoded(type, code, [&](auto value) {
      const auto one = std::as_bytes(std::span(&value, 1));
      bytes.insert(bytes.end(), one.begin(), one.end());
    });
  }
  return bytes;
}

template <typename T, typename Values>
std::vector<std::byte> narrowed(const Values& values) {
  std::vector<std::byte> bytes(static_cast<std::size_t>(values.size()) * sizeof(T));
  std::size_t at = 0;
  for (const auto value : values) {
    const T narrow = static_cast<T>(value);
    std::memcpy(bytes.data() + at, &narrow, sizeof(T));
    at += sizeof(T);
  }
  return bytes;
}

// The typed fields of a TensorProto as bytes of its type in the file.
std::vector<std::byte> typed_bytes(const ::onnx::TensorProto& from, ElementType type) {
  switch (type) {
    case ElementType::float32: return narrowed<float>(from.float_data());
    case ElementType::float64: return narrowed<double>(from.double_data());
    case ElementType::int64: return narrowed<std::int64_t>(from.int64_data());
    case ElementType::uint64: return narrowed<std::uint64_t>(from.uint64_data());
    case ElementType::uint32: return narrowed<std::uint32_t>(from.uint64_data());
    case ElementType::int32: return narrowed<std::int32_t>(from.int32_data());
    case ElementType::int16: return narrowed<std::int16_t>(from.int32_data());
    case ElementType::uint16:
    case ElementType::float16:
    case ElementType::bfloat16: return narrowed<std::uint16_t>(from.int32_data());
    case ElementType::boolean: {
      std::vector<std::byte> bytes;
      for (const std::int32_t value : from.int32_data()) bytes.push_back(std::byte(value != 0));
      return bytes;
    }
    default: return narrowed<std::uint8_t>(from.int32_data());  // 8 bits, and packed ones
  }
}

HostTensor Reader::tensor(const ::onnx::TensorProto& from, const Weight& weight) {
  HostTensor tensor;
  tensor.name = from.name();
  const std::string what = fmt::format("tensor {}", quote(tensor.name));
  tensor.type = static_cast<ElementType>(from.data_type());
  tensor.shape.assign(from.dims().begin(), from.dims().end());
  const auto count =
      static_cast<std::size_t>(element_count(tensor.shape, fmt::format("{}: {}", file_, what)));
  if (from.has_segment()) fail("{}: tensors in segments are not supported", what);
  if (tensor.type == ElementType::string) {
    tensor.strings.assign(from.string_data().begin(), from.string_data().end());
    if (tensor.strings.size() != count)
      fail("{}: {} strings for a shape of {}", what, tensor.strings.size(), count);
    return tensor;
  }
  if (tensor.dtype() == DType::none)
    fail("{}: elements of {} are not supported", what, element_name(tensor.type));
  const std::size_t wanted = (count * file_bits(tensor.type) + 7) / 8;
  std::shared_ptr<const void> owner = owner_;
  std::span<const std::byte> raw;
  std::vector<std::byte> own;
  if (from.data_location() == ::onnx::TensorProto_DataLocation_EXTERNAL) {
    raw = external(from, what, wanted, owner);
  } else if (weight.owner) {
    raw = weight.bytes;
    owner = weight.owner;
  } else if (from.has_raw_data()) {
    raw = bytes_of(from.raw_data());
  } else {
    own = typed_bytes(from, tensor.type);
    raw = own;
  }
  if (raw.size() != wanted) {
    fail("{}: {} bytes for {} elements of {}, wants {}", what, raw.size(), count,
         element_name(tensor.type), wanted);
  }
  const bool aligned = reinterpret_cast<std::uintptr_t>(raw.data()) % 16 == 0;
  if (is_decoded(tensor.type)) {
    keep(tensor, decoded(tensor.type, raw, count));
  } else if (!own.empty()) {
    keep(tensor, std::move(own));
  } else if (raw.size() < 1024 || !aligned) {
    keep(tensor, {raw.begin(), raw.end()});
  } else {
    tensor.owner = owner;
    tensor.bytes = raw;
  }
  return tensor;
}

void Reader::keep(HostTensor& tensor, std::vector<std::byte> bytes) const {
  const auto owner = std::make_shared<const std::vector<std::byte>>(std::move(bytes));
  tensor.owner = owner;
  tensor.bytes = *owner;
}

bool is_inside(const std::filesystem::path& path, const std::filesystem::path& folder) {
  const auto [end, ignored] = std::mismatch(folder.begin(), folder.end(), path.begin(), path.end());
  return end == folder.end();
}

const std::shared_ptr<const MappedFile>& Reader::mapped(const std::string& location,
                                                        const std::string& what) {
  auto& file = mapped_[location];
  if (file) return file;
  const std::filesystem::path relative(location);
  if (folders_[0].empty()) fail("{}: its data lies in a file, and this model has no folder", what);
  if (location.empty() || relative.is_absolute() || location.find('\0') != std::string::npos)
    fail("{}: its data is at {}, wants a path inside the model's folder", what, quote(location));
  std::error_code error;
  const auto path = std::filesystem::weakly_canonical(folders_[0] / relative, error);
  bool inside = false;
  for (const auto& folder : folders_) {
    if (folder.empty()) continue;
    const auto real = std::filesystem::canonical(folder, error);
    inside |= !error && is_inside(path, real);
  }
  if (!inside) fail("{}: its data at {} lies outside the model's folder", what, quote(location));
  file = std::make_shared<const MappedFile>(MappedFile::open(path));
  return file;
}

std::optional<std::uint64_t> parse_number(const std::string& text) {
  std::uint64_t value = 0;
  const auto [end, error] = std::from_chars(text.data(), text.data() + text.size(), value);
  if (error != std::errc() || end != text.data() + text.size()) return std::nullopt;
  return value;
}

std::span<const std::byte> Reader::external(const ::onnx::TensorProto& from,
                                            const std::string& what, std::size_t wanted,
                                            std::shared_ptr<const void>& owner) {
  std::string location;
  std::uint64_t offset = 0;
  std::uint64_t length = wanted;
  for (const auto& entry : from.external_data()) {
    if (entry.key() == "location") location = entry.value();
    if (entry.key() != "offset" && entry.key() != "length") continue;
    const auto number = parse_number(entry.value());
    if (!number) fail("{}: its data's {} {} is no number", what, entry.key(), quote(entry.value()));
    (entry.key() == "offset" ? offset : length) = *number;
  }
  const auto& file = mapped(location, what);
  const auto bytes = file->bytes();
  if (offset > bytes.size() || length > bytes.size() - offset) {
    fail("{}: its data, {} bytes from {} on, is not in {}, which has {}", what, length, offset,
         quote(location), bytes.size());
  }
  owner = file;
  return bytes.subspan(offset, length);
}

Type type_of(const ::onnx::TypeProto& from) {
  Type type;
  switch (from.value_case()) {
    case ::onnx::TypeProto::kTensorType: {
      type.kind = Type::Kind::tensor;
      type.element = static_cast<ElementType>(from.tensor_type().elem_type());
      type.has_shape = from.tensor_type().has_shape();
      for (const auto& dim : from.tensor_type().shape().dim()) {
        Type::Size size;
        if (dim.has_dim_value()) size.value = std::max<std::int64_t>(dim.dim_value(), -1);
        if (dim.has_dim_param()) size.name = dim.dim_param();
        type.shape.push_back(size);
      }
      break;
    }
    case ::onnx::TypeProto::kSequenceType:
      type.kind = Type::Kind::sequence;
      type.of = std::make_shared<Type>(type_of(from.sequence_type().elem_type()));
      type.element = type.of->element;
      break;
    case ::onnx::TypeProto::kOptionalType:
      type.kind = Type::Kind::optional;
      type.of = std::make_shared<Type>(type_of(from.optional_type().elem_type()));
      type.element = type.of->element;
      break;
    case ::onnx::TypeProto::VALUE_NOT_SET: break;
    default: type.kind = Type::Kind::other;
  }
  return type;
}

Attribute::Kind kind_of(const ::onnx::AttributeProto& from) {
  using Kind = Attribute::Kind;
  if (from.has_ref_attr_name() && !from.ref_attr_name().empty()) return Kind::reference;
  switch (from.type()) {
    case ::onnx::AttributeProto::FLOAT: return Kind::number;
    case ::onnx::AttributeProto::INT: return Kind::integer;
    case ::onnx::AttributeProto::STRING: return Kind::string;
    case ::onnx::AttributeProto::TENSOR: return Kind::tensor;
    case ::onnx::AttributeProto::GRAPH: return Kind::graph;
    case ::onnx::AttributeProto::FLOATS: return Kind::numbers;
    case ::onnx::AttributeProto::INTS: return Kind::integers;
    case ::onnx::AttributeProto::STRINGS: return Kind::strings;
    case ::onnx::AttributeProto::GRAPHS: return Kind::graphs;
    case ::onnx::AttributeProto::UNDEFINED: break;  // models of the first years do not say it
    default: return Kind::other;
  }
  if (from.has_f()) return Kind::number;
  if (from.has_i()) return Kind::integer;
  if (from.has_s()) return Kind::string;
  if (from.has_t()) return Kind::tensor;
  if (from.has_g()) return Kind::graph;
  if (from.floats_size() > 0) return Kind::numbers;
  if (from.ints_size() > 0) return Kind::integers;
  if (from.strings_size() > 0) return Kind::strings;
  return from.graphs_size() > 0 ? Kind::graphs : Kind::other;
}

Attribute Reader::attribute(const ::onnx::AttributeProto& from) {
  Attribute to;
  to.kind = kind_of(from);
  switch (to.kind) {
    case Attribute::Kind::number: to.number = from.f(); break;
    case Attribute::Kind::integer: to.integer = from.i(); break;
    case Attribute::Kind::string: to.string = from.s(); break;
    case Attribute::Kind::reference: to.string = from.ref_attr_name(); break;
    case Attribute::Kind::tensor: to.tensor = tensor(from.t()); break;
    case Attribute::Kind::numbers:
      to.numbers.assign(from.floats().begin(), from.floats().end());
      break;
    case Attribute::Kind::integers:
      to.integers.assign(from.ints().begin(), from.ints().end());
      break;
    case Attribute::Kind::strings:
      to.strings.assign(from.strings().begin(), from.strings().end());
      break;
    case Attribute::Kind::graph:
      to.graphs.push_back(std::make_shared<Graph>(graph(from.g())));
      break;
    case Attribute::Kind::graphs:
      for (const auto& one : from.graphs())
        to.graphs.push_back(std::make_shared<Graph>(graph(one)));
      break;
    default: break;
  }
  return to;
}

std::string domain_of(const std::string& name) { return name == "ai.onnx" ? "" : name; }

NodeDef Reader::node(const ::onnx::NodeProto& from) {
  NodeDef node;
  node.name = from.name();
  node.op = from.op_type();
  node.domain = domain_of(from.domain());
  node.inputs.assign(from.input().begin(), from.input().end());
  node.outputs.assign(from.output().begin(), from.output().end());
  for (const auto& one : from.attribute()) {
    if (!node.attributes.emplace(one.name(), attribute(one)).second)
      fail("{}: attribute {} is there twice", node.text(), quote(one.name()));
  }
  return node;
}

Graph Reader::graph(const ::onnx::GraphProto& from, const std::vector<Weight>& weights) {
  Graph graph;
  graph.name = from.name();
  for (const auto& input : from.input())
    graph.inputs.push_back({input.name(), type_of(input.type())});
  for (const auto& output : from.output())
    graph.outputs.push_back({output.name(), type_of(output.type())});
  for (const auto& one : from.initializer()) {
    const std::size_t i = graph.initializers.size();
    graph.initializers.push_back(tensor(one, i < weights.size() ? weights[i] : Weight()));
    initializer_bytes_ += graph.initializers.back().bytes.size();
  }
  if (from.sparse_initializer_size() > 0) fail("sparse initializers are not supported");
  for (const auto& one : from.node()) graph.nodes.push_back(node(one));
  return graph;
}

std::map<std::string, std::int64_t> opsets_of(
    const google::protobuf::RepeatedPtrField<::onnx::OperatorSetIdProto>& from) {
  std::map<std::string, std::int64_t> opsets;
  for (const auto& one : from) opsets[domain_of(one.domain())] = one.version();
  return opsets;
}

Function Reader::function(const ::onnx::FunctionProto& from) {
  Function function;
  function.name = from.name();
  function.domain = domain_of(from.domain());
  function.inputs.assign(from.input().begin(), from.input().end());
  function.outputs.assign(from.output().begin(), from.output().end());
  function.attributes.assign(from.attribute().begin(), from.attribute().end());
  function.opsets = opsets_of(from.opset_import());
  for (const auto& one : from.node()) function.nodes.push_back(node(one));
  return function;
}

StoredValue Reader::value(const ::onnx_value::Sequence& from) {
  StoredValue value;
  value.is_sequence = true;
  for (const auto& one : from.tensor_values())
    value.elements.push_back({true, false, tensor(one), {}});
  for (const auto& one : from.sequence_values()) value.elements.push_back(this->value(one));
  for (const auto& one : from.optional_values()) value.elements.push_back(this->value(one));
  return value;
}

StoredValue Reader::value(const ::onnx_value::Optional& from) {
  if (from.has_tensor_value()) return {true, false, tensor(from.tensor_value()), {}};
  if (from.has_sequence_value()) return value(from.sequence_value());
  if (from.has_optional_value()) return value(from.optional_value());
  return {false, false, {}, {}};
}

template <typename Message>
std::shared_ptr<Message> parse(std::span<const std::byte> bytes, const std::string& name,
                               const char* what) {
  if (bytes.size() > static_cast<std::size_t>(std::numeric_limits<int>::max()))
    user_error("{}: a protobuf of {} bytes; at most 2 GiB can be read", name, bytes.size());
  auto message = std::make_shared<Message>();
  if (!message->ParseFromArray(bytes.data(), static_cast<int>(bytes.size())))
    user_error("{}: this is no {} of ONNX, or it is damaged", name, what);
  return message;
}

struct Folders {
  std::filesystem::path shown, real;
};

ModelDef model_of(std::span<const std::byte> bytes, const std::shared_ptr<const void>& owner,
                  const std::string& name, const Folders& folders) {
  const std::optional<SplitModel> split = split_weights(bytes, owner);
  const auto from =
      parse<::onnx::ModelProto>(split ? bytes_of(split->message) : bytes, name, "model");
  ModelDef model;
  model.file = name;
  model.ir_version = from->ir_version();
  model.producer = from->producer_name();
  model.opsets = opsets_of(from->opset_import());
  for (const auto& entry : from->metadata_props()) model.metadata[entry.key()] = entry.value();
  if (!from->has_graph()) user_error("{}: this is no model of ONNX: it has no graph", name);
  if (model.opsets.empty()) model.opsets[""] = 1;
  Reader reader(name, from, folders.shown, folders.real);
  model.graph = reader.graph(from->graph(), split ? split->weights : std::vector<Weight>());
  for (const auto& one : from->functions()) model.functions.push_back(reader.function(one));
  model.initializer_bytes = reader.initializer_bytes();
  return model;
}

}  // namespace

ModelDef parse_model(std::span<const std::byte> bytes, const std::string& name,
                     const std::filesystem::path& folder) {
  return model_of(bytes, nullptr, name, {folder, {}});
}

// A model in a cache may be a link to a file whose neighbours are linked to likewise; so its data
// may lie beside either.
ModelDef read_model(const std::filesystem::path& path) {
  const auto file = std::make_shared<const MappedFile>(MappedFile::open(path));
  std::error_code error;
  const auto folder = path.has_parent_path() ? path.parent_path() : std::filesystem::path(".");
  const auto real = std::filesystem::canonical(path, error);
  return model_of(file->bytes(), file, path.string(),
                  {folder, error ? std::filesystem::path() : real.parent_path()});
}

HostTensor parse_tensor(std::span<const std::byte> bytes, const std::string& name) {
  const auto message = parse<::onnx::TensorProto>(bytes, name, "tensor");
  return Reader(name, message, {}).tensor(*message);
}

StoredValue read_value(const std::filesystem::path& path, const Type& type) {
  const std::string name = path.string();
  std::error_code error;
  if (std::filesystem::file_size(path, error) == 0 && !error) {  // an empty message
    if (type.kind == Type::Kind::sequence) return {true, true, {}, {}};
    return {false, false, {}, {}};
  }
  const MappedFile file = MappedFile::open(path);
  if (type.kind == Type::Kind::sequence) {
    const auto message = parse<::onnx_value::Sequence>(file.bytes(), name, "sequence");
    return Reader(name, message, {}).value(*message);
  }
  if (type.kind == Type::Kind::optional) {
    const auto message = parse<::onnx_value::Optional>(file.bytes(), name, "optional");
    return Reader(name, message, {}).value(*message);
  }
  return {true, false, parse_tensor(file.bytes(), name), {}};
}

std::string tensor_proto(const HostTensor& tensor) {
  ::onnx::TensorProto message;
  message.set_name(tensor.name);
  message.set_data_type(static_cast<int>(element_of(tensor.dtype())));
  for (const std::int64_t size : tensor.shape) message.add_dims(size);
  message.set_raw_data(tensor.bytes.data(), tensor.bytes.size());
  return message.SerializeAsString();
}

}  // namespace brisk::onnx
