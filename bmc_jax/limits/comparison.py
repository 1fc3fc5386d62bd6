"""Description of limits, and comparison of two limits: shared area of the hulls, and how far each exceeds the other."""

from dataclasses import dataclass

import jax
import jax.numpy as jnp
import numpy as np

from bmc_jax.core import hand, hull
from bmc_jax.core.plural import plural
from bmc_jax.core.types import Limits
from bmc_jax.limits.checking import aligned, joint_name
from bmc_jax.limits.io import PALM_PAIRS


@dataclass(frozen=True)
class JointComparison:
    """The hulls of a joint in two limits, degrees."""

    joint: str
    flexion: tuple[tuple[float, float], tuple[float, float]]
    """(lowest, highest) in the first and in the second limits."""
    abduction: tuple[tuple[float, float], tuple[float, float]]
    """(lowest, highest) in the first and in the second limits."""
    areas: tuple[float, float]
    """Areas of both hulls, square degrees."""
    shared_percent: float
    """Area of the intersection relative to the area of the union."""
    first_beyond: float
    """Largest distance by which the first hull extends beyond the second."""
    second_beyond: float
    """Largest distance by which the second hull extends beyond the first."""


def compare(first: Limits, second: Limits) -> list[JointComparison]:
    """Compares the hulls of all 15 joints.

    Args:
      first: limits.
      second: limits.

    Returns:
      One comparison for each joint, finger by finger.

    Examples:
      >>> from bmc_jax import limits
      >>> joints = limits.compare(limits.load("clinical"), limits.load("functional"))
      >>> print(f"{joints[3].joint}: {joints[3].shared_percent:.0f} % shared")
      index MCP: 42 % shared
    """
    beyond = [_extension(first, second), _extension(second, first)]
    rows = []
    for finger, level in np.ndindex(5, 3):
        polygons = [np.degrees(np.asarray(limits.hull[finger, level], np.float64)) for limits in (first, second)]
        areas = area(polygons[0]), area(polygons[1])
        both = area(intersection(*polygons))
        rows.append(
            JointComparison(
                joint=joint_name(finger, level),
                flexion=(_ends(polygons[0], 0), _ends(polygons[1], 0)),
                abduction=(_ends(polygons[0], 1), _ends(polygons[1], 1)),
                areas=areas,
                shared_percent=100 * both / (sum(areas) - both),
                first_beyond=float(beyond[0][finger, level]),
                second_beyond=float(beyond[1][finger, level]),
            )
        )
    return rows


def table(rows: list[JointComparison], names: tuple[str, str], limits: tuple[Limits, Limits]) -> str:
    """Formats a comparison for the terminal, with the mean widths of the intervals of bones and palm."""
    head = ["degrees", "flexion A", "B", "abduction A", "B", "shared", "A past B", "B past A"]
    cells = []
    for row in rows:
        spans = [f"{low:.0f} to {high:.0f}" for low, high in (*row.flexion, *row.abduction)]
        shares = [f"{row.shared_percent:.0f} %", f"{row.first_beyond:.1f}", f"{row.second_beyond:.1f}"]
        cells.append([row.joint, *spans, *shares])
    lines = [f"A: {names[0]} ({limits[0].meta.source})", f"B: {names[1]} ({limits[1].meta.source})", ""]
    lines += [aligned(head, cells), ""]
    for name, words, factor, unit in (
        ("bone_length", "bones: mean width of the intervals", 1.0, "scale units"),
        ("spread", "palm spread", np.degrees(1.0), "degrees"),
        ("curvature", "palm curvature", 1.0, "1/scale"),
    ):
        widths = [float(np.ptp(np.asarray(getattr(one, name)), axis=-1).mean()) * factor for one in limits]
        lines.append(f"{words}: A {widths[0]:.2f}, B {widths[1]:.2f} {unit}")
    return "\n".join(lines)


