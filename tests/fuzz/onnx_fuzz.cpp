// Any bytes as an ONNX model: it is refused with a UserError of one line, or its graph is traced,
// for inputs whose open sizes are 1 and for those where they are variables, without computing more
// than the tracer does by itself.
#include "onnx/build.h"
#include "onnx/trace.h"

#include <string_view>

namespace {

using namespace brisk;
using namespace brisk::onnx;

bool is_modest(const Graph& graph, int& nodes) {
  for (const NodeDef& node : graph.nodes) {
    if (++nodes > 64 || node.op == "Loop") return false;  // a loop may run long, as any program
    for (const auto& [name, attribute] : node.attributes) {
      for (const auto& inner : attribute.graphs) {
        if (!is_modest(*inner, nodes)) return false;
      }
    }
  }
  return true;
}

// Each size that the model leaves open is `size_of` its name.
template <typename SizeOf>
void trace(const ModelDef& model, const SizeOf& size_of) {
  std::unordered_map<std::string, Value> inputs;
  std::int64_t total = 0;
  for (const Port& port : model.graph.inputs) {
    Dims shape;
    for (const auto& size : port.type.shape)
      shape.push_back(size.value < 0 ? size_of(size.name) : Dim(size.value));
    check_shape(shape, "an input");
    total += product(shape).upper();
    const DType dtype = stored_dtype(port.type.element);
    if (dtype == DType::none || total > 4096) return;
    inputs[port.name] = Value(zeros(shape, dtype), port.type.element);
  }
  for (const HostTensor& one : model.graph.initializers) inputs.erase(one.name);
  std::vector<std::string> wanted;
  for (const Port& port : model.graph.outputs) wanted.push_back(port.name);
  Tracer tracer(model, false);
  tracer.run(inputs, Tracer::constants_of(model.graph), wanted);
}

}  // namespace

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
  const auto bytes = std::as_bytes(std::span(data, size));
  try {
    const ModelDef model = parse_model(bytes, "input", {});
    check_names(model);
    check_supported(model);
    int nodes = 0;
    if (!is_modest(model.graph, nodes)) return 0;
    trace(model, [](const std::string&) { return Dim(1); });
    try {  // where variables do not do, numbers have to (onnx/session.h)
      trace(model, [](const std::string& name) { return Dim::variable(name, 1, 4); });
    } catch (const Error&) {
    }
  } catch (const UserError& error) {
    check(std::string_view(error.what()).find('\n') == std::string_view::npos, "one line");
  } catch (const NeedsValues&) {
  }
  return 0;
}
