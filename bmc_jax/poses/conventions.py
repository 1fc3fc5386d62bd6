"""In which joint order, unit and side are these poses? Found from the poses, or held against what is said of them.

A hand gives its order away by its bones, whatever it does: only in its own order are they as long, one against another,
as an adult's. Its unit follows from the palm's length, its side from the thumb, which lies in front of the palm. Where
the evidence is weak nothing is guessed: the error has the evidence, and the option that settles it.
"""

from dataclasses import dataclass

import numpy as np

from bmc_jax.core import hand, validation
from bmc_jax.core.choices import SIDES
from bmc_jax.synthesis import skeleton

#: Metres in the units that poses come in.
UNITS = {"m": 1.0, "cm": 0.01, "mm": 0.001}
#: Orders that number the joints alike, by the name that stands for them.
ORDERS = {
    "freihand": ("freihand", "mediapipe", "openpose", "coco-wholebody"),
    "ho3d": ("ho3d", "mano"),
    "rhd": ("rhd",),
    "interhand": ("interhand",),
    "paper": ("paper",),
}
#: Share of the poses that must agree.
AGREED = 0.9
#: How many times as far from an adult's the bones must be in every other order, and how far, as a share of their
#: length, they may be in the right one.
CLEARER, PLAUSIBLE = 1.3, 0.5


@dataclass(frozen=True)
class Finding:
    """What one convention of the poses is taken to be, and why."""

    convention: str
    """"order", "unit" or "side"."""
    value: str
    told: bool
    """Whether that was said, not found."""
    evidence: str
    mistaken: str = ""
    """If what was said is likely a mistake: what to say instead; otherwise empty."""

    def __str__(self) -> str:
        words = f"{self.convention} {self.value} ({'as told' if self.told else 'detected'}): {self.evidence}"
        return f"likely a mistake: {words}; {self.mistaken}" if self.mistaken else words


@dataclass(frozen=True)
class Poses:
    """Right hands in metres and FreiHAND order, with gaps where there is no hand."""

    joints: np.ndarray
    """`[N, 21, 3]` float32, NaN throughout a pose that is a gap."""
    gaps: np.ndarray
    """Indices of poses that lacked a joint or more."""
    partial: int
    """How many of the gaps had some of their joints."""
    impossible: np.ndarray
    """Indices of poses of no hand's size, which are NaN too."""
    mirrored: np.ndarray
    """`[N]`: which were left hands."""
    findings: tuple[Finding, ...]

    def as_they_came(self, joints: np.ndarray) -> np.ndarray:
        """Joints `[N, 21, 3]` of right hands in metres and FreiHAND order in these poses' own order, unit and side."""
        order, unit, _ = (finding.value for finding in self.findings)
        joints = np.where(self.mirrored[:, None, None], joints * [-1, 1, 1], joints) / UNITS[unit]
        return joints[:, np.argsort(hand.TO_FREIHAND[order])]

    @property
    def there(self) -> np.ndarray:
        """Indices of the poses that are no gaps."""
        return np.flatnonzero(np.isfinite(self.joints[:, 0, 0]))


