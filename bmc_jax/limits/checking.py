"""Poses measured, and held against limits for people: which joint violates which by how many degrees or millimetres."""

from collections.abc import Sequence
from dataclasses import dataclass

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Float

from bmc_jax.core import anatomy, hand, hull, validation
from bmc_jax.core.types import Limits
from bmc_jax.limits.io import PALM_PAIRS
from bmc_jax.metrics import evaluation

#: Poses measured at a time. One shape, so that anatomy is compiled once.
CHUNK = 4096
#: The same for angles held against hulls, each against every edge.
ANGLES_CHUNK = 512


@dataclass(frozen=True)
class Violation:
    """One quantity of one pose beyond its limit."""

    pose: int
    """Index of the pose."""
    quantity: str
    """"bone length", "palm curvature", "palm spread" or "joint angle"."""
    finger: str
    """A finger, or for the palm two neighbours."""
    bone: str
    """Level of the bone, named by its child joint."""
    value: tuple[float, ...]
    """Millimetres or degrees; (flexion, abduction) of a joint angle."""
    limit: tuple[float, ...]
    """The nearest allowed value."""
    excess: float
    """Distance between the two."""
    unit: str
    """"mm" or "degrees"."""

    def __str__(self) -> str:
        value, limit = (", ".join(f"{x:.1f}" for x in xs) for xs in (self.value, self.limit))
        if self.quantity == "joint angle":
            joint = hand.TURNING_JOINTS[hand.FINGERS.index(self.finger)][hand.LEVELS.index(self.bone) - 1]
            what = f"{self.finger} {joint} joint: flexion, abduction"
        elif self.quantity == "bone length":
            what = f"{self.finger} {self.bone} bone: length"
        else:
            what = f"{self.quantity}, {self.finger}:"
        return f"pose {self.pose}: {what} {value} {self.unit}, nearest allowed {limit}, beyond by {self.excess:.1f}"


def measure(poses: np.ndarray) -> dict[str, np.ndarray]:
    """What limits constrain, of poses `[N, 21, 3]` in metres: `bone_length [N, 5, 4]`, `curvature [N, 4]`,
    `spread [N, 4]` and `angles [N, 5, 3, 2]`, float32, in scale units and radians; flexion in [-pi, pi]."""
    padded = np.concatenate([poses, np.repeat(poses[-1:], -len(poses) % CHUNK, axis=0)]).astype(np.float32)
    blocks = [_anatomy(padded[start : start + CHUNK]) for start in range(0, len(padded), CHUNK)]
    return {name: np.concatenate([np.asarray(block[name]) for block in blocks])[: len(poses)] for name in blocks[0]}


def check(joints: np.ndarray, limits: Limits) -> list[Violation]:
    """Every violation of the limits by a pose `[21, 3]` or by poses `[N, 21, 3]` in metres, pose by pose, worst first.

    Lengths are given for the pose's own scale. Curvature is given as the angle by which the palm bends between the two
    bones: curvature times the distance of their ends.

    Raises ValueError for what `screening.validate` refuses.
    """
    poses = validation.validate(np.asarray(joints)[None] if np.ndim(joints) == 2 else joints)
    measured = measure(poses)
    start, end = hand.SCALE_BONE
    scale = np.linalg.norm(poses[:, end] - poses[:, start], axis=-1)
    ends = poses[:, hand.FINGER_JOINTS[:, 0]] / scale[:, None, None]
    bend = np.degrees(np.linalg.norm(ends[:, 1:] - ends[:, :-1], axis=-1))
    millimetres = 1000 * scale[:, None, None]
    pairs = [(pair, "MCP") for pair in PALM_PAIRS]
    bones = [[(finger, level) for level in hand.LEVELS] for finger in hand.FINGERS]
    found = [
        *_intervals("bone length", measured["bone_length"], limits.bone_length, millimetres, "mm", bones),
        *_intervals("palm curvature", measured["curvature"], limits.curvature, bend, "degrees", pairs),
        *_intervals("palm spread", measured["spread"], limits.spread, np.degrees(1.0), "degrees", pairs),
        *_angles(measured["angles"], limits),
    ]
    return sorted(found, key=lambda violation: (violation.pose, violation.unit, -violation.excess))


