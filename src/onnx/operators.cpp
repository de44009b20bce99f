#include "onnx/operators.h"

#include <algorithm>

#include "onnx/trace.h"

namespace brisk::onnx {

const Value& NodeCall::value(std::size_t i) const {
  if (!has(i)) fail("input {} is not given", i);
  return inputs_[i];
}

namespace {

void want_tensor(const NodeCall& call, std::size_t i) {
  if (call.value(i).kind() != Value::Kind::tensor) call.fail("input {} is no tensor", i);
}

}  // namespace

Tensor NodeCall::operator[](std::size_t i) const {
  want_tensor(*this, i);
  return value(i).tensor();
}

Dims NodeCall::dims(std::size_t i) const {
  want_tensor(*this, i);
  return value(i).dims();
}

std::vector<std::int64_t> NodeCall::shape(std::size_t i) const {
  want_tensor(*this, i);
  return value(i).shape();
}

HostTensor NodeCall::host(std::size_t i) const {
  want_tensor(*this, i);
  return tracer_.host(value(i));
}

std::int64_t NodeCall::integer(std::size_t i) const {
  const auto values = integers(i);
  if (values.size() != 1) fail("input {} wants one value, got {}", i, values.size());
  return values[0];
}

double NodeCall::number(std::size_t i) const {
  const auto values = numbers(i);
  if (values.size() != 1) fail("input {} wants one value, got {}", i, values.size());
  return values[0];
}

Dims NodeCall::sizes(std::size_t i) const {
  const SymbolicTensor* symbolic = value(i).symbolic();
  if (symbolic == nullptr || is_bool(stored_dtype(symbolic->type))) return integers(i);
  Dims sizes;
  for (const Node& element : symbolic->elements) sizes.emplace_back(Size(element));
  return sizes;
}

Dim NodeCall::size(std::size_t i) const {
  const Dims values = sizes(i);
  if (values.size() != 1) fail("input {} wants one value, got {}", i, values.size());
  return values[0];
}

const Attribute* NodeCall::attribute(std::string_view name) const {
  const auto found = node_.attributes.find(std::string(name));
  if (found == node_.attributes.end()) return nullptr;
  if (found->second.kind == Attribute::Kind::reference)
    return scope_.function_attribute(found->second.string);
  return &found->second;
}

const Attribute& NodeCall::wanted(std::string_view name, Attribute::Kind kind) const {
  const Attribute* found = attribute(name);
  if (found == nullptr) fail("attribute '{}' is missing", name);
  if (found->kind != kind) fail("attribute '{}' is of another type than it should be", name);
  return *found;
}

std::int64_t NodeCall::integer(std::string_view name, std::int64_t otherwise) const {
  if (!has_attribute(name)) return otherwise;
  return wanted(name, Attribute::Kind::integer).integer;
}

double NodeCall::number(std::string_view name, double otherwise) const {
  if (!has_attribute(name)) return otherwise;
  return wanted(name, Attribute::Kind::number).number;
}

std::string NodeCall::text(std::string_view name, const std::string& otherwise) const {
  if (!has_attribute(name)) return otherwise;
  return wanted(name, Attribute::Kind::string).string;
}

std::vector<std::int64_t> NodeCall::integers(std::string_view name,
                                             std::vector<std::int64_t> otherwise) const {
  const Attribute* found = attribute(name);
  if (found == nullptr) return otherwise;
  if (found->kind == Attribute::Kind::other) return {};  // an empty list of no said type
  return wanted(name, Attribute::Kind::integers).integers;
}

std::vector<double> NodeCall::numbers(std::string_view name) const {
  if (!has_attribute(name)) return {};
  const auto& values = wanted(name, Attribute::Kind::numbers).numbers;
  return {values.begin(), values.end()};
}

std::vector<std::string> NodeCall::texts(std::string_view name) const {
  if (!has_attribute(name)) return {};
  return wanted(name, Attribute::Kind::strings).strings;
}

const Graph& NodeCall::graph(std::string_view name) const {
  return *wanted(name, Attribute::Kind::graph).graphs.at(0);
}

std::optional<std::vector<std::int64_t>> NodeCall::list(std::string_view name,
                                                        std::size_t i) const {
  if (has(i)) return integers(i);
  if (has_attribute(name)) return integers(name);
  return std::nullopt;
}

std::optional<Dims> NodeCall::sizes(std::string_view name, std::size_t i) const {
  if (has(i)) return sizes(i);
  if (has_attribute(name)) return integers(name);
  return std::nullopt;
}

int NodeCall::axis(std::int64_t axis, std::int64_t rank) const {
  const std::int64_t from_start = axis < 0 ? axis + rank : axis;
  if (from_start < 0 || from_start >= std::max<std::int64_t>(rank, 1))
    fail("axis {} is outside a tensor of rank {}", axis, rank);
  return static_cast<int>(from_start);
}

int NodeCall::axis(std::string_view name, std::int64_t otherwise, std::int64_t rank) const {
  return axis(integer(name, otherwise), rank);
}

// ---- the table ----------------------------------------------------------------------------------

void OperatorTable::put(const std::string& key, Operator one) {
  auto& forms = operators_[key];
  check(forms.empty() || forms.back().since < one.since, "an operator's forms in ascending order");
  forms.push_back(std::move(one));
}

void OperatorTable::add(std::string_view name, OperatorFunction function, std::int64_t since) {
  put(":" + std::string(name), {since, std::move(function), true});
}

void OperatorTable::add_opaque(std::string_view name, OperatorFunction function,
                               std::int64_t since) {
  put(":" + std::string(name), {since, std::move(function), false});
}

void OperatorTable::add_microsoft(std::string_view name, OperatorFunction function) {
  put("com.microsoft:" + std::string(name), {1, std::move(function), true});
}

const Operator* OperatorTable::find(const std::string& domain, const std::string& name,
                                    std::int64_t version) const {
  const auto found = operators_.find(domain + ":" + name);
  if (found == operators_.end()) return nullptr;
  const Operator* best = nullptr;
  for (const Operator& form : found->second) {
    if (form.since <= version) best = &form;
  }
  return best;
}

std::vector<std::string> OperatorTable::names() const {
  std::vector<std::string> names;
  for (const auto& [key, forms] : operators_) names.push_back(key);
  return names;
}

const OperatorTable& OperatorTable::get() {
  static const OperatorTable table = [] {
    OperatorTable made;
    add_elementwise(made);
    add_movement(made);
    add_indexing(made);
    add_reduce(made);
    add_matmul(made);
    add_convolution(made);
    add_pool(made);
    add_normalization(made);
    add_recurrent(made);
    add_quantised(made);
    add_control(made);
    add_sequence(made);
    add_signal(made);
    add_vision(made);
    add_selection(made);
    add_loss(made);
    add_generate(made);
    add_attention(made);
    onnx::add_microsoft(made);
    return made;
  }();
  return table;
}

}  // namespace brisk::onnx
