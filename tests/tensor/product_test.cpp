// Products against plain loops: matrices of every pair of ranks, einsum, convolutions.
#include "tensor/tensor_test.h"

namespace brisk {
namespace {

using ProductTest = TensorTest;

std::vector<double> values(std::int64_t count, int seed) {
  std::vector<double> x(count);
  for (std::int64_t i = 0; i < count; ++i)
    x[i] = static_cast<double>((i * 37 + seed * 11) % 13 - 6);
  return x;
}
Tensor tensor_of_values(const std::vector<std::int64_t>& shape, int seed) {
  std::int64_t count = 1;
  for (const auto size : shape) count *= size;
  return tensor(values(count, seed)).cast(DType::float32).reshape(shape);
}

TEST_F(ProductTest, MatmulTakesEveryPairOfRanks) {
  const auto shape = [](const std::vector<std::int64_t>& a, const std::vector<std::int64_t>& b) {
    return matmul(zeros(a), zeros(b)).shape();
  };
  using Shape = std::vector<std::int64_t>;
  EXPECT_EQ(shape({3}, {3}), (Shape{}));
  EXPECT_EQ(shape({2, 3}, {3}), (Shape{2}));
  EXPECT_EQ(shape({3}, {3, 4}), (Shape{4}));
  EXPECT_EQ(shape({2, 3}, {3, 4}), (Shape{2, 4}));
  EXPECT_EQ(shape({5, 2, 3}, {3}), (Shape{5, 2}));
  EXPECT_EQ(shape({3}, {5, 3, 4}), (Shape{5, 4}));
  EXPECT_EQ(shape({5, 1, 2, 3}, {6, 3, 4}), (Shape{5, 6, 2, 4}));
  EXPECT_EQ(shape({2, 3}, {5, 3, 4}), (Shape{5, 2, 4}));
  EXPECT_EQ(shape({2, 0}, {0, 4}), (Shape{2, 4}));
}

TEST_F(ProductTest, MatmulMultipliesRowsWithColumns) {
  const Tensor a = tensor<float>({{1, 2, 3}, {4, 5, 6}});
  const Tensor b = tensor<float>({{1, 0}, {2, 1}, {0, 3}});
  expect_values(matmul(a, b), {2, 2}, {5, 11, 14, 23});
  expect_values(matmul(a.cast(DType::int32), b.cast(DType::int32)), {2, 2}, {5, 11, 14, 23});
  EXPECT_EQ(matmul(a.cast(DType::bfloat16), b.cast(DType::bfloat16)).dtype(), DType::bfloat16);
  // 2048 ones in float16: the sum runs in float32.
  expect_values(matmul(ones({1, 4096}, DType::float16), ones({4096, 1}, DType::float16)), {1, 1},
                {4096});
  expect_values(linear(a, b.transpose(0, 1), tensor<float>({10, 20})), {2, 2}, {15, 31, 24, 43});
  expect_values(outer(counting({2}), counting({3})), {2, 3}, {0, 0, 0, 0, 1, 2});
}

TEST_F(ProductTest, EinsumAgreesWithMatmulAndSums) {
  const Tensor a = tensor_of_values({4, 3}, 1);
  const Tensor b = tensor_of_values({3, 5}, 2);
  EXPECT_TRUE(allclose(einsum("ij,jk", {a, b}), matmul(a, b)));
  EXPECT_TRUE(allclose(einsum("ij,jk->ki", {a, b}), matmul(a, b).transpose(0, 1)));
  EXPECT_TRUE(allclose(einsum("ij->", {a}), sum(a)));
  EXPECT_TRUE(allclose(einsum("ij->j", {a}), sum(a, 0)));
  EXPECT_TRUE(allclose(einsum("i,i", {a[Slice{0, 3}].select(1, 0), b.select(1, 0)}),
                       dot(a[Slice{0, 3}].select(1, 0), b.select(1, 0))));
  EXPECT_TRUE(
      allclose(einsum("ii", {matmul(a, b)[{Slice{}, Slice{0, 4}}]}), sum(diagonal(matmul(a, b)))));
  const Tensor batch = tensor_of_values({2, 4, 3}, 3);
  EXPECT_TRUE(allclose(einsum("...ij,jk->...ik", {batch, b}), matmul(batch, b)));
  EXPECT_TRUE(allclose(einsum("ba,ca", {b, b}), matmul(b, b.transpose(0, 1))));
  EXPECT_TRUE(allclose(einsum("ij,kl->ik", {a, b}), outer(sum(a, 1), sum(b, 1))));
}

// y[b, o, p] = Σ x[b, g·I + i, p·stride - padding + k·dilation] w[o, i, k]
std::vector<double> plain_conv1d(const std::vector<double>& x, const std::vector<double>& w, int B,
                                 int C, int L, int O, int K, int stride, int padding, int dilation,
                                 int groups, int places) {
  std::vector<double> y(B * O * places);
  const int I = C / groups;
  for (int b = 0; b < B; ++b) {
    for (int o = 0; o < O; ++o) {
      const int g = o / (O / groups);
      for (int p = 0; p < places; ++p) {
        double total = 0;
        for (int i = 0; i < I; ++i) {
          for (int k = 0; k < K; ++k) {
            const int at = p * stride - padding + k * dilation;
            if (at < 0 || at >= L) continue;
            total += x[(b * C + g * I + i) * L + at] * w[(o * I + i) * K + k];
          }
        }
        y[(b * O + o) * places + p] = total;
      }
    }
  }
  return y;
}

TEST_F(ProductTest, Conv1dMatchesALoopForEveryGeometry) {
  constexpr int B = 2, C = 4, O = 6, L = 11;
  for (const int groups : {1, 2}) {
    for (const int K : {1, 2, 5}) {
      for (const int stride : {1, 2, 7}) {
        for (const int padding : {0, 3}) {
          for (const int dilation : {1, 2}) {
            const int reach = dilation * (K - 1) + 1;
            const int places = (L + 2 * padding - reach) / stride + 1;
            ConvOptions options;
            options.stride = stride;
            options.padding = padding;
            options.dilation = dilation;
            options.groups = groups;
            const Tensor y = conv1d(tensor_of_values({B, C, L}, 1),
                                    tensor_of_values({O, C / groups, K}, 2), {}, options);
            expect_values(y, {B, O, places},
                          plain_conv1d(values(B * C * L, 1), values(O * C / groups * K, 2), B, C, L,
                                       O, K, stride, padding, dilation, groups, places));
          }
        }
      }
    }
  }
}

// <conv(x), y> = <x, conv_transpose(y)>: the transposed convolution is the adjoint of the other.
TEST_F(ProductTest, TransposedConvolutionIsTheAdjoint) {
  for (const int stride : {1, 2, 3}) {
    for (const int padding : {0, 1, 4}) {
      for (const int dilation : {1, 2}) {
        for (const int kernel : {1, 2, 3, 5}) {
          for (const int size : {11, 12}) {
            ConvOptions options;
            options.stride = stride;
            options.padding = padding;
            options.dilation = dilation;
            options.groups = 2;
            const Tensor w = tensor_of_values({6, 2, kernel}, 2);
            const Tensor x = tensor_of_values({2, 4, size}, 1);
            const Tensor y = conv1d(x, w, {}, options);
            const std::int64_t reach = dilation * (kernel - 1) + 1;
            options.output_padding = (size + 2 * padding - reach) % stride;
            const Tensor other = tensor_of_values(y.shape(), 3);
            const Tensor back = conv_transpose1d(other, w, {}, options);
            ASSERT_EQ(back.shape(), x.shape());
            EXPECT_EQ(sum(y * other).item<double>(), sum(x * back).item<double>());
          }
        }
      }
    }
  }
}

// Both are linear in the weight: <conv(x, w), y> = <w, gradient of the weight>.
TEST_F(ProductTest, GradientsOfConvolutionsByTheWeightAreAdjoint) {
  for (const bool transposed : {false, true}) {
    for (const int stride : {1, 2, 3}) {
      for (const int kernel : {1, 2, 5}) {
        for (const int size : {11, 12}) {
          ConvOptions options;
          options.stride = stride;
          options.padding = 1;
          options.groups = 2;
          if (transposed) options.output_padding = stride - 1;
          Tensor w = transposed ? tensor_of_values({4, 3, kernel}, 2)
                                : tensor_of_values({6, 2, kernel}, 2);
          w.requires_grad_();
          const Tensor x = tensor_of_values({2, 4, size}, 1);
          const Tensor y =
              transposed ? conv_transpose1d(x, w, {}, options) : conv1d(x, w, {}, options);
          const Tensor product = sum(y * tensor_of_values(y.shape(), 3));
          const double want = product.item<double>();
          product.backward();
          EXPECT_EQ(sum(w.detach() * w.grad()).item<double>(), want);
        }
      }
    }
  }
}

TEST_F(ProductTest, ConvolutionsOfHigherRankAreSumsOfConv1d) {
  const Tensor x = tensor_of_values({1, 2, 3, 5}, 1);
  const Tensor w = tensor_of_values({2, 2, 2, 3}, 2);
  const Tensor y = conv2d(x, w);
  ASSERT_EQ(y.shape(), (std::vector<std::int64_t>{1, 2, 2, 3}));
  for (int row = 0; row < 2; ++row) {
    const Tensor want =
        conv1d(x.select(2, row), w.select(2, 0)) + conv1d(x.select(2, row + 1), w.select(2, 1));
    EXPECT_TRUE(allclose(y.select(2, row), want));
  }
  // Without a batch axis, and with a bias.
  const Tensor bias = tensor<float>({100, 200});
  EXPECT_TRUE(allclose(conv2d(x.select(0, 0), w, bias), y.select(0, 0) + bias.reshape({2, 1, 1})));
  EXPECT_EQ(conv3d(zeros({1, 1, 4, 4, 4}), zeros({2, 1, 3, 3, 3})).shape(),
            (std::vector<std::int64_t>{1, 2, 2, 2, 2}));
  EXPECT_EQ(conv_transpose3d(zeros({1, 2, 2, 2, 2}), zeros({2, 1, 3, 3, 3})).shape(),
            (std::vector<std::int64_t>{1, 1, 4, 4, 4}));
}

TEST_F(ProductTest, TensordotContractsInnerAxes) {
  const Tensor a = tensor_of_values({2, 3, 4}, 1);
  const Tensor b = tensor_of_values({3, 4, 5}, 2);
  EXPECT_TRUE(allclose(tensordot(a, b, 2), einsum("ijk,jkl->il", {a, b})));
  EXPECT_TRUE(
      allclose(tensordot(counting({2}), counting({3}), 0), outer(counting({2}), counting({3}))));
  EXPECT_TRUE(allclose(bmm(a, a.transpose(1, 2)), einsum("bij,bkj->bik", {a, a})));
}

}  // namespace
}  // namespace brisk
