"""Pictures of hands: over their images, in 3D from three sides, and their angles in the hulls of the limits.

Each function returns a new matplotlib `Figure` (no window, no global state), which `png` turns into bytes and
`save` into a file. Pixels are those of the crop, 3D joints in the camera frame and the stated unit, angles in radians.
"""

import io
import os
from collections.abc import Sequence
from typing import Any

import jax
import matplotlib
import matplotlib.patheffects
import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.lines import Line2D

from bmc_jax.core import hand, hull
from bmc_jax.core.types import Limits
from bmc_jax.runtime import files

Array = np.ndarray | jax.Array

#: Colours of thumb to little finger: five of Okabe and Ito's, which people with any kind of colour vision distinguish.
FINGER_COLOURS = ("#D55E00", "#E69F00", "#009E73", "#56B4E9", "#CC79A7")
INSIDE, OUTSIDE = "#0072B2", "#D55E00"
INK, QUIET, PAPER = "#1f2933", "#8a94a0", "#ffffff"
#: Grey in place of a missing image.
EMPTY = 60

STYLE: dict[Any, Any] = {
    "font.family": "DejaVu Sans",
    "font.size": 9,
    "axes.titlesize": 9,
    "axes.labelsize": 9,
    "axes.edgecolor": QUIET,
    "axes.labelcolor": INK,
    "axes.titlecolor": INK,
    "axes.spines.top": False,
    "axes.spines.right": False,
    "axes.grid": True,
    "axes.axisbelow": True,
    "grid.color": "#e6e9ed",
    "grid.linewidth": 0.7,
    "xtick.color": QUIET,
    "ytick.color": QUIET,
    "xtick.labelcolor": INK,
    "ytick.labelcolor": INK,
    "xtick.labelsize": 8,
    "ytick.labelsize": 8,
    "legend.frameon": False,
    "legend.fontsize": 8.5,
    "figure.facecolor": PAPER,
    "savefig.facecolor": PAPER,
}


def png(figure: Figure, dpi: int = 130) -> bytes:
    """Returns the content of a PNG file of the figure."""
    return _encoded(figure, "png", dpi)


def save(figure: Figure, path: str | os.PathLike, dpi: int = 130) -> None:
    """Writes the figure atomically as PNG, or as JPEG by its suffix, creating parent folders."""
    with files.replacing(path) as partial:
        partial.write_bytes(_encoded(figure, "jpg" if partial.suffix.lower() in (".jpg", ".jpeg") else "png", dpi))


def _encoded(figure: Figure, kind: str, dpi: int) -> bytes:
    buffer = io.BytesIO()
    with matplotlib.rc_context(STYLE):
        figure.savefig(buffer, format=kind, dpi=dpi)
    return buffer.getvalue()


def skeleton(
    axes: Axes, points: Array, valid: Array | None = None, *, colour: str | None = None, rim: bool = True
) -> None:
    """Draws bones and joints of one hand, `points [21, 2]` in the axes' units, except bones with an unlabelled end.

    Each finger has its colour. With `colour`, the hand is thin, of that colour and behind other hands. The dark rim
    separates the lines from the image.
    """
    valid = np.ones(hand.NUM_JOINTS, bool) if valid is None else valid
    width, layer = (2.0, 4) if colour is None else (1.1, 3)
    effects = [matplotlib.patheffects.withStroke(linewidth=width + 1.2, foreground="#00000090")] if rim else None
    for joints, finger_colour in zip(hand.FINGER_JOINTS, FINGER_COLOURS, strict=True):
        chain = np.concatenate([[hand.WRIST], joints])
        line = np.where(valid[chain, None], points[chain], np.nan)
        axes.plot(
            *line.T,
            color=colour or finger_colour,
            linewidth=width,
            solid_capstyle="round",
            solid_joinstyle="round",
            path_effects=effects,
            zorder=layer,
        )
    shown = points[valid]
    if colour is None:
        axes.scatter(*shown.T, s=6, color=PAPER, edgecolors=INK, linewidths=0.5, zorder=layer + 1)


def photograph(axes: Axes, image: Array) -> None:
    """Draws an image `[height, width, 3]` that fills its axes, pixel centres at integers; grey without channels."""
    if not image.shape[-1]:
        image = np.full((*image.shape[:2], 3), EMPTY, np.uint8)
    axes.imshow(image, interpolation="bilinear")
    axes.set(xlim=(-0.5, image.shape[1] - 0.5), ylim=(image.shape[0] - 0.5, -0.5))
    axes.set_axis_off()


