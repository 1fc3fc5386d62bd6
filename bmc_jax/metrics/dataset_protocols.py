"""Evaluation of a run's predictions by the protocol of a dataset, and prediction files for its server or script."""

import os
from dataclasses import asdict
from pathlib import Path
from typing import Any

import numpy as np

from bmc_jax import metrics
from bmc_jax.core import hand
from bmc_jax.core.types import Batch
from bmc_jax.data import store
from bmc_jax.metrics import prediction_files

#: Protocol of a built dataset by the name of its reader.
PROTOCOLS = {
    "freihand": "freihand",
    "rhd": "rhd",
    "ho3d": "ho3d",
    "ho3d_v1": "hands19",
    "dexter_object": "dexter_object",
}
#: Suffixes of the prediction files. None of them is .npz, which is the suffix of the run's arrays in the same folder.
SUFFIXES = {"freihand": ".json", "ho3d": ".json", "hands19": ".txt", "rhd": ".json", "dexter_object": ".json"}


def protocol(folder: Path) -> str | None:
    """Returns the protocol of a built dataset, a key of `metrics.PROTOCOLS`; None if none is published."""
    return PROTOCOLS.get(store.summary(folder)["reader"])


def figures(protocol: str, metres: np.ndarray, examples: Batch, *, seed: int = 0) -> dict[str, Any]:
    """Computes the metrics of a protocol, with 95 % intervals.

    Args:
      protocol: key of `metrics.PROTOCOLS`.
      metres: predicted poses `[N, 21, 3]`, metres, camera frame, FreiHAND order.
      examples: their labels; only those that the protocol can evaluate count.
      seed: of the bootstrap intervals.

    Returns:
      The fields of `metrics.Metric` by name of the metric; empty if no example can be evaluated.
    """
    known = np.asarray(examples.joints_3d_valid)
    tips = hand.FINGER_JOINTS[:, -1]
    if metrics.PROTOCOLS[protocol].points == "tips":
        rows, valid = known[:, tips].any(axis=1), known
    else:
        rows, valid = known.all(axis=1), None
    if not rows.any():
        return {}
    target = np.asarray(examples.joints_3d)[rows]
    found = metrics.protocol_metrics(
        protocol, metres[rows], target, valid=None if valid is None else valid[rows], seed=seed
    )
    return {name: asdict(metric) for name, metric in found.items()}


def write(protocol: str, folder: Path, split: str, metres: np.ndarray, stem: str | os.PathLike) -> dict[str, Any]:
    """Writes the poses of the first rows of a split as prediction files.

    Args:
      protocol: key of `metrics.PROTOCOLS`.
      folder: the built dataset.
      split: name of the split.
      metres: poses `[N, 21, 3]`, metres, camera frame, FreiHAND order; left hands are mirrored to right hands.
      stem: path of the file without the protocol's suffix.

    Returns:
      `files`, the names of the written files, and `complete`, whether they hold all poses that a server expects.
    """
    records = store.records(folder, split)
    rows = [records[row] for row in range(len(metres))]
    accepted = prediction_files.SERVER_COUNTS.get(protocol)
    complete = len(metres) in accepted if accepted else len(metres) == len(records)
    files = prediction_files.write(
        protocol,
        f"{os.fspath(stem)}{SUFFIXES[protocol]}",
        metres,
        names=[row["id"] for row in rows],
        left=np.array([row["hand"] == "left" for row in rows]),
        partial=not complete,
    )
    return {"files": [file.name for file in files], "complete": complete}


def rows(figures: dict[str, Any]) -> list[tuple[str, str, str]]:
    """Returns (name with its unit, value, interval) of each metric as text, for tables."""
    found = []
    for name, figure in figures.items():
        digits = 2 if figure["unit"] == "mm" else 4
        bounds = figure.get("interval")
        interval = f"{bounds[0]:.{digits}f} to {bounds[1]:.{digits}f}" if bounds else ""
        found.append((name, f"{figure['value']:.{digits}f}", interval))
    return found
