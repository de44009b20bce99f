// Kernels as OpenCL C 1.2: what a device with an OpenCL driver compiles, and the readable form of a
// kernel. Input: a Kernel (kernel/kernel.h, form 2) and a Target; output: text.
//
// Phase i is the function symbol_i:
//   __kernel void symbol_0(__global uchar* b0, long at0, …, long n0, …,
//                          __global uchar* scratch, long first, long tasks)
// with a buffer and an offset in bytes for each param, then each workspace; the variables; room of
// scratch_bytes(kernel) bytes for each work item of the launch. A work item runs the task
// first + its global id, if that is less than `tasks`. GROUP is defined by who compiles: the work
// items of a group.
//
// Where tasks are groups of threads, a group of threads_of(phase) work items runs the task first +
// its number; shared locals are local memory. Buffers begin at multiples of 16 bytes.
#pragma once

#include <string>

#include "base/target.h"
#include "codegen/codegen.h"
#include "kernel/kernel.h"

namespace brisk {

/// UserError where the kernel computes in float64 and the target cannot.
std::string opencl_source(const Kernel& kernel, const Target& target);
/// The same as an object for device/opencl.
CodeObject compile_opencl_c(const Kernel& kernel, const Target& target);

}  // namespace brisk
