"""Figures of an experiment: errors of its arms, the same hands in each arm, angles in hulls, errors over 3D labels."""

from collections.abc import Mapping, Sequence
from typing import Any

import jax
import matplotlib
import numpy as np
from matplotlib.figure import Figure
from matplotlib.lines import Line2D

from bmc_jax import metrics
from bmc_jax.core import anatomy, hand, hull
from bmc_jax.core.types import Limits
from bmc_jax.metrics import published
from bmc_jax.visualization import draw
from bmc_jax.visualization.charts import COLOURS

TURN = 75.0
"""Rotation of the hands about y in `same_hands`, degrees."""
DOTS = 1500
"""Number of dots per panel."""
LABELS = "labels"


def errors(arms: Mapping[str, Mapping[str, Any]], keys: Sequence[str]) -> Figure:
    """Draws a row for each arm and a panel for each metric.

    Dots are seeds, lines their means, and diamonds the paper's numbers.

    Args:
      arms: arms of a set of `comparison.compare`.
      keys: metrics.
    """
    names = list(arms)
    with matplotlib.rc_context(draw.STYLE):
        figure = Figure(figsize=(10.5, 0.3 * len(names) + 1.0), layout="constrained")
        panels = figure.subplots(1, len(keys), sharey=True, squeeze=False)[0]
        for axes, key in zip(panels, keys, strict=True):
            for place, arm in enumerate(arms.values()):
                if key in arm["mean"]:
                    values = arm["values"][key]
                    axes.plot(values, [place] * len(values), "o", color=draw.INSIDE, alpha=0.45, markersize=5, mew=0)
                    axes.plot([arm["mean"][key]] * 2, [place - 0.32, place + 0.32], color=draw.INSIDE, linewidth=2.2)
                if key in arm["paper"]:
                    axes.plot(arm["paper"][key], place, "D", color=draw.OUTSIDE, markersize=5, markerfacecolor="none")
            axes.set_title(published.title(key), loc="left")
            axes.set_xlim(0, 1.06 * axes.dataLim.x1)
        panels[0].set_yticks(range(len(names)), names)
        panels[0].tick_params(axis="y", length=0, labelsize=9)
        panels[0].set_ylim(len(names) - 0.5, -0.5)
        handles = [
            Line2D([], [], color=draw.INSIDE, marker="o", linestyle="", alpha=0.45),
            Line2D([], [], color=draw.INSIDE, marker="|", markersize=11, markeredgewidth=2.2, linestyle=""),
            Line2D([], [], color=draw.OUTSIDE, marker="D", markerfacecolor="none", linestyle=""),
        ]
        figure.legend(handles, ["seed", "mean of seeds", "paper, on its images"], loc="outside upper right", ncols=3)
    return figure


def same_hands(
    images: np.ndarray, labels: tuple[np.ndarray, np.ndarray], arms: Mapping[str, tuple[np.ndarray, np.ndarray]]
) -> Figure:
    """Draws Figure 1: the same hands in the labels and in each arm (columns), two rows per hand.

    The upper row has the hands over their images, the lower row the hands from the side, with the label in grey and the
    depth error.

    Args:
      images: `[n, height, width, 3]`.
      labels: joints `[n, 21, 2]`, pixels, and `[n, 21, 3]`, millimetres, NaN for hands without 3D labels.
      arms: predicted joints of each arm, as `labels`.
    """
    columns = {LABELS: labels, **arms}
    size = 10.5 / max(len(columns), 6)
    with matplotlib.rc_context(draw.STYLE):
        figure = Figure(figsize=(size * len(columns), 2.06 * size * len(images) + 0.4))
        figure.set_layout_engine("constrained", w_pad=0.015, h_pad=0.015, wspace=0.02, hspace=0.02)
        grid = figure.subplots(2 * len(images), len(columns), squeeze=False)
        for i, image in enumerate(images):
            true = _turned(labels[1][i])
            seen = [_turned(joints[i]) for _, joints in columns.values()]
            every = np.concatenate([points for points in seen if np.isfinite(points).all()])
            middle, reach = (every.min(axis=0) + every.max(axis=0)) / 2, 0.53 * float(np.ptp(every, axis=0).max())
            for column, (name, (joints_2d, joints_3d)) in enumerate(columns.items()):
                above, below = grid[2 * i : 2 * i + 2, column]
                draw.photograph(above, image)
                if name != LABELS:
                    draw.skeleton(above, labels[0][i], colour="#ffffff")
                draw.skeleton(above, joints_2d[i])
                if i == 0:
                    above.set_title(name, fontweight="bold")
                below.set(xlim=(middle[0] - reach, middle[0] + reach), ylim=(middle[1] + reach, middle[1] - reach))
                below.set(xticks=[], yticks=[], aspect="equal")
                below.grid(visible=False)
                for spine in below.spines.values():
                    spine.set(visible=True, color="#e1e5ea")
                if not np.isfinite(joints_3d[i]).all():
                    continue
                draw.skeleton(below, seen[column], rim=False)
                if name != LABELS and np.isfinite(true).all():
                    draw.skeleton(below, true, colour="#b3bbc4", rim=False)
                    below.text(0.04, 0.95, f"Z {_depth_error(joints_3d[i], labels[1][i]):.0f} mm", va="top",
                               transform=below.transAxes, fontsize=7.5)  # fmt: skip
    return figure


