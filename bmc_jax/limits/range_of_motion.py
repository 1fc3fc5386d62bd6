"""Range of motion of a sequence of poses: every joint's flexion and abduction over time, with clinical norms.

Angles are the paper's: flexion from the straight finger on, whose first bone is measured against the line from the
wrist to its MCP joint, which is a few degrees off the goniometer's line along the metacarpal. The thumb's CMC joint has
no norm: the clinic measures it in other planes.
"""

from dataclasses import dataclass

import numpy as np

from bmc_jax.core import hull, validation
from bmc_jax.core.plural import counted
from bmc_jax.limits import checking
from bmc_jax.synthesis import skeleton

ANGLES = ("flexion", "abduction")
#: Which of `skeleton.JOINT_RANGES` is the norm of a finger's and of the thumb's joint, by level and angle.
FINGER_NORMS = {(0, 0): "mcp_flexion", (0, 1): "mcp_abduction", (1, 0): "pip_flexion", (2, 0): "dip_flexion"}
THUMB_NORMS = {(1, 0): "thumb_mcp_flexion", (1, 1): "thumb_mcp_abduction", (2, 0): "thumb_ip_flexion"}
#: Flexion within which 90 % of twenty daily activities are done, by level.
FUNCTIONAL = {0: (19.0, 71.0), 1: (23.0, 87.0), 2: (10.0, 64.0)}
BAIN = "Bain et al. 2015, J Hand Surg Eur 40(4):406-411"
#: Percentiles of the middle 98 %.
USUAL = (1, 99)


@dataclass(frozen=True)
class Row:
    """One angle of one joint over the sequence, degrees."""

    joint: str
    angle: str
    """"flexion" (positive towards the palm) or "abduction" (towards the thumb)."""
    lowest: float
    lowest_at: float
    """Seconds."""
    highest: float
    highest_at: float
    range: float
    usual: tuple[float, float]
    """Range of the middle 98 % of the frames, which a single bad frame does not move."""
    norm: tuple[float, float] | None
    """Clinical range of active motion, where there is one."""
    functional: tuple[float, float] | None
    """What daily activities need, where it is known."""


@dataclass(frozen=True)
class Motion:
    """Joint angles over a sequence, and their ranges."""

    frames_per_second: float
    seconds: np.ndarray
    """`[N]`"""
    degrees: np.ndarray
    """`[N, 5, 3, 2]`, NaN in gaps."""
    gaps: int
    """Frames without a hand."""
    longest_gap: int
    """Frames."""
    rows: tuple[Row, ...]
    norms: dict[tuple[int, int, int], tuple[float, float]]
    """By finger, level and angle."""
    notes: tuple[str, ...]

    def sentence(self) -> str:
        """Says how long the sequence is and how much of it is missing."""
        longest = f"the longest gap {self.longest_gap / self.frames_per_second:.2f} s"
        gaps = f"{counted(self.gaps, 'frame')} without a hand, {longest}"
        seconds = len(self.seconds) / self.frames_per_second
        return f"{counted(len(self.seconds), 'frame')}, {seconds:.2f} s; {gaps if self.gaps else 'no gaps'}"


def measure(poses: np.ndarray, frames_per_second: float) -> Motion:
    """Measures the range of every joint angle over a sequence of right hands `[N, 21, 3]` in metres, FreiHAND order,
    NaN throughout where there is none.

    Raises ValueError where no frame has a hand, for a rate that is not positive, and for poses that
    `validation.validate` refuses.
    """
    if not 0 < frames_per_second < float("inf"):
        raise ValueError(f"expected a positive number of frames a second, got {frames_per_second:g}")
    present = np.isfinite(poses).all(axis=(1, 2))
    if not present.any():
        raise ValueError(f"none of {len(poses):,} frames has a hand")
    hands = validation.validate(poses[present])
    degrees = np.full((len(poses), 5, 3, 2), np.nan)
    degrees[present] = np.degrees(hull.unroll(checking.measure(hands)["angles"]))
    seconds = np.arange(len(poses)) / frames_per_second
    norms, names = {}, {}
    for finger, level, angle in np.ndindex(5, 3, 2):
        name = (FINGER_NORMS if finger else THUMB_NORMS).get((level, angle))
        if name:
            known = skeleton.JOINT_RANGES[name]
            norms[finger, level, angle] = (float(known.low), float(known.high))
            names[name] = known.source
    rows = []
    for finger, level, angle in np.ndindex(5, 3, 2):
        curve = degrees[:, finger, level, angle]
        low, high = int(np.nanargmin(curve)), int(np.nanargmax(curve))
        rows.append(
            Row(
                joint=checking.joint_name(finger, level),
                angle=ANGLES[angle],
                lowest=float(curve[low]),
                lowest_at=float(seconds[low]),
                highest=float(curve[high]),
                highest_at=float(seconds[high]),
                range=float(curve[high] - curve[low]),
                usual=tuple(np.nanpercentile(curve, USUAL).tolist()),
                norm=norms.get((finger, level, angle)),
                functional=FUNCTIONAL[level] if finger and angle == 0 else None,
            )
        )
    notes = [f"norm of {name.replace('_', ' ')}: {source}" for name, source in names.items()]
    notes.append(f"functional: within which 90 % of twenty daily activities are done. {BAIN}")
    longest = max((end - start for start, end in runs(np.logical_not(present))), default=0)
    return Motion(frames_per_second, seconds, degrees, int((~present).sum()), longest, tuple(rows), norms, tuple(notes))


HEAD = ("degrees", "least", "most", "range", "middle 98 %", "clinical norm", "functional")


def cells(motion: Motion) -> list[list[str]]:
    """Formats the ranges as rows below `HEAD`."""
    rows = []
    for row in motion.rows:
        numbers = [f"{value:.1f}" for value in (row.lowest, row.highest, row.range)]
        spans = ["" if span is None else f"{span[0]:g} to {span[1]:g}" for span in (row.norm, row.functional)]
        rows.append([f"{row.joint}, {row.angle}", *numbers, f"{row.usual[0]:.1f} to {row.usual[1]:.1f}", *spans])
    return rows


def runs(mask: np.ndarray) -> list[tuple[int, int]]:
    """Returns the first and one past the last index of every run of true values."""
    edges = np.flatnonzero(np.diff(np.pad(mask.astype(int), 1)))
    return list(zip(edges[::2].tolist(), edges[1::2].tolist(), strict=True))
