// What Autocast (brisk/precision.h) means to products and losses.
#pragma once

#include "brisk/dtype.h"

namespace brisk {

/// Of a product's operands, which would be `dtype`.
DType product_operands(DType dtype);
/// Of a loss of scores of `dtype`.
DType loss_dtype(DType dtype);

}  // namespace brisk
