"""Hands as arrays, the result of a model."""

from dataclasses import dataclass

import numpy as np
from jaxtyping import Bool, Float, Int


@dataclass(frozen=True)
class Hands:
    """Hands found by a `Model`: host numpy, one row for each hand, in the order of images and boxes or of landmarks.

    The arrays and their names are those of `joints.npz` of `bmc predict`. "Beyond" is the distance to the nearest
    allowed value, 0 within the limits.
    """

    image: Int[np.ndarray, " hand"]
    """Number of the image, or of the hand for lifted landmarks."""
    left: Bool[np.ndarray, " hand"]
    """Whether it is a left hand, from the argument."""
    size: Int[np.ndarray, "hand 2"]
    """(width, height) of the image."""
    box: Float[np.ndarray, "hand 4"]
    """(left, top, right, bottom), pixels of the image."""
    intrinsics: Float[np.ndarray, "hand 3 3"]
    """K of the image, pixels, given or assumed."""
    joints_2d: Float[np.ndarray, "hand 21 2"]
    """Predicted or given pixels of the image, the centre of the first pixel at (0, 0), FreiHAND order."""
    joints_3d: Float[np.ndarray, "hand 21 3"]
    """Metres, camera frame: x right, y down, z forward. Left hands are not mirrored."""
    joints_3d_scale: Float[np.ndarray, "hand 21 3"]
    """`joints_3d` in scale units, lengths of the bone from middle MCP to middle PIP."""
    within_limits: Bool[np.ndarray, " hand"]
    """Whether every quantity is within its limit."""
    angles: Float[np.ndarray, "hand 5 3 2"]
    """(flexion, abduction), radians, of each finger's PIP, DIP and TIP bone; signs are the same on both hands."""
    angles_beyond: Float[np.ndarray, "hand 5 3"]
    """Radians."""
    bone_length: Float[np.ndarray, "hand 5 4"]
    """Bone lengths, scale units."""
    bone_length_beyond: Float[np.ndarray, "hand 5 4"]
    """Scale units."""
    curvature: Float[np.ndarray, "hand 4"]
    """Curvature of the palm, reciprocal scale units."""
    curvature_beyond: Float[np.ndarray, "hand 4"]
    """Reciprocal scale units."""
    spread: Float[np.ndarray, "hand 4"]
    """Spread of the palm, radians."""
    spread_beyond: Float[np.ndarray, "hand 4"]
    """Radians."""

    def __len__(self) -> int:
        return len(self.image)

    @classmethod
    def none(cls) -> "Hands":
        """Returns empty arrays."""
        finger_joints = {
            "angles": (5, 3, 2),
            "angles_beyond": (5, 3),
            "bone_length": (5, 4),
            "bone_length_beyond": (5, 4),
        }
        palm = dict.fromkeys(("curvature", "curvature_beyond", "spread", "spread_beyond"), (4,))
        pose = {
            "box": (4,),
            "intrinsics": (3, 3),
            "joints_2d": (21, 2),
            "joints_3d": (21, 3),
            "joints_3d_scale": (21, 3),
        }
        return cls(
            image=np.zeros(0, np.int64),
            left=np.zeros(0, bool),
            size=np.zeros((0, 2), np.int64),
            within_limits=np.zeros(0, bool),
            **{name: np.zeros((0, *shape)) for name, shape in pose.items()},
            **{name: np.zeros((0, *shape), np.float32) for name, shape in (finger_joints | palm).items()},
        )
