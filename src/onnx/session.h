// A model ready to run. Input: values by name; output: values in the host's memory. A graph is
// traced and becomes a plan that later runs replay: for the input shapes of a run, or, where sizes
// that the model leaves open vary, for all shapes up to bounds. Where the graph asks for values,
// those of small integer inputs count as part of the shapes (a sample rate, a length); where that
// is not enough, each run traces anew.
#pragma once

#include <list>
#include <optional>

#include "engine/engine.h"
#include "onnx/open_sizes.h"
#include "onnx/trace.h"

namespace brisk::onnx {

class Session {
 public:
  /// Checks the whole model first.
  explicit Session(ModelDef model);
  Session(const Session&) = delete;
  Session& operator=(const Session&) = delete;

  const ModelDef& model() const { return model_; }
  /// The graph's inputs that have no initialiser.
  const std::vector<Port>& inputs() const { return inputs_; }

  /// One plan serves all sizes from `least` to `greatest`, both at least 1, of what the model calls
  /// `size` (an axis without a name: "input.axis"); runs with others are refused. UserError where
  /// no input has such a size.
  ///
  /// Without bounds a size is a number until a run brings another one; from then on one plan serves
  /// all between the powers of two around both. A size that the graph needs as a number
  /// (BRISK_DEBUG=1 says why) stays one, with a plan for each.
  void bound(const std::string& size, std::int64_t least, std::int64_t greatest) {
    open_sizes_.bound(size, least, greatest);
  }

  const OpenSizes& open_sizes() const { return open_sizes_; }

  Values run(const NamedValues& inputs, std::vector<std::string> wanted = {});

  /// A form of the model for inputs of some shapes.
  struct Compiled {
    std::string key;
    std::vector<std::pair<std::string, Tensor>> placeholders;
    Values outputs;               // as traced
    std::vector<Tensor> tensors;  // of the roots
    Sizes variables;              // sizes that vary
    VariableValues sizes;         // theirs in this run
    std::optional<Plan> plan;
  };
  /// Null where each run traces anew. The inputs are bound.
  Compiled* compiled(const NamedValues& inputs, std::vector<std::string> wanted = {});

  /// How often the graph was traced, and made into a plan.
  int traces() const { return traces_; }
  int plans() const { return plans_; }

 private:
  enum class Mode { plan, by_value, trace };
  // The shapes of inputs, and what varies in them.
  struct Form {
    std::string text;
    std::unordered_map<std::string, Dims> shapes;
    Sizes variables;
  };

  void check_inputs(const NamedValues& inputs) const;
  std::vector<std::string> all_outputs() const;
  Form form_of(const NamedValues& inputs, const Sizes& variables) const;
  void find_numbers(const Form& form, const NamedValues& inputs,
                    const std::vector<std::string>& wanted);
  Compiled* find(const NamedValues& inputs, const std::vector<std::string>& wanted);
  Compiled* find(const Form& form, const NamedValues& inputs,
                 const std::vector<std::string>& wanted);
  Compiled* kept(const std::string& key);
  std::string key_of(const Form& form, Mode mode, const NamedValues& inputs,
                     const std::vector<std::string>& wanted) const;
  Compiled traced(const Form& form, const NamedValues& inputs,
                  const std::vector<std::string>& wanted, bool by_value);
  static void bind(Compiled& compiled, const NamedValues& inputs, const Sizes& sizes);
  Values trace(const NamedValues& inputs, const std::vector<std::string>& wanted);

  ModelDef model_;
  std::vector<Port> inputs_;
  Tracer::Constants constants_;
  OpenSizes open_sizes_;
  std::unordered_map<std::string, Mode> modes_;  // by form
  std::list<Compiled> compiled_;                 // the last used first
  int traces_ = 0, plans_ = 0;
};

}  // namespace brisk::onnx