def violations_table(violations: Sequence[Violation], poses: int, *, lines: int = 30) -> str:
    """The violations of so many poses in words: how many of each kind, and the first `lines` one by one."""
    if not violations:
        return f"all {poses} poses are within the limits"
    violators = len({violation.pose for violation in violations})
    text = [f"{violators} of {poses} poses violate limits, {len(violations)} times:"]
    for quantity in dict.fromkeys(violation.quantity for violation in violations):
        of_kind = [violation for violation in violations if violation.quantity == quantity]
        worst = max(of_kind, key=lambda violation: violation.excess)
        share = 100 * len({violation.pose for violation in of_kind}) / poses
        text.append(f"  {quantity}: {len(of_kind)} times in {share:.1f} % of the poses, at worst {worst}")
    text.extend(str(violation) for violation in violations[:lines])
    if len(violations) > lines:
        text.append(f"... and {len(violations) - lines} more")
    return "\n".join(text)


def describe(limits: Limits) -> str:
    """Limits as a table: bones in scale units, palm in degrees, the extent of each hull in degrees."""
    meta = limits.meta
    low, high = meta.percentiles
    text = [f"limits of {meta.source}: {meta.count} poses, percentiles {low:g} to {high:g}"]
    text.extend(f"  {line}" for line in (*meta.references, *filter(None, [meta.screening])))
    text.append(f"  margins: {meta.margin_degrees:g} degrees, {100 * meta.margin_fraction:.3g} % of lengths")
    text.append(f"{'bone lengths, of middle MCP to PIP':36}" + "".join(f"{level:^16}" for level in hand.LEVELS))
    for finger, row in zip(hand.FINGERS, np.asarray(limits.bone_length), strict=True):
        text.append(f"  {finger:34}" + "".join(f"{low:7.2f} -{high:5.2f}  " for low, high in row))
    text.append(f"{'palm':36}{'spread, degrees':^16}{'curvature, 1/scale':^20}")
    spreads, curvatures = np.degrees(np.asarray(limits.spread)), np.asarray(limits.curvature)
    for pair, spread, curvature in zip(PALM_PAIRS, spreads, curvatures, strict=True):
        text.append(f"  {pair:34}{spread[0]:6.1f} - {spread[1]:5.1f}  {curvature[0]:8.2f} - {curvature[1]:5.2f}")
    columns = "".join(f"{level + ' bone':^28}" for level in hand.LEVELS[1:])
    text.append(f"{'angles, degrees (flexion; abduction)':36}{columns}")
    for finger, row in zip(hand.FINGERS, np.degrees(np.asarray(limits.hull)), strict=True):
        ends = [(*polygon.min(axis=0), *polygon.max(axis=0)) for polygon in row]
        text.append(f"  {finger:34}" + "".join(f"{a:6.0f} to {c:4.0f};{b:5.0f} to {d:3.0f}  " for a, b, c, d in ends))
    return "\n".join(text)


def _intervals(quantity, values, limits, unit_size, unit, names) -> list[Violation]:
    """Violations of intervals: `values [N, *shape]` against `limits [*shape, 2]`, one in units of `unit_size`."""
    values, limits = np.asarray(values), np.asarray(limits)
    nearest = np.clip(values, limits[..., 0], limits[..., 1])
    beyond = np.argwhere(values != nearest)
    values, nearest = values * unit_size, nearest * unit_size
    found = []
    for index in map(tuple, beyond):
        finger, bone = names[index[1]] if len(index) == 2 else names[index[1]][index[2]]
        value, limit = float(values[index]), float(nearest[index])
        found.append(Violation(int(index[0]), quantity, finger, bone, (value,), (limit,), abs(value - limit), unit))
    return found


def _angles(angles: np.ndarray, limits: Limits) -> list[Violation]:
    distance, nearest = nearest_allowed(angles, limits)
    found = []
    for pose, finger, level in np.argwhere(distance > 0):
        value, limit = (tuple(np.degrees(x[pose, finger, level]).tolist()) for x in (angles, nearest))
        excess = float(np.degrees(distance[pose, finger, level]))
        names = hand.FINGERS[finger], hand.LEVELS[level + 1]
        found.append(Violation(int(pose), "joint angle", *names, value, limit, excess, "degrees"))
    return found


