// Kernels as OpenCL C: the text of a small one, and what a device cannot have. That the text
// computes the right values, the operators' table says on a device (ctest -L opencl).
#include "codegen/opencl_c/render.h"

#include <gtest/gtest.h>

#include "base/error.h"
#include "graph/integer.h"

namespace brisk {
namespace {

Target opencl() {
  Target target;
  target.isa = Isa::opencl_c;
  target.cpu = "Some Device";
  return target;
}

Kernel doubled(DType dtype, int lanes) {
  const Node task = make_range(0, 4);
  const Node at = mul(task, constant_int(lanes));
  const Node value = load_from(make_param(0, dtype), at, {}, lanes);
  Kernel kernel;
  kernel.name = "doubled";
  kernel.params = {{dtype, false, true}, {dtype, true, false}};
  kernel.body =
      loop(LoopKind::parallel, task, store_to(make_param(1, dtype), at, add(value, value)));
  return kernel;
}

void expect_part(const std::string& text, const std::string& part) {
  EXPECT_NE(text.find(part), std::string::npos) << part << " is not in\n" << text;
}

TEST(OpenClC, ATaskIsAWorkItemOfThePhasesFunction) {
  const std::string text = opencl_source(doubled(DType::float32, 8), opencl());
  EXPECT_TRUE(text.starts_with("// OpenCL C of the kernel doubled\n")) << text;
  expect_part(text, "void brisk_doubled_0(__global uchar* restrict b0, const long at0");
  expect_part(text, "const long i0 = first + (long)get_global_id(0);");
  expect_part(text, "vload8(0, p0 + ");
  expect_part(text, "vstore8(");
}

Target opencl_groups() {
  Target target = opencl();
  target.group_threads = 256;
  target.group_step = 32;
  target.shared_bytes = 32 << 10;
  return target;
}

// Groups of 64 threads: each has an element of p0, four neighbours add theirs up; then each stores
// the sum that the thread on the other side has put into shared memory.
Kernel neighbours(DType dtype) {
  const Node group = make_range(0, 10);
  const Node one = make_range(1, 64);
  const Node other = make_range(2, 64);
  const Node sum = make_local(0, dtype, 1, Memory::registers);
  const Node shared = make_local(1, dtype, 64, Memory::shared);
  const auto at = [&](const Node& thread) { return add(mul(group, constant_int(64)), thread); };
  const Node zero = constant_int(0);
  Kernel kernel;
  kernel.name = "neighbours";
  kernel.params = {{dtype, false, true}, {dtype, true, false}};
  kernel.body =
      loop(LoopKind::parallel, group,
           block({loop(LoopKind::threads, one,
                       store_to(sum, zero, load_from(make_param(0, dtype), at(one)))),
                  group_reduce(ReduceOp::add, sum, 0, 1, 4, 64),
                  loop(LoopKind::threads, one, store_to(shared, one, load_from(sum, zero))),
                  loop(LoopKind::threads, other,
                       store_to(make_param(1, dtype), at(other),
                                load_from(shared, integer_sub(constant_int(63), other))))}));
  return kernel;
}

std::size_t count(const std::string& text, const std::string& part) {
  std::size_t times = 0;
  for (std::size_t at = 0; (at = text.find(part, at)) != std::string::npos; ++at) ++times;
  return times;
}

TEST(OpenClC, AGroupOfThreadsIsAWorkGroupThatMeetsWhereItsThreadsReadEachOther) {
  const std::string text = opencl_source(neighbours(DType::float32), opencl_groups());
  expect_part(text, "reqd_work_group_size(64, 1, 1)");
  expect_part(text, "= first + (long)get_group_id(0);");
  expect_part(text, "__local float s1[64] __attribute__((aligned(16)));");
  const std::string phase = text.substr(text.find("void brisk_neighbours_0"));
  // Between the store to shared memory and what others read of it, and nowhere else.
  EXPECT_EQ(count(phase, "barrier("), 1U) << text;
  EXPECT_LT(phase.find("s1[i1]"), phase.find("barrier(")) << text;
  EXPECT_LT(phase.find("barrier("), phase.find("= s1[")) << text;
}

TEST(OpenClC, ThreadsAddUpInLocalMemoryOrBySubGroups) {
  const Kernel kernel = neighbours(DType::float32);
  Target target = opencl_groups();
  expect_part(opencl_source(kernel, target), "room[thread ^ 3]");
  EXPECT_EQ(count(opencl_source(kernel, target), "sub_group"), 0U);
  target.has_exchange = true;
  const std::string text = opencl_source(kernel, target);
  expect_part(text, "cl_khr_subgroup_shuffle : enable");
  expect_part(text, "sub_group_shuffle_xor(x, distance)");
}

TEST(OpenClC, NeighboursThatAreAlignedAreOneVector) {
  const std::string text = opencl_source(
      [] {
        Kernel kernel = doubled(DType::float32, 8);
        const Node thread = make_range(7, 1);
        kernel.body = loop(LoopKind::parallel, kernel.body.src(0),
                           loop(LoopKind::threads, thread, kernel.body.src(1)));
        return kernel;
      }(),
      opencl_groups());
  expect_part(text, "(float8)(*(const __global float4*)(p0 + ");
  expect_part(text, "*(__global float4*)(p1 + ");
  EXPECT_EQ(count(text, "vload"), 0U) << text;
}

TEST(OpenClC, BytesAreMultipliedFourAtATimeWhereTheDeviceCan) {
  const auto product = [](DType a, DType b) {
    const Node zero = constant_int(0);
    Kernel kernel;
    kernel.name = "product";
    kernel.params = {{a, false, true}, {b, false, true}, {DType::int32, true, false}};
    kernel.body =
        store_to(make_param(2, DType::int32), zero,
                 dot(constant_int(5, DType::int32), load_from(make_param(0, a), zero, {}, 4),
                     load_from(make_param(1, b), zero, {}, 4)));
    return kernel;
  };
  Target target = opencl();
  EXPECT_EQ(count(opencl_source(product(DType::uint8, DType::int8), target), "dot_4x8"), 0U);
  target.has_int8_dot = true;
  expect_part(opencl_source(product(DType::uint8, DType::int8), target),
              "dot_4x8packed_us_int(as_uint(");
  expect_part(opencl_source(product(DType::int8, DType::int8), target), "dot_4x8packed_ss_int(");
  expect_part(opencl_source(product(DType::uint8, DType::uint8), target), "dot_4x8packed_uu_uint(");
}

TEST(OpenClC, LanesThatOpenClHasNotAreSeveralVectors) {
  const std::string text = opencl_source(doubled(DType::float32, 11), opencl());
  expect_part(text, "vload8(0, ");
  expect_part(text, "vload2(0, ");
}

TEST(OpenClC, SignedIntegersWrapThroughUnsignedOnes) {
  expect_part(opencl_source(doubled(DType::int32, 1), opencl()), "(int)((uint)");
  expect_part(opencl_source(doubled(DType::int32, 4), opencl()), "as_int4(as_uint4(");
}

TEST(OpenClC, NarrowFloatsAreWidenedAndRounded) {
  const std::string text = opencl_source(doubled(DType::float16, 4), opencl());
  expect_part(text, "from_float16_4(");
  expect_part(text, "to_float16_4(");
}

TEST(OpenClC, ALoopsBoundIsComparedAsAWhole) {
  const Node n = variable("n", 1, 100);
  const Node least = where(cmplt(n, constant_int(50)), n, constant_int(50));
  const Node i = make_range(1, Size(least));
  Kernel kernel = doubled(DType::float32, 1);
  kernel.variables = {n};
  kernel.body =
      loop(LoopKind::serial, i, store_to(make_param(1, DType::float32), i, constant_float(1)));
  expect_part(opencl_source(kernel, opencl()), "; i1 < ((n0 < 50L) ? n0 : 50L); ++i1");
}

TEST(OpenClC, Float64OnADeviceWithoutItIsTheUsersErrorAndSaysWhatToDo) {
  Target target = opencl();
  target.has_float64 = false;
  try {
    opencl_source(doubled(DType::float64, 1), target);
    FAIL() << "no error";
  } catch (const UserError& error) {
    const std::string what = error.what();
    expect_part(what, "Some Device has no float64");
    expect_part(what, "the kernel doubled");
    expect_part(what, "use float32");
  }
}

}  // namespace
}  // namespace brisk
