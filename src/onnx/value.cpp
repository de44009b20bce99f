#include "onnx/value.h"

#include "base/error.h"
#include "formats/quote.h"
#include "onnx/on_host.h"

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

Value Value::sequence(std::vector<Value> elements, ElementType type) {
  Value value;
  value.kind_ = Kind::sequence;
  value.type_ = type;
  value.elements_ = std::make_shared<const std::vector<Value>>(std::move(elements));
  return value;
}

std::vector<std::int64_t> Value::shape() const {
  return known_ ? known_->host().shape : tensor_.shape();
}

Tensor Value::tensor() const { return known_ ? known_->tensor() : tensor_; }

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

Value value_of(const StoredValue& stored) {
  if (!stored.present) return {};
  if (!stored.is_sequence) return stored.tensor;
  Values elements;
  for (const StoredValue& element : stored.elements) elements.push_back(value_of(element));
  const ElementType type = elements.empty() ? ElementType::undefined : elements[0].type();
  return Value::sequence(std::move(elements), type);
}

}  // namespace brisk::onnx
