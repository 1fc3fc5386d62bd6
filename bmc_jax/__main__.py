"""`python -m bmc_jax` is `bmc`."""

from bmc_jax.cli import run_process

run_process()
