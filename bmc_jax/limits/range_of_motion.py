"""Range of motion of a sequence of poses: flexion and abduction of each joint over time, with clinical norms.

Angles are those of the paper: flexion is 0 for a straight finger, and the first bone is measured relative to the line
from the wrist to its MCP joint, which differs by a few degrees from the goniometer's line along the metacarpal. The
thumb's CMC joint has no norm, because clinics measure it in other planes.
"""

from dataclasses import dataclass

import numpy as np

from bmc_jax.core import hull, validation
from bmc_jax.core.plural import counted
from bmc_jax.limits import checking
from bmc_jax.synthesis import skeleton

ANGLES = ("flexion", "abduction")
#: Key in `skeleton.JOINT_RANGES` of the norm of a finger's or the thumb's joint, by level and angle.
FINGER_NORMS = {(0, 0): "mcp_flexion", (0, 1): "mcp_abduction", (1, 0): "pip_flexion", (2, 0): "dip_flexion"}
THUMB_NORMS = {(1, 0): "thumb_mcp_flexion", (1, 1): "thumb_mcp_abduction", (2, 0): "thumb_ip_flexion"}
#: Range of flexion for 90 % of twenty daily activities, by level, degrees.
FUNCTIONAL = {0: (19.0, 71.0), 1: (23.0, 87.0), 2: (10.0, 64.0)}
BAIN = "Bain et al. 2015, J Hand Surg Eur 40(4):406-411"
USUAL = (1, 99)
"""Percentiles of the middle 98 %."""


@dataclass(frozen=True)
class Row:
    """An angle of a joint over the sequence, degrees."""

    joint: str
    angle: str
    """"flexion" (positive towards the palm) or "abduction" (towards the thumb)."""
    lowest: float
    lowest_at: float
    """Time of the lowest value, seconds."""
    highest: float
    highest_at: float
    """Time of the highest value, seconds."""
    range: float
    usual: tuple[float, float]
    """Range of the middle 98 % of the frames, which is robust to single bad frames."""
    norm: tuple[float, float] | None
    """Clinical range of active motion, if known."""
    functional: tuple[float, float] | None
    """Range for daily activities, if known."""


@dataclass(frozen=True)
class Motion:
    """Joint angles over a sequence, and their ranges."""

    frames_per_second: float
    seconds: np.ndarray
    """Time of each frame, `[N]`."""
    degrees: np.ndarray
    """`[N, 5, 3, 2]`, NaN in gaps."""
    gaps: int
    """Number of frames without a hand."""
    longest_gap: int
    """Number of frames of the longest gap."""
    rows: tuple[Row, ...]
    norms: dict[tuple[int, int, int], tuple[float, float]]
    """Norms by finger, level and angle."""
    notes: tuple[str, ...]

    def sentence(self) -> str:
        """Returns a description of the length of the sequence and of its gaps."""
        longest = f"the longest gap {self.longest_gap / self.frames_per_second:.2f} s"
        gaps = f"{counted(self.gaps, 'frame')} without a hand, {longest}"
        seconds = len(self.seconds) / self.frames_per_second
        return f"{counted(len(self.seconds), 'frame')}, {seconds:.2f} s; {gaps if self.gaps else 'no gaps'}"


def measure(poses: np.ndarray, frames_per_second: float) -> Motion:
    """Measures the range of each joint angle over a sequence.

    Args:
      poses: `[N, 21, 3]`, metres, right hands, FreiHAND order; NaN for frames without a hand.
      frames_per_second: rate of the sequence.

    Raises:
      ValueError: if no frame has a hand, the rate is not positive and finite, or `validation.validate` refuses poses.
    """
    if not 0 < frames_per_second < float("inf"):
        raise ValueError(f"fps: expected a positive finite number, got {frames_per_second:g}")
    present = np.isfinite(poses).all(axis=(1, 2))
    if not present.any():
        raise ValueError(f"expected frames with a hand, got none in {len(poses):,} frames; check the file for NaN")
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
    notes.append(f"functional: range for 90 % of twenty daily activities. {BAIN}")
    longest = max((end - start for start, end in runs(np.logical_not(present))), default=0)
    return Motion(frames_per_second, seconds, degrees, int((~present).sum()), longest, tuple(rows), norms, tuple(notes))


HEAD = ("degrees", "lowest", "highest", "range", "middle 98 %", "clinical norm", "functional")


def cells(motion: Motion) -> list[list[str]]:
    """Formats the ranges as rows below `HEAD`."""
    rows = []
    for row in motion.rows:
        numbers = [f"{value:.1f}" for value in (row.lowest, row.highest, row.range)]
        spans = ["" if span is None else f"{span[0]:g} to {span[1]:g}" for span in (row.norm, row.functional)]
        rows.append([f"{row.joint}, {row.angle}", *numbers, f"{row.usual[0]:.1f} to {row.usual[1]:.1f}", *spans])
    return rows


def runs(mask: np.ndarray) -> list[tuple[int, int]]:
    """Returns the first index, and the index after the last, of each run of true values."""
    edges = np.flatnonzero(np.diff(np.pad(mask.astype(int), 1)))
    return list(zip(edges[::2].tolist(), edges[1::2].tolist(), strict=True))
