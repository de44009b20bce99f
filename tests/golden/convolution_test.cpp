// Convolutions of small images and their concatenations: which kernels they become, and that their
// values are right at sizes that fill vectors and panels and sizes that do not.
#include "brisk/functional.h"
#include "golden/compiled.h"
#include "graph/rules_simplify.h"
#include "kernel/lower.h"
#include "optimize/optimize.h"
#include "schedule/fuse.h"

namespace brisk {
namespace {

Tensor fixed(const Tensor& x) { return x.realize(); }

struct Convolution {
  std::int64_t out, kernel = 1, stride = 1, dilation = 1;
  bool padded = true;  // so that the image keeps its size
};

Tensor convolve(const Tensor& x, const Convolution& of) {
  ConvOptions options;
  options.stride = of.stride;
  options.dilation = of.dilation;
  options.padding = of.padded ? of.kernel / 2 * of.dilation : 0;
  const Tensor weight = fixed(numbers({of.out, x.shape()[1], of.kernel, of.kernel}, 2));
  return relu(conv2d(x, weight, fixed(numbers({of.out}, 3)), options));
}

Tensor image(std::int64_t batch, std::int64_t channels, std::int64_t height, std::int64_t width) {
  return fixed(numbers({batch, channels, height, width}, 1));
}

// On other devices than the CPU other strategies take them: there only values count.
void expect_kernel(const Tensor& result, const std::string& name) {
  const Plan plan = run_and_compare({result});
  if (Engine::shared().device().info().id != "cpu") return;
  EXPECT_EQ(names(plan), name + " ");
}

TEST(ConvolutionRows, FollowEachOtherInOnePhase) {
  for (const std::int64_t width : {7, 13, 27, 33, 55}) {
    SCOPED_TRACE(width);
    for (const Convolution of : {Convolution{40, 3}, {40, 5}, {40, 3, 1, 2}}) {
      const Tensor y = convolve(image(2, 24, 13, width), of);
      const KernelList list = fuse(std::vector<Node>{simplify(node_of(y))});
      ASSERT_EQ(list.kernels.size(), 1U);
      const Lowering lowering = lower(list.kernels[0].outputs, list.stored);
      for (const char* cpu : {"x86-64-v2", "x86-64-v3", "x86-64-v4", "neoverse-n1"}) {
        const Kernel kernel = optimize(lowering.kernel, target_for(cpu));
        EXPECT_EQ(kernel.name, "contraction") << cpu;
        EXPECT_EQ(phases_of(kernel).size(), 1U) << cpu;
      }
    }
    expect_kernel(convolve(image(2, 24, 13, width), {40, 3}), "contraction");
    expect_kernel(convolve(image(1, 24, 7, width), {40, 5}), "contraction");
    expect_kernel(convolve(image(1, 24, 9, width), {40, 3, 1, 2}), "contraction");
    run_and_compare({convolve(image(1, 24, 13, width), {40, 3, 2})});
    run_and_compare({convolve(image(1, 24, 13, width), {40, 3, 1, 1, false})});
  }
}

TEST(ConvolutionRows, TakeWhatStandsBeforeAndAfter) {
  const Tensor x = image(1, 32, 13, 13);
  const Tensor before = relu(x * 2 + fixed(numbers({1, 32, 1, 1}, 4)));
  expect_kernel(convolve(before, {32, 3}) + x, "contraction");
}

TEST(ConvolutionColumns, ThatFillNoPanelAreComputedInFewerVectors) {
  for (const std::int64_t columns : {9, 15, 16, 17, 41, 48, 73})
    expect_kernel(convolve(image(1, 64, 1, columns), {40}), "contraction");
}

// Of few channels, several panels; of many, with a weight that no core keeps, all of them.
TEST(ConvolutionColumns, OfSeveralPanelsAreOneTask) {
  expect_kernel(convolve(image(1, 3, 63, 223), {40, 3, 2, 1, false}), "contraction");
  expect_kernel(convolve(image(2, 16, 40, 41), {40}), "contraction");
  expect_kernel(convolve(image(1, 900, 7, 15), {400}), "contraction");
}

TEST(Concatenations, OfConvolutionsAreOneKernelWithoutACopy) {
  const Tensor x = image(1, 24, 13, 13);
  const Tensor narrow = convolve(x, {40});
  const Tensor wide = convolve(x, {48, 3});
  const std::string two = "contraction_and_contraction";
  expect_kernel(cat({narrow, wide}, 1), two);
  expect_kernel(cat({narrow, wide, convolve(x, {24, 5})}, 1), two + "_and_contraction");
  expect_kernel(cat({convolve(x, {40}), convolve(image(3, 24, 13, 13), {40, 3})}, 0), two);
  expect_kernel(cat({narrow, convolve(image(1, 24, 13, 20), {40, 3})}, 3), two);
}

TEST(Concatenations, OfConvolutionsAndWhatIsThereComputeTheseOnce) {
  const Tensor x = image(1, 24, 27, 27);
  expect_kernel(cat({x, convolve(x, {40, 3})}, 1), "map_and_contraction");
  run_and_compare({cat({convolve(x, {40, 3}), x, convolve(x, {16})}, 1) * 2});
}

TEST(Concatenations, AsSumsOfWhatIsPaddedAreOneKernel) {
  const auto product = [](std::int64_t columns) {
    const Tensor weight = fixed(numbers({64, columns}, 2));
    return matmul(fixed(numbers({40, 64}, 1)), weight);
  };
  const Tensor y =
      pad(product(48), {0, 64}) + pad(product(32), {48, 32}) + pad(product(32), {80, 0});
  expect_kernel(y, "contraction_and_contraction_and_contraction");
}

TEST(Concatenations, OfOneSumTwiceAreNotCut) {
  const Tensor y = sum(fixed(numbers({40, 60, 50}, 1)), {1}, true);
  run_and_compare({cat({y, y * 2}, 1)});
  run_and_compare({cat({y, -y, y * y}, 0)});
}

// Windows read every place of what is concatenated several times.
TEST(Concatenations, ThatAreReadAgainAreStored) {
  const Tensor x = image(1, 24, 13, 13);
  const Tensor both = cat({convolve(x, {40}), convolve(x, {40, 3})}, 1);
  const Plan plan = run_and_compare({max_pool2d(both, 3), convolve(both, {16})});
  if (Engine::shared().device().info().id != "cpu") return;
  EXPECT_EQ(names(plan).find("contraction_and_contraction "), 0U) << names(plan);
}

}  // namespace
}  // namespace brisk
