// What a strategy may know of a processor: a table of abilities, never its name.
#pragma once

#include <cstdint>
#include <string>
#include <vector>

namespace brisk {

enum class Isa : std::uint8_t { x86_64, aarch64, nvptx, opencl_c };

struct Target {
  Isa isa = Isa::x86_64;
  std::string cpu;       // LLVM CPU name: "znver4", "x86-64-v2", "neoverse-n1"
  std::string features;  // LLVM feature string, "+avx2,+fma,…"

  int vector_bytes = 16;      // widest register that arithmetic should use
  int vector_registers = 16;  // of that width
  bool has_fma = false;
  bool has_int8_dot = false;      // u8 × s8, four neighbours into int32 (VNNI, dotprod/i8mm)
  bool has_signed_dot = false;    // s8 × s8 as well, and no dearer
  bool has_bfloat16_dot = false;  // two neighbours into float32
  bool has_tile_dot = false;      // both, 16 rows by 16 columns at once, in tiles of 64-byte rows
  bool has_half_convert = false;  // float16 <-> float32 vectors
  bool has_pair_convert = false;  // two float32 into two float16 or bfloat16
  bool has_gather = false;
  bool has_masks = false;  // predicated loads and stores
  bool has_float64 = true;

  bool has_native_exp2 = false;  // of float32, within what ops.def allows

  // Where a task is a group of threads (kernel.h); 0 where it is one thread.
  int group_threads = 0;           // of a group at most
  int group_step = 1;              // threads that run in step, and of which groups consist
  bool has_exchange = false;       // these hand each other what they hold
  std::int64_t shared_bytes = 0;   // of a group at most
  std::int64_t tile_bytes = 0;     // the same, where tiles lie in it (kernel/tile.h)
  int copying_threads = 0;         // of a group that only copy tiles and wait (kernel/tile.h)
  bool overlaps_launches = false;  // a kernel may begin before the one that it follows has ended
  bool counts_groups = false;      // a launch's groups know which of them comes last (kernel.h)
  bool has_matrix_step = false;    // threads in step multiply 16 x 16 by 16 x 8 together
  bool has_clusters = false;       // groups may be one wide group, a processor each (kernel.h)

  int threads = 1;  // workers of the pool, or groups at once: parallel tasks worth having
  std::int64_t task_operations = 1 << 15;  // scalar ones that make a task worth a hand-over
  std::int64_t partial_results = 16;       // into which a large reduction to few results is cut
  std::int64_t l1_bytes = 32 << 10;
  std::int64_t l2_bytes = 1 << 20;

  /// Lanes of a full vector of elements of this many bytes.
  int lanes(int element_bytes) const { return vector_bytes / element_bytes; }
  bool operator==(const Target&) const = default;
};

/// The machine this process runs on, by cpuid; BRISK_CPU overrides the level ("x86-64-v2", …).
Target host_target();
/// A target by LLVM CPU name, for ahead-of-time generation and tests: "x86-64-v2", "x86-64-v3",
/// "x86-64-v4", "znver4", "sapphirerapids", "cortex-a76", "neoverse-n1", "neoverse-v1"; and GPUs,
/// "sm_75", "sm_80", "sm_86", "sm_89", "sm_90a". UserError for unknown names.
Target target_for(const std::string& cpu);
/// What a kernel's code depends on, as text: part of the kernel cache's key.
std::string fingerprint(const Target& target);

}  // namespace brisk
