"""Training and test images: rendered once into host memory, then batches by step, a pure function of (seed, step).

Every batch holds its share of every source, so each step sees both kinds of supervision. Sources with 2D labels only
have their 3D labels taken out here, at the door: nothing later can read them.
"""

import dataclasses
from collections.abc import Iterator
from typing import Any

import grain
import jax
import numpy as np
from tqdm import tqdm

from bmc_jax import synthesis
from bmc_jax.config import Config
from bmc_jax.types import Batch

#: Images rendered between two movements of the progress bar.
CHUNK = 256


def rendered(config: Config, domain: str, split: str, count: int, source: int = 0) -> Batch:
    """The first `count` images of a domain's split ("train", "validation", "test") with all their labels, host numpy
    `[count, ...]`, marked as of that `source`. Takes 3 bytes a pixel, 49 KB an image of 128x128."""
    size = config.data.image_size
    chunks = []
    with tqdm(total=count, desc=f"render {domain} {split}", unit=" images", dynamic_ncols=True) as bar:
        for first in range(0, count, CHUNK):
            index = np.arange(first, min(first + CHUNK, count))
            chunks.append(synthesis.render(config.seed, domain, split, index, size))
            bar.update(len(index))
    examples = jax.tree.map(lambda *parts: np.concatenate(parts), *chunks)
    return dataclasses.replace(examples, source=np.full(count, source, np.int32))


def training_sources(config: Config) -> list[Batch]:
    """Every training source's images, with the labels that training may see."""
    sources = []
    for i, source in enumerate(config.data.train):
        examples = rendered(config, source.domain, "train", source.count, i)
        sources.append(examples if source.labels == "3d" else without_3d(examples))
    return sources


def without_3d(examples: Batch) -> Batch:
    """The same examples with 2D labels only. What 3D said is overwritten, not just masked."""
    return dataclasses.replace(
        examples,
        joints_3d=np.zeros_like(examples.joints_3d),
        joints_3d_valid=np.zeros_like(examples.joints_3d_valid),
        scale=np.ones_like(examples.scale),
    )


def labelled_joints(sources: list[Batch]) -> np.ndarray:
    """The 3D poses that training has complete labels for, `[pose, 21, 3]` metres: what limits may be fitted to."""
    return np.concatenate([examples.joints_3d[examples.joints_3d_valid.all(axis=-1)] for examples in sources])


def share_out(shares: list[float], batch_size: int) -> list[int]:
    """Examples of each source in a batch: the shares of it, rounded so that they sum to it.

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


def batches(sources: list[Batch], config: Config) -> grain.MapDataset:
    """Batch by step, `[local device, b, ...]` numpy, without end: `batches(...)[step]` or a slice of it.

    Every source is reshuffled each time it has been gone through; where within its pass a step falls hangs on the step
    alone, so a resumed run sees what an uninterrupted one would have.
    """
    counts = share_out([source.share for source in config.data.train], config.data.batch_size)
    orders = [
        grain.MapDataset.range(len(examples.present)).seed(config.seed + i).shuffle().repeat().batch(count)
        for i, (examples, count) in enumerate(zip(sources, counts, strict=True))
    ]

    def batch(step: int) -> Batch:
        parts = [take(examples, np.asarray(order[step])) for examples, order in zip(sources, orders, strict=True)]
        return shard(jax.tree.map(lambda *part: np.concatenate(part), *parts))

    return grain.MapDataset.range(np.iinfo(np.int32).max).map(batch)


def take(examples: Batch, index: np.ndarray) -> Batch:
    """The examples of those rows."""
    return jax.tree.map(lambda rows: rows[index], examples)


def shard(batch: Batch) -> Batch:
    """`[b, ...]` to `[local device, b / devices, ...]`. Neighbours go to different devices: each gets of every source.

    Raises:
      ValueError: if the devices cannot have equal parts.
    """
    devices, size = jax.local_device_count(), len(batch.present)
    if size % devices:
        raise ValueError(
            f"data.batch_size {size} cannot be split over {devices} devices; make it a multiple of {devices}"
        )
    return jax.tree.map(lambda rows: rows.reshape(size // devices, devices, *rows.shape[1:]).swapaxes(0, 1), batch)


def unshard(batch: Any) -> Any:
    """The inverse of `shard`, for any tree of arrays `[device, b, ...]`."""
    return jax.tree.map(lambda rows: np.asarray(rows).swapaxes(0, 1).reshape(-1, *rows.shape[2:]), batch)


def evaluation_batches(examples: Batch, batch_size: int) -> Iterator[Batch]:
    """All the examples in order, `[local device, b, ...]`; the last batch is filled up with rows not `present`."""
    for first in range(0, len(examples.present), batch_size):
        index = np.arange(first, first + batch_size)
        part = take(examples, np.minimum(index, len(examples.present) - 1))
        yield shard(dataclasses.replace(part, present=part.present & (index < len(examples.present))))
