"""Runs of several processes: initialization, checks that the processes are alike, and errors of one process in all.

Every process runs the same program. Work that may fail in a single process is done under `fail_together`, so that all
processes stop with the same message and none waits for a process that has ended.
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
"""Exit status after SIGTERM or SIGINT, once the state is saved: EX_TEMPFAIL, "try again later"."""
INITIALIZATION_TIMEOUT = 300
"""Seconds that processes wait for each other at the start: machines of a cluster start at different times."""
HEARTBEAT_TIMEOUT = 60
"""Seconds without a heartbeat after which a process counts as lost and the others stop."""
SHARED_FILE_TIMEOUT = 60
"""Largest number of seconds until a file appears on another machine."""
RUNTIME_STATUSES = (
    "UNKNOWN:",
    "UNAVAILABLE:",
    "INTERNAL:",
    "ABORTED:",
    "CANCELLED:",
    "DEADLINE_EXCEEDED:",
    "FAILED_PRECONDITION:",
)
"""Prefixes of the runtime's error messages when another process is lost."""


def _check_options(options: argparse.Namespace) -> None:
    values = {f"--{name}": getattr(options, name) for name in ("coordinator", "processes", "process")}
    missing = [name for name, value in values.items() if value is None]
    if len(missing) == len(values):
        return
    if options.distributed:
        given = ", ".join(name for name in values if name not in missing)
        raise ValueError(f"--distributed detects the processes: expected no {given}; give one or the other")
    if missing:
        raise ValueError(
            f"expected --coordinator, --processes and --process together, got no {' or '.join(missing)}; give all three"
        )
    host, colon, port = options.coordinator.rpartition(":")
    if not (host and colon and port.isdigit() and 0 < int(port) < 65536):
        raise ValueError(f"--coordinator: expected HOST:PORT of the first process, got {options.coordinator!r}")
    if not 0 <= options.process < options.processes:
        raise ValueError(
            f"--process: expected a number from 0 to {options.processes - 1} for --processes {options.processes}, got "
            f"{options.process}"
        )


def initialize(options: argparse.Namespace, *, timeout: int = INITIALIZATION_TIMEOUT) -> None:
    """Connects this process to the other processes of its run. Call it before the first use of JAX's devices.

    Args:
      options: `distributed`, `coordinator`, `processes` and `process` of the command line. With `distributed` the
        cluster (Slurm, Open MPI, Cloud TPU, Kubernetes) provides the other three. Without any of them the run has a
        single process.
      timeout: seconds to wait for the other processes.

    Raises:
      ValueError: if the options contradict each other, or no cluster is found.
      ConnectionError: if the other processes cannot be reached within `timeout`.
    """
    _check_options(options)
    if not options.distributed and options.coordinator is None:
        return
    # Training handles SIGTERM, see `signalled`. JAX's preemption service would replace Python's signal handler.
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
            f"--distributed found no cluster ({error}); start with srun or mpirun, or give --coordinator, --processes "
            "and --process"
        ) from error
    except RuntimeError as error:
        where = options.coordinator or "the cluster's first process"
        raise ConnectionError(
            f"the processes did not find each other within {timeout} s ({str(error).splitlines()[0]}); check that all "
            f"were started, that {where} can be reached and its port is free, and that no proxy variable is set"
        ) from error


def gather(text: str) -> list[str]:
    """Returns the texts of all processes, in the order of the processes. All processes must call it."""
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

    All processes must enter it. A process that fails raises its error. The others raise a ValueError with the message
    of the first process that failed.
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
    """Raises ValueError unless all processes have the same facts. The message names process, fact and values."""
    lines = [set(text.splitlines()) for text in gather("\n".join(f"{name}: {facts[name]!r}" for name in facts))]
    for process, found in enumerate(lines):
        if found != lines[0]:
            differences = "\n  ".join(
                f"process {number}: {line}"
                for number, these, those in ((0, lines[0], found), (process, found, lines[0]))
                for line in sorted(these - those)
            )
            raise ValueError(
                f"expected equal processes, but process {process} differs from process 0:\n  {differences}\n"
                "start all with the same command, code and data"
            )


def processes_on_host() -> int:
    """Returns the number of processes on this machine, including this one. All processes must call it."""
    name = socket.gethostname()
    return gather(name).count(name)


def versions_and_devices() -> dict[str, str]:
    """Returns the facts, in addition to the configuration, that must be the same on all machines."""
    facts = {f"version of {name}": version for name, version in provenance.versions().items()}
    return facts | {"devices": f"{jax.local_device_count()} x {jax.local_devices()[0].device_kind}"}


def require_shared(file: Path) -> None:
    """Raises ValueError unless a file that process 0 has written appears within `SHARED_FILE_TIMEOUT`."""
    for _ in range(10 * SHARED_FILE_TIMEOUT):
        if file.exists():
            return
        time.sleep(0.1)
    raise ValueError(f"expected {file}, written by process 0, got no file; give a --workdir on a disk that all share")


def barrier() -> None:
    """Waits until all processes have called it."""
    gather("")


@contextlib.contextmanager
def lost_processes() -> Iterator[None]:
    """Raises ConnectionError in place of the errors that JAX raises when another process is lost."""
    try:
        yield
    except (jax.errors.JaxRuntimeError, ValueError) as error:
        # Some errors of the runtime are ValueErrors whose message begins with a status.
        is_runtime = isinstance(error, jax.errors.JaxRuntimeError) or str(error).startswith(RUNTIME_STATUSES)
        if jax.process_count() == 1 or not is_runtime or "RESOURCE_EXHAUSTED" in str(error):
            raise
        raise ConnectionError(
            f"another process of this run was lost ({str(error).splitlines()[0][:200]}); its output has the cause. The "
            "same command resumes from the last checkpoint"
        ) from error


def print_once(text: str) -> None:
    """Prints progress in process 0, unless `--quiet` is given."""
    if jax.process_index() == 0 and not is_quiet():
        print(text, flush=True)


@contextlib.contextmanager
def signalled() -> Iterator[threading.Event]:
    """Yields an event that SIGTERM and SIGINT set. The previous signal handler handles a second signal."""
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
