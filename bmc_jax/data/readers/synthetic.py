"""Rendered hands as a dataset on disk, rendered once for many runs.

Runs whose configuration names a domain need no such dataset (see `bmc_jax.data.sources`).
"""

import functools
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from bmc_jax.data.readers.annotation import Annotation, DatasetInfo

VERSION = "1.0.0"
INFO = DatasetInfo(
    what="rendered right hands of a synthetic domain, with 2D and 3D labels",
    needs="nothing",
    licence="that of this package",
    address="bmc_jax/synthesis",
)
OPTIONS = {
    "domain": "a domain of bmc_jax.synthesis",
    "train": "number of images",
    "validation": "number of images",
    "test": "number of images, of other people",
    "seed": "seed of all random numbers",
    "size": "side of the pictures; hands have their size in a crop of 128 pixels, with surroundings",
}

SHUFFLED = True
"""Whether the rows are in random order, so that the build does not shuffle them."""
WORKERS = 1
"""Number of processes of a build. The renderer uses all cores."""
CROP = 128
"""Side of the crop to which the domains refer, pixels."""
BLOCK = 256
"""Number of images rendered together."""


@dataclass(frozen=True)
class Row:
    """An image of a split with `count` images."""

    id: str
    domain: str
    split: str
    seed: int
    size: int
    count: int
    index: int


def dataset_name(*, domain: str, **_: Any) -> str:
    """Returns the name of the built dataset."""
    return f"synthetic_{domain}"


def splits(
    source: Path = Path(),
    *,
    domain: str = "real_like",
    train: int = 12_288,
    validation: int = 0,
    test: int = 1_024,
    seed: int = 0,
    size: int = 192,
) -> dict[str, list[Row]]:
    """Returns the rows of each split.

    Raises:
      ValueError: for an unknown domain, a negative number, or images smaller than a crop.
    """
    from bmc_jax import synthesis

    del source
    synthesis.domains.get(domain)
    if min(train, validation, test) < 0 or size < CROP:
        raise ValueError(
            f"train, validation, test, size: expected counts of 0 or more and a size of {CROP} or more, got {train}, "
            f"{validation}, {test} and {size}; change them"
        )
    counts = {"train": train, "validation": validation, "test": test}
    return {
        split: [Row(f"{split}/{index}", domain, split, seed, size, count, index) for index in range(count)]
        for split, count in counts.items()
        if count
    }


def annotation(row: Row) -> Annotation:
    """Returns the hand of an image. The images of a block are rendered together."""
    images = _block(row.domain, row.split, row.seed, row.size, row.count, row.index // BLOCK)
    place = row.index % BLOCK
    return Annotation(
        where=f"{row.domain}: {row.id}",
        source=dataset_name(domain=row.domain),
        id=row.id,
        image=np.asarray(images.image[place]),
        intrinsics=images.intrinsics[place],
        joints_3d=images.joints_3d[place],
        joints_2d=images.joints_2d[place],
        scale=float(images.scale[place]),
    )


@functools.lru_cache(maxsize=1)
def _block(domain: str, split: str, seed: int, size: int, count: int, number: int) -> Any:
    from bmc_jax import synthesis

    wide = synthesis.domains.widen(synthesis.domains.get(domain), size / CROP)
    indices = np.arange(number * BLOCK, min((number + 1) * BLOCK, count))
    return synthesis.render(seed, wide, split, indices, size=size)
