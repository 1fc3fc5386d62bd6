"""Comparison of an experiment's runs: mean and standard deviation of each arm over its seeds, the change from the arm
that it is compared with and the significance of this change, the part of the gap that it closes, and the paper's
numbers.

`tables` formats the comparison. Seeds are paired, see `claims`.
"""

import hashlib
import json
import os
import re
from collections.abc import Mapping, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any, NotRequired, TypedDict, cast

import numpy as np

from bmc_jax.experiments.claims import p_value
from bmc_jax.experiments.runner import Experiment, read_metrics, run_directory
from bmc_jax.inference.measurements import Domain, Measured
from bmc_jax.metrics import published
from bmc_jax.runtime import files, json_files
from bmc_jax.training import config_io

COLUMNS = (
    "joints_2d_px",
    "depth_mm",
    "joints_3d_mm",
    "joints_3d_median_mm",
    "joints_3d_auc",
    "aligned_mm",
    "aligned_auc",
    "tilts_percent",
    "within_limits",
    "nearly_within_limits",
    "angles_within",
)
"""Metrics of `metrics.evaluation`, in the order of the table."""
TESTED = (
    "joints_2d_px",
    "depth_mm",
    "joints_3d_mm",
    "aligned_mm",
    "tilts_percent",
    "nearly_within_limits",
    "angles_within",
)
"""Metrics whose changes and gaps are computed."""
PAPER_SIZE = 128
"""Side of the paper's crops. Its 2D errors are left out where crops have another side, whose pixels differ."""
REMEDY = "run bmc experiment again"


class Change(TypedDict):
    """Mean change of a metric from one arm to another."""

    change: float
    p: NotRequired[float]


class Step(TypedDict):
    """Changes of the metrics in `TESTED` from the arm `after`, over the seeds of both."""

    after: str
    seeds: list[int]
    joints_2d_px: NotRequired[Change]
    depth_mm: NotRequired[Change]
    joints_3d_mm: NotRequired[Change]
    aligned_mm: NotRequired[Change]
    tilts_percent: NotRequired[Change]
    nearly_within_limits: NotRequired[Change]
    angles_within: NotRequired[Change]


class ArmResults(TypedDict):
    """Results of one arm on one set of test images, see `compare`."""

    words: str
    seeds: list[int]
    values: dict[str, list[float]]
    mean: dict[str, float]
    sd: dict[str, float]
    paper: dict[str, float]
    fraction: NotRequired[float]
    step: NotRequired[Step]
    closed: NotRequired[dict[str, float]]


class ClaimFields(TypedDict):
    """Fields of `claims.Claim`."""

    words: str
    arm: str
    than: str
    measure: NotRequired[str]
    by: NotRequired[float]
    gap_to: NotRequired[str]
    on: NotRequired[str]


class Environment(TypedDict):
    """Environment of the runs; the fields that are shown."""

    hardware: str
    commit: str


class Comparison(TypedDict):
    """Content of `experiment.json`, see `compare`."""

    experiment: str
    command: str
    environment: Environment
    configurations: dict[str, str]
    image_size: NotRequired[int]
    claims: list[ClaimFields]
    others: dict[str, dict[str, dict[str, float]]]
    sets: dict[str, dict[str, ArmResults]]


def read(file: str | os.PathLike) -> Comparison:
    """Returns the content of an `experiment.json`. Raises ValueError if it is damaged or has no arm."""
    content = json_files.read(file, Comparison, REMEDY)
    if not content["sets"] or not all(content["sets"].values()):
        raise ValueError(f"{file} is damaged: expected arms in each of its sets, got none; {REMEDY}")
    for name, arms in content["sets"].items():
        for arm, found in arms.items():
            if any(len(values) != len(found["seeds"]) for values in found["values"].values()):
                raise ValueError(f"{file} is damaged: expected a value per seed at sets.{name}.{arm}.values; {REMEDY}")
    return content


def compare(experiment: Experiment, seeds: int, out: str | os.PathLike, command: str) -> Comparison:
    """Compares the evaluated runs of an experiment.

    Args:
      experiment: the experiment.
      seeds: number of seeds, which are 0 to `seeds` - 1.
      out: folder of the experiment.
      command: the `bmc` command, for the record.

    Returns:
      The content of `experiment.json`. `image_size` is the side of the crop, in whose pixels 2D errors are; it is left
      out if the arms have several. `sets` has the arms of each set of test images. An arm has its `seeds`, and by
      metric their `values`, `mean` and `sd` (with n - 1; omitted for one seed), the number in the `paper`, and the part
      of the gap that is `closed`, percent. Its `step` has the `change` from the arm `after` and its `p`, by metric.
      Files are named without their folders.

    Raises:
      ValueError: if no run is evaluated.
    """
    runs = read_metrics(experiment, seeds, out)
    contents = [content for by_seed in runs.values() for content in by_seed.values()]
    if not contents:
        raise ValueError(f"{out}: expected finished runs of {experiment.file}, got none; {REMEDY}")
    names = list(dict.fromkeys(name for content in contents for name in content["domains"]))
    environments = [content["environment"] for content in contents]
    folders = [run_directory(out, arm, seed) for arm, by_seed in runs.items() for seed in by_seed]
    sizes = {config_io.read(folder).data.image_size for folder in folders}
    hidden = () if sizes == {PAPER_SIZE} else ("joints_2d_px",)
    content = {
        "experiment": Path(experiment.file).stem,
        "command": command,
        "environment": {
            key: ", ".join(dict.fromkeys(environment[key] for environment in environments if key in environment))
            for key in environments[-1]
        },
        "configurations": {arm.name: _hash(arm.name, seeds, out) for arm in experiment.arms},
        **({"image_size": sizes.pop()} if len(sizes) == 1 else {}),
        "claims": [asdict(claim) for claim in experiment.claims],
        "others": {
            _file_name(name): {row: _published(row, name, name == names[-1], hidden) for row in experiment.others}
            for name in names
        },
        "sets": {_file_name(name): _compare_on(experiment, runs, name, name == names[-1], hidden) for name in names},
    }
    return cast(Comparison, content)


