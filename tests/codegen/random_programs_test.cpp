// Programs of random graphs, their kernels compiled for this machine and run, against the
// evaluator.
#include "codegen/run_kernel.h"
#include "optimize/random_program.h"

namespace brisk {
namespace {

TEST(CodegenRandom, compiledProgramsHaveTheGraphsValues) {
  int kernels = 0;
  for (unsigned seed = 10'000; seed < 10'100 && !HasFailure(); ++seed) {
    expect_the_programs_values(
        seed, host_target(), kernels, [](const Kernel& kernel, const auto& buffers) {
          std::vector<std::span<std::byte>> bytes;
          for (const HostBuffer& buffer : buffers) {
            bytes.emplace_back(buffer.bytes, static_cast<std::size_t>(buffer.size));
          }
          test::run(kernel, {{bytes.begin(), bytes.end()}, {}, {}, {}});
        });
  }
  EXPECT_GT(kernels, 100);
}

}  // namespace
}  // namespace brisk
