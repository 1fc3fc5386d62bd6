"""Figures of limits: violations, worst hands, two limits, motion over time, and stages of the depth ambiguity."""

from collections.abc import Mapping, Sequence

import matplotlib
import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.lines import Line2D

from bmc_jax import metrics
from bmc_jax.core import hand, hull
from bmc_jax.core.types import Limits
from bmc_jax.limits import depth_ambiguity
from bmc_jax.limits.checking import joint_name
from bmc_jax.limits.range_of_motion import runs
from bmc_jax.visualization import draw

DOTS = 4000
"""Largest number of dots in a panel: more dots would hide each other."""
SECOND = "#D55E00"
"""Colour of the second of two limits."""
ABDUCTION = "#009E73"
"""Colour of abduction."""


def violations(limits: Limits, angles: np.ndarray, beyond: np.ndarray) -> Figure:
    """Draws joint angles and hulls, for the joints with violations, the most violated first.

    Args:
      limits: the limits.
      angles: `[N, 5, 3, 2]`, radians.
      beyond: excess of each joint `[N, 5, 3]`, 0 within the limits.
    """
    counts = (beyond > 0).sum(axis=0)
    places = sorted(np.argwhere(counts > 0).tolist(), key=lambda place: -counts[tuple(place)])
    columns = min(5, len(places))
    rows = -(-len(places) // columns)
    with matplotlib.rc_context(draw.STYLE):
        figure = Figure(figsize=(max(2.1 * columns, 4.2), 2.0 * rows + 0.4), layout="constrained")
        for i, (finger, level) in enumerate(places):
            axes = figure.add_subplot(rows, columns, i + 1)
            _hull(axes, limits, finger, level, draw.INK)
            points = np.degrees(hull.unroll(angles[:, finger, level]))
            out = beyond[:, finger, level] > 0
            for mask, colour in ((~out, draw.INSIDE), (out, draw.OUTSIDE)):
                shown = points[mask][:: max(1, int(mask.sum()) // DOTS)]
                axes.scatter(*shown.T, s=5, color=colour, alpha=0.5, linewidths=0, zorder=3)
            axes.set_title(f"{joint_name(finger, level)} · {100 * np.mean(out):.1f} % out")
            axes.set_xlabel("flexion, °" if i >= len(places) - columns else "")
            axes.set_ylabel("abduction, °" if not i % columns else "")
            axes.locator_params(nbins=5)
        handles = [Line2D([], [], color=draw.INK, linewidth=1.1)]
        handles += [
            Line2D([], [], color=c, marker="o", markersize=4, linestyle="") for c in (draw.INSIDE, draw.OUTSIDE)
        ]
        figure.legend(handles, ["limit", "inside", "outside"], loc="outside upper left", ncols=3)
    return figure


def hands(poses: np.ndarray, beyond: np.ndarray, captions: Sequence[str]) -> Figure:
    """Draws right hands with fingers up, each with the palm towards the viewer and from the thumb's side.

    Joints outside have a ring, whose size grows with the excess.

    Args:
      poses: `[n, 21, 3]`, right hands.
      beyond: excess of each joint `[n, 5, 3]`, degrees.
      captions: caption of each hand.
    """
    columns = min(4, len(poses))
    rows = -(-len(poses) // columns)
    with matplotlib.rc_context(draw.STYLE):
        figure = Figure(figsize=(2.9 * columns, 1.95 * rows), layout="constrained")
        cells = np.reshape(figure.subplots(rows, 2 * columns, squeeze=False), (rows, columns, 2, -1))[..., 0]
        for axes in cells.flat:
            axes.set_axis_off()
        for i, (pose, off) in enumerate(zip(poses, beyond, strict=True)):
            upright = _upright(pose)
            pair = cells[i // columns, i % columns]
            for axes, view in zip(pair, ((0, 1), (2, 1)), strict=True):
                points = upright[:, view]
                draw.skeleton(axes, points, rim=False)
                for finger, level in np.argwhere(off > 0):
                    joint = points[hand.FINGER_JOINTS[finger, level]]
                    size = 25 + 1.5 * min(float(off[finger, level]), 60.0)
                    axes.scatter(*joint, s=size, facecolors="none", edgecolors="#c2003b", linewidths=1.4, zorder=6)
                middle, reach = (points.min(axis=0) + points.max(axis=0)) / 2, 0.56 * np.ptp(upright, axis=0).max()
                axes.set(xlim=(middle[0] - reach, middle[0] + reach), ylim=(middle[1] - reach, middle[1] + reach))
                axes.set_aspect("equal")
            pair[0].set_title(captions[i], fontsize=7.5, loc="left", pad=2)
    return figure


def comparison(first: Limits, second: Limits, names: tuple[str, str], captions: Sequence[str]) -> Figure:
    """Draws the 15 hulls of two limits over each other, with a caption each; columns are fingers and rows are bones."""
    with matplotlib.rc_context(draw.STYLE):
        figure = Figure(figsize=(10.5, 6.4), layout="constrained")
        grid = figure.subplots(3, 5, sharex="row", sharey="row")
        for finger, level in np.ndindex(5, 3):
            axes = grid[level, finger]
            _hull(axes, first, finger, level, draw.INSIDE)
            _hull(axes, second, finger, level, SECOND)
            axes.set_title(f"{joint_name(finger, level)} · {captions[3 * finger + level]}", fontsize=8.2)
            axes.set(xlabel="flexion, °" if level == 2 else "", ylabel="abduction, °" if finger == 0 else "")
        handles = [Line2D([], [], color=colour, linewidth=2) for colour in (draw.INSIDE, SECOND)]
        figure.legend(handles, names, loc="outside upper left", ncols=2)
    return figure


def motion(seconds: np.ndarray, degrees: np.ndarray, norms: dict[tuple[int, int, int], tuple[float, float]]) -> Figure:
    """Draws flexion and abduction over time; rows are fingers and columns are joints.

    Args:
      seconds: time of each frame `[n]`.
      degrees: (flexion, abduction) `[n, 5, 3, 2]`, NaN in gaps.
      norms: published ranges by finger, level and angle (0 flexion, 1 abduction), drawn as bands.
    """
    with matplotlib.rc_context(draw.STYLE):
        figure = Figure(figsize=(10.5, 9.2), layout="constrained")
        grid = figure.subplots(5, 3, sharex=True, sharey="col")
        gaps = np.isnan(degrees[:, 0, 0, 0])
        around = np.pad(gaps, 1, constant_values=True)
        step = float(np.median(np.diff(seconds))) if len(seconds) > 1 else 1.0
        alone = ~gaps & around[:-2] & around[2:]
        for finger, level in np.ndindex(5, 3):
            axes = grid[finger, level]
            for start, end in runs(gaps):
                axes.axvspan(seconds[start] - step / 2, seconds[end - 1] + step / 2, color="#e3e7ec", linewidth=0)
            for angle, colour in enumerate((draw.INSIDE, ABDUCTION)):
                if (finger, level, angle) in norms:
                    axes.axhspan(*norms[finger, level, angle], color=colour, alpha=0.10, linewidth=0)
                curve = degrees[:, finger, level, angle]
                axes.plot(seconds, curve, color=colour, linewidth=1.4)
                axes.plot(seconds[alone], curve[alone], ".", color=colour, markersize=3)
            axes.set_title(joint_name(finger, level))
            axes.set(xlabel="seconds" if finger == 4 else "", ylabel="degrees" if level == 0 else "")
        handles = [Line2D([], [], color=colour, linewidth=1.8) for colour in (draw.INSIDE, ABDUCTION)]
        handles += [Line2D([], [], color=colour, linewidth=7, alpha=0.2) for colour in (draw.INSIDE, ABDUCTION)]
        handles.append(Line2D([], [], color="#d5dae0", linewidth=7))
        names = ["flexion", "abduction", "flexion's norm", "abduction's norm", "no hand"]
        figure.legend(handles, names, loc="outside upper left", ncols=5)
    return figure


def _hull(axes: Axes, limits: Limits, finger: int, level: int, colour: str) -> None:
    polygon = np.degrees(np.asarray(limits.hull[finger, level]))
    axes.fill(*polygon.T, facecolor=colour, alpha=0.08, edgecolor="none", zorder=1)
    axes.fill(*polygon.T, facecolor="none", edgecolor=colour, linewidth=1.3, zorder=4)


def _upright(pose: np.ndarray) -> np.ndarray:
    """Returns the hand with its wrist at the origin, x towards the thumb's side, y along the root bone of the middle
    finger and z out of the palm: the palm of a right hand is visible, with the thumb on the right."""
    from_wrist = pose - pose[hand.WRIST]
    index, middle, little = (from_wrist[hand.FINGER_JOINTS[finger, 0]] for finger in (1, 2, 4))
    up = middle / np.linalg.norm(middle)
    palmar = np.cross(index, little)
    palmar = palmar - (palmar @ up) * up
    palmar = palmar / max(float(np.linalg.norm(palmar)), np.finfo(float).tiny)
    return from_wrist @ np.stack([np.cross(up, palmar), up, palmar], axis=-1)


#: Rotation of the hand in each view, in degrees about y, then about x of the camera frame.
VIEWS = {"turned to the side": (75.0, 0.0), "turned from above": (0.0, -75.0)}
RULER = 50
"""Length of the ruler, millimetres."""


def depth_stages(stages: Mapping[str, np.ndarray], truth: np.ndarray, limits: Limits) -> Figure:
    """Draws the stages of one pose and the true pose, one column each.

    A column has the projection, two rotated views with the true pose in grey, and the numbers.

    Args:
      stages: the pose at each stage `[21, 3]`, metres, camera frame.
      truth: the true pose.
      limits: limits of the losses.
    """
    columns = {**stages, depth_ambiguity.TRUTH: truth}
    with matplotlib.rc_context(draw.STYLE):
        figure = Figure(figsize=(10.5, 7.5), layout="constrained")
        grid = figure.subplots(1 + len(VIEWS), len(columns))
        views = {view: [_turned(joints, angles) for joints in columns.values()] for view, angles in VIEWS.items()}
        reach = 0.53 * max(float(np.ptp(np.concatenate(points), axis=0).max()) for points in views.values())
        for column, (name, joints) in enumerate(columns.items()):
            _projection(grid[0, column], joints)
            grid[0, column].set_title(name, fontsize=9.5, fontweight="bold")
            for axes, points in zip(grid[1:, column], views.values(), strict=True):
                draw.skeleton(axes, points[-1], colour="#b3bbc4", rim=False)
                draw.skeleton(axes, points[column], rim=False)
                every = np.concatenate(points)
                _frame(axes, (every.min(axis=0) + every.max(axis=0)) / 2, reach)
            grid[-1, column].set_xlabel(_numbers(joints, truth, limits), fontsize=8.5, linespacing=1.5)
        for axes, words in zip(grid[:, 0], ("2D, all the same", *VIEWS), strict=True):
            axes.set_ylabel(words)
        _ruler(grid[1, 0], reach)
    return figure


def _turned(joints: np.ndarray, angles: tuple[float, float]) -> np.ndarray:
    """Returns the joints `[21, 2]` of the rotated hand, in millimetres from the wrist, x right and y down."""
    c, s = np.cos(np.radians(angles)), np.sin(np.radians(angles))
    about_y = np.array([[c[0], 0, s[0]], [0, 1, 0], [-s[0], 0, c[0]]])
    about_x = np.array([[1, 0, 0], [0, c[1], -s[1]], [0, s[1], c[1]]])
    relative = metrics.MILLIMETRES * (joints - joints[hand.WRIST]).astype(np.float64)
    return (relative @ (about_x @ about_y).T)[:, :2]


def _projection(axes: Axes, joints: np.ndarray) -> None:
    points = joints[:, :2] / joints[:, 2:]
    draw.skeleton(axes, points, rim=False)
    middle, reach = (points.min(axis=0) + points.max(axis=0)) / 2, 0.58 * float(np.ptp(points, axis=0).max())
    _frame(axes, middle, reach)


def _frame(axes: Axes, middle: np.ndarray, reach: float) -> None:
    axes.set(xlim=(middle[0] - reach, middle[0] + reach), ylim=(middle[1] + reach, middle[1] - reach))
    axes.set_aspect("equal")
    axes.set(xticks=[], yticks=[])
    for spine in axes.spines.values():
        spine.set(visible=True, color="#d5dae0")


def _ruler(axes: Axes, reach: float) -> None:
    length = RULER / (2 * reach)
    axes.plot([0.05, 0.05 + length], [0.05, 0.05], transform=axes.transAxes, color=draw.INK, linewidth=1.4)
    axes.text(0.05 + length / 2, 0.075, f"{RULER} mm", transform=axes.transAxes, ha="center", fontsize=7.5)


def _numbers(joints: np.ndarray, truth: np.ndarray, limits: Limits) -> str:
    error = depth_ambiguity.depth_errors(joints[None], truth[None])[0]
    terms = depth_ambiguity.violations(joints[None], truth[None], limits)
    named = zip(("L_BL", "L_RB", "L_A"), (terms[name][0] for name in depth_ambiguity.WEIGHTS), strict=True)
    return "\n".join([f"Z error {error:.1f} mm", *(f"{name} {value:.4f}" for name, value in named)])
