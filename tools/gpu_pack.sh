#!/usr/bin/env bash
# Makes build/gpu-pack: what a machine with a GPU needs to run tools/gpu_check.sh and
# tools/gpu_bench.sh, on any Linux with a C library of Debian 12's age or younger. Programs with LLVM
# linked in, the libraries they use but the C library, and the data of the tests, which lies in
# ../shared/data or in BRISK_DATA.
set -euo pipefail

root=$(cd "$(dirname "${BASH_SOURCE[0]}")/.." && pwd)
cd "$root"
data=${BRISK_DATA:-../shared/data}
built=build/gpu/pack
pack=build/gpu-pack

cmake --preset gpu > /dev/null
cmake --build build/gpu --parallel "$(nproc)" --target brisk_gpu_pack

rm -rf "$pack"
mkdir -p "$pack/lib" "$pack/data/models"
cp "$built"/{brisk,brisk_*,example_*} tools/gpu_*.sh bench/gpu_peer.py bench/train_peer.py \
  src/cli/bench_torch.py "$pack"
rm "$pack/gpu_pack.sh"
cp "$built"/lib/*.so "$pack/lib"
ldd "$pack"/brisk* "$pack"/lib/*.so | awk '$2 == "=>" && $3 ~ "^/" { print $3 }' | sort -u |
  grep -vE "/(libc|libm|libdl|libpthread|librt|ld-linux[^/]*)\.so|$root" |
  xargs -I{} cp -L {} "$pack/lib"

cp -r "$data/ops" "$pack/data"
for model in llama llama3_rope mistral qwen2 qwen3 mixtral gemma2 gpt2; do
  cp -r "$data/models/$model" "$pack/data/models"
done
mkdir "$pack/data/stories260K"
cp "$data"/stories260K/{stories260K-F32.gguf,expected.txt} "$pack/data/stories260K"
cp -r "$data"/{train,onnx-light-models,tract-cases,fastestdet,silero-vad,magika-v3_3,gtcrn-denoise} \
  "$data"/{super-resolution,mnist-onnx,mnist} "$pack/data"
testdata=${BRISK_ONNX_TESTDATA:-/usr/share/libonnx-testdata/data}
if [[ -d $testdata ]]; then cp -r "$testdata" "$pack/data/onnx"; fi
chmod -R u+w "$pack"

printf '%s: %s bytes, %s as tar.xz\n' "$pack" "$(du -sb "$pack" | cut -f1)" \
  "$(tar -c -C build gpu-pack | xz -T0 -6 | wc -c)"
