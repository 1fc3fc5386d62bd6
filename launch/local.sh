#!/usr/bin/env bash
# Runs N processes on this machine, one for each of its first N GPUs, or all on the CPU.
#   launch/local.sh N --config=configs/FILE.py --workdir=DIR
# On Ctrl-C, or SIGTERM to this script, all stop at the same step and save their state.
set -uo pipefail
count=${1:?number of processes}
shift
port=${PORT:-$((20000 + RANDOM % 10000))}
processes=() signalled=0
stop() { signalled=1; kill -TERM "${processes[@]}" 2>/dev/null; }
trap stop TERM INT

for ((i = 0; i < count; i++)); do
  CUDA_VISIBLE_DEVICES=$i "${BMC:-bmc}" train "$@" \
    --coordinator "localhost:$port" --processes "$count" --process "$i" &
  processes+=($!)
done

status=0
for process in "${processes[@]}"; do
  wait "$process"; found=$?
  # A signal may interrupt `wait` before the process has ended; the next `wait` returns the exit status of the process.
  while kill -0 "$process" 2>/dev/null; do wait "$process"; found=$?; done
  if [ $signalled -eq 1 ]; then wait "$process"; found=$?; fi
  # An error of one process stops the others; the status is 75 only if there was no error.
  if [ $found -ne 0 ] && [ $found -ne 75 ]; then stop; status=$found; fi
  if [ $found -eq 75 ] && [ $status -eq 0 ]; then status=75; fi
done
exit $status
