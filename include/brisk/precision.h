// Mixed precision: products in 16 bits, everything else as wide as it was, after PyTorch's autocast
// (https://docs.pytorch.org/docs/stable/amp.html), and products in 8 bits with scales.
//
//   Step step([&] {
//     Tensor loss;
//     {
//       const Autocast narrow(DType::bfloat16);
//       loss = cross_entropy(net(x), y);
//     }
//     loss.backward();
//     …
//
// float16 has few exponents, so gradients vanish in it: nn::GradScaler (brisk/optim.h) multiplies
// the loss, and leaves out steps whose gradients overflowed. Parameters stay float32.
#pragma once

#include <optional>

#include "brisk/dtype.h"
#include "brisk/tensor.h"

namespace brisk {

/// While it lives, products that this thread asks for (matmul, linear, einsum, convolutions,
/// attention) round their float32 operands to this dtype and give it as their result; they are
/// summed in float32. Losses are float32. One within another counts alone; DType::float32 undoes
/// those around it.
class Autocast {
 public:
  explicit Autocast(DType dtype);  // float16, bfloat16 or float32
  ~Autocast();
  Autocast(const Autocast&) = delete;
  Autocast& operator=(const Autocast&) = delete;

 private:
  DType before_;
};

/// What the rows of a product's operands are rounded to, each with a scale that brings its greatest
/// element to the greatest number there is.
enum class Scaled {
  fp8,   // values and weights float8_e4m3, gradients float8_e5m2
  int8,  // all int8, sums int32
};
struct ScaledOptions {
  Scaled format = Scaled::fp8;
  bool bfloat16_weight_gradient = false;  // that product, which sums over the batch, in bfloat16
  /// Of int8: a great element makes its whole row's scale coarse. Of the blocks of 32 elements
  /// along the sum, this share, those with the greatest elements, is multiplied in 16 bits, as int8
  /// and what that leaves; no row's scale sees them. 0: none.
  double fallback = 1.0 / 16;
};
/// As linear, whose three products (forward, gradients of the input and of the weight) have scaled
/// operands. The weight's gradient takes the input's rows as they are rounded for the forward
/// product; their scales go into the output's gradient, whose columns are rounded.
Tensor scaled_linear(const Tensor& x, const Tensor& weight, const Tensor& bias = {},
                     const ScaledOptions& options = {});

}  // namespace brisk
