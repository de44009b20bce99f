// Machine code from kernels. Input: a Kernel (kernel/kernel.h, form 2) and a Target; output: an ELF
// relocatable object with one entry point, which device/ loads. Where tasks are groups of threads:
// PTX, a text that ends with a zero byte, with one kernel for each phase, symbol_0, symbol_1, …,
// whose arguments are the params' and workspaces' addresses (16-byte aligned), the variables, the
// first task and the one after the last (int64); task i is group i, of threads_of(phase) +
// copying_threads_of(phase) threads. Where the phase has tiles (kernel/tile.h), a group of a grid
// of n takes every n-th task, its shared memory is phase_memory(phase).bytes of the launch's, and
// the arrays of tile_views(kernel) are the last arguments, as the driver's tensor maps.
//
// The entry point:
//   void symbol(void* const* buffers, const int64_t* variables,
//               int64_t phase, int64_t begin, int64_t end, void* scratch)
// runs tasks begin … end-1 of one phase. `buffers` are the kernel's params, then its workspaces;
// `scratch` is scratch_bytes(kernel) bytes, 64-byte aligned, owned by the calling thread.
//
// What gives good code (each statement is compiled as written; nothing is vectorised here):
//   * Lanes that fill target.vector_bytes, or a small multiple of it.
//   * Accumulators in one `registers` local, indices constant after `unrolled` loops are unrolled,
//     every access to an element with the same lanes and at multiples of them. They live in vector
//     registers over a serial loop as long as accumulators + operands <= target.vector_registers.
//   * Within a serial loop, indices that are linear in its counter; parts of an index that do not
//     depend on an inner loop are computed outside of it, constants go into the addressing mode.
//   * add(acc, mul(a, b)) becomes a fused multiply-add; dot() the machine's dot product.
//   * max(accumulator, value) in this order: three instructions, one of them in the chain.
//   * exp2 of float32 costs 8 instructions with AVX-512, about 16 otherwise; log2 about 25; sin
//   about
//     30, and a branch for vectors that hold an argument above 12800; divisions and square roots
//     are the machine's (6 and 10 cycles for 16 lanes).
//   * Vector stores of 32 MiB or more in a phase, to a param that the kernel never loads, at
//   indices
//     that are multiples of a vector, go past the caches by themselves.
//   * A gate cmplt(ramp(i, n), limit) costs one vector comparison; a scalar gate on a load costs a
//     conditional move, on a store a branch.
//   * shuffle(load of 4 or 8 bytes, {}, that pattern repeated) is one broadcast from memory.
#pragma once

#include <cstddef>
#include <string>
#include <vector>

#include "base/target.h"
#include "kernel/kernel.h"

namespace brisk {

struct CodeObject {
  std::vector<std::byte> object;  // ELF relocatable, or PTX
  std::string symbol;             // its entry point
};

/// Safe and parallel from several threads.
CodeObject compile(const Kernel& kernel, const Target& target);

/// For inspection: LLVM IR after the passes, and assembly.
std::string llvm_ir(const Kernel& kernel, const Target& target);
std::string assembly(const Kernel& kernel, const Target& target);

}  // namespace brisk
