#include "onnx/session.h"

#include <algorithm>
#include <set>

#include "base/log.h"
#include "brisk/onnx.h"
#include "formats/quote.h"
#include "tensor/node_of.h"
#include "tensor/realize.h"

namespace brisk::onnx {

namespace {

constexpr std::size_t most_compiled = 32;
constexpr std::int64_t small_elements = 16;

std::vector<std::byte> bytes_of(const Value& value) {
  if (const HostTensor* host = value.known()) return {host->bytes.begin(), host->bytes.end()};
  return value.tensor().to_bytes();
}

HostTensor on_host(const Value& value) {
  if (value.known() != nullptr) return *value.known();
  return host_tensor(value.type(), value.shape(), bytes_of(value));
}

bool is_small_integer(const Value& value) {
  if (value.kind() != Value::Kind::tensor || is_float(stored_dtype(value.type()))) return false;
  std::int64_t count = 1;
  for (const std::int64_t size : value.shape()) count *= size;
  return count <= small_elements;
}

// Computed tensors of a value and of the elements of a sequence.
void collect(const Value& value, std::vector<Tensor>& tensors) {
  if (value.kind() == Value::Kind::sequence) {
    for (const Value& element : value.elements()) collect(element, tensors);
  } else if (value.present() && value.known() == nullptr && value.symbolic() == nullptr) {
    tensors.push_back(value.tensor());
  }
}

// The value with its computed tensors replaced by what was read of them, in the same order, under
// the shapes that they have for these sizes.
template <typename Read>
Value replaced(const Value& value, const VariableValues& sizes, Read& read) {
  if (value.kind() == Value::Kind::sequence) {
    Values elements;
    for (const Value& element : value.elements())
      elements.push_back(replaced(element, sizes, read));
    return Value::sequence(std::move(elements), value.type());
  }
  if (!value.present() || value.known() != nullptr) return value;
  if (value.symbolic() != nullptr) return value.symbolic()->host(sizes);
  const std::vector<std::int64_t> shape = evaluate_shape(shape_of(value.dims()), sizes);
  return host_tensor(value.type(), shape, read(shape));
}

bool runs_on_engine() {
  const Tensor probe = empty({1});
  const auto* buffer = dynamic_cast<const Buffer*>(node_of(probe).attr().storage.get());
  return buffer != nullptr && &buffer->device() == &Engine::shared().device();
}

}  // namespace

Session::Session(ModelDef model) : model_(std::move(model)), open_sizes_(model_) {
  const auto opset = model_.opsets.find("");
  check_names(model_);
  check_supported(model_);
  if (opset != model_.opsets.end() && opset->second < 1)
    user_error("{}: operator set {}", model_.file, opset->second);
  std::set<std::string> initialized;
  for (const HostTensor& one : model_.graph.initializers) initialized.insert(one.name);
  for (const Port& port : model_.graph.inputs) {
    if (!initialized.contains(port.name)) inputs_.push_back(port);
  }
  constants_ = Tracer::constants_of(model_.graph);
}

std::vector<std::string> Session::all_outputs() const {
  std::vector<std::string> names;
  for (const Port& port : model_.graph.outputs) names.push_back(port.name);
  return names;
}

void Session::check_inputs(const NamedValues& inputs) const {
  const auto names = [&] {
    std::string text;
    for (const Port& port : model_.graph.inputs)
      text += (text.empty() ? "" : ", ") + quote(port.name);
    return text;
  };
  for (const auto& [name, value] : inputs) {
    const bool there = std::any_of(model_.graph.inputs.begin(), model_.graph.inputs.end(),
                                   [&](const Port& port) { return port.name == name; });
    if (!there)
      user_error("{}: there is no input {}; it has {}", model_.file, quote(name), names());
  }
  for (const Port& port : model_.graph.inputs) {
    const auto found = inputs.find(port.name);
    const bool given = found != inputs.end() && found->second.present();
    const bool wanted = std::any_of(inputs_.begin(), inputs_.end(),
                                    [&](const Port& one) { return one.name == port.name; });
    if (!given) {
      if (wanted && port.type.kind != Type::Kind::optional)
        user_error("{}: input {} is missing ({})", model_.file, quote(port.name),
                   to_string(port.type));
      continue;
    }
    const Value& value = found->second;
    if (port.type.kind != Type::Kind::tensor) continue;
    if (value.kind() != Value::Kind::tensor)
      user_error("{}: input {} wants a tensor", model_.file, quote(port.name));
    const auto shape = value.shape();
    bool fits = stored_dtype(value.type()) == stored_dtype(port.type.element);
    if (port.type.has_shape) {
      fits = fits && shape.size() == port.type.shape.size();
      for (std::size_t i = 0; fits && i < shape.size(); ++i)
        fits = port.type.shape[i].value < 0 || port.type.shape[i].value == shape[i];
    }
    if (!fits) {
      user_error("{}: input {} wants {}, got {} {}", model_.file, quote(port.name),
                 to_string(port.type), element_name(value.type()), to_string(Dims(shape)));
    }
  }
  open_sizes_.check_bounds(open_sizes_.of(inputs));
}

Values Session::trace(const NamedValues& inputs, const std::vector<std::string>& wanted) {
  ++traces_;
  Tracer tracer(model_, true);
  const Values outputs = tracer.run(inputs, constants_, wanted);
  std::vector<Tensor> tensors;
  for (const Value& output : outputs) collect(output, tensors);
  std::size_t next = 0;
  const std::vector<Tensor> computed = tensors.empty() ? tensors : compute(tensors);
  const auto read = [&](const auto&) { return executor().read(node_of(computed[next++])); };
  Values results;
  for (const Value& output : outputs) results.push_back(replaced(output, {}, read));
  return results;
}

// ---- plans ------------------------------------------------------------------------------------

Session::Form Session::form_of(const NamedValues& inputs, const Sizes& variables) const {
  Form form;
  Sizes sizes = open_sizes_.of(inputs);
  for (auto& [name, size] : sizes) {
    const auto variable = variables.find(name);
    if (variable == variables.end()) continue;
    size = variable->second;
    form.variables.insert(*variable);
  }
  form.shapes = open_sizes_.shapes(inputs, sizes);
  for (const Port& port : model_.graph.inputs) {
    const auto shape = form.shapes.find(port.name);
    if (shape == form.shapes.end()) {
      form.text += "-;";
      continue;
    }
    form.text += std::to_string(static_cast<int>(inputs.at(port.name).type()));
    for (const Dim& size : shape->second) form.text += "," + to_string(size);
    form.text += ";";
  }
  for (const auto& [name, size] : form.variables)
    form.text += fmt::format("{}:{}-{};", name, size.lower(), size.upper());
  return form;
}

Session::Compiled Session::traced(const Form& form, const NamedValues& inputs,
                                  const std::vector<std::string>& wanted, bool by_value) {
  ++traces_;
  Compiled made;
  made.variables = form.variables;
  NamedValues known;
  for (const auto& [name, value] : inputs) {
    if (!value.present()) {
      known[name] = value;
    } else if (by_value && is_small_integer(value)) {
      known[name] = on_host(value);
    } else {
      // Of the greatest sizes that there may be; smaller ones lie at its beginning.
      const Tensor place = tensor_of(
          Engine::shared().allocate(stored_dtype(value.type()), shape_of(form.shapes.at(name))));
      made.placeholders.emplace_back(name, place);
      known[name] = Value(place, value.type());
    }
  }
  const bool bounded =
      std::all_of(form.variables.begin(), form.variables.end(),
                  [&](const auto& one) { return open_sizes_.is_bounded(one.first); });
  Tracer tracer(model_, false, bounded);
  made.outputs = tracer.run(known, constants_, wanted);
  for (const Value& output : made.outputs) collect(output, made.tensors);
  return made;
}

void Session::bind(Compiled& compiled, const NamedValues& inputs, const Sizes& sizes) {
  for (const auto& [name, place] : compiled.placeholders)
    Engine::shared().write(node_of(place), bytes_of(inputs.at(name)));
  for (const auto& [name, size] : compiled.variables) compiled.sizes[name] = sizes.at(name).value();
}

std::string Session::key_of(const Form& form, Mode mode, const NamedValues& inputs,
                            const std::vector<std::string>& wanted) const {
  std::string key = form.text;
  for (const std::string& name : wanted) key += "|" + name;
  if (mode != Mode::by_value) return key;
  key += "#";
  for (const Port& port : model_.graph.inputs) {
    const auto found = inputs.find(port.name);
    if (found == inputs.end() || !is_small_integer(found->second)) continue;
    for (const std::byte byte : bytes_of(found->second)) key += static_cast<char>(byte);
  }
  return key;
}

Session::Compiled* Session::kept(const std::string& key) {
  for (auto one = compiled_.begin(); one != compiled_.end(); ++one) {
    if (one->key != key) continue;
    compiled_.splice(compiled_.begin(), compiled_, one);
    return &compiled_.front();
  }
  return nullptr;
}

// Null where each run traces anew, which it cannot with variables: then UserError.
Session::Compiled* Session::find(const Form& form, const NamedValues& inputs,
                                 const std::vector<std::string>& wanted) {
  const std::string shapes = key_of(form, Mode::plan, inputs, wanted);
  Mode& mode = modes_.emplace(shapes, Mode::plan).first->second;
  while (mode != Mode::trace) {
    const std::string key = key_of(form, mode, inputs, wanted);
    if (Compiled* one = kept(key)) return one;
    if (mode == Mode::by_value) {
      std::size_t same = 0;
      for (const Compiled& one : compiled_) same += one.key.starts_with(shapes + "#") ? 1 : 0;
      if (same >= most_compiled / 2) return nullptr;  // too many values to compile for each
    }
    try {
      Compiled made = traced(form, inputs, wanted, mode == Mode::by_value);
      std::vector<Node> roots;
      for (const Tensor& tensor : made.tensors) roots.push_back(node_of(tensor));
      ++plans_;
      made.plan.emplace(roots, Engine::shared());
      made.key = key;
      compiled_.push_front(std::move(made));
      if (compiled_.size() > most_compiled) compiled_.pop_back();
      return &compiled_.front();
    } catch (const NeedsValues&) {
      mode = mode == Mode::plan ? Mode::by_value : Mode::trace;
    }
  }
  if (!form.variables.empty()) user_error("values are asked for that no trace knows");
  return nullptr;
}

// Of a form that has no plan: which of its sizes must be numbers, so that there is one for the
// rest. What is wrong with numbers too is the run's mistake, and thrown.
void Session::find_numbers(const Form& form, const NamedValues& inputs,
                           const std::vector<std::string>& wanted) {
  const auto is_traced = [&](const Sizes& variables, bool by_value) {
    try {
      traced(form_of(inputs, variables), inputs, wanted, by_value);
      return true;
    } catch (const NeedsValues&) {
      return false;
    }
  };
  const auto can_be_traced = [&](const Sizes& variables) {
    return is_traced(variables, false) || is_traced(variables, true);
  };
  const auto can_vary = [&](const Sizes& variables) {
    try {
      return can_be_traced(variables);
    } catch (const Error& error) {
      log_line(1, "{}", error.what());
      return false;
    }
  };
  can_be_traced({});
  Sizes variables;
  for (const auto& [name, size] : form.variables) {
    variables.emplace(name, size);
    if (can_vary(variables)) continue;
    variables.erase(name);
    open_sizes_.keep_number(name);
    log_line(1, "{}: there is a plan for each {}", model_.file, quote(name));
  }
  if (variables.size() < form.variables.size()) return;
  for (const auto& [name, size] : variables) open_sizes_.keep_number(name);
}

Session::Compiled* Session::find(const NamedValues& inputs,
                                 const std::vector<std::string>& wanted) {
  for (const auto& [name, value] : inputs) {
    if (value.kind() == Value::Kind::sequence) return nullptr;
    if (value.present() && stored_dtype(value.type()) == DType::none) return nullptr;
  }
  if (!runs_on_engine()) return nullptr;
  const Sizes sizes = open_sizes_.of(inputs);
  open_sizes_.note(sizes);
  const Form exact = form_of(inputs, {});
  const auto mode = modes_.find(key_of(exact, Mode::plan, inputs, wanted));
  if (mode != modes_.end()) {
    if (Compiled* one = kept(key_of(exact, mode->second, inputs, wanted))) return one;
  }
  while (true) {
    const Sizes variables = open_sizes_.varying(sizes);
    if (variables.empty()) return find(exact, inputs, wanted);
    const Form form = form_of(inputs, variables);
    try {
      return find(form, inputs, wanted);
    } catch (const Error& error) {
      log_line(1, "{}", error.what());
      find_numbers(form, inputs, wanted);
    }
  }
}

Session::Compiled* Session::compiled(const NamedValues& inputs, std::vector<std::string> wanted) {
  if (wanted.empty()) wanted = all_outputs();
  check_inputs(inputs);
  Compiled* one = find(inputs, wanted);
  if (one != nullptr) bind(*one, inputs, open_sizes_.of(inputs));
  return one;
}

Values Session::run(const NamedValues& inputs, std::vector<std::string> wanted) {
  if (wanted.empty()) wanted = all_outputs();
  Compiled* one = compiled(inputs, wanted);
  if (one == nullptr) return trace(inputs, wanted);
  one->plan->run(one->sizes);
  std::size_t next = 0;
  const auto read = [&](const std::vector<std::int64_t>& shape) {
    const Node& output = one->plan->outputs()[next++];
    return Engine::shared().read(
        buffer(output.dtype(), {shape.begin(), shape.end()}, output.attr().storage));
  };
  Values results;
  for (const Value& output : one->outputs) results.push_back(replaced(output, one->sizes, read));
  return results;
}

}  // namespace brisk::onnx

