#!/usr/bin/env bash
# clang-tidy over src/ with the compile commands of a build folder: tools/tidy.sh BUILD [FILE…].
set -euo pipefail

build=$1
shift
files=("$@")
[[ ${#files[@]} -gt 0 ]] || mapfile -t files < <(git ls-files 'src/*.cpp')
# A finding exits 1, and so does xargs; the count of suppressed warnings is noise.
printf '%s\0' "${files[@]}" |
  xargs -0 -n 1 -P "$(nproc)" clang-tidy-19 -p "$build" --quiet 2> >(grep -v 'warnings generated' >&2)
