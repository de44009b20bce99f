#include "onnx/trace.h"

#include <algorithm>
#include <set>
#include <stdexcept>

#include "formats/quote.h"
#include "onnx/on_host.h"

namespace brisk::onnx {

namespace {

// Inputs and outputs of at most this many elements are computed where they are known.
constexpr std::int64_t folded_elements = 4096;
constexpr int deepest = 64;  // graphs and functions inside each other

std::int64_t product(const std::vector<std::int64_t>& shape) {
  std::int64_t count = 1;
  for (const std::int64_t size : shape) count *= size;
  return count;
}

const Function* find_function(const ModelDef& model, const NodeDef& node) {
  for (const Function& one : model.functions) {
    if (one.name == node.op && one.domain == node.domain) return &one;
  }
  return nullptr;
}

std::int64_t version_in(const std::map<std::string, std::int64_t>& opsets,
                        const std::string& domain) {
  const auto found = opsets.find(domain);
  return found == opsets.end() ? (domain.empty() ? 0 : 1) : found->second;
}

}  // namespace

const Value* Scope::find(const std::string& name) const {
  for (const Scope* scope = this; scope != nullptr; scope = scope->outer_) {
    if (const auto found = scope->values_.find(name); found != scope->values_.end())
      return &found->second;
  }
  return nullptr;
}

const Attribute* Scope::function_attribute(const std::string& name) const {
  for (const Scope* scope = this; scope != nullptr; scope = scope->outer_) {
    if (scope->attributes_ == nullptr) continue;
    const auto found = scope->attributes_->find(name);
    return found == scope->attributes_->end() ? nullptr : &found->second;
  }
  return nullptr;
}

const std::map<std::string, std::int64_t>* Scope::opsets() const {
  for (const Scope* scope = this; scope != nullptr; scope = scope->outer_) {
    if (scope->opsets_ != nullptr) return scope->opsets_;
  }
  return nullptr;
}

Tracer::Constants Tracer::constants_of(const Graph& graph) {
  Constants constants;
  for (const HostTensor& one : graph.initializers)
    constants.push_back(std::make_shared<const Known>(one));
  return constants;
}

namespace {

// Names that a node reads, those in its graphs too.
void add_reads(const NodeDef& node, std::set<std::string>& names) {
  names.insert(node.inputs.begin(), node.inputs.end());
  for (const auto& [key, attribute] : node.attributes) {
    for (const auto& graph : attribute.graphs) {
      for (const NodeDef& inner : graph->nodes) add_reads(inner, names);
      for (const Port& output : graph->outputs) names.insert(output.name);
    }
  }
}

std::vector<bool> needed_nodes(const Graph& graph, const std::vector<std::string>& wanted) {
  std::set<std::string> names(wanted.begin(), wanted.end());
  std::vector<bool> needed(graph.nodes.size());
  for (std::size_t i = graph.nodes.size(); i-- > 0;) {
    for (const std::string& output : graph.nodes[i].outputs)
      needed[i] = needed[i] || (!output.empty() && names.contains(output));
    if (needed[i]) add_reads(graph.nodes[i], names);
  }
  return needed;
}

}  // namespace

Values Tracer::run(const std::unordered_map<std::string, Value>& inputs, const Constants& constants,
                   const std::vector<std::string>& wanted) {
  const Graph& graph = model_.graph;
  Scope scope;
  scope.set_opsets(&model_.opsets);
  for (std::size_t i = 0; i < constants.size(); ++i)
    scope.set(graph.initializers[i].name, Value(constants[i]));
  for (const auto& [name, value] : inputs) scope.set(name, value);
  const std::vector<bool> needed = needed_nodes(graph, wanted);
  run_nodes(graph.nodes, scope, &needed);
  Values outputs;
  for (const std::string& name : wanted) {
    const Value* value = scope.find(name);
    if (value == nullptr) user_error("{}: there is no value {}", model_.file, quote(name));
    outputs.push_back(*value);
  }
  return outputs;
}

Values Tracer::run(const Graph& graph, Values inputs, const Scope& outer) {
  Scope scope(&outer);
  if (inputs.size() != graph.inputs.size())
    user_error("graph {} wants {} inputs, got {}", quote(graph.name), graph.inputs.size(),
               inputs.size());
  for (const HostTensor& one : graph.initializers) scope.set(one.name, one);
  for (std::size_t i = 0; i < inputs.size(); ++i)
    scope.set(graph.inputs[i].name, std::move(inputs[i]));
  run_nodes(graph.nodes, scope, nullptr);
  Values outputs;
  for (const Port& output : graph.outputs) {
    const Value* value = scope.find(output.name);
    if (value == nullptr)
      user_error("graph {} does not make {}", quote(graph.name), quote(output.name));
    outputs.push_back(*value);
  }
  return outputs;
}

HostTensor Tracer::host(const Value& value) {
  if (value.known() != nullptr) return *value.known();
  if (value.symbolic() != nullptr)
    user_error("its values are asked for, which depend on variables");
  if (!OnHost::active()) {
    if (!may_compute_) throw NeedsValues();
    computed_ = true;
  }
  return host_tensor(value.type(), value.shape(), value.tensor().to_bytes());
}

void Tracer::run_nodes(const std::vector<NodeDef>& nodes, Scope& scope,
                       const std::vector<bool>* needed) {
  if (depth_ >= deepest) user_error("graphs and functions are nested too deep");
  ++depth_;
  for (std::size_t i = 0; i < nodes.size(); ++i) {
    if (needed != nullptr && !(*needed)[i]) continue;
    const NodeDef& node = nodes[i];
    Values outputs = run_node(node, scope);
    for (std::size_t j = 0; j < node.outputs.size(); ++j) {
      if (node.outputs[j].empty()) continue;
      scope.set(node.outputs[j], j < outputs.size() ? std::move(outputs[j]) : Value());
    }
  }
  --depth_;
}

std::int64_t Tracer::version_of(const std::string& domain, const Scope& scope) const {
  const auto* opsets = scope.opsets();
  return version_in(opsets != nullptr ? *opsets : model_.opsets, domain);
}

namespace {

// A result that no memory holds is told here, before kernels are made for it.
void check_size(const Value& value) {
  if (value.kind() == Value::Kind::tensor) check_shape(value.dims(), "its result");
}

bool is_small(const Value& value) {
  if (value.kind() == Value::Kind::sequence)
    return std::all_of(value.elements().begin(), value.elements().end(), is_small);
  return !value.present() || value.symbolic() != nullptr ||
         (value.known() != nullptr && product(value.shape()) <= folded_elements);
}

}  // namespace

Values Tracer::run_node(const NodeDef& node, Scope& scope) {
  Values inputs;
  for (const std::string& name : node.inputs) {
    if (name.empty()) {
      inputs.emplace_back();
      continue;
    }
    const Value* value = scope.find(name);
    if (value == nullptr)
      user_error("{}: {}: there is no value {}", model_.file, node.text(), quote(name));
    inputs.push_back(*value);
  }
  try {
    if (const Function* function = find_function(model_, node))
      return run_function(*function, node, inputs, scope);
    const std::int64_t version = version_of(node.domain, scope);
    const Operator* one = OperatorTable::get().find(node.domain, node.op, version);
    if (one == nullptr) user_error("this operator is not supported");
    const bool small = one->folds && std::all_of(inputs.begin(), inputs.end(), is_small);
    NodeCall call(node, version, std::move(inputs), *this, scope);
    Values outputs;
    if (small) outputs = fold(*one, call);
    if (outputs.empty()) outputs = one->function(call);
    for (const Value& output : outputs) check_size(output);
    return outputs;
  } catch (const UserError& error) {
    if (std::string_view(error.what()).starts_with(model_.file)) throw;  // an inner node's
    throw UserError(fmt::format("{}: {}: {}", model_.file, node.text(), one_line(error.what())));
  } catch (const std::out_of_range&) {  // of .at(), on what the operator takes for granted
    user_error("{}: {}: an input has fewer axes or values than the operator needs", model_.file,
               node.text());
  }
}

namespace {

// What the evaluator makes of an output; nothing where it is too large to be worth it, or not
// known.
std::optional<Value> folded(const Value& output, bool depends_on_sizes) {
  if (output.known() != nullptr || output.symbolic() != nullptr) return output;
  if (output.kind() != Value::Kind::tensor)
    return depends_on_sizes && output.present() ? std::nullopt : std::optional(output);
  if (depends_on_sizes) {
    std::optional<SymbolicTensor> made = symbolic(output.tensor(), output.type());
    if (!made) return std::nullopt;
    return made->is_constant() ? Value(made->host({})) : Value(*std::move(made));
  }
  if (element_count(output.shape(), "its result") > folded_elements) return std::nullopt;
  return Value(host_tensor(output.type(), output.shape(), output.tensor().to_bytes()));
}

}  // namespace

// Nothing where a result is not known.
Values Tracer::fold(const Operator& one, NodeCall& call) {
  const OnHost guard;
  bool depends_on_sizes = false;
  for (std::size_t i = 0; i < call.inputs(); ++i)
    depends_on_sizes = depends_on_sizes || (call.has(i) && call.value(i).symbolic() != nullptr);
  Values outputs = one.function(call);
  for (Value& output : outputs) {
    std::optional<Value> known = folded(output, depends_on_sizes);
    if (!known) return {};
    output = *std::move(known);
  }
  return outputs;
}

Values Tracer::run_function(const Function& function, const NodeDef& node, const Values& inputs,
                            Scope& scope) {
  if (inputs.size() > function.inputs.size())
    user_error("function {} wants at most {} inputs, got {}", quote(function.name),
               function.inputs.size(), inputs.size());
  std::map<std::string, Attribute> attributes = function.defaults;
  for (const auto& [name, attribute] : node.attributes) {
    if (attribute.kind != Attribute::Kind::reference) {
      attributes[name] = attribute;
    } else if (const Attribute* outer = scope.function_attribute(attribute.string)) {
      attributes[name] = *outer;
    }
  }
  Scope inner(nullptr, &attributes);
  inner.set_opsets(function.opsets.empty() ? &model_.opsets : &function.opsets);
  for (std::size_t i = 0; i < function.inputs.size(); ++i)
    inner.set(function.inputs[i], i < inputs.size() ? inputs[i] : Value());
  run_nodes(function.nodes, inner, nullptr);
  Values outputs;
  for (const std::string& name : function.outputs) {
    const Value* value = inner.find(name);
    outputs.push_back(value != nullptr ? *value : Value());
  }
  return outputs;
}

// ---- what can be said before -------------------------------------------------------------------

namespace {

class NameCheck {
 public:
  explicit NameCheck(const ModelDef& model) : model_(model) {}

