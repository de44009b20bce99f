#!/usr/bin/env bash
# Runs a program on a device: tools/with_device.sh BRISK DEVICE PROGRAM [ARGUMENT…]. Where `BRISK
# devices` does not list the device, says so in the words of a skipped test and exits 77.
set -euo pipefail

brisk=$1 device=$2
shift 2
if ! "$brisk" devices | grep -q "^$device: "; then
  printf 'with_device: Skipped\nthere is no %s on this machine\n\n' "$device"
  exit 77
fi
BRISK_DEVICE=$device exec "$@"
