"""Inputs of the training program: batches, or row numbers of images that are stored on the devices.

One call runs one step. With images on the devices it runs up to `training.steps_per_dispatch` steps, so that the
overhead of Python does not limit runs with steps of about a millisecond.
"""

import dataclasses
import functools
import json
import time
import typing
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import grain
import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float, Int

from bmc_jax.config import Config, stored_size
from bmc_jax.core.choices import CACHES
from bmc_jax.core.types import Batch, Limits
from bmc_jax.data import cache, input_pipeline, render_in_step
from bmc_jax.data.cache import Resident
from bmc_jax.data.example_sets import ExampleSet, InMemory, OnDisk, RenderedOnDemand
from bmc_jax.runtime import distributed
from bmc_jax.training import parallel, step
from bmc_jax.training.step import TrainState

#: The training program: (state, inputs, limits, images on the devices) -> (state after the call, metrics of its last
#: step and `FINITE`). The state is donated: use the one returned.
TrainProgram = Callable[[TrainState, "Inputs", Limits, Resident], tuple[TrainState, dict[str, Float[Array, ""]]]]
FINITE = "finite"
"""Key of whether the loss and the gradient norm are finite: the host fetches this one value per call."""


@jax.tree_util.register_dataclass
@dataclass(frozen=True)
@typing.no_type_check
class Inputs:
    """Input of one call: a batch, or the rows of several."""

    batch: Batch | None = None
    """`[local device, b, ...]`; None if the images are on the devices."""
    rows: Int[Array | np.ndarray, "device step device b"] | None = None
    """Row numbers of each step's batch, the same for every device."""
    count: Int[Array | np.ndarray, ""] | None = None
    """Number of steps in `rows` to run, at least 1."""


@dataclass(frozen=True)
class Call:
    """One call of the training program."""

    rows: np.ndarray
    """Row numbers `[step, b]` of this process's examples."""
    inputs: Inputs


class Feed:
    """The calls of a run in order, and the images that every call uses. Measures how long training waits for input."""

    def __init__(self, calls: grain.MapDataset, resident: Resident, mapping: str = "pmap") -> None:
        self.calls, self._mapping = calls, mapping
        self.resident = Resident(
            parallel.place(resident.images, 0, mapping), parallel.place(resident.labels, None, mapping)
        )
        self._start, self._waited = time.perf_counter(), 0.0

    def __iter__(self) -> Iterator[Call]:
        calls = iter(self.calls.to_iter_dataset(input_pipeline.READING))
        while True:
            before = time.perf_counter()
            call = next(calls, None)
            if call is None:
                return
            call = dataclasses.replace(call, inputs=self._placed(call.inputs))
            self._waited += time.perf_counter() - before
            yield call

    def _placed(self, inputs: Inputs) -> Inputs:
        """Returns inputs whose transfer to the devices has begun; it overlaps with the computation of this step."""
        batch, rows = (parallel.place(part, 0, self._mapping) for part in (inputs.batch, inputs.rows))
        return Inputs(batch, rows, parallel.place(inputs.count, None, self._mapping))

    def wait_share(self) -> float:
        """Returns the share of the time since the last call, or the beginning, that this process waited for batches.

        It includes the part of their transfer to the devices that blocks this process.
        """
        now = time.perf_counter()
        share = self._waited / (now - self._start)
        self._start, self._waited = now, 0.0
        return share


def open_feed(config: Config, example_sets: Sequence[ExampleSet], rows: grain.MapDataset, first: int) -> Feed:
    """Returns the feed of a run. The configuration and the free memory determine where its images are stored.

    Args:
      config: a resolved configuration.
      example_sets: its training sources.
      rows: row numbers `[b]` of each remaining step.
      first: number of steps taken before.
    """
    rendered_in_step = [source for source in example_sets if isinstance(source, RenderedOnDemand)]
    stored = [source for source in example_sets if not isinstance(source, RenderedOnDemand)]
    mode = _placement(config, stored)
    if rendered_in_step:
        distributed.print_once(f"fresh images: {render_in_step.describe(mode)}")
    if mode == "device":
        return Feed(
            calls_on_rows(rows, first, config.training.steps_per_dispatch),
            cache.on_devices(stored, parallel.AXIS),
            config.training.mapping,
        )
    if mode == "host":
        example_sets = [source.decode() if isinstance(source, OnDisk) else source for source in example_sets]
    return Feed(calls_on_batches(example_sets, rows), Resident(None, None), config.training.mapping)


