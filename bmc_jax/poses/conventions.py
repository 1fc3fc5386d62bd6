"""Detection and conversion of the joint order, unit and side of poses.

The order is detected from the ratios of bone lengths, which equal those of an adult's hand only in the right order; the
unit from the length of the palm; the side from the thumb, which is in front of the palm. If the evidence is weak,
detection raises an error with the evidence and the option that states the convention.
"""

from dataclasses import dataclass

import numpy as np

from bmc_jax.core import hand, validation
from bmc_jax.core.choices import SIDES
from bmc_jax.core.types import Limits
from bmc_jax.core.validation import UNDECIDED
from bmc_jax.limits.checking import assess
from bmc_jax.synthesis import skeleton

#: Metres in each length unit.
UNITS = {"m": 1.0, "cm": 0.01, "mm": 0.001}
#: Joint orders in groups of equal numbering, by the name of the group.
ORDERS = {
    "freihand": ("freihand", "mediapipe", "openpose", "coco-wholebody"),
    "ho3d": ("ho3d", "mano"),
    "rhd": ("rhd",),
    "interhand": ("interhand",),
    "paper": ("paper",),
}
MIN_SUPPORT = 0.9
"""Smallest share of poses that must support a detected convention."""
MIN_ERROR_RATIO = 1.3
"""Smallest ratio of the second-best order's bone error to that of the best order."""
FEW = 10
"""Number of poses below which limits may overrule the thumbs for the side, because the thumbs of few poses may err."""
MAX_ERROR = 0.5
"""Largest relative bone error of the best order."""
USUAL_PALM = (0.04, 0.16)
"""Range of the median distance from the wrist to the middle MCP for the detection of a unit, metres: from a small
child's hand to a large adult's."""
SCALE_ROUNDING = 1e-3
"""Largest deviation of scale bones from 1 in poses in scale units."""
RELATIVE_DEPTH = 1e-3
"""Largest depth of the wrists, relative to the length of the palm, of joints with depth relative to the wrist."""


@dataclass(frozen=True)
class Finding:
    """A convention of the poses, stated or detected, with the evidence."""

    convention: str
    """"order", "unit" or "side"."""
    value: str
    stated: bool
    """Whether it was stated instead of detected."""
    evidence: str
    mistaken: str = ""
    """Remedy if the evidence contradicts the stated convention; otherwise empty."""

    def __str__(self) -> str:
        text = f"{self.convention} {self.value} ({'stated' if self.stated else 'detected'}): {self.evidence}"
        return f"likely a mistake: {text}; {self.mistaken}" if self.mistaken else text


@dataclass(frozen=True)
class BoneErrors:
    """Bones of poses compared with those of the mean adult's hand of the same size, in the unit of the poses."""

    excess: np.ndarray
    """Length minus expected length, `[N, 5, 4]`."""
    expected: np.ndarray
    """Expected length, `[N, 5, 4]`."""


@dataclass(frozen=True)
class Poses:
    """Right hands in metres and FreiHAND order, NaN for poses without a hand."""

    joints: np.ndarray
    """`[N, 21, 3]` float32; all joints of gaps and impossible poses are NaN."""
    gaps: np.ndarray
    """Indices of poses with a missing joint."""
    partial: int
    """Number of gaps that have some joints."""
    impossible: np.ndarray
    """Indices of poses that do not have the size of a hand."""
    mirrored: np.ndarray
    """Whether each pose was a left hand, `[N]`."""
    order: Finding
    unit: Finding
    side: Finding
    notes: tuple[str, ...] = ()
    """Notes of the file's reader, see `pose_files.PoseFile`."""

    @property
    def findings(self) -> tuple[Finding, ...]:
        """The findings on order, unit and side."""
        return self.order, self.unit, self.side

    def to_source(self, joints: np.ndarray) -> np.ndarray:
        """Converts right hands `[N, 21, 3]` in metres and FreiHAND order back to the source's order, unit and side."""
        joints = hand.mirror(np.asarray(joints, np.float64), self.mirrored) / UNITS[self.unit.value]
        return joints[:, np.argsort(hand.TO_FREIHAND[self.order.value])]

    @property
    def present(self) -> np.ndarray:
        """Indices of the poses that are neither gaps nor impossible."""
        return np.flatnonzero(np.isfinite(self.joints[:, 0, 0]))


