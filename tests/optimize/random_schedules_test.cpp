// Programs of random graphs, their kernels interpreted, against the evaluator.
#include "optimize/random_program.h"

namespace brisk {
namespace {

TEST(ScheduleRandom, programsHaveTheGraphsValues) {
  const char* cpus[] = {"x86-64-v2", "x86-64-v3", "sapphirerapids", "neoverse-n1"};
  int kernels = 0;
  for (unsigned seed = 0; seed < 1'000 && !HasFailure(); ++seed) {
    const Target target = target_for(cpus[seed % 4 ^ seed / 4 % 4]);
    expect_the_programs_values(
        seed, target, kernels,
        [](const Kernel& kernel, const auto& buffers) { interpret(kernel, buffers, {}); });
  }
  EXPECT_GT(kernels, 1'000);
}

TEST(ScheduleRandom, programsOfGroupsOfThreadsHaveTheGraphsValues) {
  const char* processors[] = {"sm_75", "sm_80", "sm_90a"};
  int kernels = 0;
  for (unsigned seed = 2'000; seed < 2'400 && !HasFailure(); ++seed) {
    expect_the_programs_values(
        seed, target_for(processors[seed % 3]), kernels,
        [](const Kernel& kernel, const auto& buffers) { interpret(kernel, buffers, {}); });
  }
  EXPECT_GT(kernels, 400);
}

}  // namespace
}  // namespace brisk
