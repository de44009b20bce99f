#include "onnx/value.h"

#include <algorithm>

#include "base/error.h"
#include "formats/quote.h"
#include "graph/elementwise.h"
#include "graph/symbolic.h"
#include "onnx/on_host.h"
#include "tensor/build.h"
#include "tensor/host_storage.h"

namespace brisk::onnx {

namespace {

// A constant of the graph, exactly, or undefined where there is none.
Tensor constant(const HostTensor& host) {
  const DType dtype = host.dtype();
  if (is_float(dtype)) {
    const double value = numbers_of(host)[0];
    return full(Dims(host.shape), Tensor(value), dtype);
  }
  if (dtype == DType::uint64) return {};
  return full(Dims(host.shape), Tensor(integers_of(host)[0]), dtype);
}

}  // namespace

Tensor Known::tensor() const {
  if (host_.dtype() == DType::none)
    user_error("{} holds {}, which no kernel computes with", quote(host_.name),
               element_name(host_.type));
  const std::size_t width = static_cast<std::size_t>(byte_size(host_.dtype()));
  if (host_.bytes.size() == width) {
    if (const Tensor number = constant(host_); number.defined()) return number;
  }
  if (OnHost::active()) return from_memory(host_.owner, host_.bytes, host_.shape, host_.dtype());
  if (!uploaded_.defined())
    uploaded_ = from_memory(host_.owner, host_.bytes, host_.shape, host_.dtype());
  return uploaded_;
}

bool SymbolicTensor::is_constant() const {
  return std::all_of(elements.begin(), elements.end(),
                     [](const Node& element) { return element.is_constant(); });
}

Tensor SymbolicTensor::tensor() const {
  const DType dtype = stored_dtype(type);
  std::vector<Tensor> parts;
  for (const Node& element : elements)
    parts.push_back(tensor_of(brisk::reshape(to_dtype(element, dtype), {Size(1)})));
  return cat(parts, 0).reshape(shape);
}

HostTensor SymbolicTensor::host(const Variables& variables) const {
  const DType dtype = stored_dtype(type);
  const auto width = static_cast<std::size_t>(byte_size(dtype));
  std::vector<std::byte> bytes(elements.size() * width);
  for (std::size_t i = 0; i < elements.size(); ++i)
    write_constant(constant_int(evaluate_scalar(elements[i], variables), dtype), &bytes[i * width]);
  return host_tensor(type, shape, std::move(bytes));
}

std::optional<SymbolicTensor> symbolic(const Tensor& tensor, ElementType type) {
  const auto read = [](const Node& buffer) -> std::span<const std::byte> {
    const auto* storage = dynamic_cast<const HostStorage*>(buffer.attr().storage.get());
    return storage != nullptr ? storage->bytes() : std::span<const std::byte>();
  };
  auto elements = symbolic_elements(node_of(tensor), read);
  if (!elements) return std::nullopt;
  return SymbolicTensor{type, tensor.shape(), *std::move(elements)};
}

Value Value::sequence(std::vector<Value> elements, ElementType type) {
  Value value;
  value.kind_ = Kind::sequence;
  value.type_ = type;
  value.elements_ = std::make_shared<const std::vector<Value>>(std::move(elements));
  return value;
}

Dims Value::dims() const {
  if (known_) return known_->host().shape;
  return symbolic_ ? Dims(symbolic_->shape) : tensor_.dims();
}

std::vector<std::int64_t> Value::shape() const {
  std::vector<std::int64_t> sizes;
  for (const Dim& size : dims()) sizes.push_back(size.value());
  return sizes;
}

Tensor Value::tensor() const {
  if (known_) return known_->tensor();
  return symbolic_ ? symbolic_->tensor() : tensor_;
}

HostTensor host_tensor(ElementType type, std::vector<std::int64_t> shape,
                       std::vector<std::byte> bytes) {
  HostTensor host;
  host.type = type;
  host.shape = std::move(shape);
  const auto owner = std::make_shared<const std::vector<std::byte>>(std::move(bytes));
  host.owner = owner;
  host.bytes = *owner;
  return host;
}

HostTensor host_integers(const std::vector<std::int64_t>& values) {
  return host_tensor(values, {static_cast<std::int64_t>(values.size())});
}

Value sizes_value(const Dims& sizes, std::vector<std::int64_t> shape) {
  SymbolicTensor made{ElementType::int64, std::move(shape), {}};
  for (const Dim& size : sizes) made.elements.push_back(size.size().node());
  return made.is_constant() ? Value(made.host({})) : Value(std::move(made));
}

void check_shape(const Dims& shape, const std::string& what) {
  std::vector<std::int64_t> greatest;
  for (const Dim& size : shape) {
    if (size.lower() < 0) user_error("{}: a size of {} is negative", what, to_string(size));
    greatest.push_back(size.upper());
  }
  element_count(greatest, what);
}

Value value_of(const StoredValue& stored) {
  if (!stored.present) return {};
  if (!stored.is_sequence) return stored.tensor;
  Values elements;
  for (const StoredValue& element : stored.elements) elements.push_back(value_of(element));
  const ElementType type = elements.empty() ? ElementType::undefined : elements[0].type();
  return Value::sequence(std::move(elements), type);
}

}  // namespace brisk::onnx
