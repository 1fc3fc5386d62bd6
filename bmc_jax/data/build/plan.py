"""What a build will make: its rows in their order, cut into shards, and the files that those become."""

import os
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from bmc_jax.data import record
from bmc_jax.data.build import shard

#: Of the order of training rows. Every other split keeps the order of its dataset, which prediction files follow.
SHUFFLE_SEED = 0
#: Where a plan lies while it is carried out.
FILE = "plan.json"


@dataclass(frozen=True)
class Plan:
    """All that determines the result but the source's files."""

    reader: str
    name: str
    version: str
    source: str
    options: dict[str, Any]
    faults: str
    rows: dict[str, int]
    """Number of each split's rows."""
    rows_a_shard: int
    shuffled: bool
    """Whether training rows are put into random order, or are in one already."""
    window: tuple[float, int, int] = (record.WINDOW, record.LARGEST, record.QUALITY)


def shards(plan: Plan, split: str, rows: Sequence[Any], building: Path) -> list[shard.Shard]:
    """A split's rows, training rows shuffled, in shards of equal size."""
    order = np.arange(len(rows))
    if split == "train" and plan.shuffled:
        np.random.default_rng(SHUFFLE_SEED).shuffle(order)
    parts = np.array_split(order, -(-len(rows) // plan.rows_a_shard))
    return [
        shard.Shard(plan.reader, [rows[i] for i in part], os.fspath(building / f"{split}-{i:05d}.json"), plan.faults)
        for i, part in enumerate(parts)
    ]


def shard_files(plan: Plan, split: str, count: int, folder: Path) -> list[Path]:
    """The shards' files, as TFDS names them."""
    return [Path(template(plan, split, folder).sharded_filepath(shard_index=i, num_shards=count)) for i in range(count)]


def template(plan: Plan, split: str, folder: Path) -> Any:
    import tensorflow_datasets as tfds

    return tfds.core.ShardedFileTemplate(
        data_dir=tfds.core.Path(folder), dataset_name=plan.name, split=split, filetype_suffix="array_record"
    )
