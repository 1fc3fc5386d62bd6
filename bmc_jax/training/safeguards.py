"""Why a step was not finite: the step is taken again, after the fact, on each of its examples alone.

That costs nothing while all goes well. The state that broke is gone, so the weights are those that were saved last.
"""

import contextlib
import dataclasses
import functools
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Bool, UInt32

from bmc_jax.config import Config
from bmc_jax.core.types import Batch, Limits
from bmc_jax.data import input_pipeline
from bmc_jax.data.sources import Opened
from bmc_jax.training import checkpoint, parallel, step


def require_equal(state: Any) -> None:
    """Raise ArithmeticError, naming the leaves, unless a replicated state is the same to the bit on the devices of all
    processes, all of which must call this."""
    # pmap wants something that is split over the devices.
    differs = jax.device_get(_run()(state, np.arange(jax.local_device_count())))
    found = [
        jax.tree_util.keystr(path).lstrip(".")
        for path, value in jax.tree_util.tree_flatten_with_path(differs)[0]
        if value
    ]
    if found:
        named = ", ".join(found[:5]) + (f" and {len(found) - 5} more" if len(found) > 5 else "")
        raise ArithmeticError(
            f"step {int(state.step)}: the devices' copies of {named} differ. A result of the step was not averaged "
            f"over the devices (jax.lax.pmean under {parallel.AXIS!r}), or a device computes wrongly. Nothing that was "
            "saved since the last check is to be trusted"
        )


@functools.cache
def _run() -> Any:
    return parallel.parallelize(lambda state, _: jax.tree.map(_differs, state), (None, 0), None)


def _differs(leaf: Array) -> Bool[Array, ""]:
    found = checksum(leaf)
    return jax.lax.pmax(found, parallel.AXIS) != jax.lax.pmin(found, parallel.AXIS)


def checksum(leaf: Array) -> UInt32[Array, ""]:
    """Of the bits of an array of numbers, and of their places: a change of any one number changes it."""
    bits = jax.lax.bitcast_convert_type(leaf, f"uint{8 * leaf.dtype.itemsize}").astype(jnp.uint32).reshape(-1)
    # Odd, so that no change of one number is lost modulo 2^32.
    weights = 2 * jnp.arange(bits.size, dtype=jnp.uint32) + 1
    return jnp.sum(bits * weights, dtype=jnp.uint32)


@contextlib.contextmanager
def enough(config: Config, cached: bool) -> Iterator[None]:
    """JAX's error for a full device as a MemoryError that says what to change; `cached` is whether the training images
    are on the devices too."""
    try:
        yield
    except jax.errors.JaxRuntimeError as error:
        if "RESOURCE_EXHAUSTED" not in str(error):
            raise
        said = str(error).splitlines()[0][:200]
        raise MemoryError(
            f"the device's memory is full ({said}). Any of these needs less: {remedies(config, cached)}"
        ) from error


def remedies(config: Config, cached: bool) -> str:
    """Settings that need less memory than these, those first that change the result least."""
    share = config.data.batch_size // jax.device_count()
    finer = [parts for parts in range(config.optimizer.accumulate + 1, share + 1) if share % parts == 0]
    found = ["data.cache=host, with the same result"] if cached else []
    if finer:
        found.append(
            f"optimizer.accumulate={finer[0]}, which takes each device's {share} images in {finer[0]} parts, with the "
            "same gradient but for BatchNorm"
        )
    if config.network.dtype == "float32":
        found.append("network.dtype=bfloat16, about half")
    if share > 1:
        found.append(f"data.batch_size={config.data.batch_size // 2}")
    found.append("more devices")
    return "; ".join(found)


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
    found = culprits(config, state, input_pipeline.fetch(opened, rows), jax.device_get(hand_limits))
    names = input_pipeline.describe(opened, rows[list(found)])
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
