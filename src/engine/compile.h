// Lowered kernel → code ready to launch: the strategies, the code generator and the kernel cache.
#pragma once

#include <memory>
#include <optional>
#include <span>
#include <string>
#include <vector>

#include "base/target.h"
#include "codegen/codegen.h"
#include "device/device.h"
#include "graph/evaluate.h"
#include "kernel/tile.h"
#include "optimize/decisions.h"

namespace brisk {

/// What a launch needs to know of a kernel besides its code. Sizes are over the kernel's variables.
struct KernelHeader {
  std::string name;
  std::vector<Size> phase_tasks;
  std::vector<PhaseNeeds> phase_needs;
  std::vector<TileView> tiles;
  std::vector<Kernel::Workspace> workspace;
  std::int64_t scratch_bytes = 0;
};

struct KernelCode {
  KernelHeader header;
  CodeObject code;
};

std::vector<std::byte> pack(const KernelCode& kernel);
/// False where the bytes are not what pack gave.
bool unpack(std::span<const std::byte> data, KernelCode& kernel);

/// From the kernel cache, if it is there.
std::optional<KernelCode> find_compiled(const std::string& key);
/// Compiled now, as `decisions` know best; what was decided is in them afterwards.
KernelCode compile_kernel(const LoweredKernel& lowered, const Target& target, Decisions& decisions);
/// Puts it into the kernel cache.
void keep_compiled(const std::string& key, const KernelCode& kernel);

/// What a launch must know of a kernel for groups of threads.
std::vector<PhaseNeeds> phase_needs(const Kernel& kernel);
/// The array of a view, at these values of the variables.
TileMap tile_map(const TileView& view, const Variables& values);

/// The cache's key of a kernel for a target.
std::string kernel_key(const LoweredKernel& lowered, const Target& target);
/// Which build of the compiler this is: part of every key, so that no build runs another one's
/// code.
const std::string& compiler_identity();

}  // namespace brisk
