// Loops, branches, gates, gathers, locals, scratch, phases and variables of kernels, compiled and
// run.
#include <gtest/gtest.h>

#include <numeric>

#include "codegen/run_kernel.h"

namespace brisk {
namespace {

using test::kernel_of;
using test::Run;

constexpr DType f32 = DType::float32;

std::vector<float> counting(std::size_t n, float first = 0) {
  std::vector<float> v(n);
  std::iota(v.begin(), v.end(), first);
  return v;
}

TEST(Statements, AParallelLoopOfVectorsAddsTwoArrays) {
  const Node a = make_param(0, f32);
  const Node b = make_param(1, f32);
  const Node c = make_param(2, f32);
  const Node i = make_range(0, 64);
  const Node at = mul(i, constant_int(16));
  const Kernel kernel =
      kernel_of("add", {f32, f32, f32},
                loop(LoopKind::parallel, i,
                     store_to(c, at, add(load_from(a, at, {}, 16), load_from(b, at, {}, 16)))));
  auto x = counting(1024);
  auto y = counting(1024, 5);
  std::vector<float> z(1024);
  test::run(kernel, {{x.data(), y.data(), z.data()}, {}});
  for (std::size_t k = 0; k < z.size(); ++k) ASSERT_EQ(z[k], x[k] + y[k]);
}

}  // namespace
}  // namespace brisk