def convert(
    raw: np.ndarray,
    where: str,
    *,
    order: str | None = None,
    unit: str | None = None,
    side: str | None = None,
    left: np.ndarray | None = None,
    frames: np.ndarray | None = None,
    allowed: Limits | None = None,
) -> Poses:
    """Converts poses to right hands in metres and FreiHAND order.

    Args:
      raw: `[N, 21, 3]`, NaN for missing joints.
      where: name of the file, for messages.
      order: key of `hand.TO_FREIHAND`, detected if None.
      unit: key of `UNITS`, detected if None.
      side: "right" or "left", detected if None; left hands are mirrored.
      left: whether each pose is a left hand, `[N]`; used if `side` is None.
      frames: ascending frame of each pose, `[N]`, if frames have several hands. The side is then detected separately
        for the first hand of all frames, the second, and so on.
      allowed: limits that decide the side if the thumbs do not: most poses must be within them as hands of one side,
        and at most a tenth as many as hands of the other side.

    Returns:
      The converted poses.

    Raises:
      ValueError: if no pose is complete, detection is uncertain, or most poses do not have the size of a hand in the
        stated unit.
    """
    complete = np.isfinite(raw).all(axis=(1, 2))
    if not complete.any():
        raise ValueError(
            f"{where}: expected poses with all {hand.NUM_JOINTS} joints, got none in {len(raw):,} poses; check the file"
        )
    joints = raw[complete]
    if unit is None:  # before the order, which cannot be detected from landmarks in pictures
        _require_unit(joints, where)
    found_order = _order(joints, order, where)
    joints = joints[:, hand.TO_FREIHAND[found_order.value]]
    try:
        if unit is None:
            _require_unit(joints, where)
        found_unit = _unit(joints, unit, where)
        joints = joints * UNITS[found_unit.value]
        possible = _possible(joints)
        by_place = None
        if frames is not None and left is None and side is None:
            rows = np.flatnonzero(complete)[possible]
            by_place = _side_by_place(joints[possible], rows, np.arange(len(raw)) - np.searchsorted(frames, frames))
        if by_place is None:
            sides = None if left is None else left[complete][possible]
            found_side = _side(joints[possible], side, where, sides, allowed)
        else:
            found_side, left = by_place
    except ValueError as error:  # a wrong order may be the cause
        raise ValueError(f"{error}. And {found_order}" if found_order.mistaken else str(error)) from error
    mirrored = np.zeros(len(raw), bool)
    mirrored[complete] = left[complete] if side is None and left is not None else found_side.value == "left"
    converted = np.full(raw.shape, np.nan, np.float32)
    converted[complete] = np.where(possible[:, None, None], hand.mirror(joints, mirrored[complete]), np.nan)
    return Poses(
        joints=converted,
        gaps=np.flatnonzero(~complete),
        partial=int((np.isfinite(raw).any(axis=(1, 2)) & ~complete).sum()),
        impossible=np.flatnonzero(complete)[~possible],
        mirrored=mirrored,
        order=found_order,
        unit=found_unit,
        side=found_side,
    )


def bone_errors(joints: np.ndarray, order: str) -> BoneErrors:
    """Compares the bones of `joints [N, 21, 3]` in a joint order with those of a mean adult's hand of the same size."""
    joints = joints[:, hand.TO_FREIHAND[order]]
    lengths = np.linalg.norm(joints[:, 1:] - joints[:, hand.PARENTS[1:]], axis=-1).reshape(-1, 5, 4)
    size = (lengths * skeleton.BONES).sum(axis=(1, 2), keepdims=True) / (skeleton.BONES**2).sum()
    return BoneErrors(excess=lengths - size * skeleton.BONES, expected=size * skeleton.BONES)


def _norm(bones: np.ndarray) -> np.ndarray:
    return np.sqrt((bones**2).sum(axis=(1, 2)))


