#!/usr/bin/env bash
# Trains on a Cloud TPU VM, or on all hosts of a slice, by running the same command on each over ssh.
#   TPU=name ZONE=us-central2-b launch/tpu_vm.sh --config=configs/FILE.py --workdir=/mnt/shared/runs/NAME
# The repository must be in ~/bmc-jax on each host, installed with `pip install -e '.[tpu]'`; --workdir and the built
# datasets must be on a disk that all hosts have mounted. The same command resumes from the last checkpoint, so it is
# repeated after exit status 75 (a preempted host). A deleted slice must be created again first.
set -uo pipefail
: "${TPU:?name of the TPU VM}" "${ZONE:?zone of the TPU VM}"
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
