// Pooling, resizing, norms, losses and attention against what they are by definition.
#include <limits>

#include "tensor/tensor_test.h"

namespace brisk {
namespace {

using NetworkTest = TensorTest;
constexpr float inf = std::numeric_limits<float>::infinity();

TEST_F(NetworkTest, PoolsWindowsOfEveryKind) {
  const Tensor x = counting({1, 1, 6}) + 1;
  expect_values(max_pool1d(x, 2), {1, 1, 3}, {2, 4, 6});
  expect_values(avg_pool1d(x, 2), {1, 1, 3}, {1.5, 3.5, 5.5});
  PoolOptions options;
  options.stride = 2;
  options.padding = 1;
  expect_values(max_pool1d(-x, 3, options), {1, 1, 3}, {-1, -2, -4});
  expect_values(avg_pool1d(x, 3, options), {1, 1, 3}, {1, 3, 5});
  options.count_include_pad = false;
  expect_values(avg_pool1d(x, 3, options), {1, 1, 3}, {1.5, 3, 5});
  options.ceil_mode = true;
  expect_values(avg_pool1d(x, 3, options), {1, 1, 4}, {1.5, 3, 5, 6});
  options.divisor_override = 2;
  expect_values(avg_pool1d(x, 3, options), {1, 1, 4}, {1.5, 4.5, 7.5, 3});
  PoolOptions dilated;
  dilated.stride = 1;
  dilated.dilation = 2;
  expect_values(max_pool1d(x, 2, dilated), {1, 1, 4}, {3, 4, 5, 6});
  expect_values(max_pool1d(tensor<std::uint8_t>({3, 9, 4}).reshape({1, 3}), 3), {1, 1}, {9});
  expect_values(lp_pool1d(tensor<float>({3, 4}).reshape({1, 2}), 2, 2), {1, 1}, {5}, 1e-6);
  EXPECT_EQ(max_pool2d(zeros({2, 3, 5, 7}), {2, 3}).shape(),
            (std::vector<std::int64_t>{2, 3, 2, 2}));
  EXPECT_EQ(avg_pool3d(zeros({1, 4, 4, 4}), 2).shape(), (std::vector<std::int64_t>{1, 2, 2, 2}));
}

TEST_F(NetworkTest, AdaptivePoolsCoverEveryElement) {
  const Tensor x = counting({1, 5});
  expect_values(adaptive_avg_pool1d(x, 2), {1, 2}, {1, 3});
  expect_values(adaptive_avg_pool1d(x, 3), {1, 3}, {0.5, 2, 3.5});
  expect_values(adaptive_max_pool1d(x, 3), {1, 3}, {1, 3, 4});
  expect_values(adaptive_avg_pool1d(x, 7), {1, 7}, {0, 0.5, 1.5, 2, 2.5, 3.5, 4});
  expect_values(adaptive_avg_pool1d(x, 1), {1, 1}, {2});
  EXPECT_EQ(adaptive_avg_pool2d(zeros({2, 6, 9}), {-1, 4}).shape(),
            (std::vector<std::int64_t>{2, 6, 4}));
}

TEST_F(NetworkTest, ResizesKeepEndsAndMeans) {
  const Tensor x = tensor<float>({0, 10, 20}).reshape({1, 1, 3});
  expect_values(interpolate(x, 5, Interpolation::linear, true), {1, 1, 5}, {0, 5, 10, 15, 20});
  expect_values(interpolate(x, 6, Interpolation::linear), {1, 1, 6}, {0, 2.5, 7.5, 12.5, 17.5, 20},
                1e-6);
  expect_values(interpolate(x, 6), {1, 1, 6}, {0, 0, 10, 10, 20, 20});
  expect_values(interpolate(x, 2), {1, 1, 2}, {0, 10});
  expect_values(interpolate(x, 1, Interpolation::area), {1, 1, 1}, {10});
  expect_values(interpolate_by(x, {2}, Interpolation::nearest), {1, 1, 6}, {0, 0, 10, 10, 20, 20});
  const Tensor flat = full({1, 1, 3, 3}, 4.0);
  EXPECT_TRUE(allclose(interpolate(flat, {7, 5}, Interpolation::bicubic), full({1, 1, 7, 5}, 4.0)));
  EXPECT_EQ(interpolate(zeros({1, 1, 2, 2, 2}), 4, Interpolation::trilinear).shape(),
            (std::vector<std::int64_t>{1, 1, 4, 4, 4}));
}

TEST_F(NetworkTest, NormsCentreAndScale) {
  const Tensor x = tensor<float>({{1, 2, 3, 4}, {-10, 0, 10, 1000}});
  const Tensor y = layer_norm(x, Dims{4}, 0);
  expect_values(mean(y, 1), {2}, {0, 0}, 1e-6);
  expect_values(var(y, 1, 0), {2}, {1, 1}, 1e-5);
  const Tensor weight = tensor<float>({2, 2, 2, 2});
  EXPECT_TRUE(allclose(layer_norm(x, weight, weight, 0), y * 2 + 2));
  expect_values(mean(square(rms_norm(x, {}, 0)), 1), {2}, {1, 1}, 1e-5);
  const Tensor image = counting({2, 4, 3});
  const Tensor groups = group_norm(image, 2, {}, {}, 0).reshape({2, 2, 6});
  expect_values(mean(groups, 2), {2, 2}, {0, 0, 0, 0}, 1e-6);
  EXPECT_TRUE(allclose(instance_norm(image), group_norm(image, 4)));
  const BatchNorm batch = batch_norm_train(image);
  expect_values(batch.mean, {4}, {7, 10, 13, 16}, 1e-6);
  EXPECT_TRUE(allclose(batch.output, batch_norm(image, batch.mean, batch.variance)));
  expect_values(norm(normalize(tensor<float>({{3, 4}, {0, 0}})), 2, 1), {2}, {1, 0}, 1e-6);
}

TEST_F(NetworkTest, NormOfLargeMeansDoesNotCancel) {
  const Tensor x = tensor<float>({10000, 10001, 10002, 10003});
  expect_values(var(x, 0, 0), {}, {1.25}, 1e-6);
  expect_values(layer_norm(x, Dims{4}, 0), {4}, {-1.3416407, -0.4472136, 0.4472136, 1.3416407},
                1e-6);
}

TEST_F(NetworkTest, CrossEntropyCountsWeightsAndIgnores) {
  const Tensor scores = tensor<float>({{1, 2, 3}, {0, 0, 0}, {5, -5, 1}});
  const Tensor target = tensor<int>({2, 0, -100});
  const double first = std::log(std::exp(1.0) + std::exp(2.0) + std::exp(3.0)) - 3;
  const double second = std::log(3.0);
  expect_values(cross_entropy(scores, target), {}, {(first + second) / 2}, 1e-6);
  ClassOptions options;
  options.reduction = Reduction::none;
  expect_values(cross_entropy(scores, target, options), {3}, {first, second, 0}, 1e-6);
  options.reduction = Reduction::sum;
  expect_values(cross_entropy(scores, target, options), {}, {first + second}, 1e-6);
  options.reduction = Reduction::mean;
  options.weight = tensor<float>({3, 1, 1});
  expect_values(cross_entropy(scores, target, options), {}, {(first + 3 * second) / 4}, 1e-6);
  EXPECT_TRUE(allclose(nll_loss(log_softmax(scores, 1), target, options),
                       cross_entropy(scores, target, options)));
  // Probabilities that name one class are that class.
  const Tensor known = tensor<int>({2, 0, 1});
  ClassOptions smooth;
  smooth.label_smoothing = 0.1;
  EXPECT_TRUE(allclose(cross_entropy(scores, one_hot(known, 3).cast(DType::float32), smooth),
                       cross_entropy(scores, known, smooth)));
  smooth.weight = options.weight;
  smooth.reduction = Reduction::sum;
  EXPECT_TRUE(allclose(cross_entropy(scores, one_hot(known, 3).cast(DType::float32), smooth),
                       cross_entropy(scores, known, smooth)));
  EXPECT_TRUE(allclose(cross_entropy(scores[0], tensor<int>({2})[0]), Tensor(first)));
  EXPECT_TRUE(
      allclose(cross_entropy(scores.reshape({1, 3, 3}).transpose(1, 2), target.reshape({1, 3})),
               cross_entropy(scores, target)));
  EXPECT_LT(cross_entropy(tensor<float>({{1000, -1000}}), tensor<int>({0})).item<float>(), 1e-6);
}

TEST_F(NetworkTest, OtherLossesAreWhatTheySay) {
  const Tensor x = tensor<float>({0.5F, -3});
  const Tensor y = tensor<float>({0, 1});
  expect_values(mse_loss(x, y), {}, {(0.25 + 16) / 2});
  expect_values(l1_loss(x, y, Reduction::sum), {}, {4.5});
  expect_values(smooth_l1_loss(x, y, 1, Reduction::none), {2}, {0.125, 3.5});
  expect_values(huber_loss(x, y, 2, Reduction::none), {2}, {0.125, 6});
  expect_values(binary_cross_entropy_with_logits(x, y, {}, {}, Reduction::none), {2},
                {std::log1p(std::exp(0.5)), 3 + std::log1p(std::exp(-3.0))}, 1e-6);
  EXPECT_TRUE(
      allclose(binary_cross_entropy(sigmoid(x), y), binary_cross_entropy_with_logits(x, y)));
  expect_values(binary_cross_entropy_with_logits(tensor<float>({500, -500}), tensor<float>({1, 0})),
                {}, {0});
  EXPECT_TRUE(allclose(
      binary_cross_entropy_with_logits(x, y, {}, tensor<float>({1, 2}), Reduction::none)[1],
      2 * binary_cross_entropy_with_logits(x, y, {}, {}, Reduction::none)[1]));
  const Tensor p = tensor<float>({0.25F, 0.75F, 0});
  const Tensor q = log(tensor<float>({0.5F, 0.25F, 0.25F}));
  expect_values(kl_div(q, p, false, Reduction::sum), {},
                {0.25 * std::log(0.5) + 0.75 * std::log(3.0)}, 1e-6);
}

TEST_F(NetworkTest, AttentionWeighsValuesByScores) {
  manual_seed(1);
  const Tensor q = randn({2, 4, 5, 8}).realize();
  const Tensor k = randn({2, 2, 7, 8}).realize();
  const Tensor v = randn({2, 2, 7, 3}).realize();
  const Tensor wide_k = repeat_interleave(k, 2, 1);
  const Tensor wide_v = repeat_interleave(v, 2, 1);
  const auto plain = [&](const Tensor& bias) {
    const Tensor scores = matmul(q, wide_k.transpose(-1, -2)) / std::sqrt(8.0) + bias;
    return matmul(softmax(scores, -1), wide_v);
  };
  const auto near = [](const Tensor& a, const Tensor& b) { return allclose(a, b, 1e-5, 1e-6); };
  EXPECT_TRUE(near(scaled_dot_product_attention(q, k, v), plain(0)));
  EXPECT_TRUE(near(scaled_dot_product_attention(q, wide_k, wide_v), plain(0)));
  const Tensor below = arange(7) <= arange(5).unsqueeze(1);
  AttentionOptions options;
  options.causal = true;
  EXPECT_TRUE(near(scaled_dot_product_attention(q, k, v, options), plain(where(below, 0.0, -inf))));
  options = {};
  options.causal_end = true;
  const Tensor late = arange(7) <= arange(5).unsqueeze(1) + 2;
  EXPECT_TRUE(near(scaled_dot_product_attention(q, k, v, options), plain(where(late, 0.0, -inf))));
  options = {};
  options.mask = below;
  EXPECT_TRUE(near(scaled_dot_product_attention(q, k, v, options), plain(where(below, 0.0, -inf))));
  options.mask = randn({2, 4, 5, 7}).realize();  // one for each head
  EXPECT_TRUE(near(scaled_dot_product_attention(q, k, v, options), plain(options.mask)));
  options.mask = randn({2, 1, 5, 7}).realize();
  EXPECT_TRUE(near(scaled_dot_product_attention(q, k, v, options), plain(options.mask)));
  options = {};
  options.scale = 0;
  EXPECT_TRUE(near(scaled_dot_product_attention(q, k, v, options),
                   mean(wide_v, 2, true).expand({2, 4, 5, 3})));
  options = {};
  options.softcap = 0.5;
  const Tensor scores = matmul(q, wide_k.transpose(-1, -2)) / std::sqrt(8.0);
  EXPECT_TRUE(near(scaled_dot_product_attention(q, k, v, options),
                   matmul(softmax(tanh(scores / 0.5) * 0.5, -1), wide_v)));
  EXPECT_EQ(scaled_dot_product_attention(zeros({3, 4}), zeros({6, 4}), zeros({6, 2})).shape(),
            (std::vector<std::int64_t>{3, 2}));
}

TEST_F(NetworkTest, ActivationsAtTheirCorners) {
  const Tensor x = tensor<float>({-4, -1, 0, 1, 4, 7});
  expect_values(relu6(x), {6}, {0, 0, 0, 1, 4, 6});
  expect_values(hardtanh(x, -2, 3), {6}, {-2, -1, 0, 1, 3, 3});
  expect_values(hardsigmoid(x), {6}, {0, 1.0 / 3, 0.5, 2.0 / 3, 1, 1}, 1e-6);
  expect_values(hardswish(x), {6}, {0, -1.0 / 3, 0, 2.0 / 3, 4, 7}, 1e-6);
  expect_values(leaky_relu(x, 0.5), {6}, {-2, -0.5, 0, 1, 4, 7});
  expect_values(softsign(x), {6}, {-0.8, -0.5, 0, 0.5, 0.8, 0.875}, 1e-6);
  expect_values(prelu(counting({1, 2, 2}) - 3, tensor<float>({2, 10})), {1, 2, 2},
                {-6, -4, -10, 0});
  expect_values(glu(tensor<float>({3, 0}), 0), {1}, {1.5});
  expect_values(celu(tensor<float>({-1, 2}), 2), {2}, {2 * std::expm1(-0.5), 2}, 1e-6);
}

}  // namespace
}  // namespace brisk
