"""Runs of several processes: initialization, agreement before the first step, errors of one process in all.

Every process runs the same program. Work that may fail in one process alone is done under `fail_together`, so that all
processes stop with the same message and none waits for another that has ended.
"""

import argparse
import contextlib
import signal
import socket
import threading
import time
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import jax
import numpy as np
from jax.experimental import multihost_utils

from bmc_jax.runtime import provenance
from bmc_jax.runtime.quiet import is_quiet

INTERRUPTED = 75
"""Exit status after SIGTERM or SIGINT, once the state is saved: "try again later" (EX_TEMPFAIL)."""
INITIALIZATION_TIMEOUT = 300
"""Seconds that processes wait for each other at the start: machines of a cluster do not start at the same time."""
HEARTBEAT_TIMEOUT = 60
"""Seconds without a heartbeat after which a process counts as lost, and the others stop."""
SHARED_FILE_TIMEOUT = 60
"""Seconds that a file may take to appear on another machine."""
RUNTIME_STATUSES = (
    "UNKNOWN:",
    "UNAVAILABLE:",
    "INTERNAL:",
    "ABORTED:",
    "CANCELLED:",
    "DEADLINE_EXCEEDED:",
    "FAILED_PRECONDITION:",
)
"""Beginnings of the runtime's error messages when another process is gone."""


def _check_options(options: argparse.Namespace) -> None:
    values = {f"--{name}": getattr(options, name) for name in ("coordinator", "processes", "process")}
    missing = [name for name, value in values.items() if value is None]
    if len(missing) == len(values):
        return
    if options.distributed:
        given = ", ".join(name for name in values if name not in missing)
        raise ValueError(f"--distributed detects the processes, so {given} cannot be given too; give one or the other")
    if missing:
        raise ValueError(f"{' and '.join(missing)} not given: --coordinator, --processes and --process go together")
    host, colon, port = options.coordinator.rpartition(":")
    if not (host and colon and port.isdigit() and 0 < int(port) < 65536):
        raise ValueError(f"--coordinator is {options.coordinator!r}; it must be HOST:PORT, of the first process")
    if not 0 <= options.process < options.processes:
        raise ValueError(
            f"--process is {options.process}; it must be from 0 to {options.processes - 1}, as --processes is "
            f"{options.processes}"
        )


def initialize(options: argparse.Namespace, *, timeout: int = INITIALIZATION_TIMEOUT) -> None:
    """Connects this process to the others of its run, before JAX's devices are first used.

    Args:
      options: `distributed`, `coordinator`, `processes` and `process` of the command line. With `distributed` the
        cluster (Slurm, Open MPI, Cloud TPU, Kubernetes) provides the other three. Without any of them the process
        runs alone.
      timeout: seconds to wait for the other processes.

    Raises:
      ValueError: if the options contradict each other, or no cluster is found.
      ConnectionError: if the other processes cannot be reached within `timeout`.
    """
    _check_options(options)
    if not options.distributed and options.coordinator is None:
        return
    # Training handles SIGTERM itself, see `signalled`. JAX's preemption service would take the signal from Python.
    jax.config.update("jax_enable_preemption_service", False)
    waits: dict[str, Any] = {
        "initialization_timeout": timeout,
        "heartbeat_timeout_seconds": HEARTBEAT_TIMEOUT,
        "shutdown_timeout_seconds": HEARTBEAT_TIMEOUT,
    }
    try:
        if options.distributed:
            jax.distributed.initialize(**waits)
        else:
            jax.distributed.initialize(
                options.coordinator,
                options.processes,
                options.process,
                cluster_detection_method="deactivate",
                **waits,
            )
    except ValueError as error:
        raise ValueError(
            f"--distributed found no cluster ({error}): start with srun or mpirun, or give --coordinator, --processes "
            "and --process"
        ) from error
    except RuntimeError as error:
        where = options.coordinator or "the cluster's first process"
        raise ConnectionError(
            f"the processes did not find each other within {timeout} s ({str(error).splitlines()[0]}): see that all "
            f"were started, that {where} can be reached and its port is free, and that no proxy variable is set"
        ) from error


