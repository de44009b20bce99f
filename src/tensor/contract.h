// Sums of products, in the form in which the compiler recognises a contraction.
#pragma once

#include "tensor/build.h"

namespace brisk {

/// The dtype of products of `dtype`: float32 for narrow floats, itself otherwise.
DType product_dtype(DType dtype);
/// Σ a·b over the axes `over`, which are dropped: both under one shape by expansion, cast to
/// product_dtype before they are multiplied; the result stays in it.
Node contract(const Node& a, const Node& b, const std::vector<int>& over);
/// a[…, M, K], b[…, N, K] → […, M, N] in product_dtype; leading axes broadcast.
Node product_by_rows(const Node& a, const Node& b);

}  // namespace brisk
