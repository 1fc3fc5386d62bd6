r"""The hand: 21 joints, 5 fingers of 4 levels, and the order every array of this package is in.

               12
            8  |   16
            |  11  |              FreiHAND order: 0 the wrist, then thumb, index, middle, ring, little,
            7  |   15   20        each from its base to its tip.
            |  10  |    |
       4    6  |   14   19        Fingers are rows and levels are columns: bones and joints
        \   |  |   |    |         [..., 5, 4, 3] are thumb..little x (MCP, PIP, DIP, TIP).
         3  5  9   13   18
          \  \ |   |   /          The palm of a right hand, fingers up: the thumb is on the left when
           2  \|   |  17          the back of the hand is seen.
            \  \  /  /
             1__\ | /
                 \|/
                  0

A bone bears the name of its child joint: the PIP bone runs from MCP to PIP. The five MCP bones start at the wrist and
are the *root bones* that span the palm. The thumb's CMC, MCP and IP joints take the MCP, PIP and DIP places.
"""

from typing import Any

import numpy as np
from jaxtyping import Bool, Float

FINGERS = ("thumb", "index", "middle", "ring", "little")
LEVELS = ("MCP", "PIP", "DIP", "TIP")

JOINTS = ("wrist", *(f"{finger} {level}" for finger in FINGERS for level in LEVELS))
NUM_JOINTS = len(JOINTS)
JOINT_ORDER = "freihand"
WRIST, MIDDLE_MCP, MIDDLE_PIP = 0, 9, 10

# int32, since JAX 0.10 remembers an int64 index array as the type that it had within `jax.enable_x64`, and fails on its
# next use without.
#: Joint index of each finger x level, `[5, 4]`.
FINGER_JOINTS = np.arange(1, NUM_JOINTS, dtype=np.int32).reshape(len(FINGERS), len(LEVELS))
#: Parent of each joint, `[21]`; the wrist is its own.
PARENTS = np.array([WRIST] + [parent for finger in FINGER_JOINTS for parent in (WRIST, *finger[:-1])], np.int32)
#: The joint by which each finger's PIP, DIP and TIP bone turns; the thumb's have names of their own.
TURNING_JOINTS = (("CMC", "MCP", "IP"),) + (LEVELS[:3],) * 4
#: The bone whose length is the unit of the network's depth and of the limits, as FreiHAND's `scale`.
SCALE_BONE = (MIDDLE_MCP, MIDDLE_PIP)

#: MANO, as HO-3D has it: index, middle, little, ring, thumb without their tips, then the five tips from the thumb.
_MANO = np.array([0, 13, 14, 15, 16, 1, 2, 3, 17, 4, 5, 6, 18, 10, 11, 12, 19, 7, 8, 9, 20])
#: Joint index in the named order of each joint in our order: `ours = theirs[..., TO_FREIHAND[name], :]`.
TO_FREIHAND = {
    "freihand": np.arange(NUM_JOINTS),
    # Three others that number their joints as FreiHAND does.
    "mediapipe": np.arange(NUM_JOINTS),
    "openpose": np.arange(NUM_JOINTS),
    "coco-wholebody": np.arange(NUM_JOINTS),
    # The paper's order runs level by level: wrist, five MCP, five PIP, five DIP, five TIP.
    "paper": np.concatenate([[WRIST], np.arange(1, NUM_JOINTS).reshape(len(LEVELS), len(FINGERS)).T.reshape(-1)]),
    # RHD runs from tip to base in every finger.
    "rhd": np.concatenate([[WRIST], FINGER_JOINTS[:, ::-1].reshape(-1)]),
    "ho3d": _MANO,
    "mano": _MANO,
    # InterHand2.6M, one hand of its two: tip to base in every finger, and the wrist at the end.
    "interhand": np.concatenate([[NUM_JOINTS - 1], FINGER_JOINTS[:, ::-1].reshape(-1) - 1]),
}


def mirror(
    joints: Float[Any, "*batch point 3"], left: Bool[Any, "*batch"] | None = None
) -> Float[Any, "*batch point 3"]:
    """Turns left hands into right hands, and back: x -> -x. The only mirroring of points in the package.

    It lives here, and is also `camera.mirror`, because dataset workers call it without JAX.

    Args:
      joints: joints or vertices in a camera frame, any unit, numpy or JAX.
      left: which hands to mirror; all by default.

    Returns:
      The points, of the same library and dtype.
    """
    library = joints.__array_namespace__()
    mirrored = library.concat([-joints[..., :1], joints[..., 1:]], axis=-1)
    return mirrored if left is None else library.where(left[..., None, None], mirrored, joints)
