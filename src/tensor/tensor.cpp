// The handle: what it knows about its node, and how its values are computed and read.
#include "brisk/tensor.h"

#include <cstring>

#include "brisk/create.h"
#include "tensor/accumulator.h"
#include "tensor/build.h"
#include "tensor/capture.h"
#include "tensor/realize.h"
#include "tensor/realized.h"

namespace brisk {

// ---- nodes --------------------------------------------------------------------------------------

Node node_of(const Tensor& tensor) {
  if (!tensor.defined()) call_error("got an undefined tensor");
  const TensorState& state = *tensor.state();
  const std::lock_guard lock(state.mutex);
  // Numbers keep float64 for what they meet, and are float32 by themselves.
  if (state.number && is_float(state.node.dtype())) return to_dtype(state.node, DType::float32);
  return grad_enabled() ? state.node : untracked(state.node);
}

Tensor tensor_of(Node node) {
  auto state = std::make_shared<TensorState>();
  state->node = std::move(node);
  state->call = Call::current();
  return Tensor(std::move(state));
}

Tensor Tensor::from_number(double value, std::int64_t integer, DType dtype) {
  auto state = std::make_shared<TensorState>();
  state->node =
      is_float(dtype) ? constant_float(value, DType::float64) : constant_int(integer, dtype);
  state->number = true;
  return Tensor(std::move(state));
}

DType Tensor::dtype() const { return node_of(*this).dtype(); }
int Tensor::rank() const { return node_of(*this).rank(); }
Dims Tensor::dims() const { return dims_of(node_of(*this).shape()); }

std::vector<std::int64_t> Tensor::shape() const {
  std::vector<std::int64_t> sizes;
  for (const Dim& dim : dims()) sizes.push_back(dim.value());
  return sizes;
}

Dim Tensor::size(int axis) const {
  const Call call("size");
  const Node node = node_of(*this);
  const int at = axis_of(axis, node.rank());
  if (node.rank() == 0) call_error("a tensor of rank 0 has no sizes");
  return Dim(node.shape()[at]);
}

Dim Tensor::numel() const { return Dim(element_count(node_of(*this).shape())); }

// ---- computing ----------------------------------------------------------------------------------

namespace {

bool is_stored(const Node& node) {
  const Node& value = value_node(node);
  return value.is(Op::buffer_) && value.attr().storage != nullptr;
}

VariableValues values_of(const Bound& bound) {
  VariableValues values;
  for (const auto& [dim, value] : bound) {
    const Node expression = dim.size().expr();
    if (!expression || !expression.is(Op::variable_)) {
      call_error("wants variables to bind, got the size {}", to_string(dim));
    }
    if (value < expression.ints(0) || value > expression.ints(1)) {
      call_error("variable '{}' takes {} to {}, got {}", expression.attr().name, expression.ints(0),
                 expression.ints(1), value);
    }
    values[expression.attr().name] = value;
  }
  return values;
}

// Runs and, where anything fails, says which calls made what was asked for.
std::vector<Node> run(const std::vector<Tensor>& tensors, const Bound& bound) {
  std::vector<Node> roots;
  roots.reserve(tensors.size());
  for (const Tensor& tensor : tensors) roots.push_back(node_of(tensor));
  roots = RealizedNodes::shared().over_buffers(roots);
  bool all = true;
  for (const Node& root : roots) all &= is_stored(root);
  if (all) return roots;
  if (Capture::current() != nullptr) {
    call_error("a Step's function only records what is to be computed: return the tensor from it");
  }
  const auto calls = [&] {
    std::string text;
    for (const Tensor& tensor : tensors) {
      if (*tensor.state()->call == '\0') continue;
      text += (text.empty() ? "" : ", ") + std::string(tensor.state()->call);
    }
    return text.empty() ? std::string(Call::current()) : text;
  };
  const VariableValues values = values_of(bound);
  try {
    return executor().realize(roots, values);
  } catch (const DeviceError& error) {
    throw DeviceError(fmt::format("computing {}: {}", calls(), error.what()));
  } catch (const UserError& error) {
    throw UserError(fmt::format("computing {}: {}", calls(), error.what()));
  } catch (const InternalError& error) {  // BRISK_VERIFY's, which has the kernel's text
    throw InternalError(fmt::format("computing {}: {}", calls(), error.what()));
  }
}

}  // namespace

void place(const Tensor& tensor, const Node& where) {
  TensorState& state = *tensor.state();
  const std::lock_guard lock(state.mutex);
  if (!(value_node(state.node) == where)) state.node = placed(state, where);
  state.number = false;
}

void realize(const std::vector<Tensor>& tensors, const Bound& bound) {
  const Call call("realize");
  std::vector<Tensor> all = tensors;
  if (bound.empty()) {
    for (Tensor& tensor : to_compute()) all.push_back(std::move(tensor));
  }
  const std::vector<Node> buffers = run(all, bound);
  for (std::size_t i = 0; i < all.size(); ++i) {
    if (bound.empty()) RealizedNodes::shared().add(all[i].state()->node, buffers[i]);
    place(all[i], buffers[i]);
  }
  RealizedNodes::shared().purge();
}

std::vector<Tensor> compute(const std::vector<Tensor>& tensors, const Bound& bound) {
  const Call call("compute");
  std::vector<Tensor> results;
  for (Node& buffer : run(tensors, bound)) results.push_back(tensor_of(std::move(buffer)));
  return results;
}

const Tensor& Tensor::realize(const Bound& bound) const {
  brisk::realize({*this}, bound);
  return *this;
}

bool Tensor::is_realized() const { return is_stored(node_of(*this)); }

std::vector<std::byte> Tensor::to_bytes(const Bound& bound) const {
  const Call call("to_bytes");
  // With bound variables the handle stays symbolic, to be computed again with others.
  if (bound.empty()) return executor().read(value_node(node_of(realize())));
  return executor().read(run({*this}, bound)[0]);
}

void Tensor::copy_from(std::span<const std::byte> bytes) {
  const Call call("copy_from");
  const Node node = value_node(node_of(*this));
  if (!is_stored(node)) call_error("wants a realized tensor to write into");
  const auto wanted = element_count(node.shape()).value() * byte_size(node.dtype());
  if (bytes.size() != static_cast<std::size_t>(wanted)) {
    call_error("wants {} bytes for {} of shape {}, got {}", wanted, name(node.dtype()),
               to_string(node.shape()), bytes.size());
  }
  RealizedNodes::shared().changed(node);
  executor().write(node, bytes, 0);
  const std::lock_guard lock(state_->mutex);
  if (!brisk::is_leaf(*state_)) state_->node = node;  // other values than those that were computed
}

// ---- reading ------------------------------------------------------------------------------------

namespace {

template <typename From, typename T>
void convert(const std::vector<std::byte>& bytes, std::vector<T>& values) {
  for (std::size_t i = 0; i < values.size(); ++i) {
    From value;
    std::memcpy(&value, bytes.data() + i * sizeof(From), sizeof(From));
    values[i] = static_cast<T>(value);  // NOLINT(bugprone-signed-char-misuse): int8 is a number
  }
}

template <typename Bits, typename T>
void convert(const std::vector<std::byte>& bytes, std::vector<T>& values, float (*decode)(Bits)) {
  for (std::size_t i = 0; i < values.size(); ++i) {
    Bits bits;
    std::memcpy(&bits, bytes.data() + i * sizeof(Bits), sizeof(Bits));
    values[i] = static_cast<T>(decode(bits));
  }
}

template <typename T>
std::vector<T> decode(DType dtype, const std::vector<std::byte>& bytes) {
  std::vector<T> values(bytes.size() / byte_size(dtype));
  switch (dtype) {
    case DType::boolean:
    case DType::uint8: convert<std::uint8_t>(bytes, values); break;
    case DType::int8: convert<std::int8_t>(bytes, values); break;
    case DType::int16: convert<std::int16_t>(bytes, values); break;
    case DType::int32: convert<std::int32_t>(bytes, values); break;
    case DType::int64: convert<std::int64_t>(bytes, values); break;
    case DType::uint16: convert<std::uint16_t>(bytes, values); break;
    case DType::uint32: convert<std::uint32_t>(bytes, values); break;
    case DType::uint64: convert<std::uint64_t>(bytes, values); break;
    case DType::float8_e4m3: convert(bytes, values, e4m3_to_float); break;
    case DType::float8_e5m2: convert(bytes, values, e5m2_to_float); break;
    case DType::float16: convert(bytes, values, half_to_float); break;
    case DType::bfloat16: convert(bytes, values, bfloat16_to_float); break;
    case DType::float32: convert<float>(bytes, values); break;
    case DType::float64: convert<double>(bytes, values); break;
    case DType::none: unreachable("tensors have a dtype");
  }
  return values;
}

}  // namespace

template <typename T>
std::vector<T> Tensor::to_vector(const Bound& bound) const {
  const Call call("to_vector");
  return decode<T>(dtype(), to_bytes(bound));
}

template <typename T>
T Tensor::item(const Bound& bound) const {
  const Call call("item");
  const std::vector<T> values = to_vector<T>(bound);
  if (values.size() != 1) {
    call_error("wants a tensor of one element, got shape {}", to_string(dims()));
  }
  return values[0];
}

template std::vector<bool> Tensor::to_vector<bool>(const Bound&) const;
template bool Tensor::item<bool>(const Bound&) const;
#define BRISK_READ(T)                                               \
  template std::vector<T> Tensor::to_vector<T>(const Bound&) const; \
  template T Tensor::item<T>(const Bound&) const;
BRISK_READ(char)
BRISK_READ(std::int8_t)
BRISK_READ(std::int16_t)
BRISK_READ(std::int32_t)
BRISK_READ(std::int64_t)
BRISK_READ(std::uint8_t)
BRISK_READ(std::uint16_t)
BRISK_READ(std::uint32_t)
BRISK_READ(std::uint64_t)
BRISK_READ(float)
BRISK_READ(double)
#undef BRISK_READ

// ---- memory -------------------------------------------------------------------------------------

Tensor Tensor::contiguous() const {
  const Call call("contiguous");
  const Node node = node_of(*this);
  return is_stored(node) ? *this : tensor_of(stored(node));
}

Tensor Tensor::to(const std::string& device) const {
  const Call call("to");
  const Node node = node_of(*this);
  const Node copy = copy_to(node, device);
  if (!node.requires_grad()) return tensor_of(copy);
  return with_gradient(tensor_of(untracked(copy)), {*this},
                       [home = executor().device_of(values_of({&node, 1})[0])](
                           const Tensor&, const std::vector<Tensor>&, const Tensor& g) {
                         return std::vector<Tensor>{g.to(home)};
                       });
}

void want_no_leaf(const Tensor& tensor) {
  want_defined(tensor, "the tensor");
  if (!grad_enabled() || !is_leaf(*tensor.state())) return;
  call_error(
      "would change a leaf that requires a gradient: do it while a NoGrad lives, or assign()");
}

Tensor Tensor::store(const Dims& begin, const Tensor& value) const {
  const Call call("store");
  want_no_leaf(*this);
  const Node target = value_node(node_of(*this));
  if (!target.is(Op::buffer_) && !target.is(Op::store_)) {
    call_error("wants a realized tensor or the result of store, got the result of {}",
               name(target.op()));
  }
  const Node source = node_of(value);
  if (begin.size() != target.shape().size() || source.rank() != target.rank()) {
    call_error("wants {} positions and a value of rank {} for shape {}, got {} and {}",
               target.rank(), target.rank(), to_string(target.shape()), begin.size(),
               source.rank());
  }
  if (source.dtype() != target.dtype()) {
    call_error("wants a value of {}, got {}", name(target.dtype()), name(source.dtype()));
  }
  Shape box;
  for (std::size_t i = 0; i < begin.size(); ++i) {
    const Size first = begin[i].size();
    box.push_back(first);
    box.push_back(first + source.shape()[i]);
    const Size& room = target.shape()[i];
    if (room.is_constant() && (first.lower() < 0 || box.back().lower() > room.value())) {
      call_error("a value of shape {} at {} is outside a tensor of shape {}",
                 to_string(source.shape()), to_string(begin), to_string(target.shape()));
    }
  }
  RealizedNodes::shared().changed(base_buffer(target));
  return tensor_of(brisk::store(shrink(target, std::move(box)), source));
}

void Tensor::assign(const Tensor& value) {
  const Call call("assign");
  const Node old = value_node(node_of(*this));
  const bool leaf = brisk::is_leaf(*state_);
  const Node source = to_dtype(leaf ? untracked(node_of(value)) : node_of(value), old.dtype());
  if (broadcast_shape(old.shape(), source.shape()) != old.shape()) {
    call_error("wants a value that broadcasts to shape {}, got {}", to_string(old.shape()),
               to_string(source.shape()));
  }
  Node next = expand_to(source, old.shape());
  if (old.is(Op::buffer_) || old.is(Op::store_)) {
    RealizedNodes::shared().changed(base_buffer(old));
    next = brisk::store(old, next);
    compute_soon(*this);
  }
  const std::lock_guard lock(state_->mutex);
  state_->node = leaf ? gradient_leaf(next, state_->gradient) : std::move(next);
  state_->number = false;
}

}  // namespace brisk
