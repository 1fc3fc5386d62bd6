"""Which examples are in which batch, a pure function of (seed, step), and the batches themselves.

Every batch holds its share of every source, so each step sees both kinds of supervision. A batch is first a list of row
numbers in the training sources laid end to end. Process p of P takes every P-th of them from the p-th on, and so does
device d of a process's D with what that has: all devices' parts together are the batch of a single one.
"""

import dataclasses
from collections.abc import Iterator, Sequence
from typing import Any

import grain
import jax
import numpy as np

from bmc_jax.config import Config
from bmc_jax.core.types import Batch
from bmc_jax.data import sources
from bmc_jax.data.example_sets import ExampleSet, InMemory

#: Two batches are put together while the next two wait: few enough to keep memory flat, and enough to bridge a slow
#: one. Images are decoded by threads of their own.
READING = grain.ReadOptions(num_threads=2, prefetch_buffer_size=4)


def share_out(shares: list[float], batch_size: int) -> list[int]:
    """Returns the number of examples of each source in a batch: its shares, rounded so that they sum to the batch.

    Raises:
      ValueError: if a source would have none.
    """
    exact = np.array(shares) / np.sum(shares) * batch_size
    counts = np.floor(exact).astype(int)
    short = batch_size - counts.sum()
    counts[np.argsort(counts - exact, kind="stable")[:short]] += 1
    if counts.min() == 0:
        raise ValueError(f"data.batch_size {batch_size} is too small for shares {shares}: a source would never be seen")
    return counts.tolist()


def rows(config: Config, process: int | None = None, processes: int | None = None) -> grain.MapDataset:
    """Returns row numbers by step, `[b]` int32, without end: those of this process, or of process p of P.

    Every source is shuffled anew for each pass, except those that are rendered on demand, which have one pass. The
    place of a step in a pass depends on the step alone, so a resumed run sees what an uninterrupted one would have. The
    configuration must be resolved.

    Raises:
      ValueError: if all devices cannot have equal parts of a batch, or make groups of `network.batch_norm`, or a
        source would have none of the batch.
    """
    process = jax.process_index() if process is None else process
    processes = jax.process_count() if processes is None else processes
    train, size, devices = config.data.train, config.data.batch_size, processes * jax.local_device_count()
    parts = devices * config.optimizer.accumulate
    if size % parts:
        each = f", each taking {config.optimizer.accumulate} parts (optimizer.accumulate)" if parts > devices else ""
        raise ValueError(
            f"data.batch_size {size} cannot be split over {devices} devices{each}; make it a multiple of {parts}"
        )
    together = config.network.batch_norm
    if together and devices % together:
        raise ValueError(
            f"network.batch_norm is {together}, but {devices} devices do not make groups of {together}; set it to a "
            "divisor of their number, or to 0 for all"
        )
    counts = share_out([source.share for source in train], size)
    lengths, orders = [sources.length(config, source) for source in train], []
    for i, (source, length, count) in enumerate(zip(train, lengths, counts, strict=True)):
        order = grain.MapDataset.range(length)
        order = order if source.fresh else order.seed(config.seed + i).shuffle()
        orders.append(order.repeat().batch(count))
    first = offsets(lengths)

    def of_step(step: int) -> np.ndarray:
        parts = [np.asarray(order[step]) + start for order, start in zip(orders, first, strict=False)]
        return np.concatenate(parts).astype(np.int32)[process::processes]

    return grain.MapDataset.range(np.iinfo(np.int32).max).map(of_step)


def offsets(counts: Sequence[int]) -> np.ndarray:
    """Returns the first row of each source, and the number of all rows."""
    return np.concatenate([[0], np.cumsum(counts)])


def fetch(example_sets: Sequence[ExampleSet], numbers: np.ndarray) -> Batch:
    """Returns the examples of row numbers `[b]` or `[device, b]`, in the order of the sources along the last axis.

    Each image is copied once, to its place in a batch `[b, ...]` or `[device, b, ...]` of host numpy.
    """
    rows = np.atleast_2d(numbers)
    first = offsets([len(source) for source in example_sets])
    found, places = [], []
    for source, low, high in zip(example_sets, first, first[1:], strict=False):
        here = (rows >= low) & (rows < high)
        if not here.any():
            continue
        if isinstance(source, InMemory):
            found.append(source.examples)
            places.append((here, rows - low))
        else:
            # The devices take turns, see `shard`: loaded in the order of the whole batch.
            found.append(source.load(rows.T[here.T] - low))
            places.append((here, (np.cumsum(here.T) - 1).reshape(here.T.shape).T))

    def put(*parts: np.ndarray) -> np.ndarray:
        whole = np.empty((*rows.shape, *parts[0].shape[1:]), parts[0].dtype)
        for part, (here, of) in zip(parts, places, strict=True):
            for device, row in enumerate(here):
                start, count = int(row.argmax()), int(row.sum())
                # Without "clip", numpy takes into a copy.
                np.take(part, of[device, row], axis=0, out=whole[device, start : start + count], mode="clip")
        return whole.reshape(*numbers.shape, *whole.shape[2:])

    return jax.tree.map(put, *found)


def describe(example_sets: Sequence[ExampleSet], numbers: np.ndarray) -> list[str]:
    """Returns the names of rows: source, number, and id if there is one."""
    first = offsets([len(source) for source in example_sets])
    of = np.searchsorted(first, numbers, side="right") - 1
    return [example_sets[i].describe(int(number - first[i])) for i, number in zip(of, numbers, strict=True)]


def shard(batch: Any) -> Any:
    """Reshapes `[b, ...]` to `[local device, b / devices, ...]`.

    Neighbours go to different devices, so that each gets examples of every source.

    Raises:
      ValueError: if the devices cannot have equal parts.
    """
    devices, size = jax.local_device_count(), len(jax.tree.leaves(batch)[0])
    if size % devices:
        raise ValueError(f"a batch of {size} cannot be split over {devices} devices; it must be a multiple of that")
    return jax.tree.map(lambda rows: rows.reshape(size // devices, devices, *rows.shape[1:]).swapaxes(0, 1), batch)


def unshard(batch: Any) -> Any:
    """Inverts `shard`, for any tree of arrays `[device, b, ...]`."""
    return jax.tree.map(lambda rows: np.asarray(rows).swapaxes(0, 1).reshape(-1, *rows.shape[2:]), batch)


def evaluation_batches(examples: Batch, batch_size: int) -> Iterator[Batch]:
    """Yields all examples in order, `[local device, b, ...]`; the last batch is padded with rows not `present`."""
    for first in range(0, len(examples.present), batch_size):
        index = np.arange(first, first + batch_size)
        part = jax.tree.map(lambda leaf: leaf[np.minimum(index, len(examples.present) - 1)], examples)  # noqa: B023
        yield shard(dataclasses.replace(part, present=part.present & (index < len(examples.present))))
