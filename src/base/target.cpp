// Processors as tables of abilities. Input: cpuid (x86-64), the kernel's hardware capabilities
// (AArch64) or the name of a known CPU; output: a Target. Needs no LLVM, so that a process whose
// kernels are all in the cache starts without it.
#include "base/target.h"

#include <sched.h>
#include <sys/syscall.h>
#include <unistd.h>

#include <algorithm>
#include <array>
#include <cstring>
#include <string_view>

#include <fmt/format.h>

#include "base/error.h"
#include "base/options.h"

#if defined(__x86_64__)
#include <cpuid.h>
#elif defined(__aarch64__)
#include <sys/auxv.h>
#endif

namespace brisk {

namespace {

// What distinguishes targets for the code that brisk generates.
enum Ability : unsigned {
  v2 = 1U << 0,          // x86-64-v2: SSE4.2
  v3 = 1U << 1,          // x86-64-v3: AVX2, FMA, F16C, BMI
  v4 = 1U << 2,          // x86-64-v4: AVX-512 F, BW, CD, DQ, VL
  vnni = 1U << 3,        // AVX-512 VNNI
  avxvnni = 1U << 4,     // its 256-bit form
  bf16 = 1U << 5,        // AVX-512 BF16
  neon = 1U << 6,        // ARMv8
  neon_half = 1U << 7,   // FEAT_FP16
  neon_dot = 1U << 8,    // FEAT_DotProd
  neon_i8mm = 1U << 9,   // FEAT_I8MM
  neon_bf16 = 1U << 10,  // FEAT_BF16
  ptx = 1U << 11,        // sm_75: Turing
  ptx_bf16 = 1U << 12,   // sm_80: Ampere's asynchronous copies, bfloat16
  ptx_tiles = 1U << 13,  // sm_90a: Hopper's copies and products of tiles
  amx = 1U << 14,        // AMX tiles of int8 and bfloat16
};

struct Known {
  std::string_view cpu;
  unsigned abilities;
};

constexpr std::array<Known, 13> known_cpus = {{
    {"x86-64-v2", v2},
    {"x86-64-v3", v2 | v3},
    {"x86-64-v4", v2 | v3 | v4},
    {"znver4", v2 | v3 | v4 | vnni | bf16},
    {"sapphirerapids", v2 | v3 | v4 | vnni | avxvnni | bf16 | amx},
    {"cortex-a76", neon | neon_half | neon_dot},
    {"neoverse-n1", neon | neon_half | neon_dot},
    {"neoverse-v1", neon | neon_half | neon_dot | neon_i8mm | neon_bf16},
    {"sm_75", ptx},
    {"sm_80", ptx | ptx_bf16},
    {"sm_86", ptx | ptx_bf16},
    {"sm_89", ptx | ptx_bf16},
    {"sm_90a", ptx | ptx_bf16 | ptx_tiles},
}};

// A group's 48 KB of shared memory are what every GPU gives without being asked for more; its
// registers let a thread have 64 vectors of 16 bytes at the very most.
Target describe_gpu(std::string_view cpu, unsigned has) {
  Target target;
  target.isa = Isa::nvptx;
  target.cpu = cpu;
  // The least PTX version with all that brisk uses of the processor, so that old drivers take it.
  target.features = cpu == "sm_90a" ? "+ptx80" : cpu == "sm_89" ? "+ptx78" : "+ptx71";
  target.vector_bytes = 16;
  target.vector_registers = 32;
  target.has_fma = target.has_half_convert = target.has_native_exp2 = true;
  target.has_matrix_step = target.has_pair_convert = has & ptx_bf16;
  target.group_threads = 1024;
  target.group_step = 32;
  target.has_exchange = true;
  target.shared_bytes = 48 << 10;
  target.tile_bytes = has & ptx_tiles ? 227 << 10 : 0;
  target.copying_threads = has & ptx_tiles ? 128 : 0;
  target.overlaps_launches = has & ptx_tiles;
  target.counts_groups = true;
  target.has_clusters = has & ptx_tiles;
  target.threads = 128;
  target.task_operations = 1;
  target.partial_results = 1024;
  target.l1_bytes = target.l2_bytes = 0;  // of a thread's own
  return target;
}

Target describe(std::string_view cpu, unsigned has) {
  if (has & ptx) return describe_gpu(cpu, has);
  Target target;
  target.cpu = cpu;
  if (has & neon) {
    target.isa = Isa::aarch64;
    target.vector_registers = 32;
    target.has_fma = target.has_half_convert = true;
    target.has_int8_dot = has & neon_dot;
    target.has_signed_dot = has & neon_dot;
    target.has_bfloat16_dot = has & neon_bf16;
    target.l1_bytes = 64 << 10;
    return target;
  }
  target.isa = Isa::x86_64;
  target.vector_bytes = has & v4 ? 64 : has & v3 ? 32 : 16;
  target.vector_registers = has & v4 ? 32 : 16;
  target.has_fma = target.has_half_convert = target.has_gather = has & v3;
  target.has_masks = has & v4;
  target.has_int8_dot = has & (vnni | avxvnni);
  target.has_bfloat16_dot = has & bf16;
  target.has_tile_dot = has & amx;
  return target;
}

// The machine: its LLVM name, LLVM's feature string and abilities.
struct Host {
  std::string cpu;
  std::string features;
  unsigned abilities = 0;
};

#if defined(__x86_64__)

struct Registers {
  unsigned a = 0, b = 0, c = 0, d = 0;
};

Registers cpuid(unsigned leaf, unsigned part = 0) {
  Registers r;
  __get_cpuid_count(leaf, part, &r.a, &r.b, &r.c, &r.d);
  return r;
}

// The state that the operating system saves (XCR0): bits 1–2 AVX, 5–7 AVX-512, 17–18 tiles.
unsigned saved_state() {
  unsigned low = 0, high = 0;
  __asm__ volatile("xgetbv" : "=a"(low), "=d"(high) : "c"(0));
  return low;
}

// Tiles are 8 KB of state, which Linux keeps for a process, its threads among it, that has asked
// (Documentation/arch/x86/xstate.rst). Whether it may use them from now on.
bool ask_for_tiles() {
  constexpr long ask_permission = 0x1023;  // ARCH_REQ_XCOMP_PERM
  constexpr long tile_data = 18;           // XFEATURE_XTILEDATA
  return syscall(SYS_arch_prctl, ask_permission, tile_data) == 0;
}

// LLVM's names of families whose instruction timing it models well; others go by level.
std::string_view model_name(const Registers& version, std::string_view vendor) {
  const unsigned base = version.a >> 8 & 15;
  const unsigned family = base == 15 ? base + (version.a >> 20 & 255) : base;
  const unsigned model = (version.a >> 4 & 15) | (version.a >> 12 & 0xf0);
  if (vendor == "AuthenticAMD") {
    if (family == 0x17) return model >= 0x30 ? "znver2" : "znver1";
    if (family == 0x19) {
      const bool zen4 = (model >= 0x10 && model <= 0x1f) || (model >= 0x60 && model <= 0xaf);
      return zen4 ? "znver4" : "znver3";
    }
    if (family == 0x1a) return "znver5";
  }
  if (vendor == "GenuineIntel" && family == 6) {
    switch (model) {
      case 0x3c:
      case 0x3f:
      case 0x45:
      case 0x46: return "haswell";
      case 0x4e:
      case 0x5e:
      case 0x8e:
      case 0x9e:
      case 0xa5:
      case 0xa6: return "skylake";
      case 0x55: return "skylake-avx512";
      case 0x6a:
      case 0x6c: return "icelake-server";
      case 0x97:
      case 0x9a:
      case 0xb7:
      case 0xba:
      case 0xbf: return "alderlake";
      case 0x8f:
      case 0xcf: return "sapphirerapids";
      default: break;
    }
  }
  return {};
}

Host detect() {
  const Registers highest = cpuid(0);
  std::array<char, 12> vendor{};
  std::memcpy(vendor.data(), &highest.b, 4);
  std::memcpy(vendor.data() + 4, &highest.d, 4);
  std::memcpy(vendor.data() + 8, &highest.c, 4);
  const Registers one = cpuid(1);
  const Registers seven = highest.a >= 7 ? cpuid(7) : Registers{};
  const Registers seven_one = seven.a >= 1 ? cpuid(7, 1) : Registers{};
  const Registers extended = cpuid(0x80000001);
  const unsigned state = one.c >> 27 & 1 ? saved_state() : 0;
  const bool ymm = (state & 0x6) == 0x6;
  const bool zmm = (state & 0xe6) == 0xe6;
  const auto bit = [](unsigned word, int index) { return (word >> index & 1) != 0; };

  Host host;
  // Every feature is named, absent ones too: a hypervisor may hide what the CPU's name implies.
  const auto feature = [&](std::string_view name, bool present) {
    host.features +=
        fmt::format("{}{}{}", host.features.empty() ? "" : ",", present ? '+' : '-', name);
    return present;
  };
  bool level2 = feature("sse3", bit(one.c, 0));
  level2 &= feature("ssse3", bit(one.c, 9));
  level2 &= feature("sse4.1", bit(one.c, 19));
  level2 &= feature("sse4.2", bit(one.c, 20));
  level2 &= feature("popcnt", bit(one.c, 23));
  level2 &= feature("cx16", bit(one.c, 13));
  bool level3 = level2 && ymm;
  level3 &= feature("avx", ymm && bit(one.c, 28));
  level3 &= feature("avx2", ymm && bit(seven.b, 5));
  level3 &= feature("fma", ymm && bit(one.c, 12));
  level3 &= feature("f16c", ymm && bit(one.c, 29));
  level3 &= feature("bmi", bit(seven.b, 3));
  level3 &= feature("bmi2", bit(seven.b, 8));
  level3 &= feature("lzcnt", bit(extended.c, 5));
  level3 &= feature("movbe", bit(one.c, 22));
  bool level4 = level3 && zmm;
  level4 &= feature("avx512f", zmm && bit(seven.b, 16));
  level4 &= feature("avx512bw", zmm && bit(seven.b, 30));
  level4 &= feature("avx512cd", zmm && bit(seven.b, 28));
  level4 &= feature("avx512dq", zmm && bit(seven.b, 17));
  level4 &= feature("avx512vl", zmm && bit(seven.b, 31));
  const bool has_vnni = feature("avx512vnni", level4 && bit(seven.c, 11));
  const bool has_bf16 = feature("avx512bf16", level4 && bit(seven_one.a, 5));
  const bool has_avxvnni = feature("avxvnni", ymm && bit(seven_one.a, 4));
  feature("avx512vbmi", level4 && bit(seven.c, 1));
  feature("avx512vbmi2", level4 && bit(seven.c, 6));
  feature("avx512bitalg", level4 && bit(seven.c, 12));
  feature("avx512vpopcntdq", level4 && bit(seven.c, 14));
  feature("avx512ifma", level4 && bit(seven.b, 21));
  feature("avx512fp16", level4 && bit(seven.d, 23));
  feature("avx512vp2intersect", level4 && bit(seven.d, 8));
  feature("gfni", bit(seven.c, 8));
  feature("vaes", ymm && bit(seven.c, 9));
  feature("vpclmulqdq", ymm && bit(seven.c, 10));
  const bool tiles = level4 && (state >> 17 & 3) == 3 && bit(seven.d, 22) && bit(seven.d, 24) &&
                     bit(seven.d, 25) && ask_for_tiles();
  for (const auto* of_tiles : {"amx-tile", "amx-int8", "amx-bf16"}) feature(of_tiles, tiles);

  host.abilities = (level2 ? v2 : 0U) | (level3 ? v3 : 0U) | (level4 ? v4 : 0U) |
                   (has_vnni ? vnni : 0U) | (has_bf16 ? bf16 : 0U) | (has_avxvnni ? avxvnni : 0U) |
                   (tiles ? amx : 0U);
  host.cpu = model_name(one, {vendor.data(), vendor.size()});
  if (host.cpu.empty()) {
    host.cpu = level4 ? "x86-64-v4" : level3 ? "x86-64-v3" : level2 ? "x86-64-v2" : "x86-64";
  }
  return host;
}

#elif defined(__aarch64__)

Host detect() {
  // Bits of AT_HWCAP and AT_HWCAP2 (arch/arm64/include/uapi/asm/hwcap.h).
  const unsigned long caps = getauxval(AT_HWCAP);
  const unsigned long caps2 = getauxval(AT_HWCAP2);
  Host host{"generic", "+neon", neon};
  const auto feature = [&](const char* name, bool present, unsigned ability) {
    if (!present) return;
    host.features += fmt::format(",+{}", name);
    host.abilities |= ability;
  };
  feature("fullfp16", caps >> 10 & 1, neon_half);
  feature("dotprod", caps >> 20 & 1, neon_dot);
  feature("i8mm", caps2 >> 13 & 1, neon_i8mm);
  feature("bf16", caps2 >> 14 & 1, neon_bf16);
  return host;
}

#else
#error "brisk runs on x86-64 and AArch64"
#endif

int usable_processors() {
  if (options().threads > 0) return options().threads;
  cpu_set_t set;
  if (sched_getaffinity(0, sizeof set, &set) == 0) return std::max(1, CPU_COUNT(&set));
  return std::max(1, static_cast<int>(sysconf(_SC_NPROCESSORS_ONLN)));
}

}  // namespace

Target target_for(const std::string& cpu) {
  std::string names;
  for (const Known& known : known_cpus) {
    if (known.cpu == cpu) return describe(known.cpu, known.abilities);
    names += fmt::format("{}{}", names.empty() ? "" : ", ", known.cpu);
  }
  user_error("target: \"{}\" is not a known CPU; known are {}", cpu, names);
}

Target host_target() {
  static const Host host = detect();
  Target target = describe(host.cpu, host.abilities);
  target.features = host.features;
  if (const std::string& level = options().cpu; level != "native") {
    target = target_for(level);
    const auto* wanted = std::find_if(known_cpus.begin(), known_cpus.end(),
                                      [&](const Known& known) { return known.cpu == level; });
    if ((wanted->abilities & ~host.abilities) != 0) {
      user_error("BRISK_CPU is \"{}\", but this processor ({}) cannot run such code", level,
                 host.cpu);
    }
  }
  target.threads = usable_processors();
  if (const long l1 = sysconf(_SC_LEVEL1_DCACHE_SIZE); l1 > 0) target.l1_bytes = l1;
  if (const long l2 = sysconf(_SC_LEVEL2_CACHE_SIZE); l2 > 0) target.l2_bytes = l2;
  return target;
}

std::string fingerprint(const Target& t) {
  constexpr std::array<std::string_view, 4> isas = {"x86_64", "aarch64", "nvptx", "opencl_c"};
  return fmt::format(
      "{} {} {} vector {}x{} fma{:d} dot{:d}{:d}{:d}{:d} half{:d} pair{:d} gather{:d} masks{:d} "
      "float64{:d} threads {} caches {} {} exp2{:d} group {} {} {:d} {} {} {} early{:d}{:d} "
      "matrix{:d} clusters{:d} "
      "tasks {} {}",
      isas[static_cast<std::size_t>(t.isa)], t.cpu, t.features, t.vector_bytes, t.vector_registers,
      t.has_fma, t.has_int8_dot, t.has_signed_dot, t.has_bfloat16_dot, t.has_tile_dot,
      t.has_half_convert, t.has_pair_convert, t.has_gather, t.has_masks, t.has_float64, t.threads,
      t.l1_bytes, t.l2_bytes, t.has_native_exp2, t.group_threads, t.group_step, t.has_exchange,
      t.shared_bytes, t.tile_bytes, t.copying_threads, t.overlaps_launches, t.counts_groups,
      t.has_matrix_step, t.has_clusters, t.task_operations, t.partial_results);
}

}  // namespace brisk
