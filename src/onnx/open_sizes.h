// The sizes that a model's inputs leave open: what they are called, what they are in a run, and
// which of them vary between which bounds. An axis without a name is called "input.axis"; a name
// like "past + 1" is the sum of its parts.
#pragma once

#include <map>
#include <optional>
#include <string>
#include <unordered_map>
#include <vector>

#include "onnx/value.h"

namespace brisk::onnx {

using NamedValues = std::unordered_map<std::string, Value>;
using Sizes = std::map<std::string, Dim>;  // by name: numbers, or variables

class OpenSizes {
 public:
  explicit OpenSizes(const ModelDef& model);

  /// UserError where there is no such size, or no 1 <= least <= greatest.
  void bound(const std::string& size, std::int64_t least, std::int64_t greatest);
  bool is_bounded(const std::string& size) const { return ranges_.at(size).bounded; }
  /// From now on it is a number in each run.
  void keep_number(const std::string& size) { ranges_.at(size).is_number = true; }

  /// What they are for these inputs, as numbers. UserError where one differs from input to input.
  Sizes of(const NamedValues& inputs) const;
  /// UserError where one of these is outside of its bounds.
  void check_bounds(const Sizes& sizes) const;
  /// Of what runs had, two different ones make a size vary.
  void note(const Sizes& sizes);
  /// Those of a run's sizes that vary, as variables: between their bounds, or between the powers of
  /// two around what runs had.
  Sizes varying(const Sizes& sizes) const;
  /// The shapes of inputs, with these sizes where they are open.
  std::unordered_map<std::string, Dims> shapes(const NamedValues& inputs, const Sizes& sizes) const;
  /// A shape that an input may have beside `others`: open sizes are theirs; else those `given` by
  /// name, or by "input.axis"; else 1.
  std::vector<std::int64_t> shape_for(const Port& input, const NamedValues& others,
                                      const std::map<std::string, std::int64_t>& given) const;

 private:
  struct Axis {
    std::string input;
    std::size_t axis;
    std::string name;
    std::vector<std::string> sum;  // of other names and numbers, where the name says so
  };
  struct Range {
    std::int64_t least = 0, greatest = 0;  // the bounds, or what runs had; 0: nothing yet
    bool bounded = false;
    bool is_number = false;
  };

  void read_sums();
  static std::optional<Dim> size_of(const Axis& axis, const Sizes& sizes);

  std::string file_;
  std::vector<Axis> axes_;
  std::map<std::string, Range> ranges_;  // by name
};

}  // namespace brisk::onnx
