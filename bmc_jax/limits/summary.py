"""Many poses held against limits, in numbers for each joint: how many are outside, which way, how far, which worst."""

import dataclasses
from dataclasses import dataclass

import numpy as np

from bmc_jax.core import hand, validation
from bmc_jax.core.types import Limits
from bmc_jax.limits import checking
from bmc_jax.limits.io import PALM_PAIRS

#: Which way a joint is outside, by the angle that is further beyond and its sign.
SIDES = ("too bent", "too stretched", "towards the thumb", "towards the little finger")


@dataclass(frozen=True)
class JointSummary:
    """One joint over all poses. Degrees are distances to its hull."""

    joint: str
    """Finger and joint, such as "index PIP"."""
    outside: int
    """Number of poses."""
    within_percent: float
    """Percentile of the poses up to which they lie within."""
    mean_degrees: float
    """Of those that are outside; 0 if none is."""
    worst_degrees: float
    worst_pose: int | None
    """Index in the file."""
    sides: dict[str, int]
    """Poses outside by `SIDES`."""


@dataclass(frozen=True)
class IntervalSummary:
    """A bone's length or a quantity of the palm over all poses."""

    quantity: str
    """"bone length", "palm curvature" or "palm spread"."""
    where: str
    below: int
    above: int
    within_percent: float
    mean_excess: float
    worst_excess: float
    unit: str
    """"mm", "degrees" or "1/scale"."""


@dataclass(frozen=True)
class Worst:
    """A pose that is far outside."""

    pose: int
    """Index in the file."""
    degrees: float
    """Sum over its joints."""
    joints: tuple[str, ...]
    """Those outside, the furthest first, with degrees."""


@dataclass(frozen=True)
class Summary:
    """What `summarise` finds."""

    poses: int
    """That were held against the limits."""
    within: int
    """Poses of which everything is within."""
    angles_within: int
    """Poses of which every joint angle is."""
    joints: tuple[JointSummary, ...]
    """All 15, finger by finger."""
    intervals: tuple[IntervalSummary, ...]
    """Those bones and quantities of the palm of which some pose is outside."""
    worst: tuple[Worst, ...]
    """The furthest outside first."""
    angles: np.ndarray
    """`[N, 5, 3, 2]`, radians."""
    beyond: np.ndarray
    """Degrees outside, `[N, 5, 3]`."""

    def to_dict(self) -> dict:
        """All but the arrays, for JSON."""
        arrays = ("angles", "beyond")
        plain = {field.name: getattr(self, field.name) for field in dataclasses.fields(self)}
        return {
            name: [dataclasses.asdict(part) for part in value] if isinstance(value, tuple) else value
            for name, value in plain.items()
            if name not in arrays
        }


def summarise(poses: np.ndarray, limits: Limits, *, indices: np.ndarray | None = None, worst: int = 12) -> Summary:
    """Right hands `[N, 21, 3]` in metres, FreiHAND order, held against limits; `indices [N]` are their numbers in the
    file, by default 0 to N - 1. Raises ValueError for what `screening.validate` refuses."""
    poses = validation.validate(poses)
    indices = np.arange(len(poses)) if indices is None else indices
    measured = checking.measure(poses)
    angles = measured["angles"]
    beyond, nearest = checking.nearest_allowed(angles, limits)
    beyond = np.degrees(beyond)
    joints = []
    for finger, level in np.ndindex(5, 3):
        off = beyond[:, finger, level]
        out = np.flatnonzero(off > 0)
        difference = (angles - nearest)[out, finger, level]
        difference[:, 0] = (difference[:, 0] + np.pi) % (2 * np.pi) - np.pi
        abducted = np.abs(difference[:, 1]) > np.abs(difference[:, 0])
        which = np.where(abducted, 2 + (difference[:, 1] < 0), difference[:, 0] < 0)
        counts = np.bincount(which.astype(int), minlength=len(SIDES))
        joints.append(
            JointSummary(
                joint=joint_name(finger, level),
                outside=len(out),
                within_percent=100 * (1 - len(out) / len(poses)),
                mean_degrees=float(off[out].mean()) if len(out) else 0.0,
                worst_degrees=float(off.max()),
                worst_pose=int(indices[off.argmax()]) if len(out) else None,
                sides=dict(zip(SIDES, counts.tolist(), strict=True)),
            )
        )
    intervals, wrong = _intervals(poses, measured, limits)
    outside = (beyond > 0).any(axis=(1, 2))
    total = beyond.sum(axis=(1, 2))
    order = [int(row) for row in np.argsort(-total, kind="stable")[:worst] if total[row] > 0]
    return Summary(
        poses=len(poses),
        within=int((~outside & ~wrong).sum()),
        angles_within=int((~outside).sum()),
        joints=tuple(joints),
        intervals=tuple(intervals),
        worst=tuple(Worst(int(indices[row]), float(total[row]), _furthest(beyond[row])) for row in order),
        angles=angles,
        beyond=beyond,
    )


