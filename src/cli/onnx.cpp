// brisk run, inspect and bench of ONNX models.
#include "cli/onnx.h"

#include <CLI/CLI.hpp>

#include <algorithm>
#include <chrono>
#include <cmath>
#include <nlohmann/json.hpp>

#include "base/error.h"
#include "cli/onnx_inputs.h"
#include "cli/stopwatch.h"
#include "formats/file_writer.h"
#include "formats/npy.h"
#include "formats/quote.h"

namespace brisk {

namespace {

using onnx::HostTensor;
using onnx::Port;
using onnx::Value;

// Of at least so many runs, and for a second or so; sorted.
std::vector<double> run_seconds(onnx::Session& session, const onnx::NamedValues& values,
                                int least) {
  std::vector<double> seconds;
  double total = 0;
  while (static_cast<int>(seconds.size()) < least || (total < 1 && seconds.size() < 1000)) {
    seconds.push_back(seconds_of([&] { session.run(values); }));
    total += seconds.back();
  }
  std::sort(seconds.begin(), seconds.end());
  return seconds;
}

void print_ports(const char* title, const std::vector<Port>& ports) {
  fmt::print("{}\n", title);
  for (const Port& port : ports) fmt::print("  {:<32} {}\n", port.name, to_string(port.type));
}

std::string values_text(const HostTensor& host) {
  if (host.dtype() == DType::none) return "";
  const auto values = onnx::numbers_of(host);
  std::string text;
  for (std::size_t i = 0; i < std::min<std::size_t>(values.size(), 8); ++i)
    text += fmt::format("{}{:.6g}", i > 0 ? ", " : "", values[i]);
  if (values.size() <= 8) return text;
  const auto [least, greatest] = std::minmax_element(values.begin(), values.end());
  double total = 0;
  for (const double value : values) total += value;
  return fmt::format("{}, …; least {:.6g}, mean {:.6g}, greatest {:.6g} at {}", text, *least,
                     total / static_cast<double>(values.size()), *greatest,
                     greatest - values.begin());
}

void print_value(const std::string& name, const Value& value) {
  if (value.kind() == Value::Kind::sequence) {
    fmt::print("{}: a sequence of {}\n", name, value.elements().size());
    for (std::size_t i = 0; i < value.elements().size(); ++i)
      print_value(fmt::format("{}[{}]", name, i), value.elements()[i]);
  } else if (!value.present()) {
    fmt::print("{}: nothing\n", name);
  } else {
    fmt::print("{}: {} {}: {}\n", name, element_name(value.type()), to_string(Dims(value.shape())),
               values_text(*value.known()));
  }
}

void write_value(const std::string& path, const Value& value) {
  const HostTensor* host = value.known();
  if (host == nullptr) user_error("{}: only tensors are written", path);
  if (path.ends_with(".npy")) {
    write_npy(path, host->dtype(), host->shape, host->bytes);
  } else if (path.ends_with(".pb")) {
    const std::string bytes = onnx::tensor_proto(*host);
    FileWriter file(path);
    file.append(std::as_bytes(std::span(bytes.data(), bytes.size())));
    file.commit();
  } else {
    user_error("{}: outputs are written as .npy or .pb", path);
  }
}

onnx::Session open_session(const std::string& path) {
  return onnx::Session(onnx::read_model(path));
}

void print_operators(const onnx::ModelDef& model) {
  std::map<std::string, int> counts;
  const std::function<void(const std::vector<onnx::NodeDef>&)> count = [&](const auto& nodes) {
    for (const onnx::NodeDef& node : nodes) {
      ++counts[node.domain.empty() ? node.op : node.domain + "." + node.op];
      for (const auto& [name, attribute] : node.attributes) {
        for (const auto& graph : attribute.graphs) count(graph->nodes);
      }
    }
  };
  count(model.graph.nodes);
  for (const onnx::Function& function : model.functions) count(function.nodes);
  std::vector<std::pair<int, std::string>> order;
  for (const auto& [name, number] : counts) order.emplace_back(-number, name);
  std::sort(order.begin(), order.end());
  fmt::print("operators\n");
  for (const auto& [number, name] : order) fmt::print("  {:<40} {:>6}\n", name, -number);
}

double parameters_of(const onnx::ModelDef& model) {
  double count = 0;
  const std::function<void(const onnx::Graph&)> add = [&](const onnx::Graph& graph) {
    const auto numbers = [&](const HostTensor& one) {
      double size = 1;
      for (const std::int64_t extent : one.shape) size *= static_cast<double>(extent);
      count += size;
    };
    for (const HostTensor& one : graph.initializers) numbers(one);
    for (const onnx::NodeDef& node : graph.nodes) {
      for (const auto& [name, attribute] : node.attributes) {
        if (attribute.kind == onnx::Attribute::Kind::tensor) numbers(attribute.tensor);
        for (const auto& inner : attribute.graphs) add(*inner);
      }
    }
  };
  add(model.graph);
  return count;
}

void print_kernels(const std::vector<Plan::KernelInfo>& kernels) {
  fmt::print("  {:>4}  {:<44} {:>10} {:>10} {:>10} {:>9} {:>9}\n", "", "kernel", "bytes", "flop",
             "ms", "GB/s", "GFLOP/s");
  for (std::size_t i = 0; i < kernels.size(); ++i) {
    const Plan::KernelInfo& k = kernels[i];
    const double per = k.seconds > 0 ? 1e-9 / k.seconds : 0;
    fmt::print("  {:>4}  {:<44} {:>10} {:>10} {:>10.4f} {:>9.2f} {:>9.2f}\n", i,
               k.name.substr(0, 44), byte_text(static_cast<double>(k.bytes)),
               count_text(static_cast<double>(k.operations)), k.seconds * 1e3,
               static_cast<double>(k.bytes) * per, static_cast<double>(k.operations) * per);
  }
}

std::string shapes_text(const onnx::Session& session, const onnx::NamedValues& values) {
  std::string text;
  for (const Port& port : session.inputs()) {
    const auto found = values.find(port.name);
    if (found == values.end() || found->second.kind() != Value::Kind::tensor) continue;
    text += fmt::format("{}{} {}", text.empty() ? "" : ", ", port.name,
                        to_string(Dims(found->second.shape())));
  }
  return text;
}

// ", batch from 1 to 64": what the plan serves besides.
std::string variables_text(const onnx::Session::Compiled& compiled) {
  std::string text;
  for (const auto& [name, size] : compiled.variables)
    text += fmt::format(", {} from {} to {}", name, size.lower(), size.upper());
  return text;
}

constexpr const char* traced_text =
    "its sizes or branches depend on values: each run traces the graph anew and computes these at "
    "the call";

}  // namespace

bool is_onnx(const std::string& path) { return path.ends_with(".onnx"); }

void run_onnx(const std::string& path, const OnnxRun& options) {
  onnx::Session session = open_session(path);
  set_bounds(session, options.inputs);
  print_ports("inputs", session.inputs());
  print_ports("outputs", session.model().graph.outputs);
  const onnx::NamedValues values = read_inputs(session, options.inputs);
  for (const Port& port : session.inputs()) {
    if (!values.contains(port.name) && port.type.kind != onnx::Type::Kind::optional)
      user_error("{}: input {} is missing ({}); pass --input {}=FILE, or --random", path,
                 quote(port.name), to_string(port.type), port.name);
  }
  std::vector<std::string> wanted, files;
  for (const std::string& text : options.outputs) {
    const auto at = text.find('=');
    wanted.push_back(text.substr(0, at));
    files.push_back(at == std::string::npos ? "" : text.substr(at + 1));
  }
  if (wanted.empty()) {
    for (const Port& port : session.model().graph.outputs) wanted.push_back(port.name);
    files.resize(wanted.size());
  }
  const onnx::Values results = session.run(values, wanted);
  for (std::size_t i = 0; i < results.size(); ++i) {
    print_value(wanted[i], results[i]);
    if (!files[i].empty()) write_value(files[i], results[i]);
  }
}

void inspect_onnx(const std::string& path, const OnnxInputs& options, bool kernels) {
  onnx::ModelDef model = onnx::read_model(path);
  fmt::print("{}: ONNX {}{}{}\n", path, model.ir_version, model.producer.empty() ? "" : " by ",
             model.producer);
  for (const auto& [domain, version] : model.opsets)
    fmt::print("  operator set {} {}\n", domain.empty() ? "ai.onnx" : domain, version);
  print_ports("inputs", model.graph.inputs);
  print_ports("outputs", model.graph.outputs);
  print_operators(model);
  const auto missing = onnx::unsupported(model);
  for (const onnx::Unsupported& one : missing)
    fmt::print("  not supported: {} ({})\n", one.op, one.nodes.size());
  fmt::print("parameters: {}, {}\n", count_text(parameters_of(model)),
             byte_text(static_cast<double>(model.initializer_bytes)));
  if (!missing.empty()) return;
  onnx::Session session(std::move(model));
  set_bounds(session, options);
  const onnx::NamedValues values = some_inputs(session, options);
  onnx::Session::Compiled* compiled = session.compiled(values);
  if (compiled == nullptr) {
    fmt::print("{}\n", traced_text);
    return;
  }
  double operations = 0;
  for (const auto& kernel : compiled->plan->kernels(&compiled->sizes))
    operations += static_cast<double>(kernel.operations);
  fmt::print("for {}: {}FLOP in {} kernels, {} of intermediate values\n",
             shapes_text(session, values) + variables_text(*compiled), count_text(operations),
             compiled->plan->kernels().size(),
             byte_text(static_cast<double>(compiled->plan->intermediate_bytes())));
  if (!kernels) return;
  compiled->plan->run(compiled->sizes);
  print_kernels(compiled->plan->timed_run(compiled->sizes));
}

double onnx_seconds(const std::string& path, const OnnxInputs& options) {
  onnx::Session session = open_session(path);
  const onnx::NamedValues values = some_inputs(session, options);
  session.run(values);
  const std::vector<double> seconds = run_seconds(session, values, 3);
  return seconds[seconds.size() / 2];
}

void bench_onnx(const std::string& path, const OnnxInputs& options, int repeats, bool json) {
  const auto start = std::chrono::steady_clock::now();
  onnx::Session session = open_session(path);
  const double load =
      std::chrono::duration<double>(std::chrono::steady_clock::now() - start).count();
  set_bounds(session, options);
  const onnx::NamedValues values = some_inputs(session, options);
  const double first = seconds_of([&] { session.run(values); });
  const std::vector<double> seconds = run_seconds(session, values, std::max(repeats, 3));
  const double best = seconds.front(), median = seconds[seconds.size() / 2];
  onnx::Session::Compiled* compiled = session.compiled(values);
  double operations = 0;
  std::vector<Plan::KernelInfo> kernels;
  if (compiled != nullptr) kernels = compiled->plan->timed_run(compiled->sizes);
  for (const auto& kernel : kernels) operations += static_cast<double>(kernel.operations);
  if (json) {
    nlohmann::ordered_json out = {{"model", path},
                                  {"load_seconds", load},
                                  {"first_run_seconds", first},
                                  {"best_seconds", best},
                                  {"median_seconds", median},
                                  {"runs", seconds.size()},
                                  {"runs_per_second", 1 / median},
                                  {"operations", operations},
                                  {"operations_per_second", operations / median},
                                  {"replayed", compiled != nullptr}};
    fmt::print("{}\n", out.dump(2));
    return;
  }
  fmt::print("{}: loaded in {:.3f} s, first run {:.3f} s (for {}{})\n", path, load, first,
             shapes_text(session, values), compiled != nullptr ? variables_text(*compiled) : "");
  fmt::print("{} runs: best {:.3f} ms, median {:.3f} ms, {:.1f} a second, {:.2f} GFLOP/s\n",
             seconds.size(), best * 1e3, median * 1e3, 1 / median, operations / median / 1e9);
  if (compiled == nullptr)
    fmt::print("{}\n", traced_text);
  else
    print_kernels(kernels);
}

}  // namespace brisk