  void graph(const Graph& graph, std::vector<const std::set<std::string>*> outer, int depth) {
    if (depth > deepest) user_error("{}: graphs are nested too deep", model_.file);
    std::set<std::string> names;
    for (const HostTensor& one : graph.initializers) names.insert(one.name);
    for (const Port& input : graph.inputs) names.insert(input.name);
    outer.push_back(&names);
    nodes(graph.nodes, names, outer, depth);
    for (const Port& output : graph.outputs) {
      if (!is_there(output.name, outer))
        user_error("{}: no node makes the output {}", model_.file, quote(output.name));
    }
  }

  void function(const Function& function) {
    std::set<std::string> names(function.inputs.begin(), function.inputs.end());
    nodes(function.nodes, names, {&names}, 0);
  }

 private:
  static bool is_there(const std::string& name,
                       const std::vector<const std::set<std::string>*>& scopes) {
    return std::any_of(scopes.begin(), scopes.end(),
                       [&](const auto* names) { return names->contains(name); });
  }

  void nodes(const std::vector<NodeDef>& nodes, std::set<std::string>& names,
             const std::vector<const std::set<std::string>*>& scopes, int depth) {
    std::set<std::string> made;
    for (const NodeDef& node : nodes) made.insert(node.outputs.begin(), node.outputs.end());
    for (const NodeDef& node : nodes) {
      for (const std::string& input : node.inputs) {
        if (input.empty() || is_there(input, scopes)) continue;
        if (made.contains(input)) {
          user_error("{}: {} reads {} before it is made: the graph has a cycle or is not in order",
                     model_.file, node.text(), quote(input));
        }
        user_error("{}: {} reads {}, which is no input, no initializer and made by no node",
                   model_.file, node.text(), quote(input));
      }
      for (const auto& [key, attribute] : node.attributes) {
        for (const auto& inner : attribute.graphs) graph(*inner, scopes, depth + 1);
      }
      for (const std::string& output : node.outputs) {
        if (!output.empty() && !names.insert(output).second)
          user_error("{}: {} makes {}, which is there already", model_.file, node.text(),
                     quote(output));
      }
    }
  }

