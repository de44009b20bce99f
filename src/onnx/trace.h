// From a graph of nodes to tensors. Input: a model and the values of a graph's inputs; output: the
// values of its outputs, lazy tensors where they are not known. Where a node's result depends on
// values (a size, a condition), these are computed while the graph is traced; the tracer says so.
#pragma once

#include <string>
#include <unordered_map>
#include <vector>

#include "onnx/operators.h"

namespace brisk::onnx {

/// Thrown where values are asked for that this trace does not have.
struct NeedsValues {};

/// The names of a graph or function and of those around it.
class Scope {
 public:
  explicit Scope(const Scope* outer = nullptr,
                 const std::map<std::string, Attribute>* attributes = nullptr)
      : outer_(outer), attributes_(attributes) {}

  void set(const std::string& name, Value value) { values_[name] = std::move(value); }
  const Value* find(const std::string& name) const;
  /// Of the function around it; null where it has none of this name.
  const Attribute* function_attribute(const std::string& name) const;
  /// By domain; null: the model's.
  const std::map<std::string, std::int64_t>* opsets() const;
  void set_opsets(const std::map<std::string, std::int64_t>* opsets) { opsets_ = opsets; }

 private:
  const Scope* outer_;
  const std::map<std::string, Attribute>* attributes_;
  const std::map<std::string, std::int64_t>* opsets_ = nullptr;
  std::unordered_map<std::string, Value> values_;
};

class Tracer {
 public:
  /// `may_compute`: values that are asked for are computed; else NeedsValues is thrown.
  /// `rows_may_vary`: kernels slide along axes of variable size even where these are the innermost,
  /// which costs several times as much; else UserError.
  explicit Tracer(const ModelDef& model, bool may_compute, bool rows_may_vary = false)
      : model_(model), may_compute_(may_compute), rows_may_vary_(rows_may_vary) {}

  /// Initialisers, in the order of the graph's, kept from one trace to the next.
  using Constants = std::vector<std::shared_ptr<const Known>>;
  static Constants constants_of(const Graph& graph);

  /// The model's graph. Outputs that `wanted` does not name are left out, and what only they need.
  Values run(const std::unordered_map<std::string, Value>& inputs, const Constants& constants,
             const std::vector<std::string>& wanted);
  /// A graph inside of a node.
  Values run(const Graph& graph, Values inputs, const Scope& outer);
  /// A value's elements.
  HostTensor host(const Value& value);
  const ModelDef& model() const { return model_; }
  bool rows_may_vary() const { return rows_may_vary_; }
  /// Whether values were computed while tracing.
  bool computed() const { return computed_; }

 private:
  void run_nodes(const std::vector<NodeDef>& nodes, Scope& scope, const std::vector<bool>* needed);
  Values run_node(const NodeDef& node, Scope& scope);
  Values run_function(const Function& function, const NodeDef& node, const Values& inputs,
                      Scope& scope);
  Values fold(const Operator& one, NodeCall& call);
  std::int64_t version_of(const std::string& domain, const Scope& scope) const;

  const ModelDef& model_;
  bool may_compute_;
  bool rows_may_vary_;
  bool computed_ = false;
  int depth_ = 0;
};

/// Names what of the model cannot be run: nodes by operator.
struct Unsupported {
  std::string op;  // "com.example.Foo"
  std::vector<std::string> nodes;
};
std::vector<Unsupported> unsupported(const ModelDef& model);
/// UserError where a name is used before it is made, made twice, or never made.
void check_names(const ModelDef& model);
/// UserError that lists all operators that are not supported.
void check_supported(const ModelDef& model);

}  // namespace brisk::onnx
