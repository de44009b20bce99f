// Gradients as users ask for them.
#include "tensor/tensor_test.h"

namespace brisk {
namespace {

class Autograd : public TensorTest {};

TEST_F(Autograd, aProductsGradientIsTheOtherFactor) {
  Tensor x = counting({3}).realize();
  Tensor w = full({3}, 2.0).requires_grad_();
  Tensor loss = (x * w).sum();
  loss.backward();
  expect_values(w.grad(), {3}, {0, 1, 2});
  EXPECT_FALSE(w.grad().requires_grad());
  EXPECT_FALSE(x.grad().defined());
}

}  // namespace
}  // namespace brisk
