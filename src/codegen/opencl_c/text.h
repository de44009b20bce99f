// Scalars and vectors of brisk's dtypes as expressions of OpenCL C.
//
// A value of n lanes is made of pieces of the lanes that OpenCL has (16, 8, 4, 2 and 1), widest
// first. A vector of bools is a vector of chars that are 0 or -1, one bool a bool; a narrow float
// is the bits it is stored as (ushort, uchar).
#pragma once

#include <string>
#include <vector>

#include "graph/node.h"

namespace brisk::opencl_c {

/// A piece's text is a name, a call or in parentheses: it stands beside any operator.
struct Value {
  DType dtype;
  int lanes;
  std::vector<std::string> pieces;
};

inline bool is_narrow(DType dtype) { return is_float(dtype) && byte_size(dtype) < 4; }

/// Lanes of the pieces of a value of so many lanes.
std::vector<int> piece_lanes(int lanes);

/// "float", "float8"; of a bool in memory uchar.
std::string type_name(DType dtype, int lanes = 1);
std::string memory_type_name(DType dtype, int lanes = 1);
/// The integer type of the dtype's size: "int8" of float32 in eight lanes.
std::string integer_name(DType dtype, bool is_signed, int lanes);

std::string literal(const Node& constant);

/// A lane of a value, chosen.
struct Pick {
  const Value* value;
  int lane;
};
/// A value made of lanes of others.
Value gather(DType dtype, const std::vector<Pick>& picks);
Value slice(const Value& value, int start, int count);
/// The piece of `value` at `piece`; of one lane, that lane as often as `lanes` wants.
std::string operand(const Value& value, std::size_t piece, int lanes);

/// `text` without parentheses around all of it.
std::string bare(const std::string& text);

}  // namespace brisk::opencl_c
