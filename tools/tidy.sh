#!/usr/bin/env bash
# clang-tidy with the compile commands of a build folder: tools/tidy.sh BUILD [all | FILE…]. Without
# files: those of src/ that differ from the branch's origin, and of the others a third, by turns with
# the number of commits (all of them take minutes).
set -euo pipefail

build=$1
shift
files=("$@")
if [[ ${files[*]} == all ]]; then
  mapfile -t files < <(git ls-files 'src/*.cpp')
elif [[ ${#files[@]} == 0 ]]; then
  base=$(git merge-base HEAD origin/HEAD 2> /dev/null || git rev-parse HEAD)
  turn=$(($(git rev-list --count HEAD) % 3))
  mapfile -t files < <({
    git diff --name-only --diff-filter=d "$base" -- 'src/*.cpp'
    git ls-files 'src/*.cpp' | awk -v turn="$turn" 'NR % 3 == turn'
  } | sort -u)
fi
echo "clang-tidy of ${#files[@]} files"
# A finding exits 1, and so does xargs; the count of suppressed warnings is noise.
printf '%s\0' "${files[@]}" |
  xargs -0 -n 1 -P "$(nproc)" clang-tidy-19 -p "$build" --quiet 2> >(grep -v 'warnings generated' >&2)
