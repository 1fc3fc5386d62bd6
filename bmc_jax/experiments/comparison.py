"""What an experiment's runs say: mean and deviation of each arm over its seeds, whether each step is more than chance,
how much of the gap it closes, and the paper's numbers beside ours. `table` shows it, `claims` judges by it.

Seeds are paired: a seed is the same hands and the same first weights in every arm, so what is tested is the mean of the
differences seed by seed, by Student's paired t-test, two-sided.
"""

import hashlib
import json
import re
from collections.abc import Iterator
from dataclasses import asdict
from pathlib import Path
from typing import Any

import numpy as np
from scipy import stats

from bmc_jax.experiments.runner import Arm, Experiment, folder, measured
from bmc_jax.metrics import published
from bmc_jax.runtime import files
from bmc_jax.training import config_io

#: Measures of `measures.MEASURES`, in the table's order.
COLUMNS = (
    "joints_2d_px",
    "depth_mm",
    "joints_3d_mm",
    "joints_3d_median_mm",
    "joints_3d_auc",
    "aligned_mm",
    "aligned_auc",
    "within_limits",
    "angles_within",
)
#: What steps and gaps are told of.
TESTED = ("joints_2d_px", "depth_mm", "joints_3d_mm", "aligned_mm", "angles_within")


def compare(experiment: Experiment, seeds: int, out: Any, command: str) -> dict[str, Any]:
    """What there is to say of the finished runs, for JSON.

    `sets` has for each set of test images the `arms`: `seeds`, by measure the `values` of these, their `mean` and `sd`
    (by n - 1; none of one), the paper's, the share of the gap `closed` in percent, and the step from the arm before,
    `change` and `p` by measure. Files, and nothing else of the machine, are told by name alone.

    Raises ValueError if no run is finished.
    """
    runs = measured(experiment, seeds, out)
    known = [content for of_arm in runs.values() for content in of_arm.values()]
    if not known:
        raise ValueError(f"no run of {experiment.file} in {out} is finished")
    names = list(dict.fromkeys(name for content in known for name in content["domains"]))
    environments = [content["environment"] for content in known]
    return {
        "experiment": Path(experiment.file).stem,
        "command": command,
        "environment": {
            word: ", ".join(dict.fromkeys(environment[word] for environment in environments if word in environment))
            for word in environments[-1]
        },
        "configurations": {arm.name: _hash(experiment, arm, seeds, out) for arm in experiment.arms},
        "claims": [asdict(claim) for claim in experiment.claims],
        "others": {
            _file_name(name): {row: published.row(row, name, name == names[-1]) for row in experiment.others}
            for name in names
        },
        "sets": {_file_name(name): _set(experiment, runs, name, name == names[-1]) for name in names},
    }


def write(content: dict[str, Any], file: Path) -> None:
    """As JSON, a list of numbers to a line, whole or not at all."""
    text = json.dumps(content, indent=1, allow_nan=False)
    text = re.sub(r"\[[^\[\]{}\"]*\]", lambda found: re.sub(r"\s+", " ", found[0]).replace("[ ", "["), text)
    files.write_text(file, text.replace(" ]", "]") + "\n")


def _file_name(entry: str) -> str:
    """An entry of `data.test` or a field's value: of a file, its name."""
    return Path(entry).name if Path(entry).is_absolute() else entry


def _hash(experiment: Experiment, arm: Arm, seeds: int, out: Any) -> str:
    """Of an arm's configuration, all but its seed and where its files lie; "" if none of its runs has begun."""
    for seed in range(seeds):
        if (folder(out, arm.name, seed) / config_io.FILE).is_file():
            values = config_io.flat(config_io.read(folder(out, arm.name, seed))) | {"seed": None}
            content = {path: _file_name(value) if isinstance(value, str) else value for path, value in values.items()}
            return hashlib.sha256(json.dumps(content, sort_keys=True).encode()).hexdigest()[:12]
    return ""


def _set(
    experiment: Experiment, runs: dict[str, dict[int, dict[str, Any]]], name: str, is_target: bool
) -> dict[str, Any]:
    values = {
        arm: {
            seed: _measures(content["domains"][name]) for seed, content in of_arm.items() if name in content["domains"]
        }
        for arm, of_arm in runs.items()
    }
    values = {arm: of_arm for arm, of_arm in values.items() if of_arm}
    rows = {arm.name: published.row(arm.paper, name, is_target) for arm in experiment.arms}
    columns = list(dict.fromkeys([*COLUMNS, *(key for row in rows.values() for key in row)]))
    found = {}
    for arm in experiment.arms:
        if arm.name not in values:
            continue
        keys = [key for key in columns if all(key in one for one in values[arm.name].values())]
        seeds = sorted(values[arm.name])
        by_key = {key: np.array([values[arm.name][seed][key] for seed in seeds]) for key in keys}
        found[arm.name] = {
            "words": arm.words,
            "seeds": seeds,
            "values": {key: several.tolist() for key, several in by_key.items()},
            "mean": {key: float(several.mean()) for key, several in by_key.items()},
            "sd": {key: float(several.std(ddof=1)) for key, several in by_key.items() if len(several) > 1},
            "paper": rows[arm.name],
        }
        found[arm.name] |= {} if arm.fraction is None else {"fraction": arm.fraction}
        if arm.after in values:
            found[arm.name]["step"] = {"after": arm.after} | _step(values[arm.after], values[arm.name])
    if experiment.gap and all(end in found for end in experiment.gap):
        first, last = (found[end]["mean"] for end in experiment.gap)
        for of_arm in found.values():
            of_arm["closed"] = dict(_closed(of_arm["mean"], first, last))
    return found


def _measures(domain: dict[str, Any]) -> dict[str, float]:
    """Of a run on a set of test images: ours, and the official figures where a dataset has them."""
    official = domain.get("official", {}).get("figures", {})
    return domain["network"] | {name: figure["value"] for name, figure in official.items()}


def _closed(mean: dict[str, float], first: dict[str, float], last: dict[str, float]) -> Iterator[tuple[str, float]]:
    for key in TESTED:
        if key in mean and key in first and key in last and first[key] != last[key]:
            yield key, 100 * (first[key] - mean[key]) / (first[key] - last[key])


def _step(before: dict[int, dict[str, float]], now: dict[int, dict[str, float]]) -> dict[str, Any]:
    """Mean change over the seeds that both arms have, and its p-value; none of fewer than two, or if all are equal."""
    both = sorted(before.keys() & now.keys())
    found: dict[str, Any] = {"seeds": both}
    for key in TESTED:
        known = [seed for seed in both if key in before[seed] and key in now[seed]]
        if not known:
            continue
        pairs = np.array([(before[seed][key], now[seed][key]) for seed in known])
        change = pairs[:, 1] - pairs[:, 0]
        found[key] = {"change": float(change.mean())}
        if len(pairs) > 1 and np.ptp(change) > 0:
            found[key]["p"] = float(stats.ttest_rel(pairs[:, 1], pairs[:, 0]).pvalue)
    return found