def contact_sheet(
    images: Array,
    joints_2d: Array,
    valid: Array | None = None,
    *,
    predicted: Array | None = None,
    captions: Sequence[str] | None = None,
    columns: int = 6,
    title: str | None = None,
) -> Figure:
    """Draws images `[n, height, width, 3]` in rows, with the hand `joints_2d [n, 21, 2]` over each.

    With `predicted`, the predicted hands are in colour, and `joints_2d` are the labels, thin and white behind them.
    """
    columns = min(columns, len(images))
    rows = -(-len(images) // columns)
    head = 0.62 if title else 0.36
    height = rows * (1.75 if captions is None else 1.95)
    with matplotlib.rc_context(STYLE):
        figure = Figure(figsize=(columns * 1.75 + 0.1, height + head))
        grid = figure.add_gridspec(
            rows,
            columns,
            left=0.05 / (columns * 1.75 + 0.1),
            right=1 - 0.05 / (columns * 1.75 + 0.1),
            bottom=0.05 / (height + head),
            top=1 - head / (height + head),
            wspace=0.03,
            hspace=0.03 if captions is None else 0.14,
        )
        for i, image in enumerate(images):
            axes = figure.add_subplot(grid[i // columns, i % columns])
            photograph(axes, image)
            labelled = None if valid is None else valid[i]
            skeleton(axes, joints_2d[i], labelled, colour=None if predicted is None else "#ffffff")
            if predicted is not None:
                skeleton(axes, predicted[i])
            if captions is not None:
                axes.set_title(captions[i], fontsize=7.5, pad=2)
        _head(figure, title, labels=predicted is not None)
    return figure


def poses(
    images: Array,
    joints_2d: Array,
    joints_3d: Array,
    labels_2d: Array | None = None,
    labels_3d: Array | None = None,
    *,
    valid: Array | None = None,
    unit: str = "mm",
    title: str | None = None,
) -> Figure:
    """Draws one hand per row: over its image, and in 3D from the camera, the side and above, all at one scale.

    3D joints `[n, 21, 3]` are shown relative to their wrist; labels are thin and grey.
    """
    relative = [joints - joints[:, hand.WRIST, None] for joints in (joints_3d, labels_3d) if joints is not None]
    with matplotlib.rc_context(STYLE):
        rows = len(images)
        figure = Figure(figsize=(9.6, 2.25 * rows + 0.55 + 0.25 * bool(title)))
        height = figure.get_figheight()
        grid = figure.add_gridspec(
            rows,
            4,
            left=0.012,
            right=0.985,
            bottom=0.42 / height,
            top=1 - (0.8 if title else 0.55) / height,
            wspace=0.4,
            hspace=0.16,
        )
        for i in range(rows):
            axes = figure.add_subplot(grid[i, 0])
            photograph(axes, images[i])
            if labels_2d is not None:
                skeleton(axes, labels_2d[i], None if valid is None else valid[i], colour="#ffffff")
            skeleton(axes, joints_2d[i])
            middle = np.concatenate([pose[i] for pose in relative])
            centre = (middle.min(axis=0) + middle.max(axis=0)) / 2
            reach = np.ptp(middle, axis=0).max() / 2 * 1.12
            for column, (name, x, y, flip) in enumerate(
                [("from the camera", 0, 1, True), ("from the side", 2, 1, True), ("from above", 0, 2, False)], start=1
            ):
                axes = figure.add_subplot(grid[i, column])
                for pose, colour in zip(relative, (None, "#b3bbc4"), strict=False):
                    skeleton(axes, pose[i][:, [x, y]], colour=colour, rim=colour is None)
                axes.set(xlim=(centre[x] - reach, centre[x] + reach), ylim=(centre[y] - reach, centre[y] + reach))
                axes.set_aspect("equal")
                axes.locator_params(nbins=5)
                if flip:
                    axes.invert_yaxis()
                axes.set_ylabel(f"{'xyz'[y]}, {unit}", labelpad=0)
                if i == 0:
                    axes.set_title(name)
                if i == rows - 1:
                    axes.set_xlabel(f"{'xyz'[x]}, {unit}")
        _head(figure, title, labels=labels_2d is not None or labels_3d is not None)
    return figure


def _head(figure: Figure, title: str | None, *, labels: bool) -> None:
    """Draws the title and, below it, the legend of the fingers' colours."""
    height = figure.get_figheight()
    handles = [Line2D([], [], color=colour, linewidth=3) for colour in FINGER_COLOURS]
    names: list[str] = list(hand.FINGERS)
    if labels:
        handles.append(Line2D([], [], color="#c3c9d0", linewidth=1.5))
        names.append("label")
    if title:
        figure.text(0.012, 1 - 0.08 / height, title, va="top", fontsize=10.5, fontweight="bold", color=INK)
    top = 1 - (0.30 if title else 0.04) / height
    figure.legend(
        handles,
        names,
        loc="upper left",
        bbox_to_anchor=(0.05 / figure.get_figwidth(), top),
        ncols=len(names),
        columnspacing=1.1,
        handlelength=1.1,
        handletextpad=0.5,
        borderaxespad=0,
        borderpad=0.3,
    )


def angle_hulls(limits: Limits, angles: Array | None = None, *, title: str | None = None) -> Figure:
    """Draws the 15 hulls of `limits`, one column per finger and one row per bone, and samples `angles [n, 5, 3, 2]`.

    Samples inside are blue and samples outside vermilion; each panel states the share inside. `angles` are in radians.
    Axes are in degrees, equal within a row, and show 99.8 % of the samples.
    """
    polygons = np.degrees(np.asarray(limits.hull))
    points, outside = None, np.zeros((0, 5, 3), bool)
    if angles is not None:
        outside = np.asarray(jax.jit(hull.distance)(angles, limits.hull)) > 0
        points = np.degrees(hull.unroll(np.asarray(angles)))
    with matplotlib.rc_context(STYLE):
        figure = Figure(figsize=(10.5, 6.6))
        top = 0.875 if title else 0.925
        grid = figure.subplots(3, 5, sharex="row", sharey="row")
        figure.subplots_adjust(left=0.065, right=0.99, bottom=0.075, top=top, wspace=0.07, hspace=0.32)
        for level in range(3):
            for finger in range(5):
                axes = grid[level, finger]
                polygon = polygons[finger, level]
                axes.fill(*polygon.T, facecolor="#eef3f8", edgecolor="none", zorder=1)
                axes.fill(*polygon.T, facecolor="none", edgecolor=INK, linewidth=1.1, zorder=4)
                name = f"{hand.FINGERS[finger]} {hand.LEVELS[level + 1]} bone"
                if points is not None:
                    out = outside[:, finger, level]
                    size = float(np.clip(4000 / len(out), 1.5, 8))
                    for mask, colour, layer in ((~out, INSIDE, 2), (out, OUTSIDE, 3)):
                        axes.scatter(
                            *points[mask, finger, level].T, s=size, color=colour, alpha=0.45, linewidths=0, zorder=layer
                        )
                    name += f" · {100 * np.mean(~out):.1f} % in"
                axes.set_title(name, fontsize=8.2)
                if level == 2:
                    axes.set_xlabel("flexion, °")
                if finger == 0:
                    axes.set_ylabel("abduction, °")
            shown = polygons[:, level].reshape(-1, 2)
            if points is not None:
                cut = np.quantile(points[:, :, level].reshape(-1, 2), [0.001, 0.999], axis=0)
                shown = np.concatenate([shown, cut])
            low, high = shown.min(axis=0), shown.max(axis=0)
            pad = 0.06 * (high - low)
            grid[level, 0].set(xlim=(low[0] - pad[0], high[0] + pad[0]), ylim=(low[1] - pad[1], high[1] + pad[1]))
        if title:
            figure.text(0.012, 0.985, title, va="top", fontsize=10.5, fontweight="bold", color=INK)
        handles = [Line2D([], [], color=INK, linewidth=1.1)]
        names = ["limit"]
        if points is not None:
            handles += [Line2D([], [], color=c, marker="o", markersize=4, linestyle="") for c in (INSIDE, OUTSIDE)]
            names += ["inside", "outside"]
        figure.legend(
            handles, names, loc="upper left", bbox_to_anchor=(0.005, 0.955 if title else 0.995), ncols=3, borderpad=0.2
        )
    return figure
