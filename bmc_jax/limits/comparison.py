"""Two limits beside each other: how much of each hull they share, and how far either allows more than the other."""

from dataclasses import dataclass

import numpy as np

from bmc_jax.core import hull
from bmc_jax.core.types import Limits
from bmc_jax.limits import summary
from bmc_jax.limits.checking import nearest_allowed


@dataclass(frozen=True)
class JointComparison:
    """One joint's hulls in two limits, degrees."""

    joint: str
    flexion: tuple[tuple[float, float], tuple[float, float]]
    """Least and most in the first and in the second."""
    abduction: tuple[tuple[float, float], tuple[float, float]]
    areas: tuple[float, float]
    """Square degrees."""
    shared_percent: float
    """Area that both allow, of the area that either allows."""
    first_beyond: float
    """How far the first's hull reaches out of the second's."""
    second_beyond: float


def compare(first: Limits, second: Limits) -> list[JointComparison]:
    """All 15 joints, finger by finger."""
    beyond = [_reach(first, second), _reach(second, first)]
    rows = []
    for finger, level in np.ndindex(5, 3):
        polygons = [np.degrees(np.asarray(limits.hull[finger, level], np.float64)) for limits in (first, second)]
        mine, theirs = (area(polygon) for polygon in polygons)
        both = area(intersection(*polygons))
        rows.append(
            JointComparison(
                joint=summary.joint_name(finger, level),
                flexion=(_ends(polygons[0], 0), _ends(polygons[1], 0)),
                abduction=(_ends(polygons[0], 1), _ends(polygons[1], 1)),
                areas=(mine, theirs),
                shared_percent=100 * both / (mine + theirs - both),
                first_beyond=float(beyond[0][finger, level]),
                second_beyond=float(beyond[1][finger, level]),
            )
        )
    return rows


def table(rows: list[JointComparison], names: tuple[str, str], limits: tuple[Limits, Limits]) -> str:
    """The comparison in words, with the number of intervals of bones and palm that differ."""
    lines = [f"A: {names[0]} ({limits[0].meta.source})", f"B: {names[1]} ({limits[1].meta.source})", ""]
    head = f"{'degrees':14}{'flexion A':>13}{'B':>13}{'abduction A':>14}{'B':>13}{'shared':>9}"
    lines.append(f"{head}{'A past B':>10}{'B past A':>10}")
    for row in rows:
        spans = [f"{low:.0f} to {high:.0f}" for low, high in (*row.flexion, *row.abduction)]
        lines.append(
            f"{row.joint:14}{spans[0]:>13}{spans[1]:>13}{spans[2]:>14}{spans[3]:>13}{row.shared_percent:7.0f} %"
            f"{row.first_beyond:10.1f}{row.second_beyond:10.1f}"
        )
    lines.append("")
    for name, words, unit in (
        ("bone_length", "bones: mean width of the intervals", "scale units"),
        ("spread", "palm spread", "degrees"),
        ("curvature", "palm curvature", "1/scale"),
    ):
        factor = np.degrees(1.0) if name == "spread" else 1.0
        widths = [float(np.ptp(np.asarray(getattr(one, name)), axis=-1).mean()) * factor for one in limits]
        lines.append(f"{words}: A {widths[0]:.2f}, B {widths[1]:.2f} {unit}")
    return "\n".join(lines)


def area(polygon: np.ndarray) -> float:
    """Of a polygon `[M, 2]` that runs counter-clockwise; 0 for fewer than three vertices."""
    if len(polygon) < 3:
        return 0.0
    x, y = polygon.T
    return float((x * np.roll(y, -1) - np.roll(x, -1) * y).sum() / 2)


def intersection(subject: np.ndarray, window: np.ndarray) -> np.ndarray:
    """What two convex, counter-clockwise polygons share, `[M, 2]`: the subject cut along each edge of the window
    (Sutherland and Hodgman 1974)."""
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


def _reach(of: Limits, out_of: Limits) -> np.ndarray:
    """How far hulls reach out of others, degrees `[5, 3]`: that is farthest at a vertex."""
    vertices = hull.unroll(np.moveaxis(np.asarray(of.hull), 2, 0))
    return np.degrees(nearest_allowed(vertices, out_of)[0].max(axis=0))
