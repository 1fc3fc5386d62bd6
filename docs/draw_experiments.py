"""Figures of docs/reproduction.md.

python docs/draw_experiments.py                # writes docs/images/answer.png and tilts.png, from docs/results
python docs/draw_experiments.py runs/within    # and docs/images/excess.png, from the runs of `bmc experiment within`
"""

import json
import sys
from pathlib import Path

import jax
import matplotlib
import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from bmc_jax import anatomy, limits, losses, numerics
from bmc_jax.metrics import published
from bmc_jax.visualization import draw
from bmc_jax.visualization.draw import FINGER_COLOURS, INK, INSIDE, OUTSIDE, QUIET

DOCS = Path(__file__).parent
TARGET = "any_view"
#: Arms of `within` whose excess is drawn, in this order, with the label's.
DRAWN = {"2d": QUIET, "bmc": INSIDE, "rays": FINGER_COLOURS[2], "free": OUTSIDE}


def answer(points: dict, rhd: dict, images: dict) -> Figure:
    """Draws the depth errors of the paper's arms, and ours on points and on images."""
    rows = {
        "3D of the source": ("3D RHD", "source", "source"),
        "and 2D of the target": ("3D RHD + 2D FH", "2d", "2d"),
        "and the losses": ("3D RHD + 2D FH + BMC", "bmc", "bl+rb+a"),
        "source's poses from all sides": ("", "views", "lifter"),
        "and losses, density, repair": ("", "views+whole", "lifter+bmc"),
        "3D of both": ("3D RHD + 3D FH", "full", "full"),
    }
    colours = [QUIET, QUIET, INSIDE, FINGER_COLOURS[2], FINGER_COLOURS[2], INK]
    theirs = [published.row(f"Table 2, {paper}", "", True).get("depth_mm", 0.0) for paper, _, _ in rows.values()]
    panels = {"the paper, photographs": theirs}
    for title, results, of_images in (
        ("here, 2D points", points, False),
        ("here, points of RHD's hands", rhd, False),
        ("here, images of gloved hands", images, True),
    ):
        arms = list(results["sets"].values())[-1]
        panels[title] = [arms[arm[1 + of_images]]["mean"]["depth_mm"] for arm in rows.values()]
    with matplotlib.rc_context(draw.STYLE):
        figure = Figure(figsize=(7.6, 4.8), layout="constrained")
        for axes, (title, values) in zip(figure.subplots(2, 2, sharey=True).flat, panels.items(), strict=True):
            bars = axes.barh(list(rows), values, color=colours)
            axes.bar_label(bars, [f"{value:.1f}" if value else "not in the paper" for value in values], padding=3)
            axes.set(title=title, xlim=(0, 1.25 * max(values)))
        axes.invert_yaxis()
        figure.supxlabel("depth error, wrists aligned, mm", fontsize=9)
    return figure


def tilts(results: dict) -> Figure:
    """Draws the two tilts of a bone that fit its length and its image, and how often each arm has the right one."""
    arms = results["sets"][TARGET]
    with matplotlib.rc_context(draw.STYLE):
        figure = Figure(figsize=(9.4, 3.1), layout="constrained")
        left, right = figure.subplots(1, 2, width_ratios=[1.15, 1])
        _two_tilts(left)
        names = list(arms)[::-1]
        share = [arms[name]["mean"]["tilts_percent"] for name in names]
        depth = [arms[name]["mean"]["depth_mm"] for name in names]
        rows = right.barh(
            names, share, color=[OUTSIDE if name.startswith("bl-") or name == "bl" else INSIDE for name in names]
        )
        right.bar_label(
            rows, [f"{a:.0f} %, Z {b:.1f} mm" for a, b in zip(share, depth, strict=True)], padding=3, fontsize=8
        )
        right.axvline(50, color=QUIET, linewidth=0.8)
        right.set(xlim=(0, 135), xticks=(0, 50, 100), xlabel="tilted bones that are tilted the right way, %")
        right.set_title("by the losses on the target")
    return figure


