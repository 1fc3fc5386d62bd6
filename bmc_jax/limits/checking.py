"""Checks of poses against limits: violations in millimetres or degrees, and a summary of many poses by joint."""

import dataclasses
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import jax
import numpy as np
from jaxtyping import Array, Float
from tabulate import tabulate

from bmc_jax.core import anatomy, camera, fast_anatomy, hand, hull, losses, numerics, poses_last, validation
from bmc_jax.core.losses import Excess
from bmc_jax.core.plural import counted, plural
from bmc_jax.core.types import Limits
from bmc_jax.limits.io import PALM_PAIRS

CHUNK = 4096
"""Number of poses that are measured at a time."""
#: Directions in which angles are outside, by the angle with the larger excess and its sign.
SIDES = ("too bent", "too stretched", "towards the thumb", "towards the little finger")


def in_chunks(function: Callable[..., Any], size: int, *arrays: np.ndarray) -> Any:
    """Applies a compiled function to `size` rows of arrays at a time, and returns its outputs as numpy arrays.

    The last chunk is padded by repeating its last row, so that the function is compiled once.
    """
    count, outputs = len(arrays[0]), []
    for start in range(0, count, size):
        rows = np.minimum(np.arange(start, start + size), count - 1)
        outputs.append(function(*(array[rows] for array in arrays)))
    return jax.tree.map(lambda *parts: np.concatenate([np.asarray(part) for part in parts])[:count], *outputs)


def measure(poses: np.ndarray) -> dict[str, np.ndarray]:
    """Returns the quantities that limits constrain.

    Args:
      poses: `[N, 21, 3]`, metres, right hands, FreiHAND order.

    Returns:
      `bone_length [N, 5, 4]`, `curvature [N, 4]`, `spread [N, 4]` and `angles [N, 5, 3, 2]`, float32, in scale units
      and radians; flexion in [-pi, pi].

    Examples:
      >>> import numpy as np
      >>> from bmc_jax import hand, limits
      >>> found = limits.measure(hand.EXAMPLE[None])
      >>> print({name: values.shape for name, values in found.items()})
      {'angles': (1, 5, 3, 2), 'bone_length': (1, 5, 4), 'curvature': (1, 4), 'spread': (1, 4)}
    """
    return in_chunks(_measure, CHUNK, poses.astype(np.float32))


@jax.jit
def _measure(joints: Float[Array, "pose 21 3"]) -> dict[str, Float[Array, "..."]]:
    found = _quantities(*poses_last.floating(anatomy.normalize(joints)[0]))
    return dict(zip(_QUANTITIES, found, strict=True))


def _readable_quantities(joints: Float[Array, "pose 21 3"], _: Any = None) -> tuple[Float[Array, "..."], ...]:
    found = (anatomy.bone_lengths, anatomy.palm_curvature, anatomy.palm_spread, anatomy.joint_angles)
    return tuple(quantity(joints) for quantity in found)


_QUANTITIES = ("bone_length", "curvature", "spread", "angles")
_quantities = poses_last.with_values(_readable_quantities, fast_anatomy.QUANTITIES)


@dataclass(frozen=True)
class Assessment:
    """Quantities of `n` hands and their excess over limits: numpy, scale units and radians."""

    bone_length: np.ndarray
    """Length of each bone `[n, 5, 4]`, scale units."""
    curvature: np.ndarray
    """Palm curvature `[n, 4]`, 1 / scale unit."""
    spread: np.ndarray
    """Palm spread `[n, 4]`, radians."""
    angles: np.ndarray
    """(flexion, abduction) `[n, 5, 3, 2]`, flexion unrolled as in hulls, see `hull.FLEXION_CUT`."""
    nearest_angles: np.ndarray
    """The nearest allowed angles `[n, 5, 3, 2]`."""
    excess: Excess
    """Excess over the limits; 0 up to `numerics.LIMIT_TOLERANCE`, which counts as within."""

    @property
    def within(self) -> np.ndarray:
        """Whether each hand is within all limits, `[n]`."""
        return np.asarray(self.excess.within())