def write(content: Comparison, file: str | os.PathLike) -> None:
    """Writes the comparison as JSON, each list of numbers on one line."""
    text = json.dumps(content, indent=1, allow_nan=False)
    text = re.sub(r"\[[^\[\]{}\"]*\]", lambda found: re.sub(r"\s+", " ", found[0]).replace("[ ", "["), text)
    files.write_text(file, text.replace(" ]", "]") + "\n")


def _file_name(text: str) -> str:
    """Returns the name of an absolute path, and other text unchanged."""
    return Path(text).name if Path(text).is_absolute() else text


def _hash(arm: str, seeds: int, out: str | os.PathLike) -> str:
    """Returns a hash of an arm's configuration without its seed and folders; "" if the arm has no run."""
    for seed in range(seeds):
        workdir = run_directory(out, arm, seed)
        if (workdir / config_io.FILE).is_file():
            values = config_io.flat(config_io.read(workdir)) | {"seed": None}
            content = {path: _file_name(value) if isinstance(value, str) else value for path, value in values.items()}
            return hashlib.sha256(json.dumps(content, sort_keys=True).encode()).hexdigest()[:12]
    return ""


def _published(row: str, name: str, is_target: bool, hidden: Sequence[str]) -> dict[str, float]:
    """Returns the paper's numbers without those of the metrics `hidden`."""
    return {key: value for key, value in published.row(row, name, is_target).items() if key not in hidden}


def _compare_on(
    experiment: Experiment,
    runs: Mapping[str, Mapping[int, Measured]],
    name: str,
    is_target: bool,
    hidden: Sequence[str],
) -> dict[str, Any]:
    """Returns the arms of one set of test images."""
    values = {
        arm: {seed: _figures(run["domains"][name]) for seed, run in by_seed.items() if name in run["domains"]}
        for arm, by_seed in runs.items()
    }
    papers = {arm.name: _published(arm.paper, name, is_target, hidden) for arm in experiment.arms}
    columns = dict.fromkeys([*COLUMNS, *(key for paper in papers.values() for key in paper)])
    arms = {}
    for arm in experiment.arms:
        by_seed = dict(sorted(values[arm.name].items()))
        if not by_seed:
            continue
        keys = [key for key in columns if all(key in figures for figures in by_seed.values())]
        by_key = {key: np.array([figures[key] for figures in by_seed.values()]) for key in keys}
        arms[arm.name] = {
            "words": arm.words,
            "seeds": list(by_seed),
            "values": {key: several.tolist() for key, several in by_key.items()},
            "mean": {key: float(several.mean()) for key, several in by_key.items()},
            "sd": {key: float(several.std(ddof=1)) for key, several in by_key.items() if len(several) > 1},
            "paper": papers[arm.name],
        }
        if arm.fraction is not None:
            arms[arm.name]["fraction"] = arm.fraction
        if values.get(arm.after):
            arms[arm.name]["step"] = {"after": arm.after} | _step(values[arm.after], by_seed)
    if experiment.gap and all(end in arms for end in experiment.gap):
        first, last = (arms[end]["mean"] for end in experiment.gap)
        gaps = {key: first[key] - last[key] for key in TESTED if key in first and key in last}
        for arm in arms.values():
            mean = arm["mean"]
            arm["closed"] = {
                key: 100 * (first[key] - mean[key]) / gap for key, gap in gaps.items() if gap and key in mean
            }
    return arms


def _figures(domain: Domain) -> dict[str, float]:
    """Returns the metrics of a run on a set of test images, including those of the dataset's official protocol."""
    official = domain["official"]["figures"] if "official" in domain else {}
    return domain["network"] | {name: figure["value"] for name, figure in official.items()}


def _step(before: Mapping[int, dict[str, float]], now: Mapping[int, dict[str, float]]) -> dict[str, Any]:
    """Returns the mean change over the seeds of both arms and its p-value, if there is one, by metric."""
    both = sorted(before.keys() & now.keys())
    step: dict[str, Any] = {"seeds": both}
    for key in TESTED:
        pairs = [(before[seed][key], now[seed][key]) for seed in both if key in before[seed] and key in now[seed]]
        if pairs:
            changes = np.array([after - earlier for earlier, after in pairs])
            p = p_value(changes)
            step[key] = {"change": float(changes.mean())} | ({} if p is None else {"p": p})
    return step
