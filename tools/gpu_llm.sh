#!/usr/bin/env bash
# Language models on a machine's GPU: tools/gpu_llm.sh SIZE:TYPE… writes a model of random weights
# for each (1b or 8b; f16, bf16, q8_0, q4_0; all of them and eight billion bf16 weights where none is
# given) and has `brisk bench` read a prompt of PROMPT tokens (2048) and make 128 more. In the
# folder that tools/gpu_pack.sh makes, or in a clone where it has been made. Models lie in
# BRISK_BENCH_MODELS (a folder of its own, removed at the end, where that is not set). The kernels
# of one step of each are listed in $OUT (./gpu-logs).
set -uo pipefail

source "$(dirname "${BASH_SOURCE[0]}")/gpu_common.sh" brisk_bench_llm
folder=${BRISK_BENCH_MODELS:-$(mktemp -d)}
[[ -n ${BRISK_BENCH_MODELS:-} ]] || trap 'rm -rf "$folder"' EXIT
prompt=${PROMPT:-2048}

models=("$@")
((${#models[@]})) || models=(1b:f16 1b:q8_0 1b:q4_0 8b:q4_0 8b:q8_0 8b:bf16)
failed=0
for model in "${models[@]}"; do
  size=${model%:*}
  type=${model#*:}
  file=$folder/$size-$type.gguf
  [[ -f $file ]] || "$pack/brisk_bench_llm" write "$size" "$type" "$file" || exit 1
  echo "== $size $type"
  "$pack/brisk" bench "$file" --prompt "$prompt" --tokens 128 || failed=1
  for tokens in 1 "$prompt"; do
    "$pack/brisk" inspect "$file" --kernels --tokens "$tokens" --ctx "$((prompt + 128))" \
      > "$logs/kernels-$size-$type-$tokens.txt" 2>&1 || failed=1
  done
  [[ -n ${BRISK_BENCH_MODELS:-} ]] || rm -f "$file"
done
exit $failed
