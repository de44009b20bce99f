// Kernels for NVIDIA's processors as far as they go without one: PTX, assembled for each of them.
#include "codegen/ptx.h"

#include "codegen/run_kernel.h"
#include "graph/integer.h"
#include "optimize/random_program.h"
#include "optimize/tile_program.h"

namespace brisk {
namespace {

constexpr std::array<const char*, 5> processors = {"sm_75", "sm_80", "sm_86", "sm_89", "sm_90a"};

class Ptx : public testing::TestWithParam<const char*> {
 protected:
  Target target_ = target_for(GetParam());
};

Node number(std::int64_t value) { return constant_int(value); }

TEST_P(Ptx, threadsOfAGroupShareMemoryAndAddUp) {
  BRISK_WANT_PTXAS();
  const Node in = make_param(0, DType::float32);
  const Node out = make_param(1, DType::float32);
  const Node group = make_range(0, 10);
  const Node one = make_range(1, 256);
  const Node other = make_range(2, 256);
  const Node sum = make_local(0, DType::float32, 1, Memory::registers);
  const Node shared = make_local(1, DType::float32, 256, Memory::shared);
  const Node at = add(mul(group, number(256)), one);
  Kernel kernel = test::kernel_of(
      "sums", {DType::float32, DType::float32},
      loop(LoopKind::parallel, group,
           block({loop(LoopKind::threads, one,
                       block({store_to(shared, one, load_from(in, at)),
                              store_to(sum, number(0), load_from(in, at))})),
                  group_reduce(ReduceOp::add, sum, 0, 1, 256, 256),
                  loop(LoopKind::threads, other,
                       store_to(out, add(mul(group, number(256)), other),
                                add(load_from(shared, integer_sub(number(255), other)),
                                    load_from(sum, number(0)))))})));
  verify_kernel(kernel, "test");
  const std::string text = assembly(kernel, target_);
  EXPECT_NE(text.find("bar.sync"), std::string::npos) << text;
  EXPECT_NE(text.find("shfl.sync.bfly.b32"), std::string::npos) << text;
  // Loads that do not see what is written meanwhile: never where the kernel before may still run.
  EXPECT_EQ(text.find("ld.global.nc") != std::string::npos, !target_.overlaps_launches) << text;
  test::assemble(kernel, target_);
}

TEST_P(Ptx, shortIntegersAddUpOneByOne) {
  BRISK_WANT_PTXAS();
  const Node a = make_param(0, DType::uint8);
  const Node b = make_param(1, DType::uint8);
  const Node out = make_param(2, DType::uint8);
  const Node group = make_range(0, 10);
  const Node one = make_range(1, 256);
  const Node at = mul(add(mul(group, number(256)), one), number(2));
  Kernel kernel = test::kernel_of(
      "bytes", {DType::uint8, DType::uint8, DType::uint8},
      loop(
          LoopKind::parallel, group,
          block({loop(LoopKind::threads, one,
                      store_to(out, at, add(load_from(a, at, {}, 2), load_from(b, at, {}, 2))))})));
  verify_kernel(kernel, "test");
  const std::string text = assembly(kernel, target_);
  EXPECT_EQ(text.find("s16x2"), std::string::npos) << text;
  test::assemble(kernel, target_);
}

TEST_P(Ptx, programsOfRandomGraphsAssemble) {
  BRISK_WANT_PTXAS();
  int kernels = 0;
  const unsigned first = 1000 * static_cast<unsigned>(GetParam()[4] - '0');
  for (unsigned seed = first; seed < first + 15 && !HasFailure(); ++seed) {
    expect_the_programs_values(seed, target_, kernels,
                               [&](const Kernel& kernel, const auto& buffers) {
                                 interpret(kernel, buffers, {});
                                 test::assemble(kernel, target_);
                               });
  }
  EXPECT_GT(kernels, 15);
}

// Matrix products whose sums lie in registers and stay there, but for as many bytes as are known to
// find no room.
void assembles_without_spills(test::TileProgram program,
                              const Target& target = target_for("sm_90a"), std::int64_t known = 0) {
  program.run(target, [&](const Kernel& kernel, const auto&) {
    const std::string said = test::assemble(kernel, target);
    EXPECT_EQ(said.find("C75"), std::string::npos) << said;
    for (std::size_t at = said.find("bytes spill stores"); at != std::string::npos;
         at = said.find("bytes spill stores", at + 1)) {
      const std::size_t begin = said.find_last_not_of("0123456789", at - 2) + 1;
      EXPECT_LE(std::stoll(said.substr(begin, at - 1 - begin)), known) << said;
    }
  });
}

class PtxTiles : public testing::TestWithParam<test::TileCase> {};
TEST_P(PtxTiles, productsAssembleWithoutSpills) {
  BRISK_WANT_PTXAS();
  assembles_without_spills(test::TileProgram(GetParam()));
}

class PtxSharers : public testing::TestWithParam<test::TileCase> {};
TEST_P(PtxSharers, copyTilesToEachOther) {
  BRISK_WANT_PTXAS();
  test::TileProgram program(GetParam());
  const Target target = target_for("sm_90a");
  bool shared = false;
  program.run(
      target,
      [&](const Kernel& kernel, const auto&) {
        const std::string text = assembly(kernel, target);
        shared = shared || text.find(".multicast::cluster") != std::string::npos;
        EXPECT_EQ(text.find(".reqnctapercluster 2, 1, 1") != std::string::npos,
                  text.find(".multicast::cluster") != std::string::npos);
        test::assemble(kernel, target);
      },
      test::two_sharers);
  EXPECT_TRUE(shared) << program.text;
}
INSTANTIATE_TEST_SUITE_P(Cases, PtxSharers, testing::ValuesIn(test::shared_cases()),
                         [](const auto& info) { return test::name_of(info); });

class PtxGroups : public testing::TestWithParam<test::TileCase> {};
TEST_P(PtxGroups, productsAssembleWithoutSpills) {
  BRISK_WANT_PTXAS();
  for (const char* cpu : {"sm_75", "sm_90a"}) {
    for (const int processors : {1, 128}) {  // large tiles, and small ones
      Target target = target_for(cpu);
      target.threads = processors;
      assembles_without_spills(test::TileProgram(GetParam()), target);
    }
  }
}

class PtxConvolution : public testing::TestWithParam<test::ConvolutionCase> {};
TEST_P(PtxConvolution, tilesAssembleWithoutSpills) {
  BRISK_WANT_PTXAS();
  assembles_without_spills(test::TileProgram(GetParam()));
}

class PtxAttention : public testing::TestWithParam<test::AttentionCase> {};
TEST_P(PtxAttention, tilesAssembleWithoutSpills) {
  BRISK_WANT_PTXAS();
  assembles_without_spills(test::TileProgram(GetParam()), target_for("sm_90a"), GetParam().spilled);
}

INSTANTIATE_TEST_SUITE_P(Cases, PtxAttention, testing::ValuesIn(test::attention_cases()),
                         [](const auto& info) { return test::name_of(info); });
INSTANTIATE_TEST_SUITE_P(Cases, PtxConvolution, testing::ValuesIn(test::convolution_cases()),
                         [](const auto& info) { return test::name_of(info); });
INSTANTIATE_TEST_SUITE_P(Cases, PtxGroups, testing::ValuesIn(test::group_cases()),
                         [](const auto& info) { return test::name_of(info); });
INSTANTIATE_TEST_SUITE_P(Cases, PtxTiles, testing::ValuesIn(test::tile_cases()),
                         [](const auto& info) { return test::name_of(info); });

INSTANTIATE_TEST_SUITE_P(Processors, Ptx, testing::ValuesIn(processors),
                         [](const auto& info) { return info.param; });

}  // namespace
}  // namespace brisk
