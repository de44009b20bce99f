// Kernels as OpenCL C: the text of a small one, and what a device cannot have. That the text
// computes the right values, the operators' table says on a device (ctest -L opencl).
#include "codegen/opencl_c/render.h"

#include <gtest/gtest.h>

#include "base/error.h"

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