def _two_tilts(axes: Axes) -> None:
    """Draws camera, image and two rays from the side, and the bone of length 1 towards the camera and away from it."""
    start, end, root, length = 0.03, 0.16, 4.2, 1.0
    for slope in (start, end):
        axes.plot([0, 6.0], [0, 6.0 * slope], color=QUIET, linewidth=0.9)
        axes.scatter([1], [slope], s=12, color=INK, zorder=4)
    axes.plot([1, 1], [-0.25, 0.5], color=INK, linewidth=1.2)
    axes.annotate("image", (1, 0.56), ha="center", fontsize=8.5, color=INK)
    axes.scatter([0], [0], s=40, color=INK, marker=">")
    # |(z, end z) - (root, start root)| = length
    a, b, c = 1 + end**2, -2 * root * (1 + start * end), root**2 * (1 + start**2) - length**2
    for z, colour, words in (
        ((-b - (b * b - 4 * a * c) ** 0.5) / (2 * a), OUTSIDE, "towards the camera"),
        ((-b + (b * b - 4 * a * c) ** 0.5) / (2 * a), INSIDE, "away from it"),
    ):
        axes.plot([root, z], [root * start, z * end], color=colour, linewidth=3.2, solid_capstyle="round", zorder=3)
        axes.annotate(words, (z, z * end), (0, 7), textcoords="offset points", ha="center", fontsize=8.5, color=colour)
    axes.set(xlim=(-0.2, 6.1), ylim=(-0.6, 1.35))
    axes.set_aspect("equal")
    axes.set_axis_off()
    axes.set_title("two bones with the same length and the same image")


_excess = jax.jit(lambda joints, bounds: losses.excess(anatomy.normalize(joints)[0], bounds))


def excess(runs: Path) -> Figure:
    """Draws for each kind of limit the share of its quantities that are beyond it by more than the abscissa."""
    with matplotlib.rc_context(draw.STYLE):
        figure = Figure(figsize=(9.4, 2.9), layout="constrained")
        panels = figure.subplots(1, 3, sharey=True)
        poses = {}
        for arm in DRAWN:
            folder = runs / arm / "seed0"
            with np.load(folder / f"predictions/{TARGET}.npz") as saved:
                poses[arm] = saved["joints_3d"]
                poses["labels"] = saved["labels_3d"] / saved["scale"][:, None, None]
            bounds = limits.load(folder / limits.FILE)
        for name, joints in poses.items():
            found = _excess(np.asarray(joints, np.float32), bounds)
            kinds = (
                ("bone lengths, mm of an adult's", numerics.VISIBLE_LENGTH, found.bone_length, 8, 1),
                ("palm spread, degrees", np.radians(1), found.spread, 16, 2),
                ("joint angles, degrees", np.radians(1), found.angles, 16, 2),
            )
            for axes, (title, unit, values, most, seen) in zip(panels, kinds, strict=True):
                at = np.linspace(0, most, 200)
                beyond = np.sort(np.asarray(values, np.float64).ravel() / unit)
                share = 100 * (1 - np.searchsorted(beyond, at, side="right") / beyond.size)
                colour, style = DRAWN.get(name, INK), "--" if name == "labels" else "-"
                axes.plot(at, share, style, color=colour, linewidth=1.6, label=name)
                axes.axvline(seen, color=QUIET, linewidth=0.8)
                axes.set(title=title, xlim=(0, most), ylim=(0, None), xlabel="beyond the limit by more than")
        panels[0].set_ylabel("share of all, %")
        panels[-1].legend(frameon=False)
    return figure


if __name__ == "__main__":
    for picture, names in ((answer, ("views", "views_rhd_eval_joints", "pixels")), (tilts, ("tilts",))):
        results = [json.loads((DOCS / f"results/{name}.json").read_text()) for name in names]
        draw.save(picture(*results), DOCS / f"images/{picture.__name__}.png")
    if sys.argv[1:]:
        draw.save(excess(Path(sys.argv[1])), DOCS / "images/excess.png")
