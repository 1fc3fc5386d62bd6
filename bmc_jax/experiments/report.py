"""An experiment's folder -> one HTML page: its tables, and pictures of what each arm makes of the same hands.

Nothing is trained or evaluated here: the tables are `experiment.json`'s, the pictures are of the predictions that
`bmc evaluate` left in the runs' folders.
"""

import html
import os
from collections.abc import Iterable
from pathlib import Path
from typing import Any

import numpy as np
from matplotlib.figure import Figure

from bmc_jax import limits, metrics
from bmc_jax.core.types import Limits
from bmc_jax.experiments import plots as experiment_pictures
from bmc_jax.experiments import runner, tables
from bmc_jax.inference import evaluate, report
from bmc_jax.limits import depth_ambiguity
from bmc_jax.limits import plots as ambiguity_picture
from bmc_jax.training import config_io
from bmc_jax.visualization import html as document

#: Of `bmc experiment`, in the experiment's folder.
FILE = "experiment.json"
#: Measures that are drawn, as far as there are any.
DRAWN = ("joints_2d_px", "depth_mm", "joints_3d_mm", "angles_within")
OVER_FRACTIONS = ("depth_mm", "joints_3d_mm", "aligned_auc")
#: Hands shown under each arm, and arms side by side.
HANDS, SIDE_BY_SIDE = 4, 8
#: Poses of the ambiguity's table.
POSES = 256


def is_one(folder: str | os.PathLike) -> bool:
    """Whether that is the folder of an experiment."""
    return (Path(folder) / FILE).is_file()


def write(folder: str | os.PathLike, out: str | os.PathLike) -> Path:
    """Write the experiment in `folder` as one page at `out`, and return its path.

    Raises FileNotFoundError, with the remedy, if predictions of a run are gone, and ValueError for a damaged file.
    """
    folder = Path(folder)
    content = report.read_json(folder / FILE)
    body = [*document.markdown(tables.markdown(content))]
    for name, arms in content["sets"].items():
        keys = [key for key in DRAWN if any(key in arm["mean"] for arm in arms.values())]
        body.append(f"<h2>{html.escape(name)}: errors of the arms</h2>")
        body.append(document.picture(experiment_pictures.errors(arms, keys), f"Errors of the arms on {name}"))
        body += _fractions(arms)
    body += _target(folder, *list(content["sets"].items())[-1])
    return document.write(f"Experiment: {content['experiment']}", report.SUBTITLE, body, out)


def _fractions(arms: dict[str, Any]) -> Iterable[str]:
    """Figure 5, where arms differ in the share of images with 3D labels: a family has the same after "+"."""
    families = dict[str, list[dict[str, Any]]]()
    for name, arm in arms.items():
        if "fraction" in arm:
            _, plus, losses = name.partition("+")
            families.setdefault(f"with {losses.upper()}" if plus else "labels alone", []).append(arm)
    if not families:
        return
    for family in families.values():
        family.sort(key=lambda arm: arm["fraction"])
    keys = [key for key in OVER_FRACTIONS if any(key in arm["mean"] for arm in arms.values())]
    yield "<h3>How many 3D labels (the paper's Figure 5)</h3>"
    yield document.picture(experiment_pictures.fractions(families, keys), "Errors over the share of 3D labels")


