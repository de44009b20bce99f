// The reference interpreter of kernels, in both their forms: the truth for generated code.
// Input: a kernel, the memory of its params and the values of its variables; output: that memory
// changed. Not for speed, but it can tell an access outside of a param or local.
#pragma once

#include <cstddef>
#include <cstdint>
#include <span>

#include "kernel/kernel.h"

namespace brisk {

struct HostBuffer {
  std::byte* bytes = nullptr;
  std::int64_t size = -1;  // in bytes; -1 where it is not known, and accesses are not checked
};

/// Variables are in the kernel's order. Tasks of a parallel loop and threads of a group run from
/// the last to the first, and memory that starts undefined is filled with ones (NaN), so that what
/// relies on either shows. InternalError for an access outside of memory, naming kernel, statement
/// and index.
void interpret(const Kernel& kernel, std::span<const HostBuffer> params,
               std::span<const std::int64_t> variables);

/// Reductions of floats accumulate in float64.
void interpret(const LoweredKernel& kernel, std::span<const HostBuffer> params,
               std::span<const std::int64_t> variables);

}  // namespace brisk
