"""Real processes for tests that kill them: `bmc train` on the run of `small_run`, forked off a server that has imported
everything, so that each is there in seconds."""

import functools
import multiprocessing
import os
import resource
import sys
import time
from pathlib import Path

import jax

SERVER = multiprocessing.get_context("forkserver")
SERVER.set_forkserver_preload(["support.small_run", "bmc_jax.training.train", "bmc_jax.cli"])
SETTINGS = (
    "--config.training.epochs=20",
    "--config.training.save_every=2",
    "--config.training.log_every=1",
    "--config.optimizer.rate=1e-4",
)
"""Eighty steps, each of them logged and every other one saved, so small that rounding stays small."""


def start(workdir, *arguments, devices=4, pause=0.0, largest_file=None, heartbeat=None):
    """A process, started. It rests `pause` seconds after each step, may write no file of more than `largest_file`
    bytes, and takes other processes for dead after `heartbeat` seconds. What it prints is in `workdir`.txt."""
    command = ["train", f"--config={Path(__file__).with_name('small_run.py')}", f"--workdir={workdir}", *SETTINGS]
    process = SERVER.Process(
        target=_run,
        args=([*command, *arguments], f"{workdir}.txt", devices, pause, largest_file, heartbeat),
        kwargs={"compiled": jax.config.jax_compilation_cache_dir},
    )
    process.start()
    return process


def _run(command, output, devices, pause, largest_file, heartbeat, *, compiled):
    file = os.open(output, os.O_WRONLY | os.O_CREAT | os.O_APPEND)
    os.dup2(file, 1)
    os.dup2(file, 2)
    from bmc_jax import cli
    from bmc_jax.runtime import distributed
    from bmc_jax.training.log import Log

    jax.config.update("jax_num_cpu_devices", devices)
    jax.config.update("jax_compilation_cache_dir", compiled)
    jax.config.update("jax_persistent_cache_min_compile_time_secs", 0.0)
    jax.config.update("jax_persistent_cache_min_entry_size_bytes", -1)
    if heartbeat:
        distributed.HEARTBEAT_TIMEOUT = heartbeat
    if largest_file:
        _, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
        resource.setrlimit(resource.RLIMIT_FSIZE, (largest_file, hard))  # the system refuses to write more
    Log.write = functools.partialmethod(_write_and_rest, Log.write, pause)
    sys.exit(cli.main(command))


def _write_and_rest(self, write, pause, *arguments):
    write(self, *arguments)
    time.sleep(pause)