def gather(text: str) -> list[str]:
    """Returns the texts of all processes, in the order of the processes. All must call it."""
    if jax.process_count() == 1:
        return [text]
    content = np.frombuffer(text.encode(), np.uint8)
    sizes = np.asarray(multihost_utils.process_allgather(np.int32(len(content)))).reshape(-1)
    padded = np.zeros(max(int(sizes.max()), 1), np.uint8)
    padded[: len(content)] = content
    rows = np.asarray(multihost_utils.process_allgather(padded)).reshape(len(sizes), -1)
    return [bytes(row[:size]).decode() for row, size in zip(rows, sizes, strict=True)]


@contextlib.contextmanager
def fail_together() -> Iterator[None]:
    """Raises in all processes if the block raises ValueError or OSError in one of them.

    All processes must enter it. A process with an error raises that error, the others a ValueError with the
    message of the first process that failed.
    """
    failure: Exception | None = None
    try:
        yield
    except (ValueError, OSError) as error:
        failure = error
    failures = gather(str(failure) if failure else "")
    if failure:
        raise failure
    for process, message in enumerate(failures):
        if message:
            raise ValueError(f"process {process} of {len(failures)}: {message}")


def require_same(facts: Mapping[str, Any]) -> None:
    """Raises ValueError, naming process, fact and values, unless all processes have the same facts."""
    lines = [set(text.splitlines()) for text in gather("\n".join(f"{name}: {facts[name]!r}" for name in facts))]
    for process, found in enumerate(lines):
        if found != lines[0]:
            differences = "\n  ".join(
                f"process {number}: {line}"
                for number, these, those in ((0, lines[0], found), (process, found, lines[0]))
                for line in sorted(these - those)
            )
            raise ValueError(
                f"the processes of a run must be alike; process {process} differs from process 0 in\n  {differences}\n"
                "Start all with the same command, code and data"
            )


def processes_on_host() -> int:
    """Returns the number of processes on this machine, including this one. All must call it."""
    name = socket.gethostname()
    return gather(name).count(name)


def versions_and_devices() -> dict[str, str]:
    """Returns the facts beside the configuration that must be the same on all machines."""
    facts = {f"version of {name}": version for name, version in provenance.versions().items()}
    return facts | {"devices": f"{jax.local_device_count()} x {jax.local_devices()[0].device_kind}"}


def require_shared(file: Path) -> None:
    """Raises ValueError unless a file that process 0 has written appears within `SHARED_FILE_TIMEOUT`."""
    for _ in range(10 * SHARED_FILE_TIMEOUT):
        if file.exists():
            return
        time.sleep(0.1)
    raise ValueError(f"{file}, which process 0 has written, is not here: --workdir must lie on a disk that all share")


def barrier() -> None:
    """Waits until all processes have called it."""
    gather("")


@contextlib.contextmanager
def lost_processes() -> Iterator[None]:
    """Raises ConnectionError in place of the errors that JAX raises when another process is gone."""
    try:
        yield
    except (jax.errors.JaxRuntimeError, ValueError) as error:
        # Some errors of the runtime are a ValueError; their message begins with a status.
        is_runtime = isinstance(error, jax.errors.JaxRuntimeError) or str(error).startswith(RUNTIME_STATUSES)
        if jax.process_count() == 1 or not is_runtime or "RESOURCE_EXHAUSTED" in str(error):
            raise
        raise ConnectionError(
            f"another process of this run was lost ({str(error).splitlines()[0][:200]}): its own output says why. The "
            "same command goes on from the last checkpoint"
        ) from error


def print_once(text: str) -> None:
    """Prints progress, on process 0 only and not with `--quiet`."""
    if jax.process_index() == 0 and not is_quiet():
        print(text, flush=True)


@contextlib.contextmanager
def signalled() -> Iterator[threading.Event]:
    """Yields an event that SIGTERM and SIGINT set. A second signal has its previous effect."""
    stop, before = threading.Event(), dict[int, Any]()

    def handle(number: int, _: Any) -> None:
        stop.set()
        signal.signal(number, before[number])

    if threading.current_thread() is threading.main_thread():
        for number in (signal.SIGTERM, signal.SIGINT):
            before[number] = signal.signal(number, handle)
    try:
        yield stop
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)
