"""Profiles of a few training steps, as traces of `jax.profiler`."""

import contextlib
import re
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import jax

from bmc_jax.config import Config, steps

FOLDER = "profile"
"""Folder of the traces in the folder of a run."""


def interval(config: Config) -> tuple[int, int] | None:
    """Returns (start, stop) of `training.profile`: steps `start` + 1 to `stop` are traced. Returns None if it is empty.

    Raises:
      ValueError: if the field is not START:STOP with whole numbers, 1 <= START < STOP <= the steps of the run.
    """
    text = config.training.profile
    if not text:
        return None
    found, total = re.fullmatch(r"(\d+):(\d+)", text, re.ASCII), steps(config)
    if found and 1 <= (start := int(found[1])) < (stop := int(found[2])) <= total:
        return start, stop
    raise ValueError(
        f"training.profile: expected START:STOP with whole numbers, 1 <= START < STOP <= {total} (the steps of this "
        f"run), got {text!r}; give, for example, '{max(total // 2, 1)}:{max(total // 2, 1) + 1}', or ''"
    )


@contextlib.contextmanager
def profiled(config: Config, workdir: Path) -> Iterator[Callable[[int, Any], None]]:
    """Yields `hook(done, state)`, which starts and stops the trace. Call it after each call of the training program.

    The trace starts and stops once the devices have computed `state`. Process 0 writes it.
    """
    wanted, tracing = interval(config), False
    if wanted is None or jax.process_index():
        yield lambda done, state: None
        return
    start, stop = wanted

    def hook(done: int, state: Any) -> None:
        nonlocal tracing
        if (start <= done < stop) != tracing:
            jax.block_until_ready(state)
            if tracing:
                jax.profiler.stop_trace()
            else:
                jax.profiler.start_trace(workdir / FOLDER)
            tracing = not tracing

    try:
        yield hook
    finally:
        if tracing:
            jax.profiler.stop_trace()
