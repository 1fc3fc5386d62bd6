r"""Structure of the hand: names and order of 21 joints on 5 fingers, other joint orders, and mirroring.

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

A bone has the name of its child joint: the PIP bone runs from MCP to PIP. The five MCP bones start at the wrist and are
the *root bones* that span the palm. The thumb's CMC, MCP and IP joints take the places of MCP, PIP and DIP.
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

# int32, because JAX 0.10 caches an int64 index array with the type it had under `jax.enable_x64`, and fails on the next
# use without it.
#: Joint index of each finger x level, `[5, 4]`.
FINGER_JOINTS = np.arange(1, NUM_JOINTS, dtype=np.int32).reshape(len(FINGERS), len(LEVELS))
#: Parent of each joint, `[21]`; the wrist is its own.
PARENTS = np.array([WRIST] + [parent for finger in FINGER_JOINTS for parent in (WRIST, *finger[:-1])], np.int32)
#: Anatomical name of the joint at which each finger's PIP, DIP and TIP bone rotates.
TURNING_JOINTS = (("CMC", "MCP", "IP"),) + (LEVELS[:3],) * 4
#: (parent, child) of the bone whose length is the scale unit of networks and limits, as FreiHAND's `scale`.
SCALE_BONE = (MIDDLE_MCP, MIDDLE_PIP)

#: A relaxed right hand for examples, `[21, 3]`, metres, camera frame: the back of the hand faces the camera, half a
#: metre away, and the fingers point up. It is within the limits of the preset "clinical".
EXAMPLE = np.array(
    [
        [0.010, 0.090, 0.500],
        *[[-0.022, 0.060, 0.513], [-0.053, 0.023, 0.542], [-0.069, -0.001, 0.567], [-0.078, -0.020, 0.591]],
        *[[-0.021, -0.021, 0.502], [-0.036, -0.064, 0.520], [-0.041, -0.082, 0.540], [-0.045, -0.095, 0.560]],
        *[[0.010, -0.020, 0.500], [0.010, -0.062, 0.520], [0.010, -0.082, 0.545], [0.010, -0.091, 0.569]],
        *[[0.038, -0.008, 0.502], [0.051, -0.050, 0.526], [0.054, -0.066, 0.553], [0.054, -0.074, 0.578]],
        *[[0.062, 0.009, 0.507], [0.080, -0.017, 0.530], [0.085, -0.026, 0.551], [0.084, -0.030, 0.575]],
    ],
    np.float32,
)

# MANO, as in HO-3D: index, middle, little, ring, thumb without their tips, then the five tips from the thumb.
_MANO = np.array([0, 13, 14, 15, 16, 1, 2, 3, 17, 4, 5, 6, 18, 10, 11, 12, 19, 7, 8, 9, 20])
#: Index in the named order of each joint in FreiHAND order: `ours = theirs[..., TO_FREIHAND[name], :]`.
TO_FREIHAND = {
    "freihand": np.arange(NUM_JOINTS),
    # The next three number their joints as FreiHAND does.
    "mediapipe": np.arange(NUM_JOINTS),
    "openpose": np.arange(NUM_JOINTS),
    "coco-wholebody": np.arange(NUM_JOINTS),
    # The paper's order runs level by level: wrist, five MCP, five PIP, five DIP, five TIP.
    "paper": np.concatenate([[WRIST], np.arange(1, NUM_JOINTS).reshape(len(LEVELS), len(FINGERS)).T.reshape(-1)]),
    # RHD runs from tip to base in every finger.
    "rhd": np.concatenate([[WRIST], FINGER_JOINTS[:, ::-1].reshape(-1)]),
    "ho3d": _MANO,
    "mano": _MANO,
    # One hand of InterHand2.6M runs from tip to base in every finger, with the wrist at the end.
    "interhand": np.concatenate([[NUM_JOINTS - 1], FINGER_JOINTS[:, ::-1].reshape(-1) - 1]),
}


def mirror(
    joints: Float[Any, "*batch point 3"], left: Bool[Any, "*batch"] | None = None
) -> Float[Any, "*batch point 3"]:
    """Turns left hands into right hands and back: x -> -x.

    No other code of the package mirrors points. The function is also `camera.mirror`; it is defined here because
    dataset workers import this module without JAX.

    Args:
      joints: joints or vertices in a camera frame, any unit, numpy or JAX.
      left: which hands to mirror; all by default.

    Returns:
      The points, of the same library and dtype.

    Examples:
      >>> from bmc_jax import hand
      >>> hand.EXAMPLE[hand.JOINTS.index("thumb TIP")]
      array([-0.078, -0.02 ,  0.591], dtype=float32)
      >>> hand.mirror(hand.EXAMPLE)[hand.JOINTS.index("thumb TIP")]
      array([ 0.078, -0.02 ,  0.591], dtype=float32)
    """
    library = joints.__array_namespace__()
    mirrored = library.concat([-joints[..., :1], joints[..., 1:]], axis=-1)
    return mirrored if left is None else library.where(left[..., None, None], mirrored, joints)
