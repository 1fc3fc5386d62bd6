"""Are these arrays poses of right hands, in metres? Checked before anything is fitted to them or measured on them.

A left hand has every flexion and curvature the other way round: a few of them among right hands give limits that allow
anything. Which hand it is follows from the thumb, which lies in front of the palm whatever the fingers do. The fingers
do not tell: those of a straight or overextended right hand bend behind the palm just as a left hand's would. Of 2,728
poses of RHD, all of right hands, 119 (4.4 %) do; so do two of five sample hands of FreiHAND. Both kinds are reported.
"""

from dataclasses import dataclass

import numpy as np

from bmc_jax.core import hand

#: What `screen` can do with left hands.
LEFT = ("error", "drop", "mirror", "keep")

#: Metres from the wrist to the middle finger's MCP joint: an infant's hand to more than the largest adult's.
PALM_LENGTH = (0.02, 0.25)
#: Metres. A shorter scale bone (middle MCP to PIP) is no bone, and all lengths are divided by it.
SHORTEST_SCALE_BONE = 0.005
#: Sine of the angle in which a thumb lies in the plane of the palm and tells no side. Over 20,000 synthetic and 2,728
#: real right hands the least is 0.15; labels 5 mm off turn it negative in fewer than one hand in a thousand.
UNDECIDED = 0.05


@dataclass(frozen=True)
class Screening:
    """Poses that may be used, and what was found among those that came. Indices count from the first pose given."""

    poses: np.ndarray
    """`[M, 21, 3]` float32, metres: right hands, and left ones if they were kept."""
    total: int
    """Number of poses that came."""
    left: np.ndarray
    """Indices of left hands: the thumb lies behind the palm."""
    bent_back: np.ndarray
    """Indices of hands that look left by their fingers, whose tips lie behind the palm, but not by their thumb."""
    undecided: np.ndarray
    """Indices of hands whose thumb lies in the plane of the palm, which may be either; taken as right."""
    treatment: str
    """What was done with the left hands: one of `LEFT`."""

    def report(self) -> str:
        """One line on what was found and what was done with it."""
        return describe(self.total, len(self.left), len(self.bent_back), len(self.undecided), self.treatment)


def describe(total: int, left: int, bent_back: int, undecided: int, treatment: str) -> str:
    """The counts of one or more screenings in words."""
    share = 100 / max(total, 1)
    fate = {"drop": "left out", "mirror": "mirrored to right hands", "keep": "kept as they are", "error": "refused"}
    words = [f"{total} poses: {left} left hands ({left * share:.1f} %)" + (f", {fate[treatment]}" if left else "")]
    if bent_back:
        words.append(
            f"{bent_back} ({bent_back * share:.1f} %) left-hand-like in their fingers, which bend behind the palm, but "
            "with a right hand's thumb: kept"
        )
    if undecided:
        words.append(f"{undecided} ({undecided * share:.1f} %) with the thumb in the plane of the palm: taken as right")
    return "; ".join(words)


def validate(poses: np.ndarray) -> np.ndarray:
    """Poses as float32 `[N, 21, 3]`. Raises ValueError, naming indices, value and remedy, for those that are none:
    another shape, no pose at all, joints that are not finite, a hand of impossible size (millimetres), a scale bone of
    no length."""
    poses = np.asarray(poses)
    if poses.ndim != 3 or poses.shape[1:] != (hand.NUM_JOINTS, 3):
        raise ValueError(f"poses are an array [N, {hand.NUM_JOINTS}, 3], not {list(poses.shape)}")
    if len(poses) == 0:
        raise ValueError("no poses: the array is empty")
    if not np.issubdtype(poses.dtype, np.floating):
        raise ValueError(f"poses are floating-point metres, not {poses.dtype}")
    poses = poses.astype(np.float32)
    bad = np.flatnonzero(~np.isfinite(poses).all(axis=(1, 2)))
    if len(bad):
        raise ValueError(f"{_among(bad, poses)} joints that are not finite; leave these poses out")
    start, end = hand.SCALE_BONE
    palm = np.linalg.norm(poses[:, hand.MIDDLE_MCP] - poses[:, hand.WRIST], axis=-1)
    bad = np.flatnonzero((palm < PALM_LENGTH[0]) | (palm > PALM_LENGTH[1]))
    if len(bad):
        raise ValueError(
            f"{_among(bad, poses)} {palm[bad[0]]:.4g} from the wrist to the middle MCP, where a hand has "
            f"{PALM_LENGTH[0]} to {PALM_LENGTH[1]} metres; divide millimetres by 1000, multiply lengths in scale units "
            "by the scale bone, and see that the joints are in FreiHAND order"
        )
    scale = np.linalg.norm(poses[:, end] - poses[:, start], axis=-1)
    bad = np.flatnonzero(scale < SHORTEST_SCALE_BONE)
    if len(bad):
        raise ValueError(f"{_among(bad, poses)} a scale bone (middle MCP to PIP) of {scale[bad[0]]:.4g} metres")
    return poses


