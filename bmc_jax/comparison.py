"""The table of an experiment: mean and deviation of each arm over its seeds, whether each step is more than chance, how
much of the gap it closes, and the paper's numbers beside ours.

Seeds are paired: a seed is the same hands and the same first weights in every arm, so what is tested is the mean of the
differences seed by seed, by Student's paired t-test, two-sided.
"""

import hashlib
import json
from typing import Any

import numpy as np
from scipy import stats

from bmc_jax import config_file, measures, paper
from bmc_jax.experiment import Arm, Experiment, folder, measured

#: Of the table, in its order.
COLUMNS = (
    "joints_2d_px",
    "depth_mm",
    "joints_3d_mm",
    "joints_3d_median_mm",
    "joints_3d_auc",
    "aligned_mm",
    "angles_within",
)
#: What steps and gaps are told of.
TESTED = ("depth_mm", "joints_3d_mm", "aligned_mm")


def compare(experiment: Experiment, seeds: int, out: Any, command: str) -> dict[str, Any]:
    """What there is to say of the finished runs, for JSON.

    `sets` has for each set of test images the `arms`: `seeds`, `mean` and `sd` (of the seeds, by n - 1; none of one) by
    measure, the share of the gap `closed` in percent, and the step from the arm before, `change` and `p` by measure.

    Raises ValueError if no run is finished.
    """
    runs = measured(experiment, seeds, out)
    known = [content for of_arm in runs.values() for content in of_arm.values()]
    if not known:
        raise ValueError(f"no run of {experiment.file} in {out} is finished")
    sets = {name: _set(experiment, runs, name) for name in known[0]["domains"]}
    return {
        "experiment": experiment.file,
        "command": command,
        "environment": known[-1]["environment"],
        "configurations": {arm.name: _hash(experiment, arm, seeds, out) for arm in experiment.arms},
        "sets": sets,
    }


def _hash(experiment: Experiment, arm: Arm, seeds: int, out: Any) -> str:
    """Of an arm's configuration, all but its seed; "" if none of its runs has begun."""
    for seed in range(seeds):
        if (folder(out, arm.name, seed) / config_file.FILE).is_file():
            content = config_file.to_dict(config_file.read(folder(out, arm.name, seed))) | {"seed": None}
            return hashlib.sha256(json.dumps(content, sort_keys=True).encode()).hexdigest()[:12]
    return ""


def _set(experiment: Experiment, runs: dict[str, dict[int, dict[str, Any]]], name: str) -> dict[str, Any]:
    values = {
        arm: {seed: content["domains"][name]["network"] for seed, content in of_arm.items()}
        for arm, of_arm in runs.items()
        if of_arm
    }
    found = {}
    for arm in experiment.arms:
        if arm.name not in values:
            continue
        keys = [key for key in COLUMNS if all(key in one for one in values[arm.name].values())]
        by_key = {key: np.array([one[key] for one in values[arm.name].values()]) for key in keys}
        found[arm.name] = {
            "words": arm.words,
            "seeds": sorted(values[arm.name]),
            "mean": {key: float(several.mean()) for key, several in by_key.items()},
            "sd": {key: float(several.std(ddof=1)) for key, several in by_key.items() if len(several) > 1},
            "paper": paper.ROWS.get(arm.paper, {}),
        }
        if arm.after in values:
            found[arm.name]["step"] = {"after": arm.after} | _step(values[arm.after], values[arm.name])
    if experiment.gap and all(end in found for end in experiment.gap):
        first, last = (found[end]["mean"] for end in experiment.gap)
        for of_arm in found.values():
            of_arm["closed"] = {
                key: 100 * (first[key] - of_arm["mean"][key]) / (first[key] - last[key])
                for key in TESTED
                if key in first and first[key] != last[key]
            }
    return found


def _step(before: dict[int, dict[str, float]], now: dict[int, dict[str, float]]) -> dict[str, Any]:
    """Mean change over the seeds that both arms have, and its p-value; none of fewer than two, or if all are equal."""
    both = sorted(before.keys() & now.keys())
    found: dict[str, Any] = {"seeds": both}
    for key in TESTED:
        pairs = np.array([(before[seed][key], now[seed][key]) for seed in both if key in before[seed]])
        if not len(pairs):
            continue
        change = pairs[:, 1] - pairs[:, 0]
        found[key] = {"change": float(change.mean())}
        if len(pairs) > 1 and np.ptp(change) > 0:
            found[key]["p"] = float(stats.ttest_rel(pairs[:, 1], pairs[:, 0]).pvalue)
    return found


def table(content: dict[str, Any]) -> str:
    """The same as Markdown, in columns that a terminal shows too."""
    environment = content["environment"]
    lines = [f"`{content['command']}` · {environment['hardware']} · commit {environment['commit']}", ""]
    for name, arms in content["sets"].items():
        counts = sorted({len(arm["seeds"]) for arm in arms.values()})
        seeds = f"{counts[0]}" if len(counts) == 1 else f"{counts[0]} to {counts[-1]}"
        lines += [f"### {name}, mean ± sd of {seeds} seeds", ""]
        columns = ["arm", *(measures.title(key) for key in COLUMNS)]
        lines += [*_aligned([columns, *(_values(key, arm) for key, arm in arms.items())]), ""]
        steps = ["arm", "after", "Z, mm", "3D, mm", "gap closed: Z", "3D", "paper: Z, mm", "3D, mm"]
        lines += [*_aligned([steps, *(_steps(key, arm) for key, arm in arms.items())]), ""]
    lines += ["Z and 3D beside *after*: the mean change from that arm over the same seeds, and p of a paired t-test."]
    return "\n".join(lines) + "\n"


def _values(name: str, arm: dict[str, Any]) -> list[str]:
    cells = [name]
    for key in COLUMNS:
        digits = measures.MEASURES[key][2]
        spread = f" ± {arm['sd'][key]:.{digits}f}" if key in arm["sd"] else ""
        cells.append(f"{arm['mean'][key]:.{digits}f}{spread}" if key in arm["mean"] else "")
    return cells


def _steps(name: str, arm: dict[str, Any]) -> list[str]:
    keys, step = ("depth_mm", "joints_3d_mm"), arm.get("step", {})
    closed = [arm.get("closed", {}).get(key) for key in keys]
    return [
        f"{name}: {arm['words']}",
        step.get("after", ""),
        *(_change(step.get(key)) for key in keys),
        *("" if share is None else f"{share:.0f} %" for share in closed),
        *(f"{arm['paper'][key]:.2f}" if key in arm["paper"] else "" for key in keys),
    ]


def _change(found: dict[str, float] | None) -> str:
    if found is None:
        return ""
    p = found.get("p")
    return f"{found['change']:+.2f}" + ("" if p is None else " (p < 0.001)" if p < 0.001 else f" (p {p:.3f})")


def _aligned(rows: list[list[str]]) -> list[str]:
    widths = [max(len(row[column]) for row in rows) for column in range(len(rows[0]))]
    rule = ["-" * widths[0], *("-" * (width - 1) + ":" for width in widths[1:])]
    padded = [
        [row[0].ljust(widths[0]), *(cell.rjust(width) for cell, width in zip(row[1:], widths[1:], strict=True))]
        for row in rows
    ]
    return ["| " + " | ".join(row) + " |" for row in [padded[0], rule, *padded[1:]]]
