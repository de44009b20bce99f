// Element types: their names, and what brisk stores for them.
#include <fmt/core.h>

#include <cstring>

#include "base/error.h"
#include "formats/quote.h"
#include "onnx/model.h"

namespace brisk::onnx {

namespace {

struct Element {
  const char* name;
  DType dtype;
};
// By TensorProto.DataType.
constexpr Element elements[] = {
    {"undefined", DType::none},
    {"float32", DType::float32},
    {"uint8", DType::uint8},
    {"int8", DType::int8},
    {"uint16", DType::uint16},
    {"int16", DType::int16},
    {"int32", DType::int32},
    {"int64", DType::int64},
    {"string", DType::none},
    {"bool", DType::boolean},
    {"float16", DType::float16},
    {"float64", DType::float64},
    {"uint32", DType::uint32},
    {"uint64", DType::uint64},
    {"complex64", DType::none},
    {"complex128", DType::none},
    {"bfloat16", DType::bfloat16},
    {"float8e4m3fn", DType::float8_e4m3},
    {"float8e4m3fnuz", DType::float32},
    {"float8e5m2", DType::float8_e5m2},
    {"float8e5m2fnuz", DType::float32},
    {"uint4", DType::uint8},
    {"int4", DType::int8},
    {"float4e2m1", DType::float32},
    {"float8e8m0", DType::float32},
    {"uint2", DType::uint8},
    {"int2", DType::int8},
};

const Element* find(ElementType type) {
  const auto at = static_cast<std::size_t>(type);
  return at < std::size(elements) ? &elements[at] : nullptr;
}

template <typename From, typename T>
void append(std::span<const std::byte> bytes, std::vector<T>& values, T (*convert)(From)) {
  values.reserve(bytes.size() / sizeof(From));
  for (std::size_t i = 0; i + sizeof(From) <= bytes.size(); i += sizeof(From)) {
    From value;
    std::memcpy(&value, bytes.data() + i, sizeof(From));
    values.push_back(convert(value));
  }
}

// Out of the range of integers: their ends.
std::int64_t to_integer(double value) {
  if (!(value > -9.2e18)) return INT64_MIN;
  return value < 9.2e18 ? static_cast<std::int64_t>(value) : INT64_MAX;
}

template <typename T, typename From>
T converted(From value) {
  if constexpr (std::is_same_v<T, std::int64_t> && std::is_floating_point_v<From>) {
    return to_integer(value);
  } else {
    return static_cast<T>(value);  // NOLINT(bugprone-signed-char-misuse): int8 is a number
  }
}

template <typename T, typename Bits, float (*decode)(Bits)>
T decoded(Bits bits) {
  return converted<T>(decode(bits));
}

template <typename T>
std::vector<T> values_of(const HostTensor& tensor) {
  std::vector<T> values;
  const auto bytes = tensor.bytes;
  switch (tensor.dtype()) {
    case DType::boolean:
    case DType::uint8: append(bytes, values, converted<T, std::uint8_t>); break;
    case DType::int8: append(bytes, values, converted<T, std::int8_t>); break;
    case DType::int16: append(bytes, values, converted<T, std::int16_t>); break;
    case DType::int32: append(bytes, values, converted<T, std::int32_t>); break;
    case DType::int64: append(bytes, values, converted<T, std::int64_t>); break;
    case DType::uint16: append(bytes, values, converted<T, std::uint16_t>); break;
    case DType::uint32: append(bytes, values, converted<T, std::uint32_t>); break;
    case DType::uint64: append(bytes, values, converted<T, std::uint64_t>); break;
    case DType::float8_e4m3: append(bytes, values, decoded<T, std::uint8_t, e4m3_to_float>); break;
    case DType::float8_e5m2: append(bytes, values, decoded<T, std::uint8_t, e5m2_to_float>); break;
    case DType::float16: append(bytes, values, decoded<T, std::uint16_t, half_to_float>); break;
    case DType::bfloat16:
      append(bytes, values, decoded<T, std::uint16_t, bfloat16_to_float>);
      break;
    case DType::float32: append(bytes, values, converted<T, float>); break;
    case DType::float64: append(bytes, values, converted<T, double>); break;
    case DType::none:
      user_error("{} holds {}, not numbers", quote(tensor.name), element_name(tensor.type));
  }
  return values;
}

}  // namespace

std::string element_name(ElementType type) {
  const Element* element = find(type);
  return element != nullptr ? element->name : fmt::format("type {}", static_cast<int>(type));
}

DType stored_dtype(ElementType type) {
  const Element* element = find(type);
  return element != nullptr ? element->dtype : DType::none;
}

ElementType element_of(DType dtype) {
  for (int i = 1; i < static_cast<int>(ElementType::float8e4m3fnuz); ++i) {
    if (dtype != DType::none && elements[i].dtype == dtype) return static_cast<ElementType>(i);
  }
  return dtype == DType::float8_e5m2 ? ElementType::float8e5m2 : ElementType::undefined;
}

std::int64_t element_count(const std::vector<std::int64_t>& shape, const std::string& what) {
  constexpr std::int64_t most = std::int64_t{1} << 40;
  std::int64_t count = 1;
  if (shape.size() > 64) user_error("{}: a shape of {} sizes is too long", what, shape.size());
  for (const std::int64_t size : shape) {
    if (size < 0) user_error("{}: a size of {} is negative", what, size);
    if (size > most) user_error("{}: a size of {} is too large", what, size);
  }
  for (const std::int64_t size : shape) {
    if (size == 0) return 0;
  }
  for (const std::int64_t size : shape) {
    if (count > most / size) user_error("{}: its shape has more than 2^40 elements", what);
    count *= size;
  }
  return count;
}

std::vector<std::int64_t> integers_of(const HostTensor& tensor) {
  return values_of<std::int64_t>(tensor);
}

std::vector<double> numbers_of(const HostTensor& tensor) { return values_of<double>(tensor); }

std::string to_string(const Type& type) {
  switch (type.kind) {
    case Type::Kind::sequence:
      return fmt::format("sequence of {}", type.of ? to_string(*type.of) : "?");
    case Type::Kind::optional:
      return fmt::format("optional {}", type.of ? to_string(*type.of) : "?");
    case Type::Kind::tensor: break;
    default: return "?";
  }
  std::string text = element_name(type.element);
  if (!type.has_shape) return text + " of any shape";
  text += " [";
  for (std::size_t i = 0; i < type.shape.size(); ++i) {
    const Type::Size& size = type.shape[i];
    if (i > 0) text += ", ";
    text += size.value >= 0 ? std::to_string(size.value) : size.name.empty() ? "?" : size.name;
  }
  return text + "]";
}

std::string NodeDef::text() const {
  const std::string quoted = quote(domain.empty() ? op : domain + "." + op);
  const std::string full = quoted.substr(1, quoted.size() - 2);
  if (!name.empty()) return fmt::format("node {} ({})", quote(name), full);
  for (const std::string& output : outputs) {
    if (!output.empty()) return fmt::format("the node of {} ({})", quote(output), full);
  }
  return fmt::format("a node ({})", full);
}

}  // namespace brisk::onnx
