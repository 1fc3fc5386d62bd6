"""Charts: training curves, PCK curves, errors by joint, bars, joint angles over time."""

from collections.abc import Mapping, Sequence
from typing import Any

import matplotlib
import numpy as np
from matplotlib.figure import Figure
from matplotlib.lines import Line2D

from bmc_jax.core import hand
from bmc_jax.core.types import Limits
from bmc_jax.visualization import draw

COLOURS = (draw.INSIDE, "#E69F00", "#009E73", "#CC79A7", "#56B4E9", "#D55E00")

#: Fields of `metrics.jsonl` with a curve.
PANELS = (
    "loss",
    "joints_2d",
    "relative_depth",
    "root_depth",
    "rate",
    "bone_length",
    "palm",
    "joint_angle",
    "gradient_norm",
    "biomechanical_ramp",
)


def training_curves(rows: Sequence[Mapping[str, int | float]], *, title: str | None = None) -> Figure:
    """Draws the `PANELS` of `metrics.jsonl` over the steps: logged values, pale, and their running mean."""
    steps = np.array([row["step"] for row in rows])
    names = [name for name in PANELS if name in rows[0]]
    columns = min(5, len(names))
    lines = -(-len(names) // columns)
    with matplotlib.rc_context(draw.STYLE):
        figure = Figure(figsize=(2.1 * columns, 1.95 * lines + 0.35), layout="constrained")
        for i, name in enumerate(names):
            axes = figure.add_subplot(lines, columns, i + 1)
            values = np.array([row[name] for row in rows], float)
            axes.plot(steps, values, color=draw.INSIDE, alpha=0.3, linewidth=0.8)
            smooth = _running_mean(values, max(len(values) // 25, 1))
            axes.plot(steps, smooth, "o" if len(steps) == 1 else "-", color=draw.INSIDE, linewidth=1.6)
            axes.set_title(name.replace("_", " "))
            # Positive values that span decades are clearer on a logarithmic axis.
            if values.min() > 0 and smooth.max() > 20 * smooth.min():
                axes.set_yscale("log")
            axes.locator_params(axis="x", nbins=4)
            if i >= len(names) - columns:
                axes.set_xlabel("step")
        if title:
            figure.suptitle(title, x=0.012, ha="left", fontsize=10.5, fontweight="bold", color=draw.INK)
    return figure


def _running_mean(values: np.ndarray, width: int) -> np.ndarray:
    """Returns the mean of each value and up to `width` values on either side of it."""
    total = np.concatenate([[0.0], np.cumsum(values)])
    low = np.maximum(np.arange(len(values)) - width, 0)
    high = np.minimum(np.arange(len(values)) + width + 1, len(values))
    return (total[high] - total[low]) / (high - low)


def pck(
    curves: Mapping[str, np.ndarray],
    thresholds_mm: np.ndarray,
    *,
    title: str | None = None,
    distance: str = "distance to the true joint, wrists aligned, mm",
) -> Figure:
    """Draws the share of joints within each distance, one line per name.

    The line of a name that ends in "mean pose" is dashed, in the colour of the line before it.
    """
    with matplotlib.rc_context(draw.STYLE):
        figure = Figure(figsize=(7.6, 3.4), layout="constrained")
        axes = figure.add_subplot()
        colours = iter(COLOURS * 4)
        colour = draw.INK
        for name, shares in curves.items():
            dashed = name.endswith("mean pose")
            colour = colour if dashed else next(colours)
            area = np.trapezoid(shares, thresholds_mm) / np.ptp(thresholds_mm)
            axes.plot(
                thresholds_mm,
                100 * shares,
                color=colour,
                linestyle=(0, (4, 2)) if dashed else "-",
                linewidth=1.2 if dashed else 2.0,
                label=f"{name} · AUC {area:.2f}",
            )
        axes.set(xlim=(thresholds_mm[0], thresholds_mm[-1]), ylim=(0, 100))
        axes.set(xlabel=distance, ylabel="joints within the distance, %")
        figure.legend(loc="outside right center")
        if title:
            axes.set_title(title, loc="left", fontsize=10.5, fontweight="bold")
    return figure


def joints(errors: Mapping[str, Mapping[str, float]], *, title: str | None = None) -> Figure:
    """Draws the mean error of each joint, one line per name, base to tip of each finger.

    Names end in their unit. There is one panel per unit.
    """
    units = list(dict.fromkeys(name.rpartition(", ")[2] for name in errors))
    groups = ("wrist", *hand.FINGERS)
    places = [place + groups.index(joint.split()[0]) for place, joint in enumerate(hand.JOINTS)]
    with matplotlib.rc_context(draw.STYLE):
        figure = Figure(figsize=(10.5, 2.5 * len(units) + 0.5), layout="constrained")
        for unit, axes in zip(units, figure.subplots(len(units), 1, sharex=True, squeeze=False)[:, 0], strict=True):
            for (name, values), colour in zip(
                ((name, values) for name, values in errors.items() if name.endswith(unit)), COLOURS, strict=False
            ):
                label = name.removesuffix(f", {unit}")
                for finger in groups:
                    line = [
                        (x, values.get(joint, np.nan))
                        for x, joint in zip(places, hand.JOINTS, strict=True)
                        if joint.split()[0] == finger
                    ]
                    axes.plot(*zip(*line, strict=True), "o-", color=colour, markersize=4, label=label)
                    label = None
            axes.set_xticks(places, [_tick(joint) for joint in hand.JOINTS])
            axes.set(ylabel=f"mean error, {unit}", ylim=(0, None))
            axes.legend(loc="center left", bbox_to_anchor=(1.01, 0.5))
        if title:
            figure.suptitle(title, x=0.01, ha="left", fontsize=10.5, fontweight="bold")
    return figure


def _tick(joint: str) -> str:
    """Returns the label of a joint: its level, and below PIP joints the finger."""
    finger, _, level = joint.partition(" ")
    return f"{level or joint}\n{finger if level == 'PIP' else ' '}"


def bars(panels: Mapping[str, Mapping[str, Mapping[str, float]]]) -> Figure:
    """Draws panel -> group -> bar -> value as horizontal bars with their values: `{"Z, mm": {"test": {"ours": 9}}}`."""
    colours = (draw.INSIDE, "#b8c4d0", "#009E73", "#E69F00")
    with matplotlib.rc_context(draw.STYLE):
        groups = next(iter(panels.values()))
        series = len(next(iter(groups.values())))
        figure = Figure(figsize=(10.5, 0.24 * len(groups) * (series + 1) + 0.85), layout="constrained")
        first: Any = None
        for i, (panel, groups) in enumerate(panels.items()):
            axes = figure.add_subplot(1, len(panels), i + 1, sharey=first)
            first = first or axes
            middles = []
            for g, values in enumerate(groups.values()):
                places = g * (series + 1) + np.arange(len(values))
                drawn = axes.barh(places, list(values.values()), height=0.86, color=colours[: len(values)])
                axes.bar_label(drawn, fmt="%.1f", padding=3, fontsize=8, color=draw.INK)
                middles.append(places.mean())
            axes.set_yticks(middles, [name.replace("_", " ") for name in groups])
            axes.tick_params(axis="y", length=0, labelleft=i == 0, labelsize=9)
            axes.grid(visible=False, axis="y")
            axes.margins(x=0.16)
            axes.set_title(panel, loc="left")
        first.invert_yaxis()
        names = list(next(iter(next(iter(panels.values())).values())))
        handles = [Line2D([], [], color=colour, linewidth=6) for colour in colours[: len(names)]]
        figure.legend(handles, names, loc="outside upper right", ncols=len(names), handlelength=0.9)
    return figure


def angle_curves(times: Sequence[float], angles: np.ndarray, beyond: np.ndarray, limits: Limits) -> Figure:
    """Draws joint angles `[n, 5, 3, 2]` in radians over seconds, one column per finger and one row per bone.

    The band behind each curve is the range of that angle alone in the limits. Both curves have dots where flexion and
    abduction together are outside the hull, `beyond [n, 5, 3]` > 0.
    """
    hulls, degrees = np.degrees(np.asarray(limits.hull)), np.degrees(angles)
    seconds = np.asarray(times)
    with matplotlib.rc_context(draw.STYLE):
        figure = Figure(figsize=(11.5, 5.6), layout="constrained")
        grid = figure.subplots(3, 5, sharex=True, sharey="row")
        for finger, level in np.ndindex(5, 3):
            axes, out = grid[level, finger], beyond[:, finger, level] > 0
            for angle, colour in enumerate((draw.INSIDE, "#009E73")):
                low, high = hulls[finger, level, :, angle].min(), hulls[finger, level, :, angle].max()
                axes.axhspan(low, high, color=colour, alpha=0.10, linewidth=0)
                curve = degrees[:, finger, level, angle]
                axes.plot(seconds, curve, color=colour, linewidth=1.4)
                axes.plot(seconds[out], curve[out], ".", color=draw.OUTSIDE, markersize=3.5)
            name = f"{hand.FINGERS[finger]} {hand.TURNING_JOINTS[finger][level]}"
            axes.set_title(f"{name} · {100 * np.mean(~out):.0f} % within")
            if level == 2:
                axes.set_xlabel("seconds")
            if finger == 0:
                axes.set_ylabel("degrees")
        handles = [Line2D([], [], color=colour, linewidth=1.8) for colour in (draw.INSIDE, "#009E73")]
        handles.append(Line2D([], [], color=draw.OUTSIDE, marker=".", linestyle=""))
        names = ["flexion", "abduction", "beyond the limits"]
        figure.legend(handles, names, loc="outside upper left", ncols=3)
    return figure
