// Promotion, broadcasting, integer and bool arithmetic.
#include <limits>

#include "tensor/tensor_test.h"

namespace brisk {
namespace {

using ElementwiseTest = TensorTest;

Tensor of(DType dtype) { return ones({2}, dtype); }

TEST_F(ElementwiseTest, PromotesAsPyTorchDoes) {
  using enum DType;
  EXPECT_EQ((of(int32) + of(int64)).dtype(), int64);
  EXPECT_EQ((of(uint8) + of(int8)).dtype(), int16);
  EXPECT_EQ((of(float16) + of(bfloat16)).dtype(), float32);
  EXPECT_EQ((of(int64) + of(float16)).dtype(), float16);
  EXPECT_EQ((of(boolean) + of(boolean)).dtype(), boolean);
  EXPECT_EQ((of(float32) + of(float64)).dtype(), float64);
}

TEST_F(ElementwiseTest, NumbersNeverWidenWithinTheirKind) {
  using enum DType;
  EXPECT_EQ((of(float16) + 1).dtype(), float16);
  EXPECT_EQ((of(float16) * 0.5).dtype(), float16);
  EXPECT_EQ((of(uint8) + 300).dtype(), uint8);
  EXPECT_EQ((of(int32) * 1.5).dtype(), float32);
  EXPECT_EQ((of(boolean) + 1).dtype(), int64);
  EXPECT_EQ((of(boolean) * 1.5).dtype(), float32);
  EXPECT_EQ((1.0 - of(bfloat16)).dtype(), bfloat16);
  EXPECT_EQ(where(of(boolean), of(float16), 0).dtype(), float16);
  EXPECT_EQ(maximum(of(int8), 0).dtype(), int8);
}

TEST_F(ElementwiseTest, TensorsWithoutAxesOnlyRaiseTheKind) {
  using enum DType;
  const Tensor wide = full({}, 1, float64);
  EXPECT_EQ((of(float32) + wide).dtype(), float32);
  EXPECT_EQ((of(int32) + wide).dtype(), float64);
  EXPECT_EQ((wide + full({}, 1, float32)).dtype(), float64);
  EXPECT_EQ((of(int16) + full({}, 1, int64)).dtype(), int16);
}

TEST_F(ElementwiseTest, NumbersKeepDoublePrecisionInFloat64) {
  expect_values(zeros({1}, DType::float64) + 0.1, {1}, {0.1});
  expect_values(Tensor(0.1), {}, {static_cast<double>(0.1F)});
  EXPECT_EQ(Tensor(0.1).dtype(), DType::float32);
  EXPECT_EQ(Tensor(3).dtype(), DType::int64);
  EXPECT_EQ(Tensor(true).dtype(), DType::boolean);
}

TEST_F(ElementwiseTest, BroadcastsFromTheLastAxis) {
  const Tensor a = counting({3, 1});
  const Tensor b = counting({2});
  expect_values(a * 10 + b, {3, 2}, {0, 1, 10, 11, 20, 21});
  expect_values(counting({2, 1, 2}) + counting({3, 1}), {2, 3, 2},
                {0, 1, 1, 2, 2, 3, 2, 3, 3, 4, 4, 5});
  expect_values(zeros({0, 3}) + ones({1, 3}), {0, 3}, {});
}

TEST_F(ElementwiseTest, IntegersWrapAndShift) {
  expect_values(tensor<std::uint8_t>({250, 3}) + 10, {2}, {4, 13});
  expect_values(tensor<std::int8_t>({127, -128}) * 2, {2}, {-2, 0});
  expect_values(-tensor<std::uint8_t>({1, 0}), {2}, {255, 0});
  expect_values(tensor<int>({1, -8}) << 3, {2}, {8, -64});
  expect_values(tensor<int>({8, -8}) >> 1, {2}, {4, -4});
  expect_values(~tensor<int>({0, 5}), {2}, {-1, -6});
  expect_values(tensor<int>({12, 10}) & 6, {2}, {4, 2});
  expect_values(tensor<int>({12, 10}) | 1, {2}, {13, 11});
  expect_values(tensor<int>({12, 10}) ^ 15, {2}, {3, 5});
  expect_values(tensor<int>({7, -7}) / 2, {2}, {3.5, -3.5});
}

TEST_F(ElementwiseTest, ExtremesOfIntegersDoNotOverflow) {
  const auto least = std::numeric_limits<std::int32_t>::min();
  const auto most = std::numeric_limits<std::int32_t>::max();
  const Tensor x = tensor<std::int32_t>({least, most, 0});
  expect_values(minimum(x, 5), {3}, {static_cast<double>(least), 5, 0});
  expect_values(amin(x), {}, {static_cast<double>(least)});
  expect_values(minimum(tensor<std::uint8_t>({0, 255}), tensor<std::uint8_t>({255, 1})), {2},
                {0, 1});
  expect_values(amin(tensor<std::uint64_t>({~0ULL, 7})), {}, {7});
}

TEST_F(ElementwiseTest, BoolsAreLogic) {
  const Tensor a = tensor<bool>({false, false, true, true});
  const Tensor b = tensor<bool>({false, true, false, true});
  expect_values(a & b, {4}, {0, 0, 0, 1});
  expect_values(a | b, {4}, {0, 1, 1, 1});
  expect_values(a ^ b, {4}, {0, 1, 1, 0});
  expect_values(~a, {4}, {1, 1, 0, 0});
  expect_values(a + b, {4}, {0, 1, 1, 1});
  expect_values(maximum(a, b), {4}, {0, 1, 1, 1});
  expect_values(minimum(a, b), {4}, {0, 0, 0, 1});
  expect_values(a < b, {4}, {0, 1, 0, 0});
  expect_values(logical_and(tensor<float>({0, 2}), tensor<float>({3, 3})), {2}, {0, 1});
}

TEST_F(ElementwiseTest, ComparisonsWithNaNAreFalseButNotEqual) {
  const float nan = std::numeric_limits<float>::quiet_NaN();
  const Tensor x = tensor<float>({nan, 1, 2});
  const Tensor y = tensor<float>({1, 1, nan});
  expect_values(x < y, {3}, {0, 0, 0});
  expect_values(x <= y, {3}, {0, 1, 0});
  expect_values(x > y, {3}, {0, 0, 0});
  expect_values(x >= y, {3}, {0, 1, 0});
  expect_values(x == y, {3}, {0, 1, 0});
  expect_values(x != y, {3}, {1, 0, 1});
  expect_values(maximum(x, y), {3}, {nan, 1, nan});
  expect_values(minimum(x, y), {3}, {nan, 1, nan});
  expect_values(fmax(x, y), {3}, {1, 1, 2});
  expect_values(fmin(x, y), {3}, {1, 1, 2});
}

TEST_F(ElementwiseTest, ClampAndLerpMeetTheirEnds) {
  const Tensor x = tensor<float>({-2, 0.5F, 9});
  expect_values(clamp(x, 0, 1), {3}, {0, 0.5, 1});
  expect_values(clamp(x, {}, 1), {3}, {-2, 0.5, 1});
  expect_values(clamp(x, 0, {}), {3}, {0, 0.5, 9});
  expect_values(lerp(tensor<float>({0.1F}), tensor<float>({0.7F}), 1.0), {1}, {0.7F});
  expect_values(lerp(tensor<float>({0.1F}), tensor<float>({0.7F}), 0.0), {1}, {0.1F});
}

TEST_F(ElementwiseTest, CastsAndBitcasts) {
  expect_values(tensor<float>({-1.7F, 2.9F}).cast(DType::int32), {2}, {-1, 2});
  expect_values(tensor<float>({0, 0.5F}).cast(DType::boolean), {2}, {0, 1});
  expect_values(tensor<int>({300, -1}).cast(DType::uint8), {2}, {44, 255});
  expect_values(tensor<float>({1}).bitcast(DType::uint32), {1}, {0x3f800000});
  expect_values(tensor<float>({500, 1.0625F}).cast(DType::float8_e4m3), {2}, {NAN, 1});
}

TEST_F(ElementwiseTest, NanToNumGivesFiniteNumbers) {
  const float inf = std::numeric_limits<float>::infinity();
  const Tensor x = tensor<float>({NAN, inf, -inf, 2});
  const double most = std::numeric_limits<float>::max();
  expect_values(nan_to_num(x, 7), {4}, {7, most, -most, 2});
  expect_values(nan_to_num(x.cast(DType::float16)), {4}, {0, 65504, -65504, 2});
  expect_values(nan_to_num(x.cast(DType::bfloat16)), {4}, {0, 0x1.fep127, -0x1.fep127, 2});
}

}  // namespace
}  // namespace brisk