def nearest_allowed(angles: np.ndarray, limits: Limits) -> tuple[np.ndarray, np.ndarray]:
    """Of angles `[N, 5, 3, 2]`, radians: how far they are beyond the hulls `[N, 5, 3]`, and the nearest allowed ones
    `[N, 5, 3, 2]`."""
    count = len(angles)
    padded = np.concatenate([angles, np.repeat(angles[-1:], -count % ANGLES_CHUNK, axis=0)])
    starts = range(0, len(padded), ANGLES_CHUNK)
    parts = [_nearest_allowed(padded[start : start + ANGLES_CHUNK], limits.hull) for start in starts]
    distance, nearest = (np.concatenate([np.asarray(part[i]) for part in parts])[:count] for i in (0, 1))
    return distance, nearest


@jax.jit
def _nearest_allowed(angles, polygons):
    # The nearest allowed angles lie against the distance's gradient, at that distance.
    distance, pull_back = jax.vjp(lambda angles: hull.distance(angles, polygons), angles)
    (gradient,) = pull_back(jnp.ones_like(distance))
    return distance, angles - distance[..., None] * gradient


@jax.jit
def _anatomy(joints):
    units = joints / anatomy.scale(joints)[..., None, None]
    return {
        "bone_length": anatomy.bone_lengths(units),
        "curvature": anatomy.palm_curvature(units),
        "spread": anatomy.palm_spread(units),
        "angles": anatomy.joint_angles(units),
    }


#: Hands measured at a time. One shape, so that anatomy is compiled once.
VERDICT_CHUNK = 128


@dataclass(frozen=True)
class Verdict:
    """Of `n` hands; host numpy, lengths in scale units, angles in radians. What is `beyond` is 0 within the limits."""

    angles: np.ndarray
    """(flexion, abduction) `[n, 5, 3, 2]`, flexion unrolled as hulls are, see `hull.FLEXION_CUT`."""
    angles_beyond: np.ndarray
    """Distance to the hull `[n, 5, 3]`."""
    bone_length: np.ndarray
    """`[n, 5, 4]`."""
    bone_length_beyond: np.ndarray
    curvature: np.ndarray
    """`[n, 4]`."""
    curvature_beyond: np.ndarray
    spread: np.ndarray
    """`[n, 4]`."""
    spread_beyond: np.ndarray

    @property
    def within(self) -> np.ndarray:
        """Which hands violate nothing, `[n]`."""
        beyond = (self.angles_beyond, self.bone_length_beyond, self.curvature_beyond, self.spread_beyond)
        return np.all([part.reshape(len(part), -1).max(axis=-1) == 0 for part in beyond], axis=0)


def judge(joints: np.ndarray, left: np.ndarray, limits: Limits) -> Verdict:
    """Hands `[n, 21, 3]` in scale units against limits, `left [n]` of them left ones: these are judged as their mirror
    images, so angles have the same signs on both hands. Up to `measures.TOLERANCE` counts as within."""
    right = np.where(np.asarray(left)[:, None, None], joints * np.array([-1.0, 1.0, 1.0]), joints)
    padded = np.concatenate([right, np.repeat(right[-1:], -len(right) % VERDICT_CHUNK, axis=0)]).astype(np.float32)
    parts = [
        _measure(jnp.asarray(padded[first : first + VERDICT_CHUNK]), limits.hull)
        for first in range(0, len(padded), VERDICT_CHUNK)
    ]
    measured = {name: np.concatenate([part[name] for part in parts])[: len(right)] for name in parts[0]}
    beyond = {"angles_beyond": measured.pop("angles_beyond")}
    for name in ("bone_length", "curvature", "spread"):
        low, high = np.moveaxis(np.asarray(getattr(limits, name)), -1, 0)
        beyond[f"{name}_beyond"] = np.abs(measured[name] - np.clip(measured[name], low, high))
    return Verdict(
        **measured | {"angles": hull.unroll(measured["angles"])},
        **{name: np.where(value > evaluation.TOLERANCE, value, 0) for name, value in beyond.items()},
    )


@jax.jit
def _measure(joints: Float[jax.Array, "hand 21 3"], hulls: Float[jax.Array, "5 3 vertex 2"]) -> dict[str, jax.Array]:
    angles = anatomy.joint_angles(joints)
    return {
        "angles": angles,
        "angles_beyond": hull.distance(angles, hulls),
        "bone_length": anatomy.bone_lengths(joints),
        "curvature": anatomy.palm_curvature(joints),
        "spread": anatomy.palm_spread(joints),
    }
