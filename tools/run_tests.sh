#!/usr/bin/env bash
# Runs the built tests of a preset (BRISK_BUILD, release where not set) in parallel: failures as
# they come, at the end what was skipped and why, then ctest's summary. Arguments go to ctest.
set -euo pipefail

export BRISK_DEVICE=${BRISK_DEVICE:-cpu}  # what the numbers of kernels in the tests are of
root=$(cd "$(dirname "${BASH_SOURCE[0]}")/.." && pwd)
build=$root/build/${BRISK_BUILD:-release}
rm -f "$build/tests.xml"
ctest --test-dir "$build" --parallel "$(nproc)" --output-on-failure --no-tests=error \
  --output-junit "$build/tests.xml" "$@" 2>&1 | "$root/tools/report_tests.py" "$build/tests.xml"
