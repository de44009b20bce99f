// ONNX models: load one, ask what it takes and gives, run it by name.
//
//   OnnxModel model = OnnxModel::load("model.onnx");
//   auto outputs = model.run({{"input", image}});
//   std::vector<float> scores = outputs.at("scores").to_vector<float>();
//
// Kernels are compiled at the first run of a set of input shapes and replayed by later ones. Sizes
// that the model leaves open and that vary from run to run are variables of one plan, up to bounds:
//
//   model.bound("batch", 1, 64);
//
// A model whose sizes or branches depend on values is traced in each run; these values are computed
// then.
#pragma once

#include <map>
#include <memory>
#include <string>
#include <vector>

#include "brisk/tensor.h"

namespace brisk {

namespace onnx {
class Session;
}

/// An input or output of a model.
struct OnnxPort {
  std::string name;
  DType dtype = DType::none;        // none: no tensor, or elements that brisk does not have
  std::string type;                 // for people: "float32 [batch, 3, 224, 224]"
  std::vector<std::int64_t> shape;  // -1: any size
};

class OnnxModel {
 public:
  /// UserError of one line where the file is damaged or has operators that are not supported (all
  /// of them are listed).
  static OnnxModel load(const std::string& path);

  /// Those that a run must be given (not those with a value in the file).
  const std::vector<OnnxPort>& inputs() const { return inputs_; }
  const std::vector<OnnxPort>& outputs() const { return outputs_; }

  /// From now on one plan serves all sizes from `least` to `greatest`, both at least 1, of what the
  /// model's inputs call `size` (an axis without a name: "input.axis"), and runs with others are
  /// refused. Without bounds a size becomes a variable when a run brings a second one, between the
  /// powers of two around both, and these move with what comes. The same name in several inputs
  /// is one size: a UserError where they differ. What the graph needs to know as a number keeps a
  /// plan for each size. Memory is that of the greatest sizes.
  void bound(const std::string& size, std::int64_t least, std::int64_t greatest);

  /// Values of all outputs, or of those named (any value inside the graph too). An output that is a
  /// sequence gives "name[0]", "name[1]", …. Not from several threads at once.
  std::map<std::string, Tensor> run(const std::map<std::string, Tensor>& inputs,
                                    const std::vector<std::string>& outputs = {});

  /// For the program's commands.
  onnx::Session& session() { return *session_; }

 private:
  std::shared_ptr<onnx::Session> session_;
  std::vector<OnnxPort> inputs_, outputs_;
};

}  // namespace brisk
