// Functions of floating-point values: how they take and return other dtypes.
#pragma once

#include "tensor/build.h"

namespace brisk {

/// Calls f with x in its compute dtype and rounds to the dtype that belongs to x.
template <typename F>
Tensor in_float(const Tensor& x, F f) {
  want_defined(x, "the tensor");
  const DType dtype = float_result(x.dtype());
  const Tensor y = f(widen(x));
  return y.dtype() == dtype ? y : y.cast(dtype);
}

}  // namespace brisk