def assess(joints: np.ndarray, limits: Limits, *, left: np.ndarray | None = None) -> Assessment:
    """Measures hands and compares them with limits.

    Args:
      joints: `[n, 21, 3]`, scale units, FreiHAND order.
      limits: limits of right hands.
      left: whether each hand is a left hand, `[n]`. Left hands are mirrored: angles have the same signs on both hands.

    Returns:
      The quantities of the hands, and their excess over the limits.

    Examples:
      >>> from bmc_jax import hand, limits
      >>> joints = hand.EXAMPLE[None] / 0.0465  # the length of its scale bone
      >>> print(limits.assess(joints, limits.load("clinical")).within)
      [ True]
    """
    right = joints if left is None else camera.mirror(joints, left)
    measured, away, excess = in_chunks(lambda chunk: _assess(chunk, limits), CHUNK, np.asarray(right, np.float32))
    angles = hull.unroll(measured["angles"])
    return Assessment(
        **measured | {"angles": angles},
        nearest_angles=angles - away,
        excess=jax.tree.map(lambda value: np.where(value > numerics.LIMIT_TOLERANCE, value, 0), excess),
    )


@jax.jit
def _assess(joints: Float[Array, "pose 21 3"], limits: Limits) -> tuple[dict[str, Any], Any, Excess]:
    bounds = fast_anatomy.Bounds(limits.bone_length, limits.curvature, limits.spread, limits.hull)
    measured, away, excess = _assessment(*poses_last.floating(joints, bounds))
    return dict(zip(_QUANTITIES, measured, strict=True)), away, Excess(*excess)


def _readable_assessment(joints: Float[Array, "pose 21 3"], bounds: fast_anatomy.Bounds) -> tuple[Any, Any, Any]:
    measured = _readable_quantities(joints)
    nearest, beyond = hull.project(measured[-1], bounds.hull)
    outside = (
        losses.interval(value, of[..., 0], of[..., 1]) for value, of in zip(measured[:-1], bounds[:3], strict=True)
    )
    return measured, measured[-1] - nearest, (*outside, beyond)


_assessment = poses_last.with_values(_readable_assessment, fast_anatomy.ASSESSMENT)


@dataclass(frozen=True)
class Violation:
    """A quantity of a pose beyond its limit."""

    pose: int
    quantity: str
    """"bone length", "palm curvature", "palm spread" or "joint angle"."""
    finger: str
    """Finger, or two neighbouring fingers for the palm."""
    bone: str
    """Level of the bone, which is the name of its child joint."""
    value: tuple[float, ...]
    """Value in `unit`; (flexion, abduction) of a joint angle."""
    limit: tuple[float, ...]
    """The nearest allowed value."""
    excess: float
    unit: str
    """"mm" or "degrees"."""

    def __str__(self) -> str:
        value, limit = (", ".join(f"{x:.1f}" for x in xs) for xs in (self.value, self.limit))
        if self.quantity == "joint angle":
            joint = joint_name(hand.FINGERS.index(self.finger), hand.LEVELS.index(self.bone) - 1)
            what = f"{joint} joint: flexion, abduction"
        elif self.quantity == "bone length":
            what = f"{self.finger} {self.bone} bone: length"
        else:
            what = f"{self.quantity}, {self.finger}:"
        return f"pose {self.pose}: {what} {value} {self.unit}, nearest allowed {limit}, beyond by {self.excess:.1f}"


def joint_name(finger: int, level: int) -> str:
    """Returns the name of the joint that rotates a finger's PIP, DIP or TIP bone (`level` 0, 1, 2), as "index PIP"."""
    return f"{hand.FINGERS[finger]} {hand.TURNING_JOINTS[finger][level]}"


