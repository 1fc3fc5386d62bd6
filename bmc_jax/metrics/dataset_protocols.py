"""A run's predictions by a dataset's own protocol: its figures, and the file that its server or script takes."""

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

#: Protocol of the datasets that a reader builds.
PROTOCOLS = {
    "freihand": "freihand",
    "rhd": "rhd",
    "ho3d": "ho3d",
    "ho3d_v1": "hands19",
    "dexter_object": "dexter_object",
}
#: Suffixes of the prediction files. None is .npz, the suffix of a run's own arrays in the same folder.
SUFFIXES = {"freihand": ".json", "ho3d": ".json", "hands19": ".txt", "rhd": ".json", "dexter_object": ".json"}


def protocol(folder: Path) -> str | None:
    """A built dataset's protocol, a name of `metrics.PROTOCOLS`; None if nobody has published one."""
    return PROTOCOLS.get(store.summary(folder)["reader"])


def figures(protocol: str, metres: np.ndarray, examples: Batch, *, seed: int = 0) -> dict[str, Any]:
    """The protocol's figures of poses `[N, 21, 3]`, metres in the camera's frame, with 95 % intervals: by name, each
    with value, unit, alignment, statistic and number of poses. Of the examples that the protocol can judge; empty if
    there are none."""
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
    """Write the poses `[N, 21, 3]` of the first rows of a split as `stem` with the protocol's ending; what was written:
    `files`, and whether it is `complete`, all that a server takes."""
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
    """(name with its unit, value, interval) of each figure, for tables."""
    found = []
    for name, figure in figures.items():
        digits = 2 if figure["unit"] == "mm" else 4
        interval = figure.get("interval")
        words = f"{interval[0]:.{digits}f} to {interval[1]:.{digits}f}" if interval else ""
        found.append((name, f"{figure['value']:.{digits}f}", words))
    return found
