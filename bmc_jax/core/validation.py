"""Validation of poses: shape, finite values, hand size in metres, and detection of left hands.

A left hand has flexion and curvature of the opposite sign: a few left hands among right hands give limits that allow
any pose. The side is detected from the thumb, which lies in front of the palm in every pose. The fingers are no
evidence of the side: those of a straight or overextended right hand bend behind the palm, as those of a left hand do.
That holds for 119 of 2,728 right hands of RHD (4.4 %) and two of five sample hands of FreiHAND. Both are reported.
"""

from dataclasses import dataclass

import numpy as np

from bmc_jax.core import hand
from bmc_jax.core.choices import LEFT_HANDS
from bmc_jax.core.plural import counted, plural

#: Range of the distance from the wrist to the middle MCP in metres, from an infant's hand to above the largest adult's.
PALM_LENGTH = (0.02, 0.25)
#: Least length of the scale bone (middle MCP to PIP) in metres. All lengths are divided by it.
SHORTEST_SCALE_BONE = 0.005
#: `thumb_side` below which the thumb lies in the plane of the palm and the side is undecided. The minimum over 20,000
#: synthetic and 2,728 real right hands is 0.15; label errors of 5 mm make fewer than one hand in a thousand negative.
UNDECIDED = 0.05


@dataclass(frozen=True)
class Screening:
    """Validated poses and the left hands found among them. Indices refer to the input."""

    poses: np.ndarray
    """`[M, 21, 3]` float32, metres: right hands, and left hands if `treatment` is "keep"."""
    total: int
    """Number of input poses."""
    left: np.ndarray
    """Indices of left hands: the thumb lies behind the palm."""
    bent_back: np.ndarray
    """Indices of right hands, by the thumb, whose fingertips lie behind the palm on average."""
    undecided: np.ndarray
    """Indices of hands whose thumb lies in the plane of the palm; they count as right hands."""
    treatment: str
    """Treatment of left hands, one of `choices.LEFT_HANDS`."""

    def report(self) -> str:
        """Returns the counts in one line."""
        return describe(self.total, len(self.left), len(self.bent_back), len(self.undecided), self.treatment)


def describe(total: int, left: int, bent_back: int, undecided: int, treatment: str) -> str:
    """Returns the counts of one or more screenings in one line."""
    percent = 100 / max(total, 1)
    done = {"drop": "left out", "mirror": "mirrored to right hands", "keep": "kept as they are", "error": "refused"}
    left_hands = f"{left} left {plural(left, 'hand')} ({left * percent:.1f} %)"
    parts = [f"{total} {plural(total, 'pose')}: {left_hands}" + (f", {done[treatment]}" if left else "")]
    if bent_back:
        parts.append(
            f"{bent_back} ({bent_back * percent:.1f} %) left-hand-like in their fingers, which bend behind the palm, "
            "but with a right hand's thumb: kept"
        )
    if undecided:
        parts.append(
            f"{undecided} ({undecided * percent:.1f} %) with the thumb in the plane of the palm: taken as right"
        )
    return "; ".join(parts)


def validate(poses: np.ndarray) -> np.ndarray:
    """Returns the poses as float32 `[N, 21, 3]`.

    Raises:
      ValueError: for another shape, an empty array, integers, joints that are not finite, a palm length outside
        `PALM_LENGTH` and a scale bone shorter than `SHORTEST_SCALE_BONE`.
    """
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
    """Returns the mean distance of the thumb's joints in front of the palm over that from the wrist, `[N]` in [-1, 1].

    The palm is the plane through wrist, index MCP and little MCP. The value is positive for right hands; mirroring
    changes its sign.
    """
    thumb = poses[:, hand.FINGER_JOINTS[0]] - poses[:, :1]
    return _in_front(poses, thumb).mean(axis=1) / np.linalg.norm(thumb, axis=-1).mean(axis=1)


def finger_side(poses: np.ndarray) -> np.ndarray:
    """Returns the mean distance of the four fingertips in front of their MCPs, `[N]` metres, signed as `thumb_side`."""
    fingers = hand.FINGER_JOINTS[1:]
    return _in_front(poses, poses[:, fingers[:, 3]] - poses[:, fingers[:, 0]]).mean(axis=1)


def screen(poses: np.ndarray, *, left: str = "error") -> Screening:
    """Validates poses, then detects and treats left hands.

    Args:
      poses: `[N, 21, 3]`, metres, FreiHAND order.
      left: treatment of left hands: "error" refuses them, "drop" leaves them out, "mirror" turns them into right hands,
        "keep" is for data of right hands alone.

    Raises:
      ValueError: as `validate`, for an unknown `left`, and for left hands if `left` is "error".
    """
    if left not in LEFT_HANDS:
        raise ValueError(f"unknown treatment '{left}' of left hands; choose one of {', '.join(LEFT_HANDS)}")
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
        kept = hand.mirror(poses, is_left)
    return Screening(
        poses=kept,
        total=len(poses),
        left=np.flatnonzero(is_left),
        bent_back=np.flatnonzero((fingers < 0) & (thumb > UNDECIDED)),
        undecided=np.flatnonzero(np.abs(thumb) <= UNDECIDED),
        treatment=left,
    )


def _in_front(poses: np.ndarray, vectors: np.ndarray) -> np.ndarray:
    """Returns the components `[N, K]` of `vectors [N, K, 3]` along the normal out of a right hand's palm."""
    index, little = (poses[:, hand.FINGER_JOINTS[finger, 0]] - poses[:, 0] for finger in (1, 4))
    normal = np.cross(index, little)
    length = np.linalg.norm(normal, axis=-1, keepdims=True)
    # If wrist and MCPs are collinear, the component is zero and the side undecided.
    normal = np.where(length > 0, normal / np.where(length > 0, length, 1), 0)
    return np.einsum("nki,ni->nk", vectors, normal)


def _among(bad: np.ndarray, poses: np.ndarray) -> str:
    indices = ", ".join(str(index) for index in bad[:5]) + (", ..." if len(bad) > 5 else "")
    return f"{len(bad)} of {counted(len(poses), 'pose')} (index {indices}) {plural(len(bad), 'has')}"