def _turned(joints: np.ndarray) -> np.ndarray:
    """Returns the joints relative to the wrist, rotated about y and projected along z: `[21, 2]`."""
    relative = joints - joints[hand.WRIST]
    across = np.cos(np.radians(TURN)) * relative[:, 0] + np.sin(np.radians(TURN)) * relative[:, 2]
    return np.stack([across, relative[:, 1]], axis=-1)


def _depth_error(joints: np.ndarray, labels: np.ndarray) -> float:
    return float(metrics.joint_errors(*(metrics.root_relative(pose)[:, 2:] for pose in (joints, labels))).mean())


def clouds(arms: Mapping[str, tuple[np.ndarray, Limits]], count: int = 4) -> Figure:
    """Draws the joint angles of each arm's poses in the hulls of its limits, for the joints that differ most.

    Args:
      arms: poses `[n, 21, 3]` and limits of each arm, one column each.
      count: number of joints, one row each: those whose share inside the hull differs most between the arms.
    """
    angles = {name: np.asarray(jax.jit(anatomy.joint_angles)(poses[:DOTS])) for name, (poses, _) in arms.items()}
    outside = {
        name: np.asarray(jax.jit(hull.distance)(angles[name], limits.hull)) > 0 for name, (_, limits) in arms.items()
    }
    shares = np.stack([100 * (1 - out.mean(axis=0)) for out in outside.values()])
    order = np.argsort(-np.ptp(shares, axis=0), axis=None, kind="stable")[:count]
    places = sorted(tuple(map(int, np.unravel_index(place, (5, 3)))) for place in order)
    size = min(10.5 / len(arms), 2.4)
    with matplotlib.rc_context(draw.STYLE):
        figure = Figure(figsize=(max(size * len(arms), 5.0) + 0.4, 1.75 * count + 0.5), layout="constrained")
        grid = figure.subplots(count, len(arms), sharex="row", sharey="row", squeeze=False)
        for row, (finger, level) in enumerate(places):
            for column, (name, (_, limits)) in enumerate(arms.items()):
                axes = grid[row, column]
                polygon = np.degrees(np.asarray(limits.hull[finger, level]))
                axes.fill(*polygon.T, facecolor="#eef3f8", edgecolor=draw.INK, linewidth=1.0, zorder=1)
                points, out = np.degrees(hull.unroll(angles[name][:, finger, level])), outside[name][:, finger, level]
                for mask, colour in ((~out, draw.INSIDE), (out, draw.OUTSIDE)):
                    axes.scatter(*points[mask].T, s=3, color=colour, alpha=0.45, linewidths=0, zorder=2)
                title = f"{100 * np.mean(~out):.0f} % in"
                axes.set_title(f"{name}\n{title}" if row == 0 else title, fontsize=8.5)
            grid[row, 0].set_ylabel(f"{hand.FINGERS[finger]} {hand.TURNING_JOINTS[finger][level]}\nabduction, °")
            shown = np.concatenate(
                [
                    np.degrees(np.concatenate([np.asarray(limits.hull[finger, level]) for _, limits in arms.values()])),
                    *(
                        np.quantile(np.degrees(hull.unroll(of[:, finger, level])), [0.01, 0.99], axis=0)
                        for of in angles.values()
                    ),
                ]
            )
            low, high = shown.min(axis=0), shown.max(axis=0)
            pad = 0.06 * (high - low)
            grid[row, 0].set(xlim=(low[0] - pad[0], high[0] + pad[0]), ylim=(low[1] - pad[1], high[1] + pad[1]))
        for axes in grid[-1]:
            axes.set_xlabel("flexion, °")
    return figure


def fractions(families: Mapping[str, Sequence[Mapping[str, Any]]], keys: Sequence[str]) -> Figure:
    """Draws Figure 5: a panel for each metric over the share of images with 3D labels.

    Lines are the means of a family of arms, and dots are seeds.

    Args:
      families: arms of each family, in the order of their `fraction`.
      keys: metrics.
    """
    with matplotlib.rc_context(draw.STYLE):
        figure = Figure(figsize=(10.5, 3.3), layout="constrained")
        for axes, key in zip(figure.subplots(1, len(keys), squeeze=False)[0], keys, strict=True):
            shares = set()
            for (name, arms), colour in zip(families.items(), COLOURS, strict=False):
                known = [arm for arm in arms if key in arm["mean"]]
                x = [100 * arm["fraction"] for arm in known]
                shares.update(x)
                axes.plot(x, [arm["mean"][key] for arm in known], "-", color=colour, linewidth=1.8, label=name)
                for share, arm in zip(x, known, strict=True):
                    axes.plot([share] * len(arm["seeds"]), arm["values"][key], "o", color=colour, alpha=0.5, mew=0)
            axes.set_xscale("log")
            axes.set_xticks(sorted(shares), [f"{share:g}" for share in sorted(shares)])
            axes.minorticks_off()
            axes.set_title(published.title(key), loc="left")
            axes.set_xlabel("images with 3D labels, %")
        handles, names = figure.axes[0].get_legend_handles_labels()
        figure.legend(handles, names, loc="outside upper left", ncols=len(names))
    return figure
