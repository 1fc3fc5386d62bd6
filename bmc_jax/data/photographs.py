"""Photographs with 2D keypoints, read from a COCO file without a build, for previews and evaluation."""

import os
import warnings
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from bmc_jax.core.plural import counted
from bmc_jax.core.types import Batch
from bmc_jax.data import crop, example_sets
from bmc_jax.data.readers import coco_hand
from bmc_jax.data.readers.annotation import SkipRow
from bmc_jax.data.record import record

MARGIN = 1.5
"""Side of the square crop over the longer side of the hand's box. Rendered hands fill about two thirds of theirs."""


@dataclass(frozen=True)
class Photographs:
    """Crops of hands, with what the file says of them."""

    batch: Batch
    """Host numpy `[count, ...]`."""
    files: tuple[str, ...]
    """Name of each example's image file in the annotations."""
    mirrored: np.ndarray
    """Which examples were left hands and are mirrored, `[count]`."""
    description: str
    """`info.description` of the file."""

    @property
    def labels_predicted(self) -> bool:
        """Whether the keypoints are another model's predictions, not labels made by hand."""
        return "predict" in self.description.lower()


def read(
    path: str | os.PathLike,
    *,
    size: int,
    margin: float = MARGIN,
    stored: int | None = None,
    indices: Sequence[int] | None = None,
) -> Photographs:
    """Reads the crops around the hands of a COCO file: of all annotations, or of those with the given numbers.

    They are the same as those of a dataset built from the file. `size`, `margin` and `stored` are those of `crop.crop`.
    Left hands are mirrored. Annotations that a build skips are left out, with a warning that states the reasons.

    Raises:
      FileNotFoundError: if the file or an image is not there.
      ValueError: as `coco_hand` does, for numbers that the file does not have, and if no annotation is left.
    """
    path = Path(path)
    info = coco_hand.load(path).get("info")
    description = str(info.get("description", "")) if isinstance(info, dict) else ""
    rows = coco_hand.splits(path)["train"]
    indices = range(len(rows)) if indices is None else indices
    if len(indices) == 0:
        raise ValueError(f"{path}: no annotations to read")
    if min(indices) < 0 or max(indices) >= len(rows):
        raise ValueError(f"{path} has {len(rows)} annotations, numbered from 0; asked for {max(indices)}")
    records, kept, skipped = [], [], Counter[str]()
    for i in indices:
        try:
            records.append(record(coco_hand.annotation(rows[i])))
            kept.append(i)
        except SkipRow as reason:
            skipped[str(reason)] += 1
    if skipped:
        reasons = ", ".join(f"{reason} ({count:,})" for reason, count in skipped.items())
        if not kept:
            raise ValueError(f"{path}: no annotation of {len(indices):,} is left: {reasons}")
        warnings.warn(
            f"{path}: {skipped.total():,} of {counted(len(indices), 'annotation')} left out: {reasons}", stacklevel=2
        )
    indices = kept
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
    """Returns the crops of records with these numbers, host numpy `[count, ...]`, as of source 0."""
    return example_sets.stack([crop.crop(one, size=size, margin=margin, stored=stored) for one in records], numbers)


def spread(path: str | os.PathLike, count: int | None = None) -> list[int]:
    """Returns the numbers of `count` annotations spread evenly over the file; of all by default or if it has fewer."""
    available = len(coco_hand.load(Path(path))["annotations"])
    return evenly(available, count or available)


def evenly(available: int, count: int) -> list[int]:
    """Returns `count` numbers spread evenly over `range(available)`; all if there are fewer."""
    return np.unique(np.linspace(0, available - 1, min(count, available)).astype(int)).tolist()
