// Windows that slide along the results: which strategy takes them, and that their values are right
// at sizes that divide its tiles and sizes that do not.
#include "brisk/functional.h"
#include "golden/compiled.h"
#include "graph/rules_simplify.h"
#include "kernel/lower.h"
#include "optimize/optimize.h"
#include "schedule/fuse.h"

namespace brisk {
namespace {

Tensor fixed(const Tensor& x) { return x.realize(); }

// On other devices than the CPU other strategies take them: there only values count.
void expect_windows(const Tensor& result) {
  const Plan plan = run_and_compare({result});
  ASSERT_EQ(plan.kernels().size(), 1U) << names(plan);
  if (Engine::shared().device().info().id != "cpu") return;
  EXPECT_EQ(plan.kernels()[0].name, "windows");
}

struct Depthwise {
  std::int64_t batch, channels, height, width, kernel;
  ConvOptions options = {};
};

Tensor depthwise(const Depthwise& of) {
  ConvOptions options = of.options;
  options.groups = of.channels;
  const Tensor x = fixed(numbers({of.batch, of.channels, of.height, of.width}, 1));
  const Tensor weight = fixed(numbers({of.channels, 1, of.kernel, of.kernel}, 2));
  return conv2d(x, weight, fixed(numbers({of.channels}, 3)), options);
}

ConvOptions with(std::int64_t stride, std::int64_t padding, std::int64_t dilation = 1) {
  ConvOptions options;
  options.stride = stride;
  options.padding = padding;
  options.dilation = dilation;
  return options;
}

TEST(Windows, TakeDepthwiseConvolutionsOfAnySize) {
  for (const std::int64_t size : {7, 11, 16, 28, 45, 90}) {
    expect_windows(depthwise({1, 48, size, size, 3, with(1, 1)}));
    expect_windows(depthwise({2, 48, size, size + 3, 5, with(1, 2)}));
    expect_windows(depthwise({1, 40, size + 4, size + 4, 3, with(1, 0)}));
  }
}

// Where they are less than half of a processor's vector, in narrower ones.
TEST(Windows, TakeFewColumns) {
  for (const std::int64_t size : {3, 4, 5, 7, 9}) {
    SCOPED_TRACE(size);
    const Tensor y = depthwise({1, 400, size, size, 3, with(1, 1)});
    const KernelList list = fuse(std::vector<Node>{simplify(node_of(y))});
    ASSERT_EQ(list.kernels.size(), 1U);
    const Lowering lowering = lower(list.kernels[0].outputs, list.stored);
    for (const char* cpu : {"x86-64-v2", "x86-64-v3", "x86-64-v4", "neoverse-n1"})
      EXPECT_EQ(optimize(lowering.kernel, target_for(cpu)).name, "windows") << cpu;
    expect_windows(y);
  }
}

TEST(Windows, TakeStridesAndDilation) {
  for (const std::int64_t size : {18, 28, 45, 113}) {
    expect_windows(depthwise({1, 40, size, size, 3, with(2, 1)}));
    expect_windows(depthwise({1, 40, size, size, 5, with(2, 2)}));
    expect_windows(depthwise({1, 40, size, size, 3, with(1, 2, 2)}));
  }
}

TEST(Windows, TakeRowsThatAreLongAndFewAndOneAxisAlone) {
  expect_windows(depthwise({1, 2, 3, 3001, 3, with(1, 1)}));
  ConvOptions options = with(1, 20);
  options.groups = 12;
  const Tensor x = fixed(numbers({3, 12, 500}, 1));
  expect_windows(conv1d(x, fixed(numbers({12, 1, 41}, 2)), {}, options));
}

TEST(Windows, TakeWhatStandsBeforeAndAfter) {
  ConvOptions options = with(1, 1);
  options.groups = 32;
  const Tensor x = fixed(numbers({1, 32, 30, 31}, 1));
  const Tensor weight = fixed(numbers({32, 1, 3, 3}, 2));
  const Tensor shift = fixed(numbers({1, 32, 1, 1}, 3));
  const Tensor before = relu(x * 2 + shift);
  expect_windows(relu(conv2d(before, weight, {}, options) + x));
}

TEST(Windows, TakeProductsThatAreMadeOnTheWay) {
  ConvOptions options = with(2, 1);
  options.groups = 48;
  const Tensor x = fixed(numbers({1, 24, 40, 44}, 1));
  const Tensor wide = relu(conv2d(x, fixed(numbers({48, 24, 1, 1}, 2)), fixed(numbers({48}, 3))));
  run_and_compare({conv2d(wide, fixed(numbers({48, 1, 3, 3}, 4)), {}, options)});
  run_and_compare({max_pool2d(wide, 2)});
}

TEST(Windows, TakePooling) {
  const Tensor x = fixed(numbers({1, 24, 57, 58}, 1));  // padded on one side only
  PoolOptions options;
  options.stride = 2;
  options.padding = 1;
  expect_windows(max_pool2d(x, 3, options));
  expect_windows(avg_pool2d(x, 3, options));
  expect_windows(avg_pool2d(x, 2));
  options.stride = 4;
  options.padding = 0;
  expect_windows(max_pool2d(x, 5, options));
}

TEST(Windows, LeaveOtherSumsAlone) {
  const auto name = [](const Tensor& result) {
    const Plan plan = run_and_compare({result});
    return names(plan);
  };
  EXPECT_EQ(name(sum(fixed(numbers({3, 200, 100}, 1)), {0})).find("windows"), std::string::npos);
  EXPECT_EQ(name(sum(fixed(numbers({200, 100, 3}, 1)), {2})).find("windows"), std::string::npos);
  EXPECT_EQ(name(depthwise({1, 64, 8, 4, 3, with(1, 0)})).find("windows"), std::string::npos);
}

TEST(Convolutions, ThatEndInDepthToSpaceRunAlongTheImage) {
  const Tensor x = fixed(numbers({1, 16, 24, 40}, 1));
  const Tensor y = conv2d(x, fixed(numbers({9, 16, 3, 3}, 2)), {}, with(1, 1));
  const Tensor apart = y.reshape({1, 3, 3, 24, 40}).permute({0, 3, 1, 4, 2}).reshape({1, 72, 120});
  const Plan plan = run_and_compare({apart});
  if (Engine::shared().device().info().id != "cpu") return;
  EXPECT_EQ(names(plan), "contraction ");
}

// Behind a norm: numbers of a channel scale what is multiplied.
TEST(Convolutions, HaveGradientsThatAreProducts) {
  for (const std::int64_t stride : {1, 2}) {
    for (const std::int64_t kernel : {1, 3}) {
      Tensor x = fixed(numbers({2, 32, 24, 24}, 1));
      Tensor weight = fixed(numbers({48, 32, kernel, kernel}, 2));
      x.requires_grad_();
      weight.requires_grad_();
      const Tensor scaled = relu(x * fixed(numbers({1, 32, 1, 1}, 3)));
      const Tensor y = conv2d(scaled, weight, {}, with(stride, kernel / 2));
      const Tensor g = fixed(numbers({1, 48, 1, 1}, 5)) * fixed(numbers(y.shape(), 4));
      (y * g).sum().backward();
      const Plan plan = run_and_compare({x.grad(), weight.grad()}, {}, 2e-3);
      if (Engine::shared().device().info().id != "cpu") continue;
      EXPECT_NE(names(plan).find("contraction_and_contraction"), std::string::npos) << names(plan);
      EXPECT_EQ(names(plan).find("reduce"), std::string::npos) << names(plan);
    }
  }
}

TEST(Pooling, OfWindowsThatOverlapHasAGradientWithoutTheProductBehindIt) {
  Tensor x = fixed(numbers({2, 16, 32, 32}, 1));
  x.requires_grad_();
  const Tensor pooled = max_pool2d(x, 3, {.stride = 2, .padding = 1});
  const Tensor y = conv2d(pooled, fixed(numbers({32, 16, 3, 3}, 2)), {}, with(1, 1));
  (y * fixed(numbers(y.shape(), 3))).sum().backward();
  const Plan plan = run_and_compare({x.grad()}, {}, 2e-3);
  if (Engine::shared().device().info().id != "cpu") return;
  EXPECT_NE((" " + names(plan)).find(" contraction "), std::string::npos) << names(plan);
}

}  // namespace
}  // namespace brisk