def describe(limits: Limits) -> str:
    """Formats limits as tables.

    Args:
      limits: the limits.

    Returns:
      Bones in scale units, palm in degrees, and the extent of each hull in degrees, for a terminal.

    Examples:
      >>> from bmc_jax import limits
      >>> print(limits.describe(limits.load("clinical")).splitlines()[0])
      limits of clinical joint ranges, sampled: 200000 poses, percentiles 0 to 100
    """
    meta = limits.meta
    low, high = meta.percentiles
    text = [f"limits of {meta.source}: {meta.count} {plural(meta.count, 'pose')}, percentiles {low:g} to {high:g}"]
    text.extend(f"  {line}" for line in (*meta.references, *filter(None, [meta.screening])))
    text.append(f"  margins: {meta.margin_degrees:g} degrees, {100 * meta.margin_fraction:.3g} % of lengths")
    bones = [
        [finger, *(f"{low:.2f} - {high:.2f}" for low, high in row)]
        for finger, row in zip(hand.FINGERS, np.asarray(limits.bone_length), strict=True)
    ]
    palm = [
        [pair, f"{spread[0]:.1f} - {spread[1]:.1f}", f"{curvature[0]:.2f} - {curvature[1]:.2f}"]
        for pair, spread, curvature in zip(
            PALM_PAIRS, np.degrees(np.asarray(limits.spread)), np.asarray(limits.curvature), strict=True
        )
    ]
    angles = []
    for finger, row in zip(hand.FINGERS, np.degrees(np.asarray(limits.hull)), strict=True):
        ends = [(*_ends(polygon, 0), *_ends(polygon, 1)) for polygon in row]
        angles.append([finger, *(f"{a:.0f} to {b:.0f}; {c:.0f} to {d:.0f}" for a, b, c, d in ends)])
    for head, rows in (
        (["bone lengths, of middle MCP to PIP", *hand.LEVELS], bones),
        (["palm", "spread, degrees", "curvature, 1/scale"], palm),
        (["angles, degrees (flexion; abduction)", *(f"{level} bone" for level in hand.LEVELS[1:])], angles),
    ):
        text += ["", aligned(head, rows)]
    return "\n".join(text)


def area(polygon: np.ndarray) -> float:
    """Returns the area of a counter-clockwise polygon `[M, 2]`; 0 for fewer than three vertices."""
    if len(polygon) < 3:
        return 0.0
    x, y = polygon.T
    return float((x * np.roll(y, -1) - np.roll(x, -1) * y).sum() / 2)


def intersection(subject: np.ndarray, window: np.ndarray) -> np.ndarray:
    """Returns the intersection of two convex, counter-clockwise polygons `[M, 2]`.

    The subject is cut along each edge of the window (Sutherland and Hodgman 1974).
    """
    for start, end in zip(window, np.roll(window, -1, axis=0), strict=True):
        if not len(subject):
            break
        normal = np.array([start[1] - end[1], end[0] - start[0]])
        side = (subject - start) @ normal
        kept = []
        for place, (point, height) in enumerate(zip(subject, side, strict=True)):
            before, lower = subject[place - 1], side[place - 1]
            if (height >= 0) != (lower >= 0):
                kept.append(before + (point - before) * (lower / (lower - height)))
            if height >= 0:
                kept.append(point)
        subject = np.array(kept).reshape(-1, 2)
    return subject


def _ends(polygon: np.ndarray, angle: int) -> tuple[float, float]:
    return float(polygon[:, angle].min()), float(polygon[:, angle].max())


def _extension(of: Limits, beyond: Limits) -> np.ndarray:
    """Returns how far hulls extend beyond others, degrees `[5, 3]`. The farthest point is a vertex."""
    vertices = hull.unroll(np.moveaxis(np.asarray(of.hull), 2, 0))
    return np.degrees(np.asarray(jax.jit(hull.distance)(jnp.asarray(vertices), beyond.hull)).max(axis=0))