namespace brisk {

namespace {

OnnxPort port_of(const onnx::Port& from) {
  OnnxPort port;
  port.name = from.name;
  port.type = to_string(from.type);
  if (from.type.kind != onnx::Type::Kind::tensor) return port;
  port.dtype = onnx::stored_dtype(from.type.element);
  for (const auto& size : from.type.shape) port.shape.push_back(size.value);
  return port;
}

void add_named(const std::string& name, const onnx::Value& value,
               std::map<std::string, Tensor>& to) {
  if (value.kind() == onnx::Value::Kind::sequence) {
    for (std::size_t i = 0; i < value.elements().size(); ++i)
      add_named(fmt::format("{}[{}]", name, i), value.elements()[i], to);
  } else if (value.present()) {
    to[name] = value.tensor();
  }
}

}  // namespace

OnnxModel OnnxModel::load(const std::string& path) {
  OnnxModel model;
  model.session_ = std::make_shared<onnx::Session>(onnx::read_model(path));
  for (const onnx::Port& port : model.session_->inputs()) model.inputs_.push_back(port_of(port));
  for (const onnx::Port& port : model.session_->model().graph.outputs)
    model.outputs_.push_back(port_of(port));
  return model;
}

void OnnxModel::bound(const std::string& size, std::int64_t least, std::int64_t greatest) {
  session_->bound(size, least, greatest);
}

std::map<std::string, Tensor> OnnxModel::run(const std::map<std::string, Tensor>& inputs,
                                             const std::vector<std::string>& outputs) {
  onnx::NamedValues values;
  for (const auto& [name, tensor] : inputs) values.emplace(name, onnx::Value(tensor));
  std::vector<std::string> wanted = outputs;
  if (wanted.empty()) {
    for (const OnnxPort& port : outputs_) wanted.push_back(port.name);
  }
  const onnx::Values results = session_->run(values, wanted);
  std::map<std::string, Tensor> named;
  for (std::size_t i = 0; i < wanted.size(); ++i) add_named(wanted[i], results[i], named);
  return named;
}

}  // namespace brisk
