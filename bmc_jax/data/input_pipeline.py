"""Row numbers of each batch, a pure function of (seed, step), and batches of the examples in these rows.

Every batch contains a share of every source, so each step has both kinds of supervision. Row numbers refer to the
concatenated training sources. Process p of P takes every P-th row of a batch, starting at the p-th, and device d of D
takes every D-th row of its process in the same way. The parts of all devices together are the batch of a single device.
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

#: Two threads assemble batches, and four batches are buffered: few enough to bound memory, and enough to hide a slow
#: batch. Other threads decode images.
READING = grain.ReadOptions(num_threads=2, prefetch_buffer_size=4)


def share_out(shares: list[float], batch_size: int) -> list[int]:
    """Returns the number of examples of each source in a batch: the shares, rounded so that they sum to `batch_size`.

    Raises:
      ValueError: if a source has no example in the batch.
    """
    exact = np.array(shares) / np.sum(shares) * batch_size
    counts = np.floor(exact).astype(int)
    short = batch_size - counts.sum()
    counts[np.argsort(counts - exact, kind="stable")[:short]] += 1
    if counts.min() == 0:
        raise ValueError(
            f"data.batch_size: expected one example or more of each source with shares {shares}, got none in a batch "
            f"of {batch_size}; increase the batch size or the share"
        )
    return counts.tolist()


def rows(config: Config, process: int | None = None, processes: int | None = None) -> grain.MapDataset:
    """Returns an infinite dataset of row numbers by step, `[b]` int32.

    Every source is reshuffled for each pass, except sources that are rendered on demand, which have one pass. Rows
    depend on the step alone, so a resumed run has the same batches as an uninterrupted one.

    Args:
      config: a resolved configuration.
      process: number of the process; by default this one.
      processes: number of processes; by default that of the run.

    Raises:
      ValueError: if the devices cannot have equal parts of a batch or groups of `network.batch_norm`, or if a source
        has no example in the batch.
    """
    process = jax.process_index() if process is None else process
    processes = jax.process_count() if processes is None else processes
    train, size, devices = config.data.train, config.data.batch_size, processes * jax.local_device_count()
    parts = devices * config.optimizer.accumulate
    if size % parts:
        each = f" x {config.optimizer.accumulate} parts (optimizer.accumulate)" if parts > devices else ""
        raise ValueError(
            f"data.batch_size: expected a multiple of {parts} for {devices} devices{each}, got {size}; change it"
        )
    together = config.network.batch_norm
    if together and devices % together:
        raise ValueError(
            f"network.batch_norm: expected a divisor of the number of devices, {devices}, got {together}; set it to a "
            "divisor, or to 0 for all devices"
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
    """Returns the first row of each source in the concatenated sources, followed by the total number of rows."""
    return np.concatenate([[0], np.cumsum(counts)])


def fetch(example_sets: Sequence[ExampleSet], numbers: np.ndarray) -> Batch:
    """Returns the examples of row numbers `[b]` or `[device, b]`, as host numpy `[b, ...]` or `[device, b, ...]`.

    Rows must be in the order of the sources along the last axis. Each image is copied once, to its place in the batch.
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
            # Devices alternate (see `shard`), so the transpose restores the order of the whole batch.
            found.append(source.load(rows.T[here.T] - low))
            places.append((here, (np.cumsum(here.T) - 1).reshape(here.T.shape).T))

    def put(*parts: np.ndarray) -> np.ndarray:
        whole = np.empty((*rows.shape, *parts[0].shape[1:]), parts[0].dtype)
        for part, (here, indices) in zip(parts, places, strict=True):
            for device, row in enumerate(here):
                start, count = int(row.argmax()), int(row.sum())
                # In other modes than "clip", numpy writes to a buffer first.
                np.take(part, indices[device, row], axis=0, out=whole[device, start : start + count], mode="clip")
        return whole.reshape(*numbers.shape, *whole.shape[2:])

    return jax.tree.map(put, *found)


def describe(example_sets: Sequence[ExampleSet], numbers: np.ndarray) -> list[str]:
    """Returns descriptions of rows: the source, the row in it and, if it has one, the example's id."""
    first = offsets([len(source) for source in example_sets])
    source = np.searchsorted(first, numbers, side="right") - 1
    return [example_sets[i].describe(int(number - first[i])) for i, number in zip(source, numbers, strict=True)]


def shard(batch: Any) -> Any:
    """Reshapes `[b, ...]` to `[local device, b / devices, ...]`.

    Adjacent examples are assigned to different devices, so that each device has examples of every source.

    Raises:
      ValueError: if the devices cannot have equal parts.
    """
    devices, size = jax.local_device_count(), len(jax.tree.leaves(batch)[0])
    if size % devices:
        raise ValueError(
            f"batch: expected a multiple of the number of devices, {devices}, got {size} examples; change its size"
        )
    return jax.tree.map(lambda rows: rows.reshape(size // devices, devices, *rows.shape[1:]).swapaxes(0, 1), batch)


def unshard(batch: Any) -> Any:
    """Inverts `shard`, for any tree of arrays `[device, b, ...]`."""
    return jax.tree.map(lambda rows: np.asarray(rows).swapaxes(0, 1).reshape(-1, *rows.shape[2:]), batch)


def evaluation_batches(examples: Batch, batch_size: int) -> Iterator[Batch]:
    """Yields all examples in order, `[local device, b, ...]`. Padding rows of the last batch are not `present`."""
    for first in range(0, len(examples.present), batch_size):
        index = np.arange(first, first + batch_size)
        part = jax.tree.map(lambda leaf: leaf[np.minimum(index, len(examples.present) - 1)], examples)  # noqa: B023
        yield shard(dataclasses.replace(part, present=part.present & (index < len(examples.present))))