def convert(
    raw: np.ndarray,
    where: str,
    *,
    order: str | None = None,
    unit: str | None = None,
    side: str | None = None,
    left: np.ndarray | None = None,
) -> Poses:
    """Poses `[N, 21, 3]`, NaN where a joint is missing, as right hands in metres and FreiHAND order.

    What is None is detected. `left [N]` says which are left hands where `side` does not; those are mirrored.

    Raises ValueError, with the evidence and the option to give, where detection is not sure, where no pose is whole,
    and where most poses are of no hand's size in the unit that was said.
    """
    whole = np.isfinite(raw).all(axis=(1, 2))
    if not whole.any():
        raise ValueError(f"{where}: none of its {len(raw):,} poses has all {hand.NUM_JOINTS} joints")
    seen = raw[whole]
    orders = _order(seen, order, where)
    joints = seen[:, hand.TO_FREIHAND[orders.value]]
    try:
        units = _unit(joints, unit, where)
        joints = joints * UNITS[units.value]
        possible = _possible(joints)
        sides = _side(joints[possible], side, where, None if left is None else left[whole][possible])
    except ValueError as error:  # which may be the order's fault
        raise ValueError(f"{error}. And {orders}" if orders.mistaken else str(error)) from error
    mirrored = np.full(len(joints), sides.value == "left")
    if side is None and left is not None:
        mirrored = left[whole]
    joints = np.where(mirrored[:, None, None], joints * [-1, 1, 1], joints)
    kept = np.full(raw.shape, np.nan, np.float32)
    kept[whole] = np.where(possible[:, None, None], joints, np.nan)
    partial = int((np.isfinite(raw).any(axis=(1, 2)) & ~whole).sum())
    were_left = np.zeros(len(raw), bool)
    were_left[whole] = mirrored
    impossible = np.flatnonzero(whole)[~possible]
    return Poses(kept, np.flatnonzero(~whole), partial, impossible, were_left, (orders, units, sides))


def misfit(joints: np.ndarray, order: str) -> tuple[np.ndarray, np.ndarray]:
    """By how much bones are longer than the mean adult's hand of the same size has them, in the unit of `joints
    [N, 21, 3]`, which are in the named order: `[N, 5, 4]`; and that hand's bones, `[N, 5, 4]`."""
    ours = joints[:, hand.TO_FREIHAND[order]]
    lengths = np.linalg.norm(ours[:, 1:] - ours[:, hand.PARENTS[1:]], axis=-1).reshape(-1, 5, 4)
    size = (lengths * skeleton.BONES).sum(axis=(1, 2), keepdims=True) / (skeleton.BONES**2).sum()
    return lengths - size * skeleton.BONES, size * skeleton.BONES


def _order(joints: np.ndarray, told: str | None, where: str) -> Finding:
    if told is not None and told not in hand.TO_FREIHAND:
        raise ValueError(f"joint order {told!r} is none of {', '.join(hand.TO_FREIHAND)}")
    fits = {name: misfit(joints, name) for name in ORDERS}
    off, bones = (
        np.stack([np.sqrt((part**2).sum(axis=(1, 2))) for part in parts]) for parts in zip(*fits.values(), strict=True)
    )
    errors = off / np.maximum(bones.min(axis=0), np.finfo(float).tiny)
    typical = dict(zip(ORDERS, np.median(errors, axis=1), strict=True))
    name, second = sorted(typical, key=typical.__getitem__)[:2]
    share = np.mean(errors.argmin(axis=0) == tuple(ORDERS).index(name))
    sure = share >= AGREED and typical[second] > CLEARER * typical[name] and typical[name] < PLAUSIBLE
    evidence = (
        f"bones differ from a mean adult's by {100 * typical[name]:.0f} % under {_called(name)} and by "
        f"{100 * typical[second]:.0f} % under {second}, the next; {name} is nearest in {100 * share:.0f} % of the poses"
    )
    if told is None and not sure:
        raise ValueError(
            f"{where}: the joint order cannot be told from the poses: {evidence}. Say it with --order, one of "
            f"{', '.join(hand.TO_FREIHAND)}"
        )
    if told is None or told in ORDERS[name] or not sure:
        return Finding("order", told or name, told is not None, evidence)
    assumed = next(group for group, names in ORDERS.items() if told in names)
    times = np.median(1 + np.divide(*fits[assumed]), axis=0)
    finger, level = np.unravel_index(times.argmax(), times.shape)
    mistaken = (
        f"under {told} they differ by {100 * typical[assumed]:.0f} %, and the {hand.FINGERS[finger]}'s "
        f"{hand.LEVELS[level]} bone would be {times[finger, level]:.1f} times as long as it should; give --order {name}"
    )
    return Finding("order", told, True, evidence, mistaken)


