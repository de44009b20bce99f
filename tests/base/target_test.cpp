// Targets: what is known of named CPUs, and that the machine at hand describes itself consistently.
#include "base/target.h"

#include <gtest/gtest.h>

#include "base/error.h"

namespace brisk {
namespace {

TEST(Target, NamedCpusHaveTheAbilitiesOfTheirLevel) {
  const Target v2 = target_for("x86-64-v2");
  EXPECT_EQ(v2.vector_bytes, 16);
  EXPECT_FALSE(v2.has_fma || v2.has_int8_dot || v2.has_gather || v2.has_masks);
  const Target v3 = target_for("x86-64-v3");
  EXPECT_EQ(v3.lanes(4), 8);
  EXPECT_TRUE(v3.has_fma && v3.has_half_convert && v3.has_gather);
  EXPECT_FALSE(v3.has_masks);
  const Target zen4 = target_for("znver4");
  EXPECT_EQ(zen4.vector_bytes, 64);
  EXPECT_EQ(zen4.vector_registers, 32);
  EXPECT_TRUE(zen4.has_int8_dot && zen4.has_bfloat16_dot && zen4.has_masks);
  EXPECT_FALSE(zen4.has_tile_dot);
  EXPECT_TRUE(target_for("sapphirerapids").has_tile_dot);
  const Target arm = target_for("neoverse-n1");
  EXPECT_EQ(arm.isa, Isa::aarch64);
  EXPECT_EQ(arm.vector_registers, 32);
  EXPECT_TRUE(arm.has_fma && arm.has_int8_dot);
  EXPECT_FALSE(arm.has_bfloat16_dot);
}

TEST(Target, TasksOfGpusAreGroupsOfThreads) {
  for (const char* cpu : {"sm_75", "sm_80", "sm_86", "sm_89", "sm_90a"}) {
    const Target gpu = target_for(cpu);
    EXPECT_EQ(gpu.isa, Isa::nvptx);
    EXPECT_EQ(gpu.group_threads % gpu.group_step, 0);
    EXPECT_GT(gpu.shared_bytes, 0);
    EXPECT_EQ(gpu.has_matrix_step, gpu.cpu != "sm_75");
  }
  EXPECT_EQ(target_for("x86-64-v3").group_threads, 0);
}

TEST(Target, AnUnknownCpuIsNamedWithTheKnownOnes) {
  try {
    target_for("8086");
    FAIL();
  } catch (const UserError& error) {
    EXPECT_EQ(std::string(error.what()),
              "target: \"8086\" is not a known CPU; known are x86-64-v2, x86-64-v3, x86-64-v4, "
              "znver4, sapphirerapids, cortex-a76, neoverse-n1, neoverse-v1, sm_75, sm_80, sm_86, "
              "sm_89, sm_90a");
  }
}

TEST(Target, TheHostDescribesItselfTheSameEveryTime) {
  const Target host = host_target();
  EXPECT_EQ(host, host_target());
  EXPECT_FALSE(host.cpu.empty());
  EXPECT_FALSE(host.features.empty());
  EXPECT_GE(host.threads, 1);
  EXPECT_GE(host.vector_bytes, 16);
  EXPECT_EQ(host.has_tile_dot, host.features.find("+amx-tile") != std::string::npos);
  EXPECT_GE(host.l1_bytes, 8 << 10);
  EXPECT_GE(host.l2_bytes, host.l1_bytes);
}

TEST(Target, FingerprintsTellTargetsApart) {
  EXPECT_NE(fingerprint(target_for("x86-64-v3")), fingerprint(target_for("x86-64-v4")));
  Target host = host_target();
  const std::string before = fingerprint(host);
  host.has_int8_dot = !host.has_int8_dot;
  EXPECT_NE(fingerprint(host), before);
}

}  // namespace
}  // namespace brisk
