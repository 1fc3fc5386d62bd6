"""Batches that are made inside the training step, of images that are on the devices and images that are rendered there.

As everywhere a step is told row numbers, in all sources laid end to end; what a fresh source's row stands for is
rendered by the device that trains on it. All devices run one program, and a source's share of the batch need not divide
by their number: each device renders as many as any has of that source, and drops what is not its own.
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
    """Returns where fresh images are rendered, in words, if the others wait in `mode`, one of `CACHES`."""
    if mode != "device":
        return "rendered batch by batch, before the step"
    slowly = ", some fifty times slower on a CPU than with data.cache=host" if jax.default_backend() == "cpu" else ""
    return f"rendered inside the step{slowly}"


def gather(rows: Int[Array, "device b"], resident: cache.Resident, config: Config, axis_name: str) -> Batch:
    """One device's part `[b, ...]` of the process's batch, whose rows for each local device every device is told.

    `resident` is what the device has of the sources that are not fresh: see `cache.gather`.
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
        # Neighbours in the batch go to different devices: of the batch's places from low to high, any device has these.
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
    """Row numbers in the sources that are not fresh, laid end to end by themselves; -1 for those of fresh ones."""
    lengths = np.diff(first)
    lengths[fresh] = 0
    shift = (input_pipeline.offsets(lengths.tolist()) - first)[:-1]
    of = jnp.searchsorted(jnp.asarray(first[1:]), rows, side="right")
    return jnp.where(jnp.asarray(lengths > 0)[of], rows + jnp.asarray(shift)[of], -1)


def _put(examples: Batch, batch: Batch, places: slice, own: Bool[Array, " place"]) -> Batch:
    """The batch with those of the examples that are its `own` in their places."""

    def put(new: Any, old: Any) -> Any:
        mask = own.reshape(-1, *[1] * (new.ndim - 1))
        return old.at[places].set(jnp.where(mask, new, old[places]))

    return jax.tree.map(put, examples, batch)
