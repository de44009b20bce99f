// Graphs inside of nodes. Loops are unrolled while they are traced; a condition that is not known
// is computed then.
#include <algorithm>

#include "onnx/build.h"
#include "onnx/trace.h"

namespace brisk::onnx {

namespace {

constexpr std::int64_t most_steps = 1'000'000;

Values choose(NodeCall& c) {
  const bool holds = c.integer(std::size_t{0}) != 0;
  return c.tracer().run(c.graph(holds ? "then_branch" : "else_branch"), {}, c.scope());
}

std::int64_t flag_of(const NodeCall& c, const HostTensor& host) {
  const auto values = integers_of(host);
  if (values.size() != 1) c.fail("the condition has {} values", values.size());
  return values[0];
}

// What a scanned output is where there was no step: sizes that the graph does not say are 0.
Tensor nothing_of(const Port& port, int axis) {
  std::vector<std::int64_t> shape;
  for (const Type::Size& size : port.type.shape)
    shape.push_back(std::max<std::int64_t>(size.value, 0));
  shape.insert(
      shape.begin() + std::min<std::ptrdiff_t>(axis, static_cast<std::ptrdiff_t>(shape.size())), 0);
  const DType dtype = stored_dtype(port.type.element);
  return zeros(shape, dtype == DType::none ? DType::float32 : dtype);
}

Tensor stacked(const Values& steps, const Port& port, int axis) {
  if (steps.empty()) return nothing_of(port, axis);
  std::vector<Tensor> tensors;
  for (const Value& step : steps) {
    if (step.kind() != Value::Kind::tensor) user_error("a scanned output is no tensor");
    tensors.push_back(step.tensor());
  }
  return stack(tensors, axis);
}

Values loop(NodeCall& c) {
  const Graph& body = c.graph("body");
  if (body.inputs.size() < 2 || body.outputs.empty() || c.inputs() < 2)
    c.fail("its body wants a counter and a condition");
  const std::size_t carried = body.inputs.size() - 2;
  if (c.inputs() - 2 != carried || body.outputs.size() < 1 + carried)
    c.fail("its body has {} values to carry, the node {}", carried, c.inputs() - 2);
  const std::size_t scanned = body.outputs.size() - 1 - carried;
  const std::int64_t count = c.has(0) ? c.integer(std::size_t{0}) : INT64_MAX;
  bool goes_on = !c.has(1) || c.integer(std::size_t{1}) != 0;
  Values state;
  for (std::size_t i = 0; i < carried; ++i)
    state.push_back(c.has(2 + i) ? c.value(2 + i) : Value());
  std::vector<Values> scans(scanned);
  for (std::int64_t i = 0; goes_on && i < count; ++i) {
    if (i == most_steps) c.fail("it runs more than {} times", most_steps);
    Values inputs = {host_tensor(std::vector{i}, {}),
                     host_tensor(ElementType::boolean, {}, {std::byte{1}})};
    inputs.insert(inputs.end(), state.begin(), state.end());
    Values outputs = c.tracer().run(body, std::move(inputs), c.scope());
    goes_on = flag_of(c, c.tracer().host(outputs[0])) != 0;
    for (std::size_t k = 0; k < scanned; ++k) scans[k].push_back(outputs[1 + carried + k]);
    state.assign(outputs.begin() + 1, outputs.begin() + 1 + static_cast<std::ptrdiff_t>(carried));
  }
  for (std::size_t k = 0; k < scanned; ++k)
    state.emplace_back(stacked(scans[k], body.outputs[1 + carried + k], 0));
  return state;
}

struct ScanAxes {
  std::vector<std::int64_t> axis, reverse;
};
ScanAxes axes_of_scan(const NodeCall& c, const char* axes, const char* directions,
                      std::size_t count) {
  ScanAxes result{c.integers(axes), c.integers(directions)};
  result.axis.resize(count, 0);
  result.reverse.resize(count, 0);
  return result;
}

Values scan_over(NodeCall& c, const Values& inputs, const ScanAxes& in, const ScanAxes& out) {
  const Graph& body = c.graph("body");
  const std::size_t scans = in.axis.size();
  const std::size_t carried = inputs.size() - scans;
  if (body.outputs.size() < carried) c.fail("its body has too few outputs");
  const std::size_t made = body.outputs.size() - carried;
  Values state(inputs.begin(), inputs.begin() + static_cast<std::ptrdiff_t>(carried));
  std::vector<Tensor> read;
  std::int64_t steps = -1;
  for (std::size_t i = 0; i < scans; ++i) {
    const Tensor x = inputs[carried + i].tensor();
    const int axis = c.axis(in.axis[i], x.rank());
    if (x.rank() < 1) c.fail("a scanned input has no axes");
    const std::int64_t size = x.size(axis).value();
    if (steps >= 0 && size != steps) c.fail("scanned inputs of {} and {} steps", steps, size);
    steps = size;
    const Tensor first = axis == 0 ? x : movedim(x, axis, 0);
    read.push_back(in.reverse[i] != 0 ? first.flip(0) : first);
  }
  if (steps > most_steps) c.fail("it runs more than {} times", most_steps);
  std::vector<Values> results(made);
  for (std::int64_t t = 0; t < steps; ++t) {
    Values step = state;
    for (const Tensor& x : read) step.emplace_back(x.select(0, t));
    Values outputs = c.tracer().run(body, std::move(step), c.scope());
    for (std::size_t k = 0; k < made; ++k) results[k].push_back(outputs[carried + k]);
    state.assign(outputs.begin(), outputs.begin() + static_cast<std::ptrdiff_t>(carried));
  }
  for (std::size_t k = 0; k < made; ++k) {
    if (out.reverse[k] != 0) std::reverse(results[k].begin(), results[k].end());
    const int rank = results[k].empty() ? 0 : static_cast<int>(results[k][0].dims().size());
    const int axis = results[k].empty() ? 0 : c.axis(out.axis[k], rank + 1);
    state.emplace_back(stacked(results[k], body.outputs[carried + k], axis));
  }
  return state;
}

Values scan(NodeCall& c) {
  const auto count =
      static_cast<std::size_t>(std::max<std::int64_t>(c.integer("num_scan_inputs", 0), 0));
  if (count < 1 || count > c.inputs())
    c.fail("num_scan_inputs is {} of {} inputs", count, c.inputs());
  const std::size_t carried = c.inputs() - count;
  Values inputs;
  for (std::size_t i = 0; i < c.inputs(); ++i) inputs.push_back(c.value(i));
  const std::size_t made = c.outputs() - std::min(c.outputs(), carried);
  const ScanAxes in = axes_of_scan(c, "scan_input_axes", "scan_input_directions", count);
  ScanAxes out = axes_of_scan(c, "scan_output_axes", "scan_output_directions", made);
  out.axis.resize(std::max(made, c.graph("body").outputs.size()), 0);
  out.reverse.resize(out.axis.size(), 0);
  return scan_over(c, inputs, in, out);
}

// Of operator set 8: every input has the batch as its first axis, input 0 is the sequences'
// lengths.
Values scan_batches(NodeCall& c) {
  const auto count =
      static_cast<std::size_t>(std::max<std::int64_t>(c.integer("num_scan_inputs", 0), 0));
  if (c.has(0)) c.fail("lengths of sequences are not supported");
  if (count < 1 || count + 1 > c.inputs())
    c.fail("num_scan_inputs is {} of {} inputs", count, c.inputs());
  ScanAxes in{std::vector<std::int64_t>(count, 0), c.integers("directions")};
  in.reverse.resize(count, 0);
  ScanAxes out{std::vector<std::int64_t>(c.outputs(), 0),
               std::vector<std::int64_t>(c.outputs(), 0)};
  const std::int64_t batches = c.shape(1).at(0);
  std::vector<std::vector<Tensor>> results(c.outputs());
  for (std::int64_t b = 0; b < batches; ++b) {
    Values inputs;
    for (std::size_t i = 1; i < c.inputs(); ++i) inputs.emplace_back(c[i].select(0, b));
    const Values outputs = scan_over(c, inputs, in, out);
    for (std::size_t k = 0; k < results.size(); ++k) results[k].push_back(outputs.at(k).tensor());
  }
  Values stacks;
  for (const auto& each : results) stacks.emplace_back(stack(each));
  return stacks;
}

Values sequence_map(NodeCall& c) {
  const Graph& body = c.graph("body");
  if (c.value(0).kind() != Value::Kind::sequence) c.fail("its first input is no sequence");
  const std::size_t count = c.value(0).elements().size();
  std::vector<Values> results(body.outputs.size());
  for (std::size_t i = 0; i < count; ++i) {
    Values inputs;
    for (std::size_t k = 0; k < c.inputs(); ++k) {
      const Value& value = c.value(k);
      if (value.kind() == Value::Kind::sequence && value.elements().size() != count)
        c.fail("sequences of {} and {} elements", count, value.elements().size());
      inputs.push_back(value.kind() == Value::Kind::sequence ? value.elements()[i] : value);
    }
    const Values outputs = c.tracer().run(body, std::move(inputs), c.scope());
    for (std::size_t k = 0; k < results.size(); ++k) results[k].push_back(outputs[k]);
  }
  Values sequences;
  for (std::size_t k = 0; k < results.size(); ++k)
    sequences.push_back(Value::sequence(results[k], body.outputs[k].type.element));
  return sequences;
}

}  // namespace

void add_control(OperatorTable& t) {
  t.add_opaque("If", choose);
  t.add_opaque("Loop", loop);
  t.add_opaque("Scan", scan_batches, 8);
  t.add_opaque("Scan", scan, 9);
  t.add_opaque("SequenceMap", sequence_map);
}

}  // namespace brisk::onnx
