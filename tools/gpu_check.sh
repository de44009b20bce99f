#!/usr/bin/env bash
# Checks brisk on a machine's GPU, then times it: tools/gpu_check.sh [STAGE…], in the folder that
# tools/gpu_pack.sh makes, or in a clone where it has been made. Stages, all by default:
#   device engine ops gradients training models onnx
#                              tests, each in a process of its own, BRISK_JOBS at once
#   text                       what a small model writes, against the CPU's text
#   verify                     the same with every kernel held to the interpreter
#   timing                     brisk bench, replay of small kernels, and tools/gpu_bench.sh
# The device is BRISK_DEVICE (cuda:0). One line a stage; logs in $OUT (./gpu-logs): summary.txt,
# failures.log, tests.log, timing.log. Exit status 1 where something failed.
set -uo pipefail

source "$(dirname "${BASH_SOURCE[0]}")/gpu_common.sh" brisk_gpu_test
programs=$pack
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT

export BRISK_DATA=$programs/data
export BRISK_CACHE=${BRISK_CACHE:-$work/cache}
export programs work
jobs=${BRISK_JOBS:-$(($(nproc) < 12 ? $(nproc) : 12))}
story=$BRISK_DATA/stories260K/stories260K-F32.gguf
failures=0

say() { printf '%s\n' "$*" | tee -a "$logs/summary.txt"; }

row() { say "$(printf '%-10s %7s %7s %7s %7s  %s' "$@")"; }

# One test of the program $1, alone: its log and a line "VERDICT NAME SECONDS".
run_test() {
  local name=$2 log=$work/$$.log start=$SECONDS verdict=passed status
  timeout 240 "$programs/$1" --gtest_filter="$name" > "$log" 2>&1
  status=$?
  if ((status == 124)); then
    verdict=failed
    echo "stopped after 240 s" >> "$log"
  elif ((status != 0)); then
    verdict=failed
    ((status > 1)) && echo "exit status $status" >> "$log"
  elif grep -q '^\[  SKIPPED \]' "$log"; then
    verdict=skipped
  fi
  { echo "== $verdict $name"; cat "$log"; } > "$log.done"
  flock "$work/lock" -c "cat '$log.done' >> '$work/tests.log'"
  echo "$verdict $name $((SECONDS - start))" >> "$work/verdicts"
  [[ $verdict == failed ]] && flock "$work/lock" -c "cat '$log.done' >> '$work/failures.log'"
  rm -f "$log" "$log.done"
  return 0
}
export -f run_test

# Every test of the filter $2 as the stage $1, of the program $3 where it is named.
tests() {
  local stage=$1 program=${3:-brisk_gpu_test} start=$SECONDS names
  : > "$work/verdicts"
  names=$("$programs/$program" --gtest_list_tests --gtest_filter="$2" |
    awk '/^[^ ]/ { suite = $1; next } suite ~ /\.$/ { print suite $1 }')
  [[ -n $names ]] && xargs -P "$jobs" -I{} bash -c "run_test $program {}" <<< "$names"
  count() { grep -c "^$1 " "$work/verdicts"; }
  local failed first
  failed=$(count failed)
  first=$(grep -m1 '^failed ' "$work/verdicts" | cut -d' ' -f2)
  [[ -n $names ]] || { failed=1 first="no test of $2"; }
  row "$stage" "$(count passed)" "$failed" "$(count skipped)" "$((SECONDS - start))" "$first"
  ((failures += failed))
}

device() { tests device '*Cuda*:Backends.*'; }
engine() { tests engine 'Plan*:Realize*:Strategies.*:Devices.*'; }
ops() { tests ops 'OperatorData.*:*Operators.*/engine_*'; }
gradients() { tests gradients '*Gradients.*/engine_*'; }
training() { tests training '*Trajectories*:Layers.*:Optimizer.*:Precision.*:GradScaler.*:Autograd*'; }
onnx() {
  [[ -d $programs/data/onnx ]] && export BRISK_ONNX_TESTDATA=$programs/data/onnx
  tests onnx 'onnx/*:Models.*' brisk_onnx_test
}
models() { tests models 'Tiny.*:*TinyModelTest.*/engine_*:*StoriesTest.*/engine:ModelMemory*'; }

# The text of the device $1 as the file $2.
tell() {
  timeout 300 "$programs/brisk" run "$story" --device "$1" --temp 0 -n "$3" -p Zoo > "$2" \
    2>> "$work/tests.log"
}

# Verdict of a stage that is one comparison.
verdict() {
  local stage=$1 start=$2 wrong=$3
  row "$stage" $((wrong ? 0 : 1)) $((wrong ? 1 : 0)) 0 $((SECONDS - start)) "$4"
  ((wrong)) && ((failures += 1))
  return 0
}

text() {
  local start=$SECONDS
  tell cpu "$work/wanted" 60
  if tell "$BRISK_DEVICE" "$work/got" 60 && diff "$work/wanted" "$work/got" >> "$work/failures.log"
  then verdict text "$start" 0 ""; else verdict text "$start" 1 "another text than the CPU's"; fi
}

verify() {
  local start=$SECONDS
  if BRISK_VERIFY=1 tell "$BRISK_DEVICE" "$work/verified" 6 2> /dev/null; then
    verdict verify "$start" 0 ""
  else
    BRISK_VERIFY=1 "$programs/brisk" run "$story" --temp 0 -n 6 -p Zoo >> "$work/failures.log" 2>&1
    verdict verify "$start" 1 "see failures.log"
  fi
}

timing() {
  local start=$SECONDS
  {
    "$programs/brisk" bench "$story" --prompt 64 --tokens 64
    "$programs/brisk_bench_replay"
    [[ -x $pack/gpu_bench.sh ]] && OUT=$logs "$pack/gpu_bench.sh"
  } > "$work/timing.log" 2>&1
  local status=$?
  cp "$work/timing.log" "$logs"
  cat "$work/timing.log"
  verdict timing "$start" $((status != 0)) "$( ((status)) && echo "see timing.log")"
}

: > "$logs/summary.txt"
touch "$work/tests.log" "$work/failures.log"
"$programs/brisk" devices 2>&1 | tee -a "$logs/summary.txt"
[[ ${PIPESTATUS[0]} == 0 ]] || exit 1
stages=("$@")
[[ ${#stages[@]} -gt 0 ]] || stages=(device engine ops gradients training models onnx text verify timing)
row "$BRISK_DEVICE" passed failed skipped s "first failure"
for stage in "${stages[@]}"; do
  case $stage in
    device | engine | ops | gradients | training | models | onnx | text | verify | timing) "$stage" ;;
    *) echo "gpu_check: there is no stage $stage" >&2; exit 2 ;;
  esac
  cp "$work/tests.log" "$work/failures.log" "$logs"
done
say "$((failures)) failed"
((failures == 0))
