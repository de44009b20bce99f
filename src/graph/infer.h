// Shape inference: the one place that knows which sources an operation takes and what shape it
// gives.
#pragma once

#include "graph/node.h"

namespace brisk {

/// Shape of the node to be. Throws UserError naming the operation, what it got and what it wants.
Shape infer_shape(Op op, DType dtype, const std::vector<Node>& srcs, const Attr& attr);

}  // namespace brisk
