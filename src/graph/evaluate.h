// The reference interpreter of graphs: slow, obvious, and by definition right. Input: root nodes,
// the values of their variables and the content of their buffers; output: one array per root. Every
// other way to run a graph is tested against this one.
#pragma once

#include <cstddef>
#include <cstdint>
#include <functional>
#include <span>
#include <string>
#include <unordered_map>
#include <vector>

#include "graph/node.h"

namespace brisk {

struct Array {
  DType dtype = DType::none;
  std::vector<std::int64_t> shape;
  std::vector<std::byte> bytes;  // row-major
};

using Variables = std::unordered_map<std::string, std::int64_t>;

struct Bindings {
  Variables variables;
  std::function<Array(const Node& buffer)> read;  // asked once per buffer node
};

/// The roots' values. Sums and products of floats accumulate in float64 and are rounded once.
/// Stores are functional: the result is the base buffer's whole content afterwards; what `read`
/// gave is not changed. UserError where a variable has no value, or one outside its bounds;
/// InternalError where an ungated load leaves its source or a buffer's content has another size
/// than its node.
std::vector<Array> evaluate(std::span<const Node> roots, const Bindings& bindings);
Array evaluate(const Node& root, const Bindings& bindings = {});

/// An int64 or bool scalar made of constants, variables, arithmetic and integer operations.
std::int64_t evaluate_scalar(const Node& scalar, const Variables& variables);
std::int64_t evaluate_size(const Size& size, const Variables& variables);
std::vector<std::int64_t> evaluate_shape(const Shape& shape, const Variables& variables);

}  // namespace brisk