def check(joints: np.ndarray, limits: Limits, *, indices: np.ndarray | None = None) -> list[Violation]:
    r"""Lists every violation of limits, pose by pose, worst first.

    Lengths are in millimetres at the pose's own scale. Curvature is the angle in degrees by which the palm bends
    between two root bones: curvature times the distance of their ends.

    Args:
      joints: a pose `[21, 3]` or poses `[N, 21, 3]`, metres, right hands, FreiHAND order.
      limits: limits of the hand.
      indices: numbers of the poses `[N]`; from 0 by default.

    Returns:
      The violations; an empty list if every pose is within the limits.

    Raises:
      ValueError: for poses that `validation.validate` refuses.

    Examples:
      >>> from bmc_jax import hand, limits
      >>> pose = hand.EXAMPLE.copy()
      >>> pose[hand.JOINTS.index("index TIP"), 2] -= 0.04  # bends the last joint backwards
      >>> print(*limits.check(pose, limits.load("clinical")), sep="\n")
      pose 0: index DIP joint: flexion, abduction -102.8, -3.5 degrees, nearest allowed -15.0, -3.5, beyond by 87.8
    """
    poses = validation.validate(np.asarray(joints)[None] if np.ndim(joints) == 2 else joints)
    indices = np.arange(len(poses)) if indices is None else indices
    found = assess(poses / _scale(poses)[:, None, None], limits)
    violations = [
        Violation(
            pose=int(indices[row]),
            quantity=part.quantity,
            finger=part.places[place][0],
            bone=part.places[place][1],
            value=(float(part.values[row, place]),),
            limit=(float(part.nearest[row, place]),),
            excess=float(part.excess[row, place]),
            unit=part.unit,
        )
        for part in _interval_parts(poses, found, limits)
        for row, place in np.argwhere(part.excess > 0)
    ]
    for row, finger, level in np.argwhere(found.excess.angles > 0):
        value, limit = (np.degrees(x[row, finger, level]).tolist() for x in (found.angles, found.nearest_angles))
        excess = float(np.degrees(found.excess.angles[row, finger, level]))
        names = hand.FINGERS[finger], hand.LEVELS[level + 1]
        violations.append(
            Violation(int(indices[row]), "joint angle", *names, tuple(value), tuple(limit), excess, "degrees")
        )
    return sorted(violations, key=lambda violation: (violation.pose, violation.unit, -violation.excess))


@dataclass(frozen=True)
class JointSummary:
    """A joint over all poses. Degrees are distances to its hull."""

    joint: str
    """Finger and joint, such as "index PIP"."""
    outside: int
    """Number of poses outside the hull."""
    within_percent: float
    mean_degrees: float
    """Mean over the poses outside; 0 if there are none."""
    worst_degrees: float
    worst_pose: int | None
    sides: dict[str, int]
    """Number of poses outside by direction, see `SIDES`."""


@dataclass(frozen=True)
class IntervalSummary:
    """A bone length or a quantity of the palm over all poses."""

    quantity: str
    """"bone length", "palm curvature" or "palm spread"."""
    where: str
    """Bone, or neighbouring fingers."""
    below: int
    above: int
    within_percent: float
    mean_excess: float
    """Mean over the poses outside."""
    worst_excess: float
    unit: str
    """"mm" or "degrees"."""


@dataclass(frozen=True)
class WorstPose:
    """A pose far outside the limits."""

    pose: int
    degrees: float
    """Sum of the degrees of its joints."""
    joints: tuple[str, ...]
    """Joints outside with their degrees, the furthest first."""


@dataclass(frozen=True)
class Summary:
    """Summary of many poses checked against limits."""

    poses: int
    within: int
    """Number of poses within all limits."""
    nearly_within: int
    """Number of poses within all limits to 1 mm of an adult's hand and 2 degrees, see `losses.Excess.nearly_within`."""
    angles_within: int
    """Number of poses with all joint angles within."""
    joints: tuple[JointSummary, ...]
    """All 15 joints, finger by finger."""
    intervals: tuple[IntervalSummary, ...]
    """Bones and quantities of the palm that are outside in at least one pose."""
    worst: tuple[WorstPose, ...]
    """The worst poses, the furthest outside first."""
    angles: np.ndarray
    """`[N, 5, 3, 2]`, radians."""
    beyond: np.ndarray
    """Degrees outside, `[N, 5, 3]`."""

    def to_dict(self) -> dict[str, Any]:
        """Returns all fields except arrays, for JSON."""
        return {name: value for name, value in dataclasses.asdict(self).items() if not isinstance(value, np.ndarray)}


