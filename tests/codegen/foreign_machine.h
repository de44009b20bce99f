// Runs AArch64 objects in tests on any machine. Input: an object of codegen, its buffers and the
// tasks of its phases; output: the buffers after the launch. A start-up written here in assembly is
// assembled by LLVM, linked to the object by lld and run by qemu: no cross compiler, no C library.
#pragma once

#include <cstdint>
#include <string>
#include <vector>

#include "codegen/codegen.h"

namespace brisk::test {

/// Empty where AArch64 programs can be linked and run here, otherwise what is missing.
std::string missing_for_aarch64();

struct Memory {
  void* address = nullptr;
  std::size_t bytes = 0;
};

void run_on_aarch64(const CodeObject& code, const std::vector<Memory>& buffers,
                    const std::vector<std::int64_t>& variables,
                    const std::vector<std::int64_t>& phase_tasks, std::size_t scratch_bytes);

}  // namespace brisk::test