def joint_name(finger: int, level: int) -> str:
    """Of the joint that turns a finger's PIP, DIP or TIP bone (`level` 0, 1, 2)."""
    return f"{hand.FINGERS[finger]} {hand.TURNING_JOINTS[finger][level]}"


def table(summary: Summary) -> str:
    """The numbers of `summarise` for the terminal."""
    head = f"{'joint':14}{'outside':>9}{'within':>9}{'mean':>8}{'worst':>8}{'in pose':>9}   which way"
    lines = [
        f"{summary.within:,} of {summary.poses:,} poses are within every limit, {summary.angles_within:,} within those "
        "of the joint angles",
        "",
        head,
    ]
    for joint in summary.joints:
        far = f"{joint.mean_degrees:7.1f}°{joint.worst_degrees:7.1f}°{joint.worst_pose:9}" if joint.outside else ""
        lines.append(f"{joint.joint:14}{joint.outside:9,}{joint.within_percent:8.1f} %{far}   {sides(joint)}".rstrip())
    if summary.intervals:
        lines += ["", f"{'bones and palm':36}{'below':>8}{'above':>8}{'within':>9}{'mean':>8}{'worst':>8}"]
    for part in summary.intervals:
        lines.append(
            f"{part.quantity + ', ' + part.where:36}{part.below:8,}{part.above:8,}{part.within_percent:7.1f} %"
            f"{part.mean_excess:8.2f}{part.worst_excess:8.2f} {part.unit}"
        )
    if summary.worst:
        lines += ["", "worst poses, by the degrees of all joints together"]
    lines += [f"  pose {one.pose}: {one.degrees:.0f}° in all: {', '.join(one.joints[:4])}" for one in summary.worst]
    return "\n".join(lines)


def sides(joint: JointSummary) -> str:
    """Which way it is outside, in words, the most frequent first."""
    ordered = sorted(joint.sides.items(), key=lambda item: -item[1])
    return ", ".join(f"{count:,} {side}" for side, count in ordered if count)


def _furthest(beyond: np.ndarray) -> tuple[str, ...]:
    places = sorted(np.argwhere(beyond > 0).tolist(), key=lambda place: -beyond[tuple(place)])
    return tuple(f"{joint_name(*place)} {beyond[tuple(place)]:.0f}°" for place in places)


def _intervals(
    poses: np.ndarray, measured: dict[str, np.ndarray], limits: Limits
) -> tuple[list[IntervalSummary], np.ndarray]:
    """Of bones and palm: those that some pose violates, and which poses violate any, `[N]`."""
    start, end = hand.SCALE_BONE
    millimetres = 1000 * np.linalg.norm(poses[:, end] - poses[:, start], axis=-1)
    bones = [f"{finger} {level}" for finger in hand.FINGERS for level in hand.LEVELS]
    found, wrong = [], np.zeros(len(poses), bool)
    for quantity, name, places, factor, unit in (
        ("bone length", "bone_length", bones, millimetres[:, None], "mm"),
        ("palm curvature", "curvature", PALM_PAIRS, 1.0, "1/scale"),
        ("palm spread", "spread", PALM_PAIRS, np.degrees(1.0), "degrees"),
    ):
        values = measured[name].reshape(len(poses), -1)
        low, high = np.moveaxis(np.asarray(getattr(limits, name)).reshape(-1, 2), -1, 0)
        below, above = values < low, values > high
        excess = np.abs(values - np.clip(values, low, high)) * factor
        outside = below | above
        wrong |= outside.any(axis=1)
        for place in np.flatnonzero(outside.any(axis=0)):
            far = excess[outside[:, place], place]
            counts = int(below[:, place].sum()), int(above[:, place].sum())
            within = 100 * float(1 - outside[:, place].mean())
            found.append(
                IntervalSummary(quantity, places[place], *counts, within, float(far.mean()), float(far.max()), unit)
            )
    return found, wrong
