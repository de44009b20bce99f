#!/usr/bin/env bash
# brisk beside PyTorch on a machine's GPU: tools/gpu_bench.sh [PART…] measures the works of
# bench/gpu_cases.h whose names contain a PART (all without), in the folder that tools/gpu_pack.sh
# makes, or in a clone where it has been made. Both sides run in one process, in turn, on the same
# data; without PyTorch brisk runs alone. Logs in $OUT (./gpu-logs): bench.txt, bench.jsonl.
# A work that crashes or hangs is said to, and the next ones go on in a new process.
set -uo pipefail

source "$(dirname "${BASH_SOURCE[0]}")/gpu_common.sh" brisk_bench_gpu
cache=$(mktemp -d)
trap 'rm -rf "$cache"' EXIT
export BRISK_CACHE=${BRISK_CACHE:-$cache}

if ! python3 -c 'import torch; assert torch.cuda.is_available()' 2> /dev/null; then
  echo "gpu_bench: there is no PyTorch with CUDA here: brisk is measured alone"
  "$pack/brisk_bench_gpu" "$@" | tee "$logs/bench.txt"
  exit
fi

lines=$logs/bench.jsonl
rm -f "$lines" "$lines.progress"
from=0
while true; do
  python3 "$pack/gpu_peer.py" "$pack/lib/libbrisk_bench_gpu.so" "$lines" --from $from "$@" 2>&1
  status=$?
  at=$(cat "$lines.progress" 2> /dev/null || echo none)
  [[ $at == none || $at == done ]] && break
  case $status in
    3) ;;  # it said so itself
    142) echo "work $at: stopped, it hangs" ;;
    *) echo "work $at: the process ended with status $status" ;;
  esac
  from=$((at + 1))
done | tee "$logs/bench.txt"
failed=$(grep -c -e 'failed:' -e '^work [0-9]' "$logs/bench.txt")
rm -f "$lines.progress"
((failed == 0))