def _placement(config: Config, stored: Sequence[ExampleSet]) -> str:
    """Returns where the images are stored, one of `CACHES`. All processes use the slowest that any of them chooses."""
    bytes_each = 0 if config.network.input == "points" else 3 * stored_size(config) ** 2
    size = bytes_each * sum(map(len, stored))
    in_memory = bytes_each * sum(len(source) for source in stored if isinstance(source, InMemory))
    free = cache.free_on_host() // distributed.processes_on_host()
    with distributed.fail_together():
        ours = cache.choose(config.data.cache, size, in_memory, free, cache.free_on_devices())
    found = [cache.Placement(**json.loads(text)) for text in distributed.gather(json.dumps(dataclasses.asdict(ours)))]
    slowest = max(found, key=lambda placement: CACHES.index(placement.mode))
    distributed.print_once(f"cache: {slowest.mode}, {slowest.reason}")
    return slowest.mode


def calls_on_batches(example_sets: Sequence[ExampleSet], rows: grain.MapDataset) -> grain.MapDataset:
    """Returns a call for each step, with the batch of the step's row numbers `[b]` in `rows`."""

    def one(numbers: np.ndarray) -> Call:
        batch = input_pipeline.fetch(example_sets, input_pipeline.shard(numbers))
        return Call(rows=numbers[None], inputs=Inputs(batch=batch))

    return rows.map(one)


def calls_on_rows(rows: grain.MapDataset, first: int, size: int) -> grain.MapDataset:
    """Returns calls of up to `size` steps each, with the row numbers `[b]` in `rows`, beginning at step `first`.

    Calls end at multiples of `size`. If the run resumes or ends between two multiples, a call has fewer steps. Its last
    rows are repeated and ignored, so that nothing is compiled again.
    """
    last = first + len(rows)
    multiples = range(first - first % size, last, size)

    def one(number: int) -> Call:
        start, end = max(multiples[number], first), min(multiples[number] + size, last)
        numbers = np.stack([np.asarray(rows[at - first]) for at in range(start, end)])
        of_devices = np.stack([input_pipeline.shard(step_rows) for step_rows in numbers])
        padded = np.concatenate([of_devices, np.repeat(of_devices[-1:], size - len(numbers), axis=0)])
        everywhere = np.broadcast_to(padded, (padded.shape[1], *padded.shape))
        return Call(rows=numbers, inputs=Inputs(rows=everywhere, count=np.array(len(numbers), np.int32)))

    return grain.MapDataset.range(len(multiples)).map(one)


def train_program(config: Config) -> TrainProgram:
    """Returns `step.train_step` over the local devices, for the calls of a `Feed`."""
    take = functools.partial(step.train_step, config=config, axis_name=parallel.AXIS)

    def call(state: TrainState, inputs: Inputs, limits: Limits, resident: Resident) -> tuple[TrainState, Any]:
        state, metrics = steps(state, inputs, limits, resident)
        finite = jnp.isfinite(metrics["loss"]) & jnp.isfinite(metrics["gradient_norm"])
        return state, metrics | {FINITE: finite}

    def steps(state: TrainState, inputs: Inputs, limits: Limits, resident: Resident) -> tuple[TrainState, Any]:
        if inputs.batch is not None:
            return take(state, inputs.batch, limits)

        def one(state: TrainState, rows: Int[Array, "device b"]) -> tuple[TrainState, Any]:
            return take(state, render_in_step.gather(rows, resident, config, parallel.AXIS), limits)

        rows = jnp.asarray(inputs.rows)
        return one(state, rows[0]) if len(rows) == 1 else _repeat(one, state, rows, inputs.count)

    of_inputs: Any = {"batch": 0, "rows": 0, "count": None}
    axes = (None, Inputs(**of_inputs), None, Resident(0, None))
    return parallel.parallelize(call, axes, None, donate=True, mapping=config.training.mapping)


def _repeat(
    take: Callable[[TrainState, Any], tuple[TrainState, Any]],
    state: TrainState,
    rows: Int[Array, "step device b"],
    count: Any,
) -> tuple[TrainState, Any]:
    """Returns `take(state, rows[i])` for each i below `count`: the last state and metrics."""

    def again(i: Int[Array, ""], before: tuple[TrainState, Any]) -> tuple[TrainState, Any]:
        return take(before[0], rows[i])

    shapes = jax.eval_shape(take, state, rows[0])[1]
    nothing = jax.tree.map(lambda shape: jnp.zeros(shape.shape, shape.dtype), shapes)
    return jax.lax.fori_loop(0, count, again, (state, nothing))
