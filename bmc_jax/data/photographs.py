"""Photographs with 2D keypoints straight from a COCO file, for a look and for measuring: nothing has to be built."""

import os
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from bmc_jax.core.types import Batch
from bmc_jax.data import crop
from bmc_jax.data.readers import coco_hand
from bmc_jax.data.record import record

#: Side of the square crop over the longer side of the hand's box. The rendered hands fill about two thirds of theirs.
MARGIN = 1.5


@dataclass(frozen=True)
class Photographs:
    """What `read` found."""

    batch: Batch
    """Host numpy `[count, ...]`."""
    files: tuple[str, ...]
    """Image file of each example, as the annotations name it."""
    mirrored: np.ndarray
    """Which examples are left hands, turned into right hands, `[count]`."""
    description: str
    """What the file says of itself (`info.description`)."""

    @property
    def labels_predicted(self) -> bool:
        """Whether the keypoints are another model's predictions, so that an error against them is a disagreement."""
        return "predict" in self.description.lower()


def read(
    path: str | os.PathLike,
    *,
    size: int,
    margin: float = MARGIN,
    stored: int | None = None,
    indices: Sequence[int] | None = None,
) -> Photographs:
    """Crops of `size` x `size` pixels around the hands of a COCO file: all, or the annotations of those numbers.

    They are what training would see of a dataset built from the file, not augmented; `stored` is as in `crops`. Left
    hands are mirrored.

    Raises FileNotFoundError and ValueError as `coco_hand` does, and ValueError for numbers that the file does not have.
    """
    path = Path(path)
    description = str(coco_hand.load(path).get("info", {}).get("description", ""))
    rows = coco_hand.splits(path)["train"]
    indices = range(len(rows)) if indices is None else indices
    if len(indices) == 0:
        raise ValueError(f"{path}: no annotations to read")
    if min(indices) < 0 or max(indices) >= len(rows):
        raise ValueError(f"{path} has {len(rows)} annotations, numbered from 0; asked for {max(indices)}")
    records = [record(coco_hand.annotation(rows[i])) for i in indices]
    files = tuple((rows[i].image or {})["file_name"] for i in indices)
    left = np.array([one["hand"] == "left" for one in records])
    return Photographs(batch(records, indices, size=size, margin=margin, stored=stored), files, left, description)


def batch(
    records: Sequence[dict[str, Any]],
    numbers: Sequence[int],
    *,
    size: int,
    margin: float = MARGIN,
    stored: int | None = None,
) -> Batch:
    """The crops of some records, with their numbers: host numpy `[count, ...]`, of the source 0."""
    cropped = [crop.crop(one, size=size, margin=margin, stored=stored) for one in records]
    return Batch(
        **{name: np.stack([one[name] for one in cropped]) for name in cropped[0]},
        source=np.zeros(len(records), np.int32),
        index=np.array(numbers, np.int32),
        present=np.ones(len(records), bool),
    )


def spread(path: str | os.PathLike, count: int | None = None) -> list[int]:
    """Numbers of `count` annotations spread evenly over the file, all by default or if it has fewer."""
    available = len(coco_hand.load(Path(path))["annotations"])
    return evenly(available, count or available)


def evenly(available: int, count: int) -> list[int]:
    """`count` numbers spread evenly below `available`, all if it is fewer."""
    return np.unique(np.linspace(0, available - 1, min(count, available)).astype(int)).tolist()
