#include "engine/compile.h"

#include <elf.h>
#include <link.h>

#include <algorithm>
#include <chrono>
#include <cstring>

#include "base/log.h"
#include "brisk/version.h"
#include "engine/backends.h"
#include "engine/kernel_cache.h"
#include "engine/pack.h"
#include "engine/structure.h"
#include "kernel/print.h"
#include "kernel/verify.h"
#include "optimize/optimize.h"

namespace brisk {

namespace {

// The linker's build id of the program or library that this function is in; empty where it was
// linked without one.
int read_build_id(dl_phdr_info* object, std::size_t, void* result) {
  const auto here = reinterpret_cast<std::uintptr_t>(&read_build_id);
  bool inside = false;
  std::string& id = *static_cast<std::string*>(result);
  id.clear();
  for (int i = 0; i < object->dlpi_phnum; ++i) {
    const ElfW(Phdr)& header = object->dlpi_phdr[i];
    const std::uintptr_t begin = object->dlpi_addr + header.p_vaddr;
    if (header.p_type == PT_LOAD) inside |= here >= begin && here < begin + header.p_memsz;
    if (header.p_type != PT_NOTE) continue;
    const auto* at = reinterpret_cast<const std::byte*>(begin);
    const auto* end = at + header.p_memsz;
    while (at + sizeof(ElfW(Nhdr)) <= end) {
      ElfW(Nhdr) note;
      std::memcpy(&note, at, sizeof note);
      const std::byte* name = at + sizeof note;
      const std::byte* content = name + (note.n_namesz + 3) / 4 * 4;
      if (note.n_type == NT_GNU_BUILD_ID && note.n_namesz == 4) {
        id.assign(reinterpret_cast<const char*>(content), note.n_descsz);
      }
      at = content + (note.n_descsz + 3) / 4 * 4;
    }
  }
  return inside ? 1 : 0;  // stop here: what was read last is ours
}

void pack(const TileView& view, Packer& packer) {
  packer.number(view.pointer.ints(0));
  packer.number(static_cast<std::int64_t>(view.pointer.dtype()));
  packer.size(view.start);
  packer.number(static_cast<std::int64_t>(view.sizes.size()));
  for (const Size& size : view.sizes) packer.size(size);
  for (const Size& stride : view.strides) packer.size(stride);
  packer.number(view.rows);
  packer.number(view.columns);
  for (const std::int64_t extent : view.box) packer.number(extent);
  for (const std::int64_t step : view.steps) packer.number(step);
  packer.number(view.sharers);
}

TileView unpack_view(Unpacker& unpacker) {
  TileView view;
  const auto index = static_cast<int>(unpacker.number());
  view.pointer = make_param(index, static_cast<DType>(unpacker.number()));
  view.start = unpacker.size();
  const std::int64_t rank = unpacker.number();
  for (std::int64_t i = 0; unpacker.ok() && i < rank; ++i) view.sizes.push_back(unpacker.size());
  for (std::int64_t i = 1; unpacker.ok() && i < rank; ++i) view.strides.push_back(unpacker.size());
  view.rows = unpacker.number();
  view.columns = unpacker.number();
  for (std::int64_t i = 1; unpacker.ok() && i < rank; ++i) view.box.push_back(unpacker.number());
  for (std::int64_t i = 1; unpacker.ok() && i < rank; ++i) view.steps.push_back(unpacker.number());
  view.sharers = unpacker.number();
  return view;
}

}  // namespace

std::vector<std::byte> pack(const KernelCode& kernel) {
  Packer packer;
  packer.text(kernel.header.name);
  packer.number(static_cast<std::int64_t>(kernel.header.phase_tasks.size()));
  for (const Size& size : kernel.header.phase_tasks) packer.size(size);
  for (const PhaseNeeds& needs : kernel.header.phase_needs) {
    packer.number(needs.threads);
    packer.number(needs.shared_bytes);
    packer.number(needs.persistent ? 1 : 0);
    packer.number(needs.cluster);
  }
  packer.number(static_cast<std::int64_t>(kernel.header.tiles.size()));
  for (const TileView& view : kernel.header.tiles) pack(view, packer);
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
  for (std::size_t i = 0; unpacker.ok() && i < kernel.header.phase_tasks.size(); ++i) {
    PhaseNeeds needs;
    needs.threads = unpacker.number();
    needs.shared_bytes = unpacker.number();
    needs.persistent = unpacker.number() != 0;
    needs.cluster = unpacker.number();
    kernel.header.phase_needs.push_back(needs);
  }
  for (std::int64_t i = unpacker.number(); unpacker.ok() && i > 0; --i) {
    kernel.header.tiles.push_back(unpack_view(unpacker));
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

const std::string& compiler_identity() {
  static const std::string identity = [] {
    std::string id;
    dl_iterate_phdr(read_build_id, &id);
    return std::string(version) + " " + id + " ";
  }();
  return identity;
}

std::vector<PhaseNeeds> phase_needs(const Kernel& kernel) {
  std::vector<PhaseNeeds> list;
  for (const Node& phase : phases_of(kernel)) {
    PhaseNeeds needs;
    needs.cluster = groups_of_task(phase);
    needs.threads = threads_of(phase) / needs.cluster + copying_threads_of(phase);
    if (has_tiles(phase)) {
      needs.shared_bytes = phase_memory(phase).bytes;
      needs.persistent = true;
      needs.cluster = sharers_of(phase);
    }
    list.push_back(needs);
  }
  return list;
}

TileMap tile_map(const TileView& view, const Variables& values) {
  const DType dtype = view.pointer.dtype();
  TileMap map;
  map.buffer = static_cast<std::size_t>(view.pointer.ints(0));
  map.start = evaluate_size(view.start, values) * byte_size(dtype);
  map.dtype = dtype;
  for (const Size& size : view.sizes) map.sizes.push_back(evaluate_size(size, values));
  for (const Size& stride : view.strides)
    map.strides.push_back(evaluate_size(stride, values) * byte_size(dtype));
  map.box = {strip_bytes / byte_size(dtype)};
  map.box.insert(map.box.end(), view.box.begin(), view.box.end());
  map.box[1] /= view.sharers;  // what a group copies
  map.steps = {1};
  map.steps.insert(map.steps.end(), view.steps.begin(), view.steps.end());
  return map;
}

std::string kernel_key(const LoweredKernel& lowered, const Target& target) {
  return "kernel " + compiler_identity() + fingerprint(target) + "\n" + structure_of(lowered);
}

std::optional<KernelCode> find_compiled(const std::string& key) {
  const auto found = KernelCache::shared().find(key);
  KernelCode kernel;
  if (!found || !unpack(*found, kernel)) return std::nullopt;
  return kernel;
}

KernelCode compile_kernel(const LoweredKernel& lowered, const Target& target,
                          Decisions& decisions) {
  const auto start = std::chrono::steady_clock::now();
  const CodeGenerator& generator = generator_of(target.isa);
  log_line(2, "{}", log_enabled(2) ? print(lowered) : "");
  const Kernel optimized = optimize(lowered, target, decisions);
  verify_kernel(optimized, "optimize");
  log_line(3, "{}", log_enabled(3) ? print(optimized) : "");
  log_line(4, "{}", log_enabled(4) ? generator.text(optimized, target) : "");
  log_line(5, "{}", log_enabled(5) ? generator.assembly(optimized, target) : "");
  KernelCode kernel;
  kernel.header = {optimized.name,        phase_tasks(optimized), phase_needs(optimized),
                   tile_views(optimized), optimized.workspace,    scratch_bytes(optimized)};
  kernel.code = generator.compile(optimized, target);
  const std::chrono::duration<double, std::milli> took = std::chrono::steady_clock::now() - start;
  log_line(1, "compiled {} in {:.1f} ms, {} bytes", kernel.header.name, took.count(),
           kernel.code.object.size());
  return kernel;
}

void keep_compiled(const std::string& key, const KernelCode& kernel) {
  KernelCache::shared().insert(key, pack(kernel));
}

}  // namespace brisk