def _order(joints: np.ndarray, stated: str | None, where: str) -> Finding:
    if stated is not None and stated not in hand.TO_FREIHAND:
        raise ValueError(f"order: expected one of {', '.join(hand.TO_FREIHAND)}, got {stated!r}")
    fits = {name: bone_errors(joints, name) for name in ORDERS}
    smallest = np.min([_norm(fit.expected) for fit in fits.values()], axis=0)
    errors = np.stack([_norm(fit.excess) for fit in fits.values()]) / np.maximum(smallest, np.finfo(float).tiny)
    typical = dict(zip(ORDERS, np.median(errors, axis=1), strict=True))
    name, second = sorted(typical, key=typical.__getitem__)[:2]
    share = np.mean(errors.argmin(axis=0) == tuple(ORDERS).index(name))
    certain = share >= MIN_SUPPORT and typical[second] > MIN_ERROR_RATIO * typical[name] and typical[name] < MAX_ERROR
    synonyms = f" (= {', '.join(ORDERS[name][1:])})" if ORDERS[name][1:] else ""
    evidence = (
        f"bones differ from a mean adult's by {100 * typical[name]:.0f} % under {name}{synonyms} and by "
        f"{100 * typical[second]:.0f} % under {second}, the next; {name} is nearest in {100 * share:.0f} % of the poses"
    )
    if stated is None and not certain:
        raise ValueError(
            f"{where}: the joint order cannot be detected from the poses: {evidence}. State it with --order, one of "
            f"{', '.join(hand.TO_FREIHAND)}"
        )
    if stated is None or stated in ORDERS[name] or not certain:
        return Finding("order", stated or name, stated is not None, evidence)
    group = next(group for group, names in ORDERS.items() if stated in names)
    ratio = np.median(1 + fits[group].excess / fits[group].expected, axis=0)
    finger, level = np.unravel_index(ratio.argmax(), ratio.shape)
    mistaken = (
        f"under {stated} they differ by {100 * typical[group]:.0f} %, and the {hand.FINGERS[finger]}'s "
        f"{hand.LEVELS[level]} bone would be {ratio[finger, level]:.1f} times as long as it should; give --order {name}"
    )
    return Finding("order", stated, True, evidence, mistaken)


def _unit(joints: np.ndarray, stated: str | None, where: str) -> Finding:
    if stated is not None and stated not in UNITS:
        raise ValueError(f"unit: expected one of {', '.join(UNITS)}, got {stated!r}")
    palms = np.linalg.norm(joints[:, hand.MIDDLE_MCP] - joints[:, hand.WRIST], axis=-1)
    low, high = validation.PALM_LENGTH
    shares = {name: np.mean((palms * metres >= low) & (palms * metres <= high)) for name, metres in UNITS.items()}
    found = max(shares, key=lambda name: shares[name])
    evidence = (
        f"from the wrist to the middle MCP it is {np.median(palms):.4g} at the median, and {low} to {high} m in "
        f"{100 * shares[found]:.0f} % of the poses if in {found}"
    )
    if stated is not None and shares[stated] < 0.5:
        remedy = f"give --unit {found}" if shares[found] >= MIN_SUPPORT else "multiply the joints to metres"
        raise ValueError(
            f"{where}: expected poses in {stated}, got other lengths: {evidence}, in {100 * shares[stated]:.0f} % if "
            f"in {stated}; {remedy}, and check the joint order"
        )
    usual = USUAL_PALM[0] <= np.median(palms) * UNITS[found] <= USUAL_PALM[1]
    if stated is None and (shares[found] < MIN_SUPPORT or not usual):
        raise ValueError(
            f"{where}: the unit cannot be detected from the poses: {evidence}. State it with --unit, one of "
            f"{', '.join(UNITS)}; convert joints without a unit, such as those in a picture, to metres first"
        )
    unitless = _without_unit(joints)
    mistaken = f"{unitless}; check the unit" if unitless else ""
    return Finding("unit", stated or found, stated is not None, evidence, mistaken)


def _require_unit(joints: np.ndarray, where: str) -> None:
    """Raises ValueError if `_without_unit` returns a reason."""
    unitless = _without_unit(joints)
    if unitless:
        raise ValueError(f"{where}: {unitless}. If they are lengths, state --unit, one of {', '.join(UNITS)}")


def _without_unit(joints: np.ndarray) -> str:
    """Returns the reason why poses in FreiHAND order have no unit of length; empty if they may have one."""
    palms = np.linalg.norm(joints[:, hand.MIDDLE_MCP] - joints[:, hand.WRIST], axis=-1)
    palms = np.maximum(palms, np.finfo(np.float64).tiny)
    start, end = hand.SCALE_BONE
    bones = np.linalg.norm(joints[:, end] - joints[:, start], axis=-1)
    if np.median(np.abs(bones - 1)) < SCALE_ROUNDING:
        return (
            "the bone from middle MCP to PIP is 1 long, so the joints are in scale units; multiply them by its length "
            "in metres"
        )
    wrists = np.abs(joints[:, hand.WRIST])
    depth, beside = np.median(wrists[:, 2] / palms), np.median(wrists[:, :2].max(axis=1) / palms)
    if depth < RELATIVE_DEPTH < 0.1 < beside:
        return (
            "the wrists have depth 0 away from the optical axis, as in MediaPipe's image landmarks, which have no "
            "unit; use its world landmarks, in metres"
        )
    return ""


