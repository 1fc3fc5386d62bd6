#!/usr/bin/env bash
# Train on a Cloud TPU VM, or on all hosts of a slice: the same command on each, over ssh.
#   TPU=name ZONE=us-central2-b launch/tpu_vm.sh --config=configs/FILE.py --workdir=/mnt/shared/runs/NAME
# The repository lies in ~/bmc-jax on every host, installed with `pip install -e '.[tpu]'`; --workdir and the built
# datasets lie on a disk that all hosts have mounted. The same command again goes on from the last checkpoint, so
# exit status 75, a preempted host, is tried again; a slice that is gone must be made anew first.
set -uo pipefail
: "${TPU:?the name of the TPU VM}" "${ZONE:?its zone}"
arguments=$(printf '%q ' "$@")

while true; do
  gcloud compute tpus tpu-vm ssh "$TPU" --zone="$ZONE" --worker=all --command="
    cd ~/bmc-jax &&
    JAX_COMPILATION_CACHE_DIR=\$HOME/.cache/bmc-jax PYTHONUNBUFFERED=1 \
    .venv/bin/bmc train --distributed $arguments"
  status=$?
  [ $status -eq 75 ] || exit $status
  sleep 30
done
