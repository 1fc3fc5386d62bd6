"""Reading of the measurements that `evaluate` writes into a run's folder."""

from pathlib import Path
from typing import NotRequired, TypedDict

from bmc_jax.inference import evaluate
from bmc_jax.runtime import json_files

REMEDY = "evaluate the run again"


class Figure(TypedDict):
    """One metric of a dataset's official protocol."""

    value: float
    unit: str
    interval: NotRequired[tuple[float, float] | None]


class Official(TypedDict):
    """Metrics by a dataset's official protocol."""

    protocol: str
    metres: str
    figures: dict[str, Figure]


class Measures(TypedDict):
    """Metrics on a set of images by their names in `metrics.evaluation.METRICS`, see `evaluate`."""

    count: int
    count_3d: int
    network: dict[str, float]
    mean_pose: dict[str, float]
    reduction_percent: dict[str, float]
    labels: NotRequired[dict[str, float]]
    intervals: NotRequired[dict[str, tuple[float, float]]]


class Domain(Measures):
    """Metrics on a split of a dataset or of a rendered domain."""

    split: str
    official: NotRequired[Official]


class Heading(TypedDict):
    """The measured checkpoint."""

    experiment: str
    step: int
    limits: str
    environment: dict[str, str]


class Measured(Heading):
    """Content of `metrics.json`."""

    domains: dict[str, Domain]
    passes: int
    turns: int


class Photographs(Heading, Measures):
    """Content of `photographs.json`."""

    name: str
    description: str
    labels_predicted: bool


def read(folder: Path) -> Measured | None:
    """Returns the content of a run's `metrics.json`; None without the file. Raises ValueError if it is damaged."""
    file = folder / evaluate.FILE
    return json_files.read(file, Measured, REMEDY) if file.is_file() else None


def read_photographs(folder: Path) -> Photographs | None:
    """Returns the content of a run's `photographs.json`; None without the file. Raises ValueError if it is damaged."""
    file = folder / evaluate.PHOTOGRAPHS_FILE
    return json_files.read(file, Photographs, REMEDY) if file.is_file() else None