def summarize(poses: np.ndarray, limits: Limits, *, indices: np.ndarray | None = None, worst: int = 12) -> Summary:
    """Counts by joint how many poses are outside limits, on which side and how far.

    Args:
      poses: `[N, 21, 3]`, metres, right hands, FreiHAND order.
      limits: limits of the hand.
      indices: numbers of the poses `[N]`; from 0 by default.
      worst: largest number of poses that are listed as the worst.

    Returns:
      The summary.

    Raises:
      ValueError: for poses that `validation.validate` refuses.

    Examples:
      >>> import numpy as np
      >>> from bmc_jax import hand, limits
      >>> poses = np.stack([hand.EXAMPLE, hand.EXAMPLE])
      >>> poses[1, hand.JOINTS.index("index TIP"), 2] -= 0.04  # bends the last joint backwards
      >>> found = limits.summarize(poses, limits.load("clinical"))
      >>> print(found.within, found.worst[0].pose, [joint.joint for joint in found.joints if joint.outside])
      1 1 ['index DIP']
    """
    poses = validation.validate(poses)
    indices = np.arange(len(poses)) if indices is None else indices
    found = assess(poses / _scale(poses)[:, None, None], limits)
    beyond = np.degrees(found.excess.angles)
    outside = (beyond > 0).any(axis=(1, 2))
    total = beyond.sum(axis=(1, 2))
    order = [row for row in np.argsort(-total, kind="stable")[:worst] if total[row] > 0]
    off = found.angles - found.nearest_angles
    off[..., 0] = (off[..., 0] + np.pi) % (2 * np.pi) - np.pi
    return Summary(
        poses=len(poses),
        within=int(found.within.sum()),
        nearly_within=int(np.asarray(found.excess.nearly_within()).sum()),
        angles_within=int((~outside).sum()),
        joints=tuple(
            _summarize_joint(joint_name(*place), beyond[:, *place], off[:, *place], indices)
            for place in np.ndindex(5, 3)
        ),
        intervals=tuple(_summarize_intervals(poses, found, limits)),
        worst=tuple(WorstPose(int(indices[row]), float(total[row]), _furthest(beyond[row])) for row in order),
        angles=found.angles,
        beyond=beyond,
    )


JOINT_HEAD = ("joint", "outside", "within", "mean", "worst", "in pose", "direction")
INTERVAL_HEAD = ("bones and palm", "below", "above", "within", "mean", "worst", "unit")


def joint_cells(summary: Summary) -> list[list[str]]:
    """Formats the joints of a summary as rows below `JOINT_HEAD`."""
    rows = []
    for joint in summary.joints:
        far = [f"{joint.mean_degrees:.1f}°", f"{joint.worst_degrees:.1f}°", str(joint.worst_pose)]
        sides = sorted(joint.sides.items(), key=lambda item: -item[1])
        words = ", ".join(f"{count:,} {side}" for side, count in sides if count)
        counts = [f"{joint.outside:,}", f"{joint.within_percent:.1f} %"]
        rows.append([joint.joint, *counts, *(far if joint.outside else [""] * 3), words])
    return rows


def interval_cells(summary: Summary) -> list[list[str]]:
    """Formats the bones and the palm of a summary as rows below `INTERVAL_HEAD`."""
    rows = []
    for part in summary.intervals:
        counts = [f"{part.below:,}", f"{part.above:,}", f"{part.within_percent:.1f} %"]
        far = [f"{part.mean_excess:.2f}", f"{part.worst_excess:.2f}"]
        rows.append([f"{part.quantity}, {part.where}", *counts, *far, part.unit])
    return rows


def table(summary: Summary) -> str:
    """Formats a summary for the terminal."""
    text = [
        f"{summary.within:,} of {counted(summary.poses, 'pose')} {plural(summary.poses, 'is')} within every limit "
        f"({summary.nearly_within:,} to 1 mm and 2°), "
        f"{summary.angles_within:,} within those of the joint angles",
        "",
        aligned(JOINT_HEAD, joint_cells(summary)),
    ]
    if summary.intervals:
        text += ["", aligned(INTERVAL_HEAD, interval_cells(summary))]
    if summary.worst:
        text += ["", "worst poses, by the sum of the degrees of all joints"]
    text += [f"  pose {one.pose}: {one.degrees:.0f}° in all: {', '.join(one.joints[:4])}" for one in summary.worst]
    return "\n".join(text)


