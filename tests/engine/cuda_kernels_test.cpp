// Kernels on NVIDIA's GPUs against the evaluator. Where there is none, the tests say so.
#include <gtest/gtest.h>

#include "device/cuda/cuda_device.h"
#include "engine/backends.h"
#include "engine/compile.h"
#include "optimize/random_program.h"
#include "optimize/tile_program.h"

namespace brisk {
namespace {

class Gpu {
 public:
  Gpu() : opened_(open_device("cuda:0")) {}

  const Target& target() const { return opened_.target; }

  // On copies of the buffers, which then get what it wrote.
  void run(const Kernel& kernel, const std::vector<HostBuffer>& buffers) {
    Device& device = *opened_.device;
    const CodeObject code = generator_of(target().isa).compile(kernel, target());
    const auto program = device.load(code.object, code.symbol);
    std::vector<std::shared_ptr<Buffer>> memory;
    std::vector<void*> addresses;
    for (const HostBuffer& buffer : buffers) {
      const auto bytes = static_cast<std::size_t>(buffer.size);
      memory.push_back(device.allocate(bytes));
      device.copy_in(*memory.back(), 0, {buffer.bytes, bytes});
      addresses.push_back(memory.back()->address());
    }
    for (const Kernel::Workspace& space : kernel.workspace) {
      memory.push_back(device.allocate(
          static_cast<std::size_t>(space.elements.value() * byte_size(space.dtype))));
      addresses.push_back(memory.back()->address());
    }
    std::vector<std::int64_t> tasks;
    for (const Size& size : phase_tasks(kernel)) tasks.push_back(size.value());
    const std::vector<PhaseNeeds> needs = phase_needs(kernel);
    std::vector<TileMap> tiles;
    for (const TileView& view : tile_views(kernel)) tiles.push_back(tile_map(view, {}));
    Launch launch;
    launch.program = program.get();
    launch.buffers = addresses;
    launch.phase_tasks = tasks;
    launch.phase_needs = needs;
    launch.tiles = tiles;
    device.launch(launch);
    device.synchronize();
    for (std::size_t i = 0; i < buffers.size(); ++i) {
      if (!kernel.params[i].written) continue;
      device.copy_out({buffers[i].bytes, static_cast<std::size_t>(buffers[i].size)}, *memory[i], 0);
    }
  }

 private:
  OpenDevice opened_;
};

#define BRISK_WANT_GPU() \
  if (cuda_devices().empty()) GTEST_SKIP() << why_no_cuda_devices()

// The same bytes, of kernels made for so many processors, or as many as there are.
void expect_the_graphs_values(test::TileProgram program, int processors = 0,
                              const Decisions::Known& known = {}) {
  Gpu gpu;
  Target target = gpu.target();
  if (processors > 0) target.threads = processors;
  program.run(
      target, [&](const Kernel& kernel, const auto& buffers) { gpu.run(kernel, buffers); }, known);
  const Array wanted = program.wanted();
  const auto got = std::span(program.result.bytes, wanted.bytes.size());
  std::size_t wrong = 0;
  for (std::size_t i = 0; i < got.size(); ++i) wrong += got[i] != wanted.bytes[i] ? 1 : 0;
  EXPECT_EQ(wrong, 0U) << "bytes of " << got.size() << "\n" << program.text;
}

class CudaTiles : public testing::TestWithParam<test::TileCase> {};

TEST_P(CudaTiles, productsHaveTheGraphsValues) {
  BRISK_WANT_GPU();
  expect_the_graphs_values(test::TileProgram(GetParam()));
}

INSTANTIATE_TEST_SUITE_P(Cases, CudaTiles, testing::ValuesIn(test::tile_cases()),
                         [](const auto& info) { return test::name_of(info); });

class CudaSharers : public testing::TestWithParam<test::TileCase> {};

TEST_P(CudaSharers, productsHaveTheGraphsValues) {
  BRISK_WANT_GPU();
  expect_the_graphs_values(test::TileProgram(GetParam()), 0, test::two_sharers);
}

INSTANTIATE_TEST_SUITE_P(Cases, CudaSharers, testing::ValuesIn(test::shared_cases()),
                         [](const auto& info) { return test::name_of(info); });

class CudaGroups : public testing::TestWithParam<test::TileCase> {};

TEST_P(CudaGroups, productsHaveTheGraphsValues) {
  BRISK_WANT_GPU();
  expect_the_graphs_values(test::TileProgram(GetParam()));
  expect_the_graphs_values(test::TileProgram(GetParam()), 1);  // in large tiles
}

INSTANTIATE_TEST_SUITE_P(Cases, CudaGroups, testing::ValuesIn(test::group_cases()),
                         [](const auto& info) { return test::name_of(info); });

class CudaConvolution : public testing::TestWithParam<test::ConvolutionCase> {};

TEST_P(CudaConvolution, tilesHaveTheGraphsValues) {
  BRISK_WANT_GPU();
  expect_the_graphs_values(test::TileProgram(GetParam()));
}

INSTANTIATE_TEST_SUITE_P(Cases, CudaConvolution, testing::ValuesIn(test::convolution_cases()),
                         [](const auto& info) { return test::name_of(info); });

class CudaAttention : public testing::TestWithParam<test::AttentionCase> {};

TEST_P(CudaAttention, tilesHaveTheGraphsValues) {
  BRISK_WANT_GPU();
  Gpu gpu;
  test::TileProgram program(GetParam());
  program.run(gpu.target(),
              [&](const Kernel& kernel, const auto& buffers) { gpu.run(kernel, buffers); });
  EXPECT_LE(test::largest_difference(program.result, program.wanted()), 0.016) << program.text;
}

INSTANTIATE_TEST_SUITE_P(Cases, CudaAttention, testing::ValuesIn(test::attention_cases()),
                         [](const auto& info) { return test::name_of(info); });

TEST(CudaRandom, programsHaveTheGraphsValues) {
  BRISK_WANT_GPU();
  Gpu gpu;
  int kernels = 0;
  for (unsigned seed = 5'000; seed < 5'040 && !HasFailure(); ++seed) {
    expect_the_programs_values(
        seed, gpu.target(), kernels,
        [&](const Kernel& kernel, const auto& buffers) { gpu.run(kernel, buffers); });
  }
  EXPECT_GT(kernels, 40);
}

}  // namespace
}  // namespace brisk
