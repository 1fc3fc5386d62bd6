"""What a run was trained on, as far as that is still known: its data, their licences, and how large their hands are."""

import json
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from bmc_jax import synthesis
from bmc_jax.config import Config, Source
from bmc_jax.core import hand
from bmc_jax.data import sources, store
from bmc_jax.synthesis import skeleton
from bmc_jax.training.run_folder import DATA_FILE

MILLIMETRE = 1e-3
#: Mean of adults, metres.
ADULT_SCALE = MILLIMETRE * float(skeleton.BONES[hand.FINGERS.index("middle"), hand.LEVELS.index("PIP")])
ADULT = "the mean of adults (Buryanov and Kotiuk 2010)"
#: Rendered hands that are measured: of people who differ by a tenth, their mean is within a third of a percent.
MEASURED = 1_000


@dataclass(frozen=True)
class Origin:
    """One training source."""

    source: Source
    count: int
    hash: str
    """Of a built dataset's files; "" for rendered images, and where the run's folder does not say."""
    licence: str
    scale: float | None
    """Mean length of its hands' scale bone, metres; None if unknown, or not what the network learned."""


def origins(config: Config, folder: Path) -> list[Origin]:
    """Of every training source, in the configuration's order."""
    file = folder / DATA_FILE
    recorded = json.loads(file.read_text()) if file.is_file() else [{} for _ in config.data.train]
    return [_origin(config, source, told) for source, told in zip(config.data.train, recorded, strict=True)]


def _origin(config: Config, source: Source, told: dict) -> Origin:
    count, digest = told.get("count", source.count), told.get("hash", "")
    if isinstance(sources.kind(source.name), sources.RenderedDomain):
        mean = _rendered_scale(config.seed, source, count) if source.labels == "3d" else None
        return Origin(source, count, "", "rendered by this package", mean)
    try:
        built = store.summary(store.find(source.name, config.data.directory))
    except ValueError:
        built = {}
    if not built or built["hash"] != digest:
        return Origin(source, count, digest, "unknown here: the dataset was not at hand", None)
    measured = built["splits"][source.split]["scale_m"] or {}
    return Origin(source, count, digest, built["about"]["licence"], measured.get("mean"))


def _rendered_scale(seed: int, source: Source, count: int) -> float:
    joints = synthesis.poses(seed, source.name, source.split, np.arange(min(count, MEASURED)))
    start, end = hand.SCALE_BONE
    return float(np.linalg.norm(joints[:, end] - joints[:, start], axis=-1).mean())


def scale(found: list[Origin]) -> tuple[float, str]:
    """Mean length of the scale bone, metres, over the 3D-labelled training data where that is known, and whose mean it
    is, in words."""
    known = [origin for origin in found if origin.source.labels == "3d" and origin.scale and origin.count]
    if not known:
        return ADULT_SCALE, ADULT
    total = sum(origin.count for origin in known)
    names = " and ".join(sorted({origin.source.name for origin in known}))
    words = f"the mean of the 3D-labelled training data, {names}"
    return sum((origin.scale or 0.0) * origin.count for origin in known) / total, words
