// A model ready to run. Input: values by name; output: values in the host's memory. For each set of
// input shapes the graph is traced once and becomes a plan that later runs replay. Where the graph
// asks for values, those of small integer inputs count as part of the shapes (a sample rate, a
// length); where that is not enough, each run traces anew.
#pragma once

#include <list>
#include <optional>

#include "engine/engine.h"
#include "onnx/trace.h"

namespace brisk::onnx {

using NamedValues = std::unordered_map<std::string, Value>;

class Session {
 public:
  /// Checks the whole model first.
  explicit Session(ModelDef model);
  Session(const Session&) = delete;
  Session& operator=(const Session&) = delete;

  const ModelDef& model() const { return model_; }
  /// The graph's inputs that have no initialiser.
  const std::vector<Port>& inputs() const { return inputs_; }

  Values run(const NamedValues& inputs, std::vector<std::string> wanted = {});

  /// A form of the model for inputs of these shapes.
  struct Compiled {
    std::string key;
    std::vector<std::pair<std::string, Tensor>> placeholders;
    Values outputs;               // as traced
    std::vector<Tensor> tensors;  // of the roots
    std::optional<Plan> plan;
  };
  /// Null where each run traces anew. The inputs are bound.
  Compiled* compiled(const NamedValues& inputs, std::vector<std::string> wanted = {});

 private:
  enum class Mode { plan, by_value, trace };

  void check_inputs(const NamedValues& inputs) const;
  std::vector<std::string> all_outputs() const;
  Compiled* find(const NamedValues& inputs, const std::vector<std::string>& wanted);
  Compiled compile(const NamedValues& inputs, const std::vector<std::string>& wanted,
                   bool by_value);
  void bind(Compiled& compiled, const NamedValues& inputs) const;
  Values trace(const NamedValues& inputs, const std::vector<std::string>& wanted);

  ModelDef model_;
  std::vector<Port> inputs_;
  Tracer::Constants constants_;
  std::unordered_map<std::string, Mode> modes_;  // by shapes
  std::list<Compiled> compiled_;                 // the last used first
};

}  // namespace brisk::onnx
