"""Batches assembled inside the training step, from images in device memory and images rendered on the devices.

A step receives row numbers in the concatenated sources. Rows of a fresh source are rendered by the device that trains
on them. All devices run the same program, and the number of a source's rows in a batch need not be a multiple of the
number of devices: each device renders as many images as any device has of the source, and drops those of others.
"""

from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Bool, Int

from bmc_jax.config import Config
from bmc_jax.core.types import Batch
from bmc_jax.data import cache, input_pipeline, sources


def describe(mode: str) -> str:
    """Returns the place where fresh images are rendered, in words, for the cache `mode`, one of `CACHES`."""
    if mode != "device":
        return "rendered batch by batch, before the step"
    slowly = ", about fifty times slower on a CPU than with data.cache=host" if jax.default_backend() == "cpu" else ""
    return f"rendered inside the step{slowly}"


def gather(rows: Int[Array, "device b"], resident: cache.Resident, config: Config, axis_name: str) -> Batch:
    """Returns one device's part `[b, ...]` of the process's batch.

    Args:
      rows: rows of all local devices, the same on every device.
      resident: this device's part of the sources that are not fresh (see `cache.gather`).
      config: a resolved configuration.
      axis_name: name of the mapped axis of devices.
    """
    fresh, train = sources.on_demand(config), config.data.train
    if not fresh:
        return cache.gather(rows, resident, axis_name)
    mine = rows[jax.lax.axis_index(axis_name) % len(rows)]
    first = input_pipeline.offsets([sources.length(config, source) for source in train])
    shares = input_pipeline.offsets(
        input_pipeline.share_out([source.share for source in train], config.data.batch_size)
    )
    devices = jax.lax.axis_size(axis_name)

    rendered = []
    for number, source in fresh.items():
        # Adjacent examples are on different devices, so the source's rows are at these places of any device's part.
        places = slice(int(shares[number]) // devices, -(-int(shares[number + 1]) // devices))
        row = mine[places] - int(first[number])
        own = (row >= 0) & (row < len(source))
        rendered.append((places, own, source.draw(jnp.where(own, row, 0))))

    if len(fresh) < len(train):
        batch = cache.gather(_resident_rows(rows, first, list(fresh)), resident, axis_name)
    else:
        batch = jax.tree.map(lambda leaf: jnp.zeros((len(mine), *leaf.shape[1:]), leaf.dtype), rendered[0][-1])
    for places, own, examples in rendered:
        batch = _put(examples, batch, places, own)
    return batch


def _resident_rows(rows: Int[Array, "device b"], first: np.ndarray, fresh: list[int]) -> Int[Array, "device b"]:
    """Returns row numbers in the concatenation of the sources that are not fresh; -1 for rows of fresh sources."""
    lengths = np.diff(first)
    lengths[fresh] = 0
    shift = (input_pipeline.offsets(lengths.tolist()) - first)[:-1]
    source = jnp.searchsorted(jnp.asarray(first[1:]), rows, side="right")
    return jnp.where(jnp.asarray(lengths > 0)[source], rows + jnp.asarray(shift)[source], -1)


def _put(examples: Batch, batch: Batch, places: slice, own: Bool[Array, " place"]) -> Batch:
    """Returns the batch with the examples selected by `own` at their places."""

    def put(new: Any, old: Any) -> Any:
        mask = own.reshape(-1, *[1] * (new.ndim - 1))
        return old.at[places].set(jnp.where(mask, new, old[places]))

    return jax.tree.map(put, examples, batch)
