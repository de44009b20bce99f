#!/usr/bin/env bash
# Steps of training on a machine's GPU beside PyTorch's: tools/gpu_train.sh [NAME…], names of
# bench/train.cpp ("gpt2 32x1024", "resnet50 256" and attention without one), in the folder that
# tools/gpu_pack.sh makes, or in a clone where it has been made. First steps are cold: the kernel
# cache is a new folder. Lists of kernels in $OUT (./gpu-logs).
set -uo pipefail

source "$(dirname "${BASH_SOURCE[0]}")/gpu_common.sh" brisk_bench_train
cache=$(mktemp -d)
trap 'rm -rf "$cache"' EXIT
names=("$@")
((${#names[@]})) || names=("gpt2 32x1024" "resnet50 256" attention)
failed=0
for name in "${names[@]}"; do
  file=$logs/train-${name// /-}.txt
  BRISK_CACHE=$cache "$pack/brisk_bench_train" --list "$name" > "$file" 2>&1 || failed=1
  grep -v ' ms  ' "$file"
  case $name in
    "gpt2 32x1024" | "resnet50 256" | attention)
      if python3 -c 'import torch; assert torch.cuda.is_available()' 2> /dev/null; then
        timeout 200 python3 "$pack/train_peer.py" "${name%% *}" 2>&1 | tail -4 || failed=1
      else
        echo "gpu_train: no PyTorch with CUDA here: brisk is measured alone"
      fi ;;
  esac
done
exit $failed