def _target(folder: Path, name: str, arms: dict[str, Any]) -> Iterable[str]:
    """What the arms make of the target's hands."""
    common = set.intersection(*(set(arm["seeds"]) for arm in arms.values()))
    if not common:
        yield "<p>No seed has a finished run of every arm yet, so their hands are not shown side by side.</p>"
        return
    seed = min(common)
    runs = {arm: runner.run_directory(folder, arm, seed) for arm in arms}
    kept = {arm: report.predictions(run, _entry(run, name)) for arm, run in runs.items()}
    known = {arm: limits.load(run / limits.FILE) for arm, run in runs.items()}
    first, whole = next(iter(kept.values())), all(_is_whole(run, name) for run in runs.values())
    same = {arm: found for arm, found in kept.items() if np.array_equal(found["labels_2d"], first["labels_2d"])}
    yield f"<h2>{html.escape(name)}: the same hands under each arm</h2>"
    yield (
        f"<p class='quiet'>The first {min(HANDS, len(first['image']))} test images, not a choice; runs of seed {seed}. "
        "Below each, the hand turned to the side, where depth shows, with the label in grey and the mean error of the "
        "depths (the paper's Figure 1).</p>"
    )
    for part in _parts(list(same)):
        yield document.picture(
            _hands(first, {arm: same[arm] for arm in part}, whole), f"The same hands: {', '.join(part)}"
        )
    yield f"<h2>{html.escape(name)}: joint angles against the limits</h2>"
    yield "<p class='quiet'>The joints of which the share inside differs most between the arms.</p>"
    for part in _parts(list(kept)):
        of = {arm: (kept[arm]["joints_3d"], known[arm]) for arm in part}
        yield document.picture(experiment_pictures.clouds(of), f"Joint angles: {', '.join(part)}")
    if whole and len(first["labels_3d"]) > 1:
        yield from _ambiguity(first["labels_3d"][:POSES], runs, known)


def _entry(run: Path, name: str) -> str:
    """The entry of `data.test` that the experiment knows by that name: a file's is without its folder."""
    return next(entry for entry in _measured(run) if name in (entry, Path(entry).name))


def _measured(run: Path) -> dict[str, Any]:
    """What was measured of a run, by entry."""
    content = report.read_json(run / evaluate.FILE)
    if not content:
        raise FileNotFoundError(f"{run / evaluate.FILE} is not there any more; run `bmc evaluate {run}` again")
    return content["domains"]


def _is_whole(run: Path, name: str) -> bool:
    """Whether every one of those hands is labelled in 3D."""
    measured = _measured(run)[_entry(run, name)]
    return measured["count_3d"] == measured["count"]


def _parts(arms: list[str]) -> list[list[str]]:
    """As few pictures as hold all arms, about as many in each."""
    count = -(-len(arms) // SIDE_BY_SIDE)
    return [part.tolist() for part in np.array_split(np.array(arms), count)]


def _hands(first: dict[str, np.ndarray], arms: dict[str, dict[str, np.ndarray]], whole: bool) -> Figure:
    """In millimetres at each hand's true scale; without 3D labels in scale units, which a picture does not show."""
    rows = slice(min(HANDS, len(first["image"])))
    scale = metrics.MILLIMETRES * first["scale"][rows, None, None] if whole else 1.0
    true = metrics.MILLIMETRES * first["labels_3d"][rows] if whole else np.full_like(first["labels_3d"][rows], np.nan)
    predicted = {name: (of["joints_2d"][rows], of["joints_3d"][rows] * scale) for name, of in arms.items()}
    return experiment_pictures.same_hands(first["image"][rows], (first["labels_2d"][rows], true), predicted)


def _ambiguity(truth: np.ndarray, runs: dict[str, Path], known: dict[str, Limits]) -> Iterable[str]:
    """Figure 4, of true poses with the limits of an arm that is trained with all three losses, if one is."""
    arm = next((arm for arm, run in runs.items() if _is_constrained(run)), next(iter(runs)))
    found = depth_ambiguity.resolve(truth, known[arm])
    pose = depth_ambiguity.typical(found, truth)
    yield "<h2>What each loss knows of the depth</h2>"
    yield (
        f"<p>{len(truth)} of these poses without any network: their depths are put off by "
        f"{metrics.MILLIMETRES * depth_ambiguity.DEVIATION:g}&nbsp;mm a joint, and joints then moved along their rays "
        f"to lower the losses, with the limits of the arm {html.escape(arm)}. Their 2D stays as it is.</p>"
    )
    yield document.table(
        depth_ambiguity.HEAD, depth_ambiguity.cells(depth_ambiguity.summarize(found, truth, known[arm]))
    )
    yield "<p class='quiet'>In the picture the pose that is nearest to the medians (the paper's Figure 4).</p>"
    stages = {stage: joints[pose] for stage, joints in found.items()}
    figure = ambiguity_picture.depth_stages(stages, truth[pose], known[arm])
    yield document.picture(figure, "One pose, its depths off, under each loss")


def _is_constrained(run: Path) -> bool:
    weights = config_io.read(run).weights
    return min(weights.bone_length, weights.palm, weights.joint_angle) > 0
