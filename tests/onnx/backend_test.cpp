// ONNX's own backend tests as Debian's libonnx-testdata has them, on the engine. Each directory is
// a model with inputs and expected outputs; every one is passed, failed, or out of scope for a
// reason that is printed. A test of this file runs one share of one folder.
#include <gtest/gtest.h>

#include <cmath>
#include <filesystem>
#include <fstream>
#include <map>
#include <set>

#include "onnx/session.h"

namespace brisk::onnx {
namespace {

namespace fs = std::filesystem;

// BRISK_ONNX_TESTDATA names another folder, say of a newer ONNX.
const fs::path data = std::getenv("BRISK_ONNX_TESTDATA") != nullptr
                          ? fs::path(std::getenv("BRISK_ONNX_TESTDATA"))
                          : fs::path("/usr/share/libonnx-testdata/data");

struct Share {
  const char* folder;
  int part, parts;
  friend std::ostream& operator<<(std::ostream& out, const Share& share) {
    return out << share.folder << " " << share.part + 1 << "/" << share.parts;
  }
};

struct Tally {
  int passed = 0, drawn = 0, varied = 0;
  std::map<std::string, std::vector<std::string>> outside;  // by reason
  std::map<std::string, std::string> failed;                // why, by name
};

bool any_node(const Graph& graph, const std::function<bool(const NodeDef&)>& is) {
  for (const NodeDef& node : graph.nodes) {
    if (is(node)) return true;
    for (const auto& [name, attribute] : node.attributes) {
      for (const auto& inner : attribute.graphs) {
        if (any_node(*inner, is)) return true;
      }
    }
  }
  return false;
}

// Why a model is not one that brisk means to run; "": it is.
std::string out_of_scope(const ModelDef& model) {
  for (const auto* ports : {&model.graph.inputs, &model.graph.outputs}) {
    for (const Port& port : *ports) {
      if (port.type.element == ElementType::string) return "strings";
    }
  }
  const auto domain = [&](const char* name) {
    return any_node(model.graph, [&](const NodeDef& node) { return node.domain == name; });
  };
  if (domain("ai.onnx.preview.training")) return "training";
  if (domain("ai.onnx.ml")) return "ai.onnx.ml";
  return "";
}

// Random numbers are brisk's own; of their results only type and shape can be compared.
bool draws(const ModelDef& model) {
  static const std::set<std::string> names = {
      "RandomNormal", "RandomUniform", "RandomNormalLike", "RandomUniformLike",
      "Bernoulli",    "Multinomial",   "Dropout"};
  return any_node(model.graph, [](const NodeDef& node) { return names.contains(node.op); });
}

std::string different(const Value& got, const Value& want, bool values) {
  if (got.kind() != want.kind()) return "another kind of value";
  if (got.kind() == Value::Kind::sequence) {
    if (got.elements().size() != want.elements().size()) return "another length";
    for (std::size_t i = 0; i < got.elements().size(); ++i) {
      const std::string one = different(got.elements()[i], want.elements()[i], values);
      if (!one.empty()) return fmt::format("element {}: {}", i, one);
    }
    return "";
  }
  if (!got.present()) return "";
  if (got.type() != want.type())
    return fmt::format("{}, wants {}", element_name(got.type()), element_name(want.type()));
  if (got.shape() != want.shape())
    return fmt::format("shape {}, wants {}", to_string(Dims(got.shape())),
                       to_string(Dims(want.shape())));
  if (!values) return "";
  // The files were made by cutting off bits of float32, and ONNX compares the bits as numbers;
  // which of its bits a NaN has set is a processor's choice.
  const auto elements = [](HostTensor host) {
    const bool narrow = host.type == ElementType::bfloat16;
    if (narrow) host.type = ElementType::uint16;
    auto numbers = numbers_of(host);
    for (auto& number : numbers) {
      if (narrow && (static_cast<int>(number) & 0x7fff) > 0x7f80) number = NAN;
    }
    return numbers;
  };
  const auto a = elements(*got.known());
  const auto b = elements(*want.known());
  for (std::size_t i = 0; i < a.size(); ++i) {
    if (std::isnan(a[i]) && std::isnan(b[i])) continue;
    if (a[i] == b[i] || std::abs(a[i] - b[i]) <= 1e-7 + 1e-3 * std::abs(b[i])) continue;
    return fmt::format("element {} is {}, wants {}", i, a[i], b[i]);
  }
  return "";
}

// The files hold bfloat16 as uint16 of the same bits.
Value read_port(const fs::path& path, const Type& type) {
  StoredValue stored = read_value(path, type);
  if (type.element == ElementType::bfloat16 && stored.tensor.type == ElementType::uint16)
    stored.tensor.type = ElementType::bfloat16;
  return value_of(stored);
}

// What sizes of inputs that are equal are called, so that they are one variable.
std::string name_of_size(std::int64_t size) { return fmt::format("n{}", size); }

// Leaves all sizes open that are not 0 or 1.
void open_sizes(ModelDef& model) {
  for (Port& port : model.graph.inputs) {
    for (Type::Size& size : port.type.shape) {
      if (size.value > 1) size = {-1, name_of_size(size.value)};
    }
  }
}

// Bounds around the sizes that inputs have.
void bound_sizes(Session& session, const NamedValues& inputs) {
  for (const Port& port : session.model().graph.inputs) {
    const auto found = inputs.find(port.name);
    if (found == inputs.end() || found->second.kind() != Value::Kind::tensor) continue;
    if (!port.type.has_shape) continue;
    for (std::size_t i = 0; i < port.type.shape.size(); ++i) {
      const std::int64_t size = found->second.shape().at(i);
      if (port.type.shape[i].name == name_of_size(size))
        session.bound(name_of_size(size), 1, 2 * size);
    }
  }
}

// "" where the case passes. With `varied` sizes are variables; counts where one stays one.
std::string run_case(const fs::path& folder, ModelDef model, bool values, int* varied = nullptr) {
  // CastLike's second input is of another shape than its model declares; only its type counts.
  for (Port& port : model.graph.inputs) {
    if (port.name == "like") port.type.has_shape = false;
  }
  if (varied != nullptr) open_sizes(model);
  Session session(std::move(model));
  for (int set = 0;; ++set) {
    const fs::path files = folder / fmt::format("test_data_set_{}", set);
    if (!fs::exists(files)) return set == 0 ? "no data" : "";
    NamedValues inputs;
    const auto& ports = session.inputs();
    for (std::size_t i = 0; fs::exists(files / fmt::format("input_{}.pb", i)); ++i) {
      if (i >= ports.size()) return "more inputs than the model has";
      inputs[ports[i].name] = read_port(files / fmt::format("input_{}.pb", i), ports[i].type);
    }
    if (varied != nullptr) {
      bound_sizes(session, inputs);
      const Session::Compiled* one = session.compiled(inputs);
      *varied += set == 0 && one != nullptr && !one->variables.empty() ? 1 : 0;
    }
    const Values outputs = session.run(inputs);
    for (std::size_t i = 0; fs::exists(files / fmt::format("output_{}.pb", i)); ++i) {
      const Type& type = session.model().graph.outputs.at(i).type;
      const Value want = read_port(files / fmt::format("output_{}.pb", i), type);
      const std::string why = different(outputs.at(i), want, values);
      if (!why.empty()) return fmt::format("output {}: {}", i, why);
    }
  }
}

void count_case(const fs::path& folder, Tally& tally, bool vary) {
  const std::string name = folder.filename();
  try {
    const ModelDef model = read_model(folder / "model.onnx");
    const std::string reason = out_of_scope(model);
    if (!reason.empty()) {
      tally.outside[reason].push_back(name);
      return;
    }
    int* varied = vary ? &tally.varied : nullptr;
    std::string why = run_case(folder, model, !(vary && draws(model)), varied);
    if (!why.empty() && draws(model)) {
      why = run_case(folder, model, false, varied);
      if (why.empty()) ++tally.drawn;
    }
    if (why.empty())
      ++tally.passed;
    else
      tally.failed[name] = why;
  } catch (const std::exception& error) {
    tally.failed[name] = error.what();
  }
}

class Backend : public testing::TestWithParam<Share> {
 protected:
  static void run(bool vary);
};

void Backend::run(bool vary) {
  const Share share = GetParam();
  if (!fs::exists(data / share.folder))
    GTEST_SKIP() << "no libonnx-testdata here (tools/install_dependencies.sh test)";
  std::vector<fs::path> folders;
  for (const auto& entry : fs::directory_iterator(data / share.folder))
    folders.push_back(entry.path());
  std::sort(folders.begin(), folders.end());
  Tally tally;
  const char* only = std::getenv("BRISK_ONNX_CASE");
  for (std::size_t i = 0; i < folders.size(); ++i) {
    if (static_cast<int>(i) % share.parts != share.part) continue;
    if (only != nullptr && folders[i].filename().string().find(only) == std::string::npos) continue;
    count_case(folders[i], tally, vary);
  }
  fmt::print("{}: share {} of {} on {}: {} passed ({} by type and shape: random), {} failed",
             share.folder, share.part + 1, share.parts, Engine::shared().device().info().id,
             tally.passed, tally.drawn, tally.failed.size());
  if (vary) fmt::print(", {} with sizes that vary", tally.varied);
  for (const auto& [reason, names] : tally.outside)
    fmt::print(", {} out of scope: {}", names.size(), reason);
  fmt::print("\n");
  for (const auto& [name, why] : tally.failed) fmt::print("FAILED {}: {}\n", name, why);
  EXPECT_TRUE(tally.failed.empty());
}

TEST_P(Backend, models_give_what_the_standard_expects) { run(false); }

// Equal sizes of inputs are one variable.
TEST_P(Backend, models_give_the_same_where_sizes_vary) { run(true); }

std::vector<Share> shares() {
  std::vector<Share> list = {{"simple", 0, 1}, {"pytorch-operator", 0, 1}};
  for (int i = 0; i < 2; ++i) list.push_back({"pytorch-converted", i, 2});
  for (int i = 0; i < 8; ++i) list.push_back({"node", i, 8});
  return list;
}

INSTANTIATE_TEST_SUITE_P(onnx, Backend, testing::ValuesIn(shares()), [](const auto& info) {
  std::string name = fmt::format("{}_{}", info.param.folder, info.param.part);
  std::replace(name.begin(), name.end(), '-', '_');
  return name;
});

}  // namespace
}  // namespace brisk::onnx
