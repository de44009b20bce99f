#!/usr/bin/env bash
# Installs the distribution's packages that brisk is built from (Debian 12, Ubuntu 24.04).
#   tools/install_dependencies.sh [build|test] [--no-install]
# build (the default): what ./brisk needs; test: also what ./test and .ci/run need.
# Says what is missing before it installs; --no-install only says, and exits 1 if anything is.
set -euo pipefail

build=(g++ cmake ninja-build ccache llvm-19-dev libfmt-dev nlohmann-json3-dev libcli11-dev
       libsqlite3-dev libpcre2-dev zlib1g-dev libzstd-dev libonnx-dev libprotobuf-dev
       protobuf-compiler libstb-dev)
test=(libgtest-dev git xz-utils python3 clang-format-14 clang-tidy-19 clang-19 libclang-rt-19-dev
      lld-19 qemu-user pocl-opencl-icd libonnx-testdata)

wanted=("${build[@]}")
install=1
for argument in "$@"; do
  case $argument in
    build) ;;
    test) wanted+=("${test[@]}") ;;
    --no-install) install=0 ;;
    *) echo "usage: $0 [build|test] [--no-install]" >&2; exit 2 ;;
  esac
done

if ! command -v dpkg-query > /dev/null; then
  echo "brisk: this is neither Debian nor Ubuntu; install what these packages hold: ${wanted[*]}" >&2
  exit 1
fi

missing=()
for package in "${wanted[@]}"; do
  state=$(dpkg-query -W -f '${db:Status-Status}' "$package" 2> /dev/null || true)
  [[ $state == installed ]] || missing+=("$package")
done
[[ ${#missing[@]} == 0 ]] && exit 0

echo "brisk: missing packages: ${missing[*]}" >&2
[[ $install == 1 ]] || exit 1

as_root=()
if [[ $(id -u) != 0 ]]; then
  if ! command -v sudo > /dev/null; then
    echo "brisk: not root and no sudo; as root: apt-get install ${missing[*]}" >&2
    exit 1
  fi
  as_root=(sudo)
fi
echo "brisk: installing them with apt-get" >&2
"${as_root[@]}" apt-get update -qq
"${as_root[@]}" env DEBIAN_FRONTEND=noninteractive \
  apt-get install -y -qq --no-install-recommends "${missing[@]}"
