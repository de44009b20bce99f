// Sizes, axes and indices as arguments: what a call may say about a tensor's shape.
#pragma once

#include <cstdint>
#include <initializer_list>
#include <memory>
#include <optional>
#include <string>
#include <utility>
#include <vector>

namespace brisk {

class Size;  // the graph's form of a Dim

/// One size of a shape: a number, or an expression over variables that get values at realize time.
/// One compiled kernel serves a variable's whole range.
class Dim {
 public:
  Dim(std::int64_t value = 0) : value_(value) {}  // NOLINT: implicit on purpose
  Dim(int value) : value_(value) {}               // NOLINT
  Dim(std::size_t value) : value_(static_cast<std::int64_t>(value)) {}  // NOLINT
  explicit Dim(const Size& size);

  /// A size between `least` and `greatest`, both possible. The same name and bounds give the same
  /// variable.
  static Dim variable(std::string name, std::int64_t least, std::int64_t greatest);

  bool is_constant() const { return !expression_; }
  std::int64_t value() const;  // UserError where it depends on variables
  Size size() const;
  /// Bounds over every value of the variables.
  std::int64_t lower() const;
  std::int64_t upper() const;
  bool operator==(const Dim& other) const;

 private:
  std::int64_t value_ = 0;
  std::shared_ptr<const Size> expression_;
};

Dim operator+(const Dim& a, const Dim& b);
Dim operator-(const Dim& a, const Dim& b);
Dim operator*(const Dim& a, const Dim& b);
Dim operator/(const Dim& a, const Dim& b);  // floor, of non-negative operands
Dim operator%(const Dim& a, const Dim& b);
std::string to_string(const Dim& dim);

/// A list of sizes. In reshape one -1 stands for what is left.
struct Dims : std::vector<Dim> {
  using std::vector<Dim>::vector;
  Dims() = default;
  Dims(std::initializer_list<Dim> sizes) : std::vector<Dim>(sizes) {}
  Dims(const std::vector<std::int64_t>& sizes)  // NOLINT: implicit on purpose
      : std::vector<Dim>(sizes.begin(), sizes.end()) {}
};
std::string to_string(const Dims& dims);

/// Axes of a tensor; negative ones count from the end. Empty stands for all where a call says so.
struct Axes : std::vector<int> {
  Axes() = default;
  Axes(int axis) : std::vector<int>{axis} {}  // NOLINT: implicit on purpose
  Axes(std::initializer_list<int> axes) : std::vector<int>(axes) {}
  Axes(std::vector<int> axes) : std::vector<int>(std::move(axes)) {}  // NOLINT
};

/// One number for every spatial axis, or one for each: strides, kernel sizes, padding.
struct Spatial : std::vector<std::int64_t> {
  Spatial(std::int64_t every) : std::vector<std::int64_t>{every} {}  // NOLINT: implicit on purpose
  Spatial(int every) : std::vector<std::int64_t>{every} {}           // NOLINT
  Spatial(std::initializer_list<std::int64_t> each) : std::vector<std::int64_t>(each) {}
  Spatial(std::vector<std::int64_t> each)  // NOLINT
      : std::vector<std::int64_t>(std::move(each)) {}
};

/// Values of variables, for realize: {{T, 17}, {position, 4}}.
using Binding = std::pair<Dim, std::int64_t>;
using Bound = std::vector<Binding>;

/// Python's start:stop:step; negative positions count from the end, those outside are clamped. A
/// negative step walks backwards. With sizes of variables, `start` and `stop` are taken as they are
/// and the step must be 1.
struct Slice {
  std::optional<Dim> start;
  std::optional<Dim> stop;
  std::int64_t step = 1;
};

}  // namespace brisk
