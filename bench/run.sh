#!/usr/bin/env bash
# bench/run.sh [NAME…]: configures, builds (release, with LLVM in the programs, as they are handed out)
# and runs the benchmarks bench/NAME.cpp, all of them without a name; tables on stdout. BRISK_BENCH_BUILD is the build folder, build/bench by default; the
# device is BRISK_DEVICE, the CPU by default.
set -euo pipefail

export BRISK_DEVICE=${BRISK_DEVICE:-cpu}
root=$(cd "$(dirname "${BASH_SOURCE[0]}")/.." && pwd)
build=${BRISK_BENCH_BUILD:-$root/build/bench}
names=("$@")
[[ ${#names[@]} -gt 0 ]] || names=(machine launch_overhead gemm memory compile replay llm)

mkdir -p "$build"
cmake -S "$root" -B "$build" -G Ninja -DCMAKE_BUILD_TYPE=Release -DBRISK_BENCH=ON \
  -DBRISK_TESTS=OFF -DBRISK_STATIC_LLVM=ON > "$build.log" || { cat "$build.log" >&2; exit 1; }
grep '^-- bench:' "$build.log" || true
cmake --build "$build" --target "${names[@]/#/brisk_bench_}" >&2
for name in "${names[@]}"; do
  "$build/bench/brisk_bench_$name"
done
