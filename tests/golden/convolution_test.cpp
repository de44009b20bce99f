// Convolutions of small images: which kernels they become, and that their
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

}  // namespace
}  // namespace brisk
