// Functions that OpenCL C lacks and kernels call: integer division and shifts that are defined for
// every operand, maxima that keep NaN, conversions of narrow floats, loads and stores of some
// lanes. Input: calls; output: their texts, and the functions' own for the top of the file.
#pragma once

#include <map>
#include <string>
#include <string_view>
#include <vector>

#include "base/target.h"
#include "graph/node.h"

namespace brisk::opencl_c {

class Helpers {
 public:
  explicit Helpers(const Target& target) : target_(target) {}

  /// idiv, mod, shl, shr; max of floats. Arguments are texts of `lanes` lanes.
  std::string call(Op op, DType dtype, int lanes, const std::string& a, const std::string& b);
  /// A narrow float's bits <-> float, rounding to nearest even.
  std::string widen(DType dtype, int lanes, const std::string& bits);
  std::string narrow(DType dtype, int lanes, const std::string& value);
  /// The lanes of `lanes` elements from `pointer` on whose mask is set; the others are 0, or stay.
  /// `space` is the pointer's: "__global" or "__private".
  std::string load(DType dtype, int lanes, std::string_view space, const std::string& pointer,
                   const std::string& mask);
  std::string store(DType dtype, int lanes, std::string_view space, const std::string& pointer,
                    const std::string& value, const std::string& mask);

  /// The functions called so far, each after those that it calls.
  std::string definitions() const;

  /// Adds a function once; gives its name.
  const std::string& define(const std::string& name, const std::string& text);
  const Target& target() const { return target_; }

 private:
  const Target& target_;
  std::map<std::string, bool> known_;
  std::vector<std::string> texts_;
};

}  // namespace brisk::opencl_c