  const ModelDef& model_;
};

void add_unsupported(const ModelDef& model, const std::vector<NodeDef>& nodes,
                     const std::map<std::string, std::int64_t>& opsets,
                     std::map<std::string, Unsupported>& found) {
  for (const NodeDef& node : nodes) {
    const bool there =
        find_function(model, node) != nullptr ||
        OperatorTable::get().find(node.domain, node.op, version_in(opsets, node.domain)) != nullptr;
    if (!there) {
      const std::string op = node.domain.empty() ? node.op : node.domain + "." + node.op;
      Unsupported& one = found[op];
      one.op = op;
      one.nodes.push_back(!node.name.empty()     ? node.name
                          : node.outputs.empty() ? "?"
                                                 : "of " + node.outputs[0]);
    }
    for (const auto& [key, attribute] : node.attributes) {
      for (const auto& inner : attribute.graphs)
        add_unsupported(model, inner->nodes, opsets, found);
    }
  }
}

}  // namespace

std::vector<Unsupported> unsupported(const ModelDef& model) {
  std::map<std::string, Unsupported> found;
  add_unsupported(model, model.graph.nodes, model.opsets, found);
  for (const Function& function : model.functions)
    add_unsupported(model, function.nodes, function.opsets.empty() ? model.opsets : function.opsets,
                    found);
  std::vector<Unsupported> list;
  for (auto& [op, one] : found) list.push_back(std::move(one));
  return list;
}

void check_names(const ModelDef& model) {
  NameCheck check(model);
  check.graph(model.graph, {}, 0);
  for (const Function& function : model.functions) check.function(function);
}

void check_supported(const ModelDef& model) {
  const std::vector<Unsupported> missing = unsupported(model);
  if (missing.empty()) return;
  std::string text;
  for (const Unsupported& one : missing) {
    text += fmt::format("{}{} ({}", text.empty() ? "" : "; ", one_line(one.op), one.nodes.size());
    text += one.nodes.size() == 1 ? " node: " : " nodes: ";
    for (std::size_t i = 0; i < one.nodes.size() && i < 8; ++i)
      text += (i > 0 ? ", " : "") + quote(one.nodes[i]);
    text += one.nodes.size() > 8 ? ", …)" : ")";
  }
  const auto opset = model.opsets.find("");
  user_error("{}: operators that are not supported (opset {}): {}", model.file,
             opset == model.opsets.end() ? 0 : opset->second, text);
}

}  // namespace brisk::onnx
