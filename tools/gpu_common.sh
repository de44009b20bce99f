# What tools/gpu_check.sh, gpu_bench.sh and gpu_llm.sh begin with; they source it with the name of a
# program that they need. Gives pack, the folder that tools/gpu_pack.sh makes (the scripts' own, or
# build/gpu-pack of their clone), and logs ($OUT, ./gpu-logs), made; exports BRISK_DEVICE (cuda:0).
# shellcheck shell=bash
pack=$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd)
[[ -x $pack/$1 ]] || pack=$pack/../build/gpu-pack
[[ -x $pack/$1 ]] || {
  script=${0##*/}
  echo "${script%.sh}: there is no build/gpu-pack; tools/gpu_pack.sh makes it" >&2
  exit 2
}
pack=$(cd "$pack" && pwd)
logs=${OUT:-gpu-logs}
mkdir -p "$logs"
logs=$(cd "$logs" && pwd)
export BRISK_DEVICE=${BRISK_DEVICE:-cuda:0}
