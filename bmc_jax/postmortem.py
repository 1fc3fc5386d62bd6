"""Why a step was not finite: the step is taken again, after the fact, on each of its examples alone.

That costs nothing while all goes well. The state that broke is gone, so the weights are those that were saved last.
"""

import dataclasses
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import jax
import numpy as np

from bmc_jax import checkpoint, data, step
from bmc_jax.config import Config
from bmc_jax.opened import Opened
from bmc_jax.types import Batch, Limits

#: Examples named in a message.
NAMED = 10


def require_finite(
    config: Config,
    workdir: Path,
    opened: Sequence[Opened],
    hand_limits: Limits,
    number: int,
    metrics: Mapping[str, Any],
    rows: np.ndarray,
) -> None:
    """Raise FloatingPointError, naming the terms and the examples that are at fault, if step `number`, counted from 1,
    did not go well. `rows` are the numbers of this process's examples; `[step, b]` if that step is the last of
    several in one call, which are not told apart."""
    if np.isfinite([float(metrics["loss"]), float(metrics["gradient_norm"])]).all():
        return
    terms = ", ".join(name for name, value in metrics.items() if not np.isfinite(float(value)))
    if rows.ndim == 2:
        raise FloatingPointError(
            f"steps {number - len(rows) + 1} to {number}: {terms} not finite. Nothing of these steps was saved. The "
            "same command with training.steps_per_dispatch=1 goes on from the last checkpoint, and names the step and "
            "what is at fault"
        )
    state = checkpoint.restore(workdir, step.create(config))
    saved = f"the weights of step {int(state.step)}"
    # Augmentation and the weights of the terms hang on the step.
    state = dataclasses.replace(state, step=np.asarray(number - 1, np.int32))
    found = culprits(config, state, data.fetch(opened, rows), jax.device_get(hand_limits))
    names = data.describe(opened, rows[list(found)])
    blamed = [f"{name} ({', '.join(broken)})" for name, broken in zip(names, found.values(), strict=True)]
    blamed = blamed[:NAMED] + ([f"and {len(blamed) - NAMED} more"] if len(blamed) > NAMED else [])
    why = (
        f"With {saved}, these of its examples are not finite by themselves: {'; '.join(blamed)}. Look at their labels "
        "and intrinsics"
        if found
        else f"With {saved}, each of its examples is finite by itself, so training diverged: lower optimizer.rate or "
        "optimizer.clip"
    )
    raise FloatingPointError(f"step {number}: {terms} not finite. Nothing of this step was saved. {why}")


def culprits(config: Config, state: step.TrainState, batch: Batch, hand_limits: Limits) -> dict[int, list[str]]:
    """Which examples of a batch `[b, ...]`, host numpy, are not finite when the step is taken on each alone: the loss
    terms, or else `gradient_norm`, that are not, by the example's place in the batch."""
    config = dataclasses.replace(config, optimizer=dataclasses.replace(config.optimizer, accumulate=1))

    @jax.jit
    def alone(state: step.TrainState, example: Batch, hand_limits: Limits) -> Any:
        return step.train_step(state, example, hand_limits, config=config)[1]

    found = {}
    for place in range(len(batch.present)):
        example = jax.tree.map(lambda leaf: leaf[place : place + 1], batch)  # noqa: B023, used at once
        metrics = jax.device_get(alone(state, example, hand_limits))
        broken = [name for name, value in metrics.items() if not np.isfinite(value)]
        # One term takes the loss and all norms with it.
        terms = [name for name in broken if name not in ("loss", "gradient_norm", "update_norm")]
        if broken:
            found[place] = terms or ["gradient_norm"]
    return found
