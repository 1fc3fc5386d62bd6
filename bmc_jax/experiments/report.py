"""HTML page of an experiment: the tables of its `experiment.json`, and figures of each arm's predictions for the same
hands, which `bmc evaluate` saved in the runs' folders."""

import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
from matplotlib.figure import Figure

from bmc_jax import limits, metrics
from bmc_jax.core.types import Limits
from bmc_jax.experiments import comparison, opening, plots, runner, tables
from bmc_jax.experiments.comparison import ArmResults
from bmc_jax.inference import evaluate, measurements, report
from bmc_jax.inference.measurements import Domain
from bmc_jax.limits import depth_ambiguity
from bmc_jax.limits.plots import depth_stages
from bmc_jax.runtime import json_files
from bmc_jax.training import config_io
from bmc_jax.visualization import html

FILE = "experiment.json"
"""Name of the comparison that `bmc experiment` writes into the experiment's folder."""
DRAWN = ("joints_2d_px", "depth_mm", "joints_3d_mm", "angles_within")
"""Metrics that are drawn, if available."""
OVER_FRACTIONS = ("depth_mm", "joints_3d_mm", "aligned_auc")
"""Metrics that are drawn over the share of images with 3D labels."""
HANDS, SIDE_BY_SIDE = 4, 8
"""Number of hands shown for each arm, and of arms in a figure."""
POSES = 256
"""Number of poses in the table of the depth ambiguity."""


def is_experiment(folder: str | os.PathLike) -> bool:
    """Returns whether a folder is that of an experiment."""
    return (Path(folder) / FILE).is_file()


def write(folder: str | os.PathLike, out: str | os.PathLike) -> Path:
    """Writes a page of an experiment, and returns its path.

    Args:
      folder: folder of the experiment.
      out: the HTML file to write.

    Raises:
      FileNotFoundError: if the predictions of a run do not exist.
      ValueError: if a file is damaged.
    """
    folder = Path(folder)
    content = comparison.read(folder / FILE)
    with json_files.agreement(folder / FILE, comparison.REMEDY):
        parts = {
            "comparisons": tables.comparisons(content),
            "claims": tables.claim_rows(content) if content["claims"] else [],
            "pictures": [(name, _errors(name, arms), _fractions(arms)) for name, arms in content["sets"].items()],
            "opening": _opening(folder, *list(content["sets"].items())[-1]),
            "target": _target(folder, *list(content["sets"].items())[-1]),
        }
    return html.write(
        out,
        "experiment.html",
        title=f"Experiment: {content['experiment']}",
        subtitle=report.SUBTITLE,
        command=content["command"],
        environment=content["environment"],
        configurations={arm: found for arm, found in content["configurations"].items() if found},
        **parts,
    )


def _errors(name: str, arms: Mapping[str, ArmResults]) -> html.Picture:
    keys = [key for key in DRAWN if any(key in arm["mean"] for arm in arms.values())]
    return html.picture(plots.errors(arms, keys), f"Errors of the arms on {name}")


def _fractions(arms: Mapping[str, ArmResults]) -> html.Picture | None:
    """Returns Figure 5; None unless arms differ in the share of images with 3D labels.

    The arms of a family have the same name after "+".
    """
    families = dict[str, list[ArmResults]]()
    for name, arm in arms.items():
        if "fraction" in arm:
            _, plus, losses = name.partition("+")
            families.setdefault(f"with {losses.upper()}" if plus else "labels alone", []).append(arm)
    if not families:
        return None
    for family in families.values():
        family.sort(key=lambda arm: arm.get("fraction", 0.0))
    keys = [key for key in OVER_FRACTIONS if any(key in arm["mean"] for arm in arms.values())]
    return html.picture(plots.fractions(families, keys), "Errors over the share of 3D labels")


def _opening(folder: Path, name: str, arms: Mapping[str, ArmResults]) -> dict[str, Any] | None:
    """Returns the first part of the page.

    Returns None if an arm of `opening.POSES` is missing, both have no common seed, or hands have no 3D label.
    """
    shown = {arm: arms[arm] for arm in opening.POSES if arm in arms}
    if len(shown) < len(opening.POSES):
        return None
    common = set.intersection(*(set(arm["seeds"]) for arm in shown.values()))
    runs = [runner.run_directory(folder, arm, seed) for seed in sorted(common)[:1] for arm in shown]
    if not runs or not all(_is_whole(run, name) for run in runs):
        return None
    kept = {arm: report.predictions(run, _entry(run, name)) for arm, run in zip(shown, runs, strict=True)}
    entry = _entry(runs[0], name)
    split = _measured(runs[0])[entry].get("split", "test")
    pictures = opening.images(config_io.read(runs[0]), entry, split, next(iter(kept.values())))
    return opening.opening(arms, kept, *pictures)


