// The elementwise operations of graph/ops.def, dot and horizontal, as texts of OpenCL C. Semantics
// are ops.def's: integers wrap, NaN is kept, narrow floats are computed in float and rounded.
#pragma once

#include <span>

#include "codegen/opencl_c/helpers.h"
#include "codegen/opencl_c/text.h"

namespace brisk::opencl_c {

/// The operation (without exp2 and log2: see codegen/decompose.h) on sources of the node's lanes or
/// of one.
Value elementwise(Helpers& helpers, const Node& node, std::span<const Value> srcs);
/// a op b, of equal lanes.
Value combine(Helpers& helpers, ReduceOp op, const Value& a, const Value& b);
Value dot(Helpers& helpers, const Value& sum, const Value& a, const Value& b);

}  // namespace brisk::opencl_c
