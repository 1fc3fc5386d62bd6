"""What stops a run: values that are not finite, devices that differ, memory that is full, another process.

Nothing here costs time while all is well.
"""

import contextlib
import dataclasses
import functools
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Bool, UInt32

from bmc_jax.config import Config
from bmc_jax.core.types import Batch, Limits
from bmc_jax.data import input_pipeline
from bmc_jax.data.example_sets import ExampleSet
from bmc_jax.training import checkpoint, parallel, step

#: Examples named in a message.
NAMED = 10


def require_finite(
    config: Config,
    workdir: Path,
    example_sets: Sequence[ExampleSet],
    hand_limits: Limits,
    number: int,
    finite: Any,
    metrics: Mapping[str, Any],
    rows: np.ndarray,
) -> None:
    """Raises FloatingPointError, naming terms and examples, if loss or gradient of step `number` were not finite.

    To find the examples, the step is repeated on each of them alone, with the weights of the last checkpoint.

    Args:
      config: of the run; creates the state.
      workdir: of the run.
      example_sets: its training sources.
      hand_limits: its limits.
      number: of the step, counted from 1; the last one of its call.
      finite: whether they were; waits for it if it is still on its way from the devices.
      metrics: of that step, fetched only if they were not.
      rows: row numbers `[step, b]` of this process's examples, of all steps of the call. Several are not told apart.
    """
    if finite:
        return
    terms = ", ".join(name for name, value in metrics.items() if not np.isfinite(float(value)))
    if len(rows) > 1:
        raise FloatingPointError(
            f"steps {number - len(rows) + 1} to {number}: {terms} not finite. Nothing of these steps was saved. The "
            "same command with training.steps_per_dispatch=1 goes on from the last checkpoint, and names the step and "
            "what is at fault"
        )
    state = checkpoint.restore(workdir, step.create(config))
    saved = f"the weights of step {int(state.step)}"
    # Augmentation and the weights of the terms depend on the step.
    state = dataclasses.replace(state, step=np.asarray(number - 1, np.int32))
    found = culprits(config, state, input_pipeline.fetch(example_sets, rows[0]), jax.device_get(hand_limits))
    names = input_pipeline.describe(example_sets, rows[0][list(found)])
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
    """Returns, by their place in a batch `[b, ...]`, the examples on which alone the step is not finite.

    Each comes with the loss terms that are not finite, or else with `gradient_norm`.
    """
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


def require_equal(state: Any) -> None:
    """Raises ArithmeticError, naming the leaves, unless a replicated state is equal to the bit on all devices.

    JAX does not check this: a value that was not averaged over the devices, or a device that computes wrongly, makes
    the copies drift apart while only the first is logged and saved. All processes must call it.
    """
    # pmap needs an argument that is split over the devices.
    differs = jax.device_get(_comparison()(state, np.arange(jax.local_device_count())))
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
def _comparison() -> Any:
    return parallel.parallelize(lambda state, _: jax.tree.map(_differs, state), (None, 0), None)


def _differs(leaf: Array) -> Bool[Array, ""]:
    found = checksum(leaf)
    return jax.lax.pmax(found, parallel.AXIS) != jax.lax.pmin(found, parallel.AXIS)


def checksum(leaf: Array) -> UInt32[Array, ""]:
    """Returns a checksum of the bits of an array and of their places, which a change of any one number changes."""
    bits = jax.lax.bitcast_convert_type(leaf, f"uint{8 * leaf.dtype.itemsize}").astype(jnp.uint32).reshape(-1)
    # Odd, so that no change of one number is lost modulo 2^32.
    weights = 2 * jnp.arange(bits.size, dtype=jnp.uint32) + 1
    return jnp.sum(bits * weights, dtype=jnp.uint32)


@contextlib.contextmanager
def explained_memory_error(config: Config, cached: bool) -> Iterator[None]:
    """Turns JAX's error for a full device into a MemoryError that names settings that need less.

    `cached` is whether the training images are on the devices.
    """
    try:
        yield
    except jax.errors.JaxRuntimeError as error:
        if "RESOURCE_EXHAUSTED" not in str(error):
            raise
        message = str(error).splitlines()[0][:200]
        raise MemoryError(
            f"the device's memory is full ({message}). Any of these needs less: {remedies(config, cached)}"
        ) from error


def remedies(config: Config, cached: bool) -> str:
    """Returns settings that need less memory, those that change the result least first."""
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


def agreement() -> Callable[[bool], bool]:
    """Returns a function of whether this process is to stop: whether any process is. All call it after every step.

    With several processes its value is that of the call before, so that no process waits for the current step.
    """
    if jax.process_count() == 1:
        return bool
    any_process = parallel.parallelize(functools.partial(jax.lax.pmax, axis_name=parallel.AXIS), (0,), None)
    before: list[Any] = [False]

    def any_stops(stop: bool) -> bool:
        before.append(any_process(np.full(jax.local_device_count(), stop, np.int32)))
        return bool(before.pop(0))

    return any_stops