def _possible(joints: np.ndarray) -> np.ndarray:
    """Returns whether each pose, in metres, has a palm and a scale bone of possible length, `[N]`."""
    palms = np.linalg.norm(joints[:, hand.MIDDLE_MCP] - joints[:, hand.WRIST], axis=-1)
    start, end = hand.SCALE_BONE
    scales = np.linalg.norm(joints[:, end] - joints[:, start], axis=-1)
    low, high = validation.PALM_LENGTH
    return (palms >= low) & (palms <= high) & (scales >= validation.SHORTEST_SCALE_BONE)


def _side(
    joints: np.ndarray, stated: str | None, where: str, left: np.ndarray | None, allowed: Limits | None
) -> Finding:
    if stated is not None and stated not in SIDES:
        raise ValueError(f"side: expected one of {', '.join(SIDES)}, got {stated!r}")
    if not len(joints):
        raise ValueError(
            f"{where}: expected poses with a palm and a bone from middle MCP to PIP of a hand's size, got none; check "
            "the unit"
        )
    thumbs = validation.thumb_side(joints)
    shares = {"right": np.mean(thumbs > UNDECIDED), "left": np.mean(thumbs < -UNDECIDED)}
    found = max(shares, key=lambda name: shares[name])
    evidence = (
        f"the thumb is in front of the palm of a right hand in {100 * shares['right']:.0f} % of the poses and of a "
        f"left hand in {100 * shares['left']:.0f} %"
    )
    if stated is None and left is not None:
        groups = {"left": -thumbs[left], "right": thumbs[~left]}
        wrong = {name: np.mean(of < -UNDECIDED) for name, of in groups.items() if len(of)}
        evidence = f"{left.sum():,} left hands by `left` in the file; the thumb is that of the other side in " + (
            " and ".join(f"{100 * share:.0f} % of the {name} hands" for name, share in wrong.items())
        )
        mistaken = ""
        if max(wrong.values()) > 0.5:
            mistaken = (
                "check that the sides in the file are right, that left hands are not mirrored already (as in HaMeR: "
                "give --side right) and that no single axis is flipped"
            )
        return Finding("side", "by the file", True, evidence, mistaken)
    decided = sum(shares.values())
    undecided = shares[found] < MIN_SUPPORT * decided or decided < 0.5
    if stated is None and allowed is not None and (undecided or len(joints) < FEW):
        within = {name: _share_within(joints, allowed, name == "left") for name in SIDES}
        best, other = sorted(within, key=within.__getitem__, reverse=True)
        if within[best] >= 0.5 and within[other] <= 0.1 * within[best]:
            evidence += (
                f"; {100 * within[best]:.0f} % of the poses are within the limits as {best} hands and "
                f"{100 * within[other]:.0f} % as {other} hands"
            )
            return Finding("side", best, False, evidence)
    if stated is None and undecided:
        raise ValueError(
            f"{where}: the side cannot be detected from the poses: {evidence}. State it with --side right or --side "
            "left; if a file has both sides, mark the left hands in its field `left`"
        )
    other = next(side for side in SIDES if side != (stated or found))
    mistaken = f"give --side {other}, or check that no single axis is flipped" if shares[other] > 0.5 else ""
    return Finding("side", stated or found, stated is not None, evidence, mistaken)


def _side_by_place(joints: np.ndarray, rows: np.ndarray, place: np.ndarray) -> tuple[Finding, np.ndarray] | None:
    """Detects the side of hands by their position in the frame.

    Args:
      joints: poses of some rows.
      rows: the rows of these poses.
      place: number of each pose in its frame `[N]`.

    Returns:
      The finding, and whether each pose is a left hand, `[N]`; None if the thumbs are not clear, or all positions have
      the same side.
    """
    thumbs, left, words = validation.thumb_side(joints), np.zeros(len(place), bool), []
    for number in np.unique(place[rows]):
        here = thumbs[place[rows] == number]
        shares = {"right": np.mean(here > UNDECIDED), "left": np.mean(here < -UNDECIDED)}
        found = max(shares, key=lambda name: shares[name])
        if shares[found] < MIN_SUPPORT:
            return None
        left[place == number] = found == "left"
        words.append(f"hand {number} of a frame is a {found} hand by {100 * shares[found]:.0f} % of the thumbs")
    if left[rows].all() or not left[rows].any():
        return None
    return Finding("side", "by the place in the frame", False, " and ".join(words)), left


def _share_within(joints: np.ndarray, allowed: Limits, left: bool) -> float:
    """Returns the share of about a thousand evenly selected poses that are within limits as hands of a side."""
    joints = joints[:: 1 + len(joints) // 1000]
    start, end = hand.SCALE_BONE
    units = joints / np.linalg.norm(joints[:, end] - joints[:, start], axis=-1)[:, None, None]
    return float(np.mean(assess(units, allowed, left=np.full(len(units), left)).within))
