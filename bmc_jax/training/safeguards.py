"""Checks that stop a run: values that are not finite, devices that differ, full memory, and other processes.

The checks take almost no time in a run without faults.
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

NAMED = 10
"""Largest number of examples that a message names."""


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
    """Raises FloatingPointError if the loss or gradient of a step was not finite. The message names terms and examples.

    To find the examples, the step is repeated on each of them alone, with the weights of the last checkpoint.

    Args:
      config: configuration of the run, which creates the state.
      workdir: folder of the run.
      example_sets: training sources of the run.
      hand_limits: limits of the run.
      number: number of the step, counted from 1; the last step of its call.
      finite: whether both were finite; the function waits for this value.
      metrics: metrics of the step, fetched only if they were not finite.
      rows: row numbers `[step, b]` of this process's examples, of all steps of the call. With more than one step, the
        message does not name the step and its examples.
    """
    if finite:
        return
    terms = ", ".join(name for name, value in metrics.items() if not np.isfinite(float(value)))
    if len(rows) > 1:
        raise FloatingPointError(
            f"steps {number - len(rows) + 1} to {number}: {terms} not finite. No state of these steps was saved. Run "
            "the same command with training.steps_per_dispatch=1: it resumes from the last checkpoint, and its message "
            "names the step and the cause"
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
        f"With {saved}, these of its examples are not finite by themselves: {'; '.join(blamed)}. Check their labels "
        "and intrinsics"
        if found
        else f"With {saved}, each of its examples is finite by itself, so training diverged: lower optimizer.rate or "
        "optimizer.clip"
    )
    raise FloatingPointError(f"step {number}: {terms} not finite. The state of this step was not saved. {why}")


def culprits(config: Config, state: step.TrainState, batch: Batch, hand_limits: Limits) -> dict[int, list[str]]:
    """Returns the examples that, as a batch of one, make the step not finite, by their index in a batch `[b, ...]`.

    The value of each is the list of loss terms that are not finite, or `gradient_norm` if all terms are finite.
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
        # One term that is not finite makes the loss and all norms not finite.
        terms = [name for name in broken if name not in ("loss", "gradient_norm", "update_norm")]
        if broken:
            found[place] = terms or ["gradient_norm"]
    return found


def require_equal(state: Any) -> None:
    """Raises ArithmeticError unless a replicated state is bit-identical on all devices. The message names the leaves.

    JAX does not check this: the copies diverge if a value was not averaged over the devices or a device computes
    wrongly, and only the first copy is logged and saved. All processes must call it.
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
            f"over the devices (jax.lax.pmean over {parallel.AXIS!r}), or a device computes wrongly. Delete the "
            "checkpoints saved since the last check"
        )


@functools.cache
def _comparison() -> Any:
    return parallel.parallelize(lambda state, _: jax.tree.map(_differs, state), (None, 0), None)


def _differs(leaf: Array) -> Bool[Array, ""]:
    found = checksum(leaf)
    return jax.lax.pmax(found, parallel.AXIS) != jax.lax.pmin(found, parallel.AXIS)


def checksum(leaf: Array) -> UInt32[Array, ""]:
    """Returns a checksum of the bits of an array and of their positions. A change of any one number changes it."""
    bits = jax.lax.bitcast_convert_type(leaf, f"uint{8 * leaf.dtype.itemsize}").astype(jnp.uint32).reshape(-1)
    # Odd weights, so that a change of one number changes the sum modulo 2^32.
    weights = 2 * jnp.arange(bits.size, dtype=jnp.uint32) + 1
    return jnp.sum(bits * weights, dtype=jnp.uint32)


@contextlib.contextmanager
def explained_memory_error(config: Config, cached: bool) -> Iterator[None]:
    """Raises MemoryError in place of JAX's error for full device memory, and names settings that need less memory.

    Args:
      config: configuration of the run.
      cached: whether the training images are on the devices.
    """
    try:
        yield
    except jax.errors.JaxRuntimeError as error:
        if "RESOURCE_EXHAUSTED" not in str(error):
            raise
        message = str(error).splitlines()[0][:200]
        raise MemoryError(
            f"the device memory is full ({message}); each of these settings needs less: {remedies(config, cached)}"
        ) from error


def remedies(config: Config, cached: bool) -> str:
    """Returns settings that need less memory, in the order of their effect on the result, the smallest first."""
    share = config.data.batch_size // jax.device_count()
    finer = [parts for parts in range(config.optimizer.accumulate + 1, share + 1) if share % parts == 0]
    found = ["data.cache=host, with the same result"] if cached else []
    if finer:
        found.append(
            f"optimizer.accumulate={finer[0]}, which divides each device's {share} images into {finer[0]} parts, with "
            "the same gradient except for BatchNorm"
        )
    if config.network.dtype == "float32":
        found.append("network.dtype=bfloat16, about half")
    if share > 1:
        found.append(f"data.batch_size={config.data.batch_size // 2}")
    found.append("more devices")
    return "; ".join(found)


def agreement() -> Callable[[bool], bool]:
    """Returns a function that maps "this process stops" to "any process stops". All processes call it after every step.

    With several processes it returns the value of the previous call, so that no process waits for the current step.
    """
    if jax.process_count() == 1:
        return bool
    any_process = parallel.parallelize(functools.partial(jax.lax.pmax, axis_name=parallel.AXIS), (0,), None)
    before: list[Any] = [False]

    def any_stops(stop: bool) -> bool:
        before.append(any_process(np.full(jax.local_device_count(), stop, np.int32)))
        return bool(before.pop(0))

    return any_stops
