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
/// What `width` neighbouring threads of a group hold in `value`, combined. All threads of the group
/// must come there. `room` has an element in local memory for each of them, up to a multiple of
/// `width`.
std::string group_reduce(Helpers& helpers, ReduceOp op, DType dtype, std::int64_t width,
                         const std::string& value, const std::string& room);

}  // namespace brisk::opencl_c
