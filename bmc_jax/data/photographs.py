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
"""Side of the square crop relative to the longer side of the hand's box. Rendered hands fill about 2/3 of theirs."""


@dataclass(frozen=True)
class Photographs:
    """Crops of hands, with the information of the file about them."""

    batch: Batch
    """Host numpy `[count, ...]`."""
    files: tuple[str, ...]
    """Name of each example's image file in the annotations."""
    mirrored: np.ndarray
    """Mask of the examples that are mirrored left hands, `[count]`."""
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
    """Reads the crops around the hands of a COCO file.

    Crops are equal to those of a dataset built from the file. Left hands are mirrored. Annotations that a build skips
    are left out, with a warning that states the reasons.

    Args:
      path: the COCO file.
      size: see `crop.crop`, as `margin` and `stored`.
      margin: see `crop.crop`.
      stored: see `crop.crop`.
      indices: numbers of annotations, from 0; by default all.

    Raises:
      FileNotFoundError: if the file or an image does not exist.
      ValueError: as `coco_hand` does, for numbers that the file does not have, and if no annotation can be used.
    """
    path = Path(path)
    info = coco_hand.load(path).get("info")
    description = str(info.get("description", "")) if isinstance(info, dict) else ""
    rows = coco_hand.splits(path)["train"]
    indices = range(len(rows)) if indices is None else indices
    if len(indices) == 0:
        raise ValueError(f"{path}: expected one annotation or more, got none; name a file with annotations")
    if min(indices) < 0 or max(indices) >= len(rows):
        wrong = min(indices) if min(indices) < 0 else max(indices)
        raise ValueError(
            f"{path}: expected numbers of annotations from 0 to {len(rows) - 1}, got {wrong}; choose others"
        )
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
            raise ValueError(
                f"{path}: expected a usable annotation, got none of {len(indices):,}: {reasons}; correct the file"
            )
        warnings.warn(
            f"{path}: {skipped.total():,} of {counted(len(indices), 'annotation')} left out: {reasons}", stacklevel=2
        )
    indices = kept
    files = tuple((rows[i].image or {})["file_name"] for i in indices)
    left = np.array([record["hand"] == "left" for record in records])
    return Photographs(batch(records, indices, size=size, margin=margin, stored=stored), files, left, description)


def batch(
    records: Sequence[dict[str, Any]],
    numbers: Sequence[int],
    *,
    size: int,
    margin: float = MARGIN,
    stored: int | None = None,
) -> Batch:
    """Returns the crops of records as examples of source 0 with these numbers, host numpy `[count, ...]`."""
    return example_sets.stack([crop.crop(row, size=size, margin=margin, stored=stored) for row in records], numbers)


def spread(path: str | os.PathLike, count: int | None = None) -> list[int]:
    """Returns the numbers of `count` annotations spread evenly over the file; of all by default or if it has fewer."""
    available = len(coco_hand.load(Path(path))["annotations"])
    return evenly(available, count or available)


def evenly(available: int, count: int) -> list[int]:
    """Returns `count` numbers spread evenly over `range(available)`; all if there are fewer."""
    return np.unique(np.linspace(0, available - 1, min(count, available)).astype(int)).tolist()
