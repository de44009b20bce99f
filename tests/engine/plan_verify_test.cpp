// BRISK_VERIFY: a kernel that computes something else is caught and named; right ones pass.
#include <fmt/core.h>
#include <gtest/gtest.h>
#include <unistd.h>

#include <cstdlib>
#include <filesystem>

#include "base/error.h"
#include "base/options.h"
#include "engine/compile.h"
#include "engine/engine.h"
#include "engine/kernel_cache.h"
#include "engine/verify.h"
#include "kernel/lower.h"

namespace brisk {
namespace {

Node numbers() {
  std::vector<float> values(100);
  for (std::size_t i = 0; i < values.size(); ++i) values[i] = static_cast<float>(i) + 1;
  return Engine::shared().upload(DType::float32, {100}, std::as_bytes(std::span(values)), nullptr);
}

LoweredKernel lowered(const Node& root) { return lower({root}, {root}).kernel; }

// Runs the code of `code` as if it were that of `text`.
void launch(const Node& code, const Node& text) {
  Engine& engine = Engine::shared();
  const LoweredKernel kernel = lowered(code);
  Decisions decisions;
  const KernelCode compiled = compile_kernel(kernel, engine.target(), decisions);
  const auto program = engine.device().load(compiled.code.object, compiled.code.symbol);
  const std::shared_ptr<Buffer> out = engine.device().allocate(400);
  const auto in = std::dynamic_pointer_cast<Buffer>(numbers().attr().storage);
  // In the order of the kernel's params: the input is read first.
  const std::vector<ArgumentMemory> arguments = {{in, 0, 400}, {out, 0, 400}};
  const std::vector<void*> buffers = {in->address(), out->address()};
  const std::vector<std::int64_t> tasks(compiled.header.phase_tasks.size(), 1);
  Launch launch;
  launch.program = program.get();
  launch.buffers = buffers;
  launch.phase_tasks = tasks;
  launch.phase_needs = compiled.header.phase_needs;
  launch_verified(engine.device(), launch, compiled.header.name, lowered(text), arguments);
}

TEST(PlanVerify, AKernelThatComputesSomethingElseIsNamedWithItsTextAndBothValues) {
  const Node x = numbers();
  const Node twice = mul(x, constant_float(2));
  Node broken = where(cmplt(x, constant_float(50)), twice, x);
  launch(twice, twice);
  try {
    launch(broken, twice);
    FAIL() << "no error";
  } catch (const InternalError& error) {
    const std::string text = error.what();
    EXPECT_NE(text.find("map': argument p1"), std::string::npos) << text;
    EXPECT_NE(text.find("argument p1 (float32), element 49 is 50, the interpreter says 100"),
              std::string::npos)
        << text;
    EXPECT_NE(text.find("p1[r0] = (p0[r0] * 2)"), std::string::npos) << text;
  }
}

TEST(PlanVerify, RoundingIsNoDifference) {
  const Node x = numbers();
  const Node third = mul(x, constant_float(1.0 / 3));
  launch(mul(x, constant_float(1.0 / 3 * (1 + 1e-6))), third);
  EXPECT_THROW(launch(mul(x, constant_float(1.0 / 3 * (1 + 1e-2))), third), InternalError);
}

// Runs in a process of its own, which has BRISK_VERIFY set.
TEST(PlanVerify, ALiveRunOfABrokenKernelThrows) {
  if (!options().verify) GTEST_SKIP() << "needs BRISK_VERIFY=1; ALiveRunIsVerified starts it so";
  Engine& engine = Engine::shared();
  const Node x = numbers();
  const Node twice = mul(x, constant_float(2));
  const Node thrice = mul(x, constant_float(3));
  EXPECT_EQ(engine.realize({{twice}}).size(), 1U);
  // The cache gives the code of one under the name of the other.
  const auto wrong = KernelCache::shared().find(kernel_key(lowered(twice), engine.target()));
  ASSERT_TRUE(wrong);
  KernelCache::shared().insert(kernel_key(lowered(thrice), engine.target()), *wrong);
  EXPECT_THROW(engine.realize({{thrice}}), InternalError);
}

TEST(PlanVerify, ALiveRunIsVerified) {
  const auto cache =
      std::filesystem::temp_directory_path() / fmt::format("brisk-verify-{}", ::getpid());
  const std::string program = std::filesystem::read_symlink("/proc/self/exe");
  const std::string command = fmt::format(
      "BRISK_VERIFY=1 BRISK_CACHE='{}' '{}' --gtest_filter='Realize.*:PlanVerify.ALiveRunOf*' "
      ">'{}.log' 2>&1",
      cache.string(), program, cache.string());
  EXPECT_EQ(std::system(command.c_str()), 0) << "see " << cache.string() << ".log";
  std::filesystem::remove_all(cache);
  if (!HasFailure()) std::filesystem::remove(cache.string() + ".log");
}

}  // namespace
}  // namespace brisk