def _unit(joints: np.ndarray, told: str | None, where: str) -> Finding:
    if told is not None and told not in UNITS:
        raise ValueError(f"unit {told!r} is none of {', '.join(UNITS)}")
    palms = np.linalg.norm(joints[:, hand.MIDDLE_MCP] - joints[:, hand.WRIST], axis=-1)
    low, high = validation.PALM_LENGTH
    shares = {name: np.mean((palms * metres >= low) & (palms * metres <= high)) for name, metres in UNITS.items()}
    found = max(shares, key=lambda name: shares[name])
    evidence = (
        f"from the wrist to the middle MCP it is {np.median(palms):.4g} at the median, and {low} to {high} m in "
        f"{100 * shares[found]:.0f} % of the poses if in {found}"
    )
    if told is not None and shares[told] < 0.5:
        remedy = f"give --unit {found}" if shares[found] >= AGREED else "multiply the joints to metres"
        raise ValueError(
            f"{where}: not in {told}: {evidence}, in {100 * shares[told]:.0f} % if in {told}; {remedy}, and see that "
            "the joint order is right"
        )
    if told is None and shares[found] < AGREED:
        raise ValueError(
            f"{where}: the unit cannot be told from the poses: {evidence}. Say it with --unit, one of "
            f"{', '.join(UNITS)}; joints without a unit, such as a picture's, must be made metres first"
        )
    return Finding("unit", told or found, told is not None, evidence)


def _possible(joints: np.ndarray) -> np.ndarray:
    """Which poses, in metres, have a palm and a scale bone of a hand's size."""
    palms = np.linalg.norm(joints[:, hand.MIDDLE_MCP] - joints[:, hand.WRIST], axis=-1)
    start, end = hand.SCALE_BONE
    scales = np.linalg.norm(joints[:, end] - joints[:, start], axis=-1)
    low, high = validation.PALM_LENGTH
    return (palms >= low) & (palms <= high) & (scales >= validation.SHORTEST_SCALE_BONE)


def _side(joints: np.ndarray, told: str | None, where: str, left: np.ndarray | None) -> Finding:
    if told is not None and told not in SIDES:
        raise ValueError(f"side {told!r} is none of {', '.join(SIDES)}")
    if not len(joints):
        raise ValueError(f"{where}: no pose has a bone from middle MCP to PIP and a palm of a hand's size")
    thumbs = validation.thumb_side(joints)
    shares = {"right": np.mean(thumbs > validation.UNDECIDED), "left": np.mean(thumbs < -validation.UNDECIDED)}
    found = max(shares, key=lambda name: shares[name])
    evidence = (
        f"the thumb is in front of the palm of a right hand in {100 * shares['right']:.0f} % of the poses and of a "
        f"left hand in {100 * shares['left']:.0f} %"
    )
    if told is None and left is not None:
        wrong = np.mean(np.where(left, -thumbs, thumbs) < -validation.UNDECIDED)
        words = f"{left.sum():,} left hands by the file's `left`, and {100 * wrong:.0f} % have the other side's thumb"
        mistake = "see that `left` is right and that no single axis is flipped" if wrong > 0.5 else ""
        return Finding("side", "by the file", True, words, mistake)
    if told is None and (shares[found] < AGREED * sum(shares.values()) or sum(shares.values()) < 0.5):
        raise ValueError(
            f"{where}: the side cannot be told from the poses: {evidence}. Say it with --side right or --side left; "
            "where both sides are in one file, say which are left ones in its field `left`"
        )
    other = next(side for side in SIDES if side != (told or found))
    if shares[other] > 0.5:
        mistake = f"give --side {other}, or see that no single axis is flipped"
        return Finding("side", str(told), True, evidence, mistake)
    return Finding("side", told or found, told is not None, evidence)


def _called(name: str) -> str:
    return f"{name} (= {', '.join(ORDERS[name][1:])})" if ORDERS[name][1:] else name
