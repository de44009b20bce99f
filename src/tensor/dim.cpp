// Sizes of the public API over those of the graph.
#include "brisk/dim.h"

#include "base/error.h"
#include "graph/node.h"
#include "tensor/node_of.h"

namespace brisk {

Dim::Dim(const Size& size) {
  if (size.is_constant()) {
    value_ = size.value();
  } else {
    expression_ = std::make_shared<const Size>(size);
  }
}

Dim Dim::variable(std::string name, std::int64_t least, std::int64_t greatest) {
  return Dim(Size(brisk::variable(std::move(name), least, greatest)));
}

std::int64_t Dim::value() const {
  if (expression_) {
    user_error("the size {} depends on variables: it has no value before realize",
               to_string(*expression_));
  }
  return value_;
}
Size Dim::size() const { return expression_ ? *expression_ : Size(value_); }
std::int64_t Dim::lower() const { return size().lower(); }
std::int64_t Dim::upper() const { return size().upper(); }
bool Dim::operator==(const Dim& other) const { return size() == other.size(); }

Dim operator+(const Dim& a, const Dim& b) { return Dim(a.size() + b.size()); }
Dim operator-(const Dim& a, const Dim& b) { return Dim(a.size() - b.size()); }
Dim operator*(const Dim& a, const Dim& b) { return Dim(a.size() * b.size()); }
Dim operator/(const Dim& a, const Dim& b) { return Dim(a.size() / b.size()); }
Dim operator%(const Dim& a, const Dim& b) { return Dim(a.size() % b.size()); }
std::string to_string(const Dim& dim) { return to_string(dim.size()); }
std::string to_string(const Dims& dims) { return to_string(shape_of(dims)); }

Shape shape_of(const Dims& dims) {
  Shape shape;
  shape.reserve(dims.size());
  for (const Dim& dim : dims) shape.push_back(dim.size());
  return shape;
}
Dims dims_of(const Shape& shape) {
  Dims dims;
  dims.reserve(shape.size());
  for (const Size& size : shape) dims.push_back(Dim(size));
  return dims;
}

}  // namespace brisk
