#!/usr/bin/env bash
# ONNX's own backend tests as a table of passed, failed and out of scope, by folder:
# tools/onnx_backend.sh BUILD [DEVICE] [SHARE…]. BUILD is a build folder with brisk_onnx_test; DEVICE
# is as in BRISK_DEVICE, cpu by default; a SHARE is the end of a test's name (node_0), all of them
# without. Under PoCL all of them take long: it compiles a kernel in half a second.
set -euo pipefail

build=$1 device=${2:-cpu}
shift $(($# < 2 ? $# : 2))
filter=$(printf '*Backend*standard_expects*%s:' "${@:-}")
output=$(mktemp)
trap 'rm -f "$output"' EXIT
start=$SECONDS
status=0
BRISK_DEVICE=$device "$build/brisk_onnx_test" --gtest_filter="$filter" > "$output" || status=$?
grep '^FAILED ' "$output" || true
awk -v device="$device" '
  / passed \(/ {
    folder = $1
    sub(/:$/, "", folder)
    for (i = 2; i <= NF; ++i) {
      if ($i == "passed") passed[folder] += $(i - 1)
      if ($i ~ /^failed/) failed[folder] += $(i - 1)
      if ($i == "out") {
        reason = $(i + 3)
        sub(/,$/, "", reason)
        outside[folder] += $(i - 1)
        count[folder, reason] += $(i - 1)
        reasons[reason]
      }
    }
  }
  END {
    printf "%-20s %7s %7s %13s\n", device, "passed", "failed", "out of scope"
    for (folder in passed) {
      printf "%-20s %7d %7d %13d", folder, passed[folder], failed[folder], outside[folder]
      for (reason in reasons) {
        if (count[folder, reason] > 0) printf "  %d %s", count[folder, reason], reason
      }
      printf "\n"
      p += passed[folder]; f += failed[folder]
    }
    if (p + f > 0) printf "%.1f %% of %d in scope\n", 100 * p / (p + f), p + f
  }' "$output"
printf '%d s\n' $((SECONDS - start))
exit "$status"
