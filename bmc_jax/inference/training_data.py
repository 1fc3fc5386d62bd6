"""The recorded training data of a run: counts, hashes, licences, and the size of the hands."""

import itertools
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from bmc_jax import synthesis
from bmc_jax.config import Config, Source
from bmc_jax.core import hand
from bmc_jax.data import sources, store
from bmc_jax.runtime import json_files
from bmc_jax.synthesis import skeleton
from bmc_jax.training.run_folder import DATA_FILE, DataRecord

MILLIMETRE = 1e-3
#: Mean length of the scale bone of adults, metres.
ADULT_SCALE = MILLIMETRE * float(skeleton.BONES[hand.FINGERS.index("middle"), hand.LEVELS.index("PIP")])
ADULT = "the mean of adults (Buryanov and Kotiuk 2010)"
RENDERED = "rendered by this package"
"""Licence of rendered images."""
MEASURED = 1_000
"""Number of rendered hands that are measured: people differ by a tenth, so the mean is accurate to 0.3 %."""


@dataclass(frozen=True)
class TrainingSource:
    """One training source."""

    config: Source
    count: int
    hash: str
    """Hash of the files of a built dataset; "" for rendered images, and if it is not recorded."""
    licence: str
    scale: float | None
    """Mean length of the scale bone of its hands, metres; None if it is unknown or without 3D labels."""


def read(config: Config, folder: Path) -> list[TrainingSource]:
    """Returns the training sources of the run in `folder`, in the order of the configuration."""
    file = folder / DATA_FILE
    recorded = json_files.read(file, list[DataRecord]) if file.is_file() else []
    if file.is_file() and len(recorded) != len(config.data.train):
        raise ValueError(
            f"{file}: expected {len(config.data.train)} sources as in the run's configuration, got {len(recorded)}; "
            "copy the run's folder here again"
        )
    return [_read(config, source, record) for source, record in itertools.zip_longest(config.data.train, recorded)]


def _read(config: Config, source: Source, record: DataRecord | None) -> TrainingSource:
    count, digest = (record.get("count", source.count), record.get("hash", "")) if record else (source.count, "")
    if isinstance(sources.kind(source.name), sources.RenderedDomain):
        mean = _rendered_scale(config.seed, source, count) if source.labels == "3d" else None
        return TrainingSource(source, count, "", RENDERED, mean)
    try:
        built = store.summary(store.find(source.name, config.data.directory))
    except ValueError:
        built = {}
    if not built or built["hash"] != digest:
        return TrainingSource(source, count, digest, "unknown: the dataset was not available", None)
    measured = built["splits"][source.split]["scale_m"] or {}
    return TrainingSource(source, count, digest, built["about"]["licence"], measured.get("mean"))


def _rendered_scale(seed: int, source: Source, count: int) -> float:
    joints = synthesis.poses(seed, source.name, source.split, np.arange(min(count, MEASURED)))
    start, end = hand.SCALE_BONE
    return float(np.linalg.norm(joints[:, end] - joints[:, start], axis=-1).mean())


def mean_scale(found: list[TrainingSource]) -> tuple[float, str]:
    """Returns the mean length of the scale bone over the 3D-labelled training data, metres, and its origin as text.

    Without such data it is the mean of adults.
    """
    known = [source for source in found if source.config.labels == "3d" and source.scale and source.count]
    if not known:
        return ADULT_SCALE, ADULT
    total = sum(source.count for source in known)
    names = " and ".join(sorted({source.config.name for source in known}))
    words = f"the mean of the 3D-labelled training data, {names}"
    return sum((source.scale or 0.0) * source.count for source in known) / total, words
