"""Stopping when told to: the step in hand is finished and saved, and all processes of a run do so at the same one."""

import contextlib
import functools
import signal
import threading
from collections.abc import Callable, Iterator
from typing import Any

import jax
import numpy as np

from bmc_jax.training import parallel

INTERRUPTED = 75
"""Exit code after SIGTERM or SIGINT, once the state is saved: "try again later" (EX_TEMPFAIL)."""


def agreement() -> Callable[[bool], bool]:
    """Whether any process is to stop, asked with this process's own answer, by all of them after every step.

    Of several processes the answer is that of one step before, so that nobody waits for the step in hand.
    """
    if jax.process_count() == 1:
        return bool
    ask = parallel.parallelize(functools.partial(jax.lax.pmax, axis_name=parallel.AXIS), (0,), None)
    before: list[Any] = [False]

    def agreed(stop: bool) -> bool:
        before.append(ask(np.full(jax.local_device_count(), stop, np.int32)))
        return bool(before.pop(0))

    return agreed


@contextlib.contextmanager
def signalled() -> Iterator[threading.Event]:
    """An event that SIGTERM and SIGINT set instead of killing. A second signal does what it always did."""
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
