// Products in tiles of registers, as this machine runs them, against the evaluator.
#include "codegen/run_kernel.h"
#include "kernel/panel_product.h"
#include "optimize/tile_program.h"

namespace brisk {
namespace {

using namespace test;

class RegisterTilesOfHost : public testing::TestWithParam<TileCase> {};

TEST_P(RegisterTilesOfHost, HaveTheGraphsValues) {
  const Target target = host_target();
  if (!target.has_tile_dot) GTEST_SKIP() << "this processor has no tiles of registers";
  TileProgram program(GetParam());
  const auto names = program.run(target, [&](const Kernel& kernel, const auto& buffers) {
    std::vector<std::span<std::byte>> spans;
    for (const HostBuffer& buffer : buffers)
      spans.emplace_back(buffer.bytes, static_cast<std::size_t>(buffer.size));
    test::Run launch;
    for (auto& span : spans) launch.buffers.emplace_back(span);
    run(kernel, std::move(launch), target);
  });
  EXPECT_TRUE(names.back().starts_with("contraction_tiles_")) << names.back();
  const Array wanted = program.wanted();
  const auto bytes = std::span(program.result.bytes, wanted.bytes.size());
  EXPECT_TRUE(std::equal(bytes.begin(), bytes.end(), wanted.bytes.begin())) << program.text;
}

INSTANTIATE_TEST_SUITE_P(Cases, RegisterTilesOfHost, testing::ValuesIn(register_tile_cases()),
                         [](const auto& info) { return name_of(info); });

// All four pairs of signs, and rows that are not all there.
TEST(RegisterTilesOfHost, MultiplyBytesOfAnySign) {
  const Target target = host_target();
  if (!target.has_tile_dot) GTEST_SKIP() << "this processor has no tiles of registers";
  for (const DType a : {DType::int8, DType::uint8}) {
    for (const DType b : {DType::int8, DType::uint8}) {
      for (const std::int64_t there : {1, 16, 19, 32}) {
        const PanelProduct product = {32, 32, 32, 3};
        const std::int64_t apart = 112, count = 3 * 32 * 32;
        const Node sums = make_local(0, DType::int32, count, brisk::Memory::scratch);
        const Node rows = make_param(0, a), panel = make_param(1, b);
        const Node result = make_param(2, DType::int32);
        const Node i = make_range(0, count);
        const Node last = make_range(1, 1);
        const Node body =
            block({panel_product(product, sums, {rows, constant_int(2), constant_int(apart)},
                                 {panel, constant_int(4)}, constant_int(there)),
                   loop(LoopKind::serial, i, store_to(result, i, load_from(sums, i)))});
        const Kernel kernel =
            kernel_of("product", {a, b, DType::int32}, loop(LoopKind::serial, last, body));
        verify_kernel(kernel, "test");
        std::vector<std::byte> x(2 + static_cast<std::size_t>(there * apart)), y(4 + 96 * 32);
        std::mt19937 random(1);
        for (auto* bytes : {&x, &y}) {
          for (std::byte& each : *bytes) each = static_cast<std::byte>(random());
        }
        std::vector<std::int32_t> got(count), wanted(count);
        run(kernel, {.buffers = {x, y, got}}, target);
        const auto of = [](auto& all) {
          return HostBuffer{reinterpret_cast<std::byte*>(all.data()),
                            static_cast<std::int64_t>(all.size() * sizeof(all[0]))};
        };
        interpret(kernel, std::vector{of(x), of(y), of(wanted)}, {});
        for (std::size_t at = 0; at < got.size(); ++at) {
          if (static_cast<std::int64_t>(at) / 32 % 32 >= there) continue;
          ASSERT_EQ(got[at], wanted[at]) << at;
        }
      }
    }
  }
}

}  // namespace
}  // namespace brisk
