"""Figure 4: one pose whose depths are off, what the losses make of it, and the truth. In 2D they are all the same."""

from collections.abc import Mapping

import matplotlib
import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from bmc_jax import ambiguity, draw, hand, metrics
from bmc_jax.types import Limits

#: Degrees by which the hand is turned before it is looked at from the camera's side: about y, then about x.
VIEWS = {"turned to the side": (75.0, 0.0), "turned from above": (0.0, -75.0)}
#: Millimetres.
RULER = 50


def figure(stages: Mapping[str, np.ndarray], truth: np.ndarray, limits: Limits, *, title: str | None = None) -> Figure:
    """A column for each stage of one pose, `[21, 3]` metres in the camera's frame, and one for the truth: its
    projection, two turned views at one scale with the truth thin and grey behind, and its numbers."""
    columns = {**stages, ambiguity.TRUTH: truth}
    with matplotlib.rc_context(draw.STYLE):
        whole = Figure(figsize=(10.5, 7.5 + 0.3 * bool(title)), layout="constrained")
        grid = whole.subplots(1 + len(VIEWS), len(columns))
        seen = {view: [_seen(joints, angles) for joints in columns.values()] for view, angles in VIEWS.items()}
        reach = 0.53 * max(float(np.ptp(np.concatenate(points), axis=0).max()) for points in seen.values())
        for column, (name, joints) in enumerate(columns.items()):
            _projection(grid[0, column], joints)
            grid[0, column].set_title(name, fontsize=9.5, fontweight="bold")
            for axes, points in zip(grid[1:, column], seen.values(), strict=True):
                draw.skeleton(axes, points[-1], colour="#b3bbc4", rim=False)
                draw.skeleton(axes, points[column], rim=False)
                every = np.concatenate(points)
                _frame(axes, (every.min(axis=0) + every.max(axis=0)) / 2, reach)
            grid[-1, column].set_xlabel(_numbers(joints, truth, limits), fontsize=8.5, linespacing=1.5)
        for axes, words in zip(grid[:, 0], ("2D, all the same", *VIEWS), strict=True):
            axes.set_ylabel(words)
        _ruler(grid[1, 0], reach)
        if title:
            whole.suptitle(title, x=0.01, ha="left", fontsize=10.5, fontweight="bold", color=draw.INK)
    return whole


def _seen(joints: np.ndarray, angles: tuple[float, float]) -> np.ndarray:
    """The joints `[21, 2]` in millimetres from the wrist, x right and y down, of the turned hand."""
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
    error = ambiguity.depth_errors(joints[None], truth[None])[0]
    terms = ambiguity.violations(joints[None], truth[None], limits)
    named = zip(("L_BL", "L_RB", "L_A"), (terms[name][0] for name in ambiguity.WEIGHTS), strict=True)
    return "\n".join([f"Z error {error:.1f} mm", *(f"{name} {value:.4f}" for name, value in named)])
