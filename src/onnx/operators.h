// The operators there are: one table, a line for each form of one, and what a form is given.
#pragma once

#include <fmt/core.h>

#include <functional>
#include <optional>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "base/error.h"
#include "onnx/value.h"

namespace brisk::onnx {

class Tracer;
class Scope;

/// One node while it is traced: its inputs, attributes and the graph around it.
class NodeCall {
 public:
  NodeCall(const NodeDef& node, std::int64_t version, Values inputs, Tracer& tracer, Scope& scope)
      : node_(node),
        version_(version),
        inputs_(std::move(inputs)),
        tracer_(tracer),
        scope_(scope) {}

  const NodeDef& node() const { return node_; }
  /// Of the node's operator set.
  std::int64_t version() const { return version_; }
  Tracer& tracer() const { return tracer_; }
  Scope& scope() const { return scope_; }

  std::size_t inputs() const { return inputs_.size(); }
  std::size_t outputs() const { return node_.outputs.size(); }
  bool has(std::size_t i) const { return i < inputs_.size() && inputs_[i].present(); }
  bool wants(std::size_t output) const {
    return output < node_.outputs.size() && !node_.outputs[output].empty();
  }
  /// An input that must be there.
  const Value& value(std::size_t i) const;
  Tensor operator[](std::size_t i) const;
  /// An undefined tensor where it is not given.
  Tensor optional(std::size_t i) const { return has(i) ? (*this)[i] : Tensor(); }
  Dims dims(std::size_t i) const;
  /// The same as numbers; UserError where a size depends on variables.
  std::vector<std::int64_t> shape(std::size_t i) const;
  std::int64_t rank(std::size_t i) const { return static_cast<std::int64_t>(dims(i).size()); }
  ElementType type(std::size_t i) const { return value(i).type(); }

  /// An input's values. Where they are not known they are computed now, and the graph is traced
  /// again in each run. UserError where they depend on variables.
  HostTensor host(std::size_t i) const;
  std::vector<std::int64_t> integers(std::size_t i) const { return integers_of(host(i)); }
  std::vector<double> numbers(std::size_t i) const { return numbers_of(host(i)); }
  std::int64_t integer(std::size_t i) const;
  double number(std::size_t i) const;
  /// Integers that may depend on variables: sizes, and what is counted in them.
  Dims sizes(std::size_t i) const;
  Dim size(std::size_t i) const;

  const Attribute* attribute(std::string_view name) const;
  bool has_attribute(std::string_view name) const { return attribute(name) != nullptr; }
  std::int64_t integer(std::string_view name, std::int64_t otherwise) const;
  double number(std::string_view name, double otherwise) const;
  std::string text(std::string_view name, const std::string& otherwise) const;
  std::vector<std::int64_t> integers(std::string_view name,
                                     std::vector<std::int64_t> otherwise = {}) const;
  std::vector<double> numbers(std::string_view name) const;
  std::vector<std::string> texts(std::string_view name) const;
  const Graph& graph(std::string_view name) const;

  /// Attribute `name` up to operator set `until`, later input i.
  std::optional<std::vector<std::int64_t>> list(std::string_view name, std::size_t i) const;
  std::optional<Dims> sizes(std::string_view name, std::size_t i) const;
  /// 0 <= axis < rank for the attribute `name`.
  int axis(std::string_view name, std::int64_t otherwise, std::int64_t rank) const;
  int axis(std::int64_t axis, std::int64_t rank) const;

  template <typename... Args>
  [[noreturn]] void fail(fmt::format_string<Args...> format, Args&&... args) const {
    user_error("{}", fmt::format(format, std::forward<Args>(args)...));
  }

 private:
  const Attribute& wanted(std::string_view name, Attribute::Kind kind) const;

  const NodeDef& node_;
  std::int64_t version_;
  Values inputs_;
  Tracer& tracer_;
  Scope& scope_;
};

using OperatorFunction = std::function<Values(NodeCall&)>;

struct Operator {
  std::int64_t since = 1;  // the operator set of its domain from which on it holds
  OperatorFunction function;
  /// Whether what it gives of known inputs is known: not where it draws random numbers or runs
  /// graphs, which see to that themselves.
  bool folds = true;
};

class OperatorTable {
 public:
  /// All of brisk's.
  static const OperatorTable& get();

  void add(std::string_view name, OperatorFunction function, std::int64_t since = 1);
  /// An operator that is never folded.
  void add_opaque(std::string_view name, OperatorFunction function, std::int64_t since = 1);
  /// Of com.microsoft.
  void add_microsoft(std::string_view name, OperatorFunction function);
  /// Null where there is none.
  const Operator* find(const std::string& domain, const std::string& name,
                       std::int64_t version) const;
  std::vector<std::string> names() const;

 private:
  void put(const std::string& key, Operator one);
  std::map<std::string, std::vector<Operator>> operators_;  // by "domain:name", ascending
};

// The files of this folder that fill it.
void add_elementwise(OperatorTable& table);
void add_movement(OperatorTable& table);
void add_indexing(OperatorTable& table);
void add_reduce(OperatorTable& table);
void add_matmul(OperatorTable& table);
void add_convolution(OperatorTable& table);
void add_pool(OperatorTable& table);
void add_normalization(OperatorTable& table);
void add_recurrent(OperatorTable& table);
void add_quantised(OperatorTable& table);
void add_control(OperatorTable& table);
void add_sequence(OperatorTable& table);
void add_signal(OperatorTable& table);
void add_vision(OperatorTable& table);
void add_selection(OperatorTable& table);
void add_loss(OperatorTable& table);
void add_generate(OperatorTable& table);
void add_attention(OperatorTable& table);
void add_microsoft(OperatorTable& table);

}  // namespace brisk::onnx