def aligned(head: Sequence[str], rows: Iterable[Sequence[str]]) -> str:
    """Formats a table for the terminal: text columns are aligned left, number columns right."""
    sides = ["left", *("left" if name in ("direction", "unit") else "right" for name in head[1:])]
    text = tabulate(rows, head, tablefmt="plain", disable_numparse=True, colalign=sides)
    return "\n".join(line.rstrip() for line in text.splitlines())


@dataclass(frozen=True)
class _IntervalPart:
    """A kind of quantity with intervals as limits, in millimetres or degrees: arrays `[N, place]`."""

    quantity: str
    unit: str
    places: Sequence[tuple[str, str]]
    values: np.ndarray
    nearest: np.ndarray
    excess: np.ndarray


def _interval_parts(poses: np.ndarray, found: Assessment, limits: Limits) -> Iterator[_IntervalPart]:
    scale = _scale(poses)[:, None]
    ends = poses[:, hand.FINGER_JOINTS[:, 0]]
    bend = np.degrees(np.linalg.norm(ends[:, 1:] - ends[:, :-1], axis=-1) / scale)
    bones = [(finger, level) for finger in hand.FINGERS for level in hand.LEVELS]
    pairs = [(pair, "MCP") for pair in PALM_PAIRS]
    for quantity, name, places, factor, unit in (
        ("bone length", "bone_length", bones, 1000 * scale, "mm"),
        ("palm curvature", "curvature", pairs, bend, "degrees"),
        ("palm spread", "spread", pairs, np.degrees(1.0), "degrees"),
    ):
        values, excess = (getattr(of, name).reshape(len(poses), -1) for of in (found, found.excess))
        low, high = np.asarray(getattr(limits, name)).reshape(-1, 2).T
        nearest = np.clip(values, low, high)
        yield _IntervalPart(quantity, unit, places, values * factor, nearest * factor, excess * factor)


def _scale(poses: np.ndarray) -> np.ndarray:
    start, end = hand.SCALE_BONE
    return np.linalg.norm(poses[:, end] - poses[:, start], axis=-1)


def _summarize_joint(name: str, beyond: np.ndarray, off: np.ndarray, indices: np.ndarray) -> JointSummary:
    """Summarizes a joint, given its degrees outside `[N]` and its angles minus the nearest allowed angles `[N, 2]`."""
    outside = np.flatnonzero(beyond > 0)
    flexion, abduction = off[outside].T
    side = np.where(np.abs(abduction) > np.abs(flexion), 2 + (abduction < 0), flexion < 0)
    counts = np.bincount(side.astype(int), minlength=len(SIDES))
    return JointSummary(
        joint=name,
        outside=len(outside),
        within_percent=100 * (1 - len(outside) / len(beyond)),
        mean_degrees=float(beyond[outside].mean()) if len(outside) else 0.0,
        worst_degrees=float(beyond.max()),
        worst_pose=int(indices[beyond.argmax()]) if len(outside) else None,
        sides=dict(zip(SIDES, counts.tolist(), strict=True)),
    )


def _summarize_intervals(poses: np.ndarray, found: Assessment, limits: Limits) -> Iterator[IntervalSummary]:
    for part in _interval_parts(poses, found, limits):
        outside = part.excess > 0
        for place in np.flatnonzero(outside.any(axis=0)).tolist():
            out = outside[:, place]
            excess = part.excess[out, place]
            below = int((part.values[out, place] < part.nearest[out, place]).sum())
            finger, bone = part.places[place]
            yield IntervalSummary(
                quantity=part.quantity,
                where=f"{finger} {bone}" if part.quantity == "bone length" else finger,
                below=below,
                above=len(excess) - below,
                within_percent=100 * float(1 - out.mean()),
                mean_excess=float(excess.mean()),
                worst_excess=float(excess.max()),
                unit=part.unit,
            )


def _furthest(beyond: np.ndarray) -> tuple[str, ...]:
    places = sorted(np.argwhere(beyond > 0).tolist(), key=lambda place: -beyond[tuple(place)])
    return tuple(f"{joint_name(*place)} {beyond[tuple(place)]:.0f}°" for place in places)
