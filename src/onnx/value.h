// What a name stands for while a graph is traced: a tensor, a list of values, or nothing. What is
// known then (initialisers, shapes, what follows from them) lies in the host's memory, and becomes
// a tensor on the device only where something that is not known meets it. Where sizes are
// variables, what follows from them is known as expressions.
#pragma once

#include <memory>
#include <optional>
#include <vector>

#include "brisk/create.h"
#include "brisk/tensor.h"
#include "graph/evaluate.h"
#include "onnx/model.h"

namespace brisk::onnx {

/// A tensor that is known. Its copies on the executor are made once.
class Known {
 public:
  explicit Known(HostTensor host) : host_(std::move(host)) {}
  const HostTensor& host() const { return host_; }
  /// On the current executor; a single number is a constant of the graph.
  Tensor tensor() const;

 private:
  HostTensor host_;
  mutable Tensor uploaded_;
};

/// A tensor whose elements are known up to the values of variables: row-major, each an int64 or
/// bool scalar (graph/symbolic.h).
struct SymbolicTensor {
  ElementType type = ElementType::undefined;
  std::vector<std::int64_t> shape;
  std::vector<Node> elements;

  /// Whether no element depends on variables.
  bool is_constant() const;
  /// As a tensor of the graph.
  Tensor tensor() const;
  /// The elements as numbers.
  HostTensor host(const Variables& variables) const;
};
/// Of a tensor that the evaluator would compute; nothing where it is not known.
std::optional<SymbolicTensor> symbolic(const Tensor& tensor, ElementType type);

class Value {
 public:
  enum class Kind { absent, tensor, sequence };

  Value() = default;    // absent: an input that is not given, an empty optional
  Value(Tensor tensor)  // NOLINT: implicit on purpose
      : kind_(Kind::tensor), type_(element_of(tensor.dtype())), tensor_(std::move(tensor)) {}
  Value(Tensor tensor, ElementType type)
      : kind_(Kind::tensor), type_(type), tensor_(std::move(tensor)) {}
  Value(HostTensor host)  // NOLINT: implicit on purpose
      : kind_(Kind::tensor), type_(host.type), known_(std::make_shared<Known>(std::move(host))) {}
  explicit Value(std::shared_ptr<const Known> known)
      : kind_(Kind::tensor), type_(known->host().type), known_(std::move(known)) {}
  Value(SymbolicTensor symbolic)  // NOLINT: implicit on purpose
      : kind_(Kind::tensor),
        type_(symbolic.type),
        symbolic_(std::make_shared<const SymbolicTensor>(std::move(symbolic))) {}
  static Value sequence(std::vector<Value> elements, ElementType type);

  Kind kind() const { return kind_; }
  bool present() const { return kind_ != Kind::absent; }
  ElementType type() const { return type_; }
  /// Null where the tensor is not known.
  const HostTensor* known() const { return known_ ? &known_->host() : nullptr; }
  /// Null unless it is known up to the values of variables.
  const SymbolicTensor* symbolic() const { return symbolic_.get(); }
  /// Of a tensor.
  Dims dims() const;
  /// The same as numbers; UserError where a size depends on variables.
  std::vector<std::int64_t> shape() const;
  Tensor tensor() const;
  const std::vector<Value>& elements() const { return *elements_; }

 private:
  Kind kind_ = Kind::absent;
  ElementType type_ = ElementType::undefined;
  Tensor tensor_;
  std::shared_ptr<const Known> known_;
  std::shared_ptr<const SymbolicTensor> symbolic_;
  std::shared_ptr<const std::vector<Value>> elements_;
};
using Values = std::vector<Value>;

/// Values of the host, copied.
HostTensor host_tensor(ElementType type, std::vector<std::int64_t> shape,
                       std::vector<std::byte> bytes);
template <typename T>
HostTensor host_tensor(const std::vector<T>& values, std::vector<std::int64_t> shape) {
  const auto bytes = std::as_bytes(std::span(values.data(), values.size()));
  return host_tensor(element_of(dtype_of<T>), std::move(shape), {bytes.begin(), bytes.end()});
}
/// A vector of int64.
HostTensor host_integers(const std::vector<std::int64_t>& values);
/// Sizes as int64, which may be expressions.
Value sizes_value(const Dims& sizes, std::vector<std::int64_t> shape);
/// UserError (beginning with `what`) unless a tensor of this shape can be, whatever the variables.
void check_shape(const Dims& shape, const std::string& what);
/// What a stored value of a test is.
Value value_of(const StoredValue& stored);

}  // namespace brisk::onnx