def _target(folder: Path, name: str, arms: Mapping[str, ArmResults]) -> dict[str, Any] | None:
    """Returns the target's hands in each arm; None unless all arms have a finished run of the same seed."""
    common = set.intersection(*(set(arm["seeds"]) for arm in arms.values()))
    if not common:
        return None
    seed = min(common)
    runs = {arm: runner.run_directory(folder, arm, seed) for arm in arms}
    kept = {arm: report.predictions(run, _entry(run, name)) for arm, run in runs.items()}
    known = {arm: limits.load(run / limits.FILE) for arm, run in runs.items()}
    first, whole = next(iter(kept.values())), all(_is_whole(run, name) for run in runs.values())
    same = {arm: found for arm, found in kept.items() if np.array_equal(found["labels_2d"], first["labels_2d"])}
    return {
        "name": name,
        "seed": seed,
        "count": min(HANDS, len(first["image"])),
        "hands": [
            html.picture(_hands(first, {arm: same[arm] for arm in part}, whole), f"The same hands: {', '.join(part)}")
            for part in _parts(list(same))
        ],
        "angles": [
            html.picture(
                plots.clouds({arm: (kept[arm]["joints_3d"], known[arm]) for arm in part}),
                f"Joint angles: {', '.join(part)}",
            )
            for part in _parts(list(kept))
        ],
        "ambiguity": _ambiguity(first["labels_3d"][:POSES], runs, known)
        if whole and len(first["labels_3d"]) > 1
        else None,
    }


def _entry(run: Path, name: str) -> str:
    """Returns the entry of `data.test` with this name; files are named without their folders."""
    return next(entry for entry in _measured(run) if name in (entry, Path(entry).name))


def _measured(run: Path) -> dict[str, Domain]:
    """Returns the metrics of a run by entry of `data.test`."""
    content = measurements.read(run)
    if content is None:
        raise FileNotFoundError(f"expected {run / evaluate.FILE}, got no file; run `bmc evaluate {run}` again")
    return content["domains"]


def _is_whole(run: Path, name: str) -> bool:
    """Returns whether all of these hands have complete 3D labels."""
    measured = _measured(run)[_entry(run, name)]
    return measured["count_3d"] == measured["count"]


def _parts(arms: list[str]) -> list[list[str]]:
    """Returns the arms of each figure: as few figures as possible, with about the same number of arms."""
    count = -(-len(arms) // SIDE_BY_SIDE)
    return [part.tolist() for part in np.array_split(np.array(arms), count)]


def _hands(first: dict[str, np.ndarray], arms: dict[str, dict[str, np.ndarray]], whole: bool) -> Figure:
    """Returns the figure of the same hands, in millimetres at each hand's true scale, or scale units without labels."""
    rows = slice(min(HANDS, len(first["image"])))
    scale = metrics.MILLIMETRES * first["scale"][rows, None, None] if whole else 1.0
    true = metrics.MILLIMETRES * first["labels_3d"][rows] if whole else np.full_like(first["labels_3d"][rows], np.nan)
    predicted = {name: (of["joints_2d"][rows], of["joints_3d"][rows] * scale) for name, of in arms.items()}
    return plots.same_hands(first["image"][rows], (first["labels_2d"][rows], true), predicted)


def _ambiguity(labels: np.ndarray, runs: dict[str, Path], known: dict[str, Limits]) -> dict[str, Any]:
    """Returns Figure 4 for labelled poses, with the limits of an arm with all three losses if there is one."""
    arm = next((arm for arm, run in runs.items() if _is_constrained(run)), next(iter(runs)))
    found = depth_ambiguity.resolve(labels, known[arm])
    pose = depth_ambiguity.typical(found, labels)
    stages = {stage: joints[pose] for stage, joints in found.items()}
    figure = depth_stages(stages, labels[pose], known[arm])
    return {
        "poses": len(labels),
        "millimetres": f"{metrics.MILLIMETRES * depth_ambiguity.DEVIATION:g}",
        "arm": arm,
        "head": depth_ambiguity.HEAD,
        "rows": depth_ambiguity.cells(depth_ambiguity.summarize(found, labels, known[arm])),
        "picture": html.picture(figure, "One pose with perturbed depths, under each loss"),
    }


def _is_constrained(run: Path) -> bool:
    weights = config_io.read(run).weights
    return min(weights.bone_length, weights.palm, weights.joint_angle) > 0
