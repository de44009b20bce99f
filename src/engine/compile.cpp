#include "engine/compile.h"

#include <chrono>

#include "base/log.h"
#include "engine/kernel_cache.h"
#include "engine/pack.h"
#include "engine/structure.h"
#include "kernel/print.h"
#include "kernel/verify.h"
#include "optimize/optimize.h"

namespace brisk {

namespace {

// Raised whenever strategies or the code generator change what they give.
constexpr std::int64_t compiler_version = 1;

std::vector<std::byte> pack(const KernelCode& kernel) {
  Packer packer;
  packer.text(kernel.header.name);
  packer.number(static_cast<std::int64_t>(kernel.header.phase_tasks.size()));
  for (const Size& size : kernel.header.phase_tasks) packer.size(size);
  packer.number(static_cast<std::int64_t>(kernel.header.workspace.size()));
  for (const auto& workspace : kernel.header.workspace) {
    packer.number(static_cast<std::int64_t>(workspace.dtype));
    packer.size(workspace.elements);
  }
  packer.number(kernel.header.scratch_bytes);
  packer.text(kernel.code.symbol);
  packer.bytes(kernel.code.object);
  return packer.take();
}

bool unpack(std::span<const std::byte> data, KernelCode& kernel) {
  Unpacker unpacker(data);
  kernel.header.name = unpacker.text();
  for (std::int64_t i = unpacker.number(); unpacker.ok() && i > 0; --i) {
    kernel.header.phase_tasks.push_back(unpacker.size());
  }
  for (std::int64_t i = unpacker.number(); unpacker.ok() && i > 0; --i) {
    const auto dtype = static_cast<DType>(unpacker.number());
    kernel.header.workspace.push_back({dtype, unpacker.size()});
  }
  kernel.header.scratch_bytes = unpacker.number();
  kernel.code.symbol = unpacker.text();
  kernel.code.object = unpacker.bytes();
  return unpacker.ok();
}

}  // namespace

std::string kernel_key(const LoweredKernel& lowered, const Target& target) {
  return "kernel " + std::to_string(compiler_version) + " " + fingerprint(target) + "\n" +
         structure_of(lowered);
}

KernelCode compile_cached(const LoweredKernel& lowered, const std::string& key,
                          const Target& target) {
  KernelCache& cache = KernelCache::shared();
  if (const auto found = cache.find(key)) {
    KernelCode kernel;
    if (unpack(*found, kernel)) return kernel;
  }
  const auto start = std::chrono::steady_clock::now();
  log_line(2, "{}", log_enabled(2) ? print(lowered) : "");
  const Kernel optimized = optimize(lowered, target);
  verify_kernel(optimized, "optimize");
  log_line(3, "{}", log_enabled(3) ? print(optimized) : "");
  log_line(4, "{}", log_enabled(4) ? llvm_ir(optimized, target) : "");
  log_line(5, "{}", log_enabled(5) ? assembly(optimized, target) : "");
  KernelCode kernel;
  kernel.header = {optimized.name, phase_tasks(optimized), optimized.workspace,
                   scratch_bytes(optimized)};
  kernel.code = compile(optimized, target);
  const std::chrono::duration<double, std::milli> took = std::chrono::steady_clock::now() - start;
  log_line(1, "compiled {} in {:.1f} ms, {} bytes", kernel.header.name, took.count(),
           kernel.code.object.size());
  cache.insert(key, pack(kernel));
  return kernel;
}

}  // namespace brisk
