// Optimized kernels of random graphs, verified and interpreted, against the evaluator: for every
// kind of target and for sizes that fill vectors, tiles and tasks or leave a rest.
#include "kernel/random_graph.h"
#include "optimize/optimize.h"

namespace brisk {
namespace {

class OptimizeRandom : public testing::TestWithParam<const char*> {};

TEST_P(OptimizeRandom, kernelsHaveTheGraphsValues) {
  const Target target = target_for(GetParam());
  int kernels = 0;
  for (unsigned seed = 0; seed < 600 && !HasFatalFailure(); ++seed) {
    const int largest[] = {4, 20, 60, 150};
    expect_the_evaluators_values(seed, largest[seed % 4],
                                 [&](const LoweredKernel& lowered, const auto& buffers) {
                                   const Kernel kernel = optimize(lowered, target);
                                   SCOPED_TRACE(print(kernel));
                                   verify_kernel(kernel, "optimize");
                                   interpret(kernel, buffers, {});
                                   ++kernels;
                                 });
  }
  EXPECT_GT(kernels, 500);
}

INSTANTIATE_TEST_SUITE_P(Targets, OptimizeRandom,
                         testing::Values("x86-64-v2", "x86-64-v3", "x86-64-v4", "sapphirerapids",
                                         "neoverse-n1", "sm_75", "sm_90a"),
                         [](const auto& param) {
                           std::string name = param.param;
                           for (char& c : name) c = c == '-' ? '_' : c;
                           return name;
                         });

}  // namespace
}  // namespace brisk
