#include "onnx/session.h"

#include <algorithm>
#include <set>

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
  } else if (value.present() && value.known() == nullptr) {
    tensors.push_back(value.tensor());
  }
}

// The value with its computed tensors replaced by what was read of them, in the same order.
template <typename Read>
Value replaced(const Value& value, Read& read) {
  if (value.kind() == Value::Kind::sequence) {
    Values elements;
    for (const Value& element : value.elements()) elements.push_back(replaced(element, read));
    return Value::sequence(std::move(elements), value.type());
  }
  if (!value.present() || value.known() != nullptr) return value;
  return host_tensor(value.type(), value.shape(), read());
}

bool runs_on_engine() {
  const Tensor probe = empty({1});
  const auto* buffer = dynamic_cast<const Buffer*>(node_of(probe).attr().storage.get());
  return buffer != nullptr && &buffer->device() == &Engine::shared().device();
}

std::string shapes_of(const std::vector<Port>& ports, const NamedValues& inputs) {
  std::string key;
  for (const Port& port : ports) {
    const auto found = inputs.find(port.name);
    if (found == inputs.end() || !found->second.present()) {
      key += "-;";
      continue;
    }
    key += std::to_string(static_cast<int>(found->second.type()));
    if (found->second.kind() == Value::Kind::tensor) {
      for (const std::int64_t size : found->second.shape()) key += "," + std::to_string(size);
    }
    key += ";";
  }
  return key;
}

}  // namespace

Session::Session(ModelDef model) : model_(std::move(model)) {
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
}

Values Session::trace(const NamedValues& inputs, const std::vector<std::string>& wanted) {
  Tracer tracer(model_, true);
  const Values outputs = tracer.run(inputs, constants_, wanted);
  std::vector<Tensor> tensors;
  for (const Value& output : outputs) collect(output, tensors);
  std::size_t next = 0;
  const std::vector<Tensor> computed = tensors.empty() ? tensors : compute(tensors);
  const auto read = [&] { return executor().read(node_of(computed[next++])); };
  Values results;
  for (const Value& output : outputs) results.push_back(replaced(output, read));
  return results;
}

Session::Compiled Session::compile(const NamedValues& inputs,
                                   const std::vector<std::string>& wanted, bool by_value) {
  Compiled made;
  NamedValues traced;
  for (const auto& [name, value] : inputs) {
    if (!value.present()) {
      traced[name] = value;
    } else if (by_value && is_small_integer(value)) {
      traced[name] = on_host(value);
    } else {
      const Tensor place = empty(value.shape(), stored_dtype(value.type()));
      made.placeholders.emplace_back(name, place);
      traced[name] = Value(place, value.type());
    }
  }
  Tracer tracer(model_, false);
  made.outputs = tracer.run(traced, constants_, wanted);
  for (const Value& output : made.outputs) collect(output, made.tensors);
  std::vector<Node> roots;
  for (const Tensor& tensor : made.tensors) roots.push_back(node_of(tensor));
  made.plan.emplace(roots, Engine::shared());
  return made;
}

void Session::bind(Compiled& compiled, const NamedValues& inputs) const {
  for (auto& [name, place] : compiled.placeholders) place.copy_from(bytes_of(inputs.at(name)));
}

Session::Compiled* Session::find(const NamedValues& inputs,
                                 const std::vector<std::string>& wanted) {
  for (const auto& [name, value] : inputs) {
    if (value.kind() == Value::Kind::sequence) return nullptr;
    if (value.present() && stored_dtype(value.type()) == DType::none) return nullptr;
  }
  if (!runs_on_engine()) return nullptr;
  std::string shapes = shapes_of(model_.graph.inputs, inputs);
  for (const std::string& name : wanted) shapes += "|" + name;
  Mode& mode = modes_.emplace(shapes, Mode::plan).first->second;
  while (mode != Mode::trace) {
    std::string key = shapes;
    if (mode == Mode::by_value) {
      std::size_t same = 0;
      for (const Compiled& one : compiled_) same += one.key.starts_with(shapes + "#") ? 1 : 0;
      key += "#";
      for (const Port& port : model_.graph.inputs) {
        const auto found = inputs.find(port.name);
        if (found == inputs.end() || !is_small_integer(found->second)) continue;
        for (const std::byte byte : bytes_of(found->second)) key += static_cast<char>(byte);
      }
      const bool there = std::any_of(compiled_.begin(), compiled_.end(),
                                     [&](const Compiled& one) { return one.key == key; });
      if (!there && same >= most_compiled / 2) break;  // too many values to compile for each
    }
    for (auto one = compiled_.begin(); one != compiled_.end(); ++one) {
      if (one->key != key) continue;
      compiled_.splice(compiled_.begin(), compiled_, one);
      return &compiled_.front();
    }
    try {
      Compiled made = compile(inputs, wanted, mode == Mode::by_value);
      made.key = key;
      compiled_.push_front(std::move(made));
      if (compiled_.size() > most_compiled) compiled_.pop_back();
      return &compiled_.front();
    } catch (const NeedsValues&) {
      mode = mode == Mode::plan ? Mode::by_value : Mode::trace;
    }
  }
  return nullptr;
}

Session::Compiled* Session::compiled(const NamedValues& inputs, std::vector<std::string> wanted) {
  if (wanted.empty()) wanted = all_outputs();
  check_inputs(inputs);
  Compiled* one = find(inputs, wanted);
  if (one != nullptr) bind(*one, inputs);
  return one;
}

Values Session::run(const NamedValues& inputs, std::vector<std::string> wanted) {
  if (wanted.empty()) wanted = all_outputs();
  Compiled* one = compiled(inputs, wanted);
  if (one == nullptr) return trace(inputs, wanted);
  one->plan->run();
  std::size_t next = 0;
  const auto read = [&] { return Engine::shared().read(one->plan->outputs()[next++]); };
  Values results;
  for (const Value& output : one->outputs) results.push_back(replaced(output, read));
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