def thumb_side(poses: np.ndarray) -> np.ndarray:
    """How far the thumb's joints lie in front of the palm, over their distance from the wrist: `[N]` in [-1, 1].

    The palm is the plane of wrist, index MCP and little MCP; positive is the palm's side for a right hand, and a
    mirrored hand has the same value with the other sign.
    """
    thumb = poses[:, hand.FINGER_JOINTS[0]] - poses[:, :1]
    return _in_front(poses, thumb).mean(axis=1) / np.linalg.norm(thumb, axis=-1).mean(axis=1)


def finger_side(poses: np.ndarray) -> np.ndarray:
    """How far the four fingertips lie in front of their MCP joints, mean in metres `[N]`; signs as `thumb_side`."""
    fingers = hand.FINGER_JOINTS[1:]
    return _in_front(poses, poses[:, fingers[:, 3]] - poses[:, fingers[:, 0]]).mean(axis=1)


def screen(poses: np.ndarray, *, left: str = "error") -> Screening:
    """Validated poses (see `validate`) with left hands found and treated.

    `left` is "error" to refuse them, "drop" to leave them out, "mirror" to make right hands of them, "keep" for data
    that is known to be right. A hand whose thumb lies in the plane of the palm can be told neither way: it counts as
    right, and is counted.

    Raises ValueError for what `validate` refuses, for an unknown `left`, and for left hands if it is "error".
    """
    if left not in LEFT:
        raise ValueError(f"unknown treatment '{left}' of left hands; choose one of {', '.join(LEFT)}")
    poses = validate(poses)
    thumb, fingers = thumb_side(poses), finger_side(poses)
    is_left = thumb < -UNDECIDED
    if left == "error" and is_left.any():
        raise ValueError(
            f"{_among(np.flatnonzero(is_left), poses)} the thumb behind the palm, as left hands have; mirror or drop "
            "them with left='mirror' or left='drop', or keep them with left='keep' if they are right hands"
        )
    kept = poses[~is_left] if left == "drop" else poses
    if left == "mirror":
        kept = np.where(is_left[:, None, None], poses * np.array([-1, 1, 1], poses.dtype), poses)
    return Screening(
        poses=kept,
        total=len(poses),
        left=np.flatnonzero(is_left),
        bent_back=np.flatnonzero((fingers < 0) & (thumb > UNDECIDED)),
        undecided=np.flatnonzero(np.abs(thumb) <= UNDECIDED),
        treatment=left,
    )


def _in_front(poses: np.ndarray, vectors: np.ndarray) -> np.ndarray:
    """Component of `vectors [N, K, 3]` along the palm's normal, which points out of a right hand's palm: `[N, K]`."""
    index, little = (poses[:, hand.FINGER_JOINTS[finger, 0]] - poses[:, 0] for finger in (1, 4))
    normal = np.cross(index, little)
    length = np.linalg.norm(normal, axis=-1, keepdims=True)
    # A palm on a line has no side: its poses come out as zero, undecided.
    normal = np.where(length > 0, normal / np.where(length > 0, length, 1), 0)
    return np.einsum("nki,ni->nk", vectors, normal)


def _among(bad: np.ndarray, poses: np.ndarray) -> str:
    indices = ", ".join(str(index) for index in bad[:5]) + (", ..." if len(bad) > 5 else "")
    return f"{len(bad)} of {len(poses)} poses (index {indices}) {'has' if len(bad) == 1 else 'have'}"
