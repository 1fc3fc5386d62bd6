"""Several processes, one run: how they find each other, and what they must agree on before the first step.

Every process runs the same program. Whatever may fail in one of them alone is done `together`, so that all stop with
the same words and none waits for another that is gone.
"""

import argparse
import contextlib
import importlib.metadata
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

INTERRUPTED = 75
"""Exit status after SIGTERM or SIGINT, once the state is saved: "try again later" (EX_TEMPFAIL)."""
#: Seconds that processes wait for each other at the start: machines of a cluster do not come up at once.
PATIENCE = 300
#: Seconds without a sign of life after which a process is taken for dead, and the others stop.
HEARTBEAT = 60
#: Of the runtime's errors where another process is gone, the first words.
LOST = ("UNKNOWN:", "UNAVAILABLE:", "INTERNAL:", "ABORTED:", "CANCELLED:", "DEADLINE_EXCEEDED:", "FAILED_PRECONDITION:")
#: Seconds that a file may take to be seen on another machine.
PATIENCE_WITH_DISKS = 60


def check(options: argparse.Namespace) -> None:
    """Raise ValueError unless the command line's `distributed`, `coordinator`, `processes` and `process` agree."""
    said = {f"--{name}": getattr(options, name) for name in ("coordinator", "processes", "process")}
    missing = [name for name, value in said.items() if value is None]
    if len(missing) == len(said):
        return
    if options.distributed:
        given = ", ".join(name for name in said if name not in missing)
        raise ValueError(f"--distributed finds by itself what {given} says; give one or the other")
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


def initialize(options: argparse.Namespace, *, patience: int = PATIENCE) -> None:
    """Make this process one of many, as the command line says; before anything asks JAX for its devices.

    With `distributed` the cluster (Slurm, Open MPI, Cloud TPU, Kubernetes) tells who the others are. Without any of
    the options this process stays alone.

    Raises:
      ValueError: if the options do not agree, or no cluster is found.
      ConnectionError: if the others are not there within `patience` seconds.
    """
    check(options)
    if not options.distributed and options.coordinator is None:
        return
    # SIGTERM is train's, which asks all processes each step. JAX's own service would take it away from Python.
    jax.config.update("jax_enable_preemption_service", False)
    waits: dict[str, Any] = {"initialization_timeout": patience, "heartbeat_timeout_seconds": HEARTBEAT}
    waits["shutdown_timeout_seconds"] = HEARTBEAT
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
            f"the processes did not find each other within {patience} s ({str(error).splitlines()[0]}): see that all "
            f"were started, that {where} can be reached and its port is free, and that no proxy variable stands between"
        ) from error


def gather(text: str) -> list[str]:
    """Every process's text, in the order of the processes. All must call it."""
    if jax.process_count() == 1:
        return [text]
    content = np.frombuffer(text.encode(), np.uint8)
    sizes = np.asarray(multihost_utils.process_allgather(np.int32(len(content)))).reshape(-1)
    padded = np.zeros(max(int(sizes.max()), 1), np.uint8)
    padded[: len(content)] = content
    rows = np.asarray(multihost_utils.process_allgather(padded)).reshape(len(sizes), -1)
    return [bytes(row[:size]).decode() for row, size in zip(rows, sizes, strict=True)]


@contextlib.contextmanager
def together() -> Iterator[None]:
    """What is done within is done by all processes or by none: one's ValueError or OSError ends them all.

    Raises ValueError in the processes without an error of their own, naming the first that has one.
    """
    failure: Exception | None = None
    try:
        yield
    except (ValueError, OSError) as error:
        failure = error
    failures = gather(str(failure) if failure else "")
    if failure:
        raise failure
    for process, words in enumerate(failures):
        if words:
            raise ValueError(f"process {process} of {len(failures)}: {words}")


def require_same(facts: Mapping[str, Any]) -> None:
    """Raise ValueError, naming process, fact and values, unless all processes give the same facts."""
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


def neighbours() -> int:
    """Processes on this machine, this one among them."""
    name = socket.gethostname()
    return gather(name).count(name)


def build() -> dict[str, str]:
    """What must be the same on all machines beside the configuration: versions and devices."""
    packages = ("bmc-jax", "jax", "flax", "optax", "numpy")
    versions = {f"version of {name}": importlib.metadata.version(name) for name in packages}
    return versions | {"devices": f"{jax.local_device_count()} x {jax.local_devices()[0].device_kind}"}


def require_shared(file: Path) -> None:
    """Raise ValueError unless a file that the first process has written appears here: network disks take a while."""
    for _ in range(10 * PATIENCE_WITH_DISKS):
        if file.exists():
            return
        time.sleep(0.1)
    raise ValueError(f"{file}, which process 0 has written, is not here: --workdir must lie on a disk that all share")


def wait() -> None:
    """Until all processes are here."""
    gather("")


@contextlib.contextmanager
def lost_processes() -> Iterator[None]:
    """What JAX fails with when another process is gone, as a ConnectionError that says so."""
    try:
        yield
    except (jax.errors.JaxRuntimeError, ValueError) as error:
        # Some of the runtime's own errors come as a ValueError, told by the status that they begin with.
        of_runtime = isinstance(error, jax.errors.JaxRuntimeError) or str(error).startswith(LOST)
        if jax.process_count() == 1 or not of_runtime or "RESOURCE_EXHAUSTED" in str(error):
            raise
        raise ConnectionError(
            f"another process of this run was lost ({str(error).splitlines()[0][:200]}): its own output says why. The "
            "same command goes on from the last checkpoint"
        ) from error


def say(text: str) -> None:
    """Print on the first process only."""
    if jax.process_index() == 0:
        print(text, flush=True)


@contextlib.contextmanager
def signalled() -> Iterator[threading.Event]:
    """Yields an event that SIGTERM and SIGINT set. A second signal does what it does by default."""
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
