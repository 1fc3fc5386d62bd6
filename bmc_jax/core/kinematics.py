"""Forward and inverse kinematics of the hand in bone lengths, palm shape and joint angles, with the exact Jacobian.

A hand has 63 coordinates: 6 for position and orientation, 20 bone lengths, 7 for the shape of the palm (`Palm`), and
the flexion and abduction of 15 joints (Eq. 5). The palm is described by quantities that do not change when the hand
moves: the spread between neighbouring root bones, and the fold between the two planes that meet in a root bone.
`pose_from_angles` is the inverse of Eq. 1 to Eq. 6: `anatomy` recovers the lengths, spreads and angles it was given.

The hand frame is the frame of the middle finger's PIP bone (Eq. 4): origin at the wrist, rows x palmar, y radial
(towards the thumb), z along the middle root bone. Joints are of right hands, in FreiHAND order, in any length unit;
angles are in radians. All functions are pure and work under jit, vmap and grad.
"""

from typing import NamedTuple

import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float

from bmc_jax.core import anatomy, hand, numerics
from bmc_jax.core.types import require_shape

X, Y, Z = range(3)
#: Index of the finger whose frame is the hand frame.
MIDDLE = 2

#: Columns of `finger_jacobian`.
LENGTHS, FLEXIONS, ABDUCTIONS = np.split(np.arange(10), [4, 7])
#: Columns of `palm_jacobian`: rotation of the hand, spreads, folds, translation, scale.
TURN, SPREADS, FOLDS, MOVE, SIZE = np.split(np.arange(14), [3, 7, 10, 13])
#: `[1, bone, joint, 1]`: 1 where the joint is moved by the bone, at its end or beyond.
_MOVED_BY = np.triu(np.ones((len(hand.LEVELS), len(hand.LEVELS)), np.float32))[None, ..., None]


class Palm(NamedTuple):
    """Shape of the fan of root bones: 7 angles in radians, thumb side first."""

    spread: Float[Array, "*batch 4"]
    """Radians: phi_i, angle between neighbouring root bones, in [0, pi] (Eq. 3)."""
    fold: Float[Array, "*batch 3"]
    """Radians: rotation of the plane's normal from n_i to n_(i+1) about the root bones of index, middle and ring, in
    [-pi, pi]. 0 for a flat palm, positive for a cupped one. `half_fold_sines` gives its relation to the curvature."""


class Posture(NamedTuple):
    """Shape and joint angles of a hand, without its position and orientation."""

    bone_lengths: Float[Array, "*batch 5 4"]
    """Length of each bone, finger x (MCP, PIP, DIP, TIP), in the unit of the joints."""
    palm: Palm
    """Spreads and folds of the palm."""
    angles: Float[Array, "*batch 5 3 2"]
    """Radians: (flexion, abduction) of each finger's PIP, DIP and TIP bone, as `anatomy.joint_angles`."""


class Chain(NamedTuple):
    """Frames and ends of the bones in the hand frame, finger x level."""

    frames: Float[Array, "*batch 5 4 3 3"]
    """Axes of each bone in rows, z along the bone. The first frame of a finger is the frame of its PIP bone's angles
    (Eq. 4); each later frame is the previous one, rotated by the bone's own angles (Eq. 6)."""
    ends: Float[Array, "*batch 5 4 3"]
    """Position of the joint at which the bone ends, in the unit of the bone lengths."""


def pose_from_angles(
    bone_lengths: Float[Array, "*batch 5 4"], palm: Palm, angles: Float[Array, "*batch 5 3 2"]
) -> Float[Array, "*batch 21 3"]:
    """Computes the joints from lengths, palm and angles: forward kinematics, differentiable everywhere.

    It is the inverse of `angles_from_pose` for lengths above 0, spreads in (0, pi), folds in (-pi, pi), abductions in
    (-pi/2, pi/2) and any flexion.

    Args:
      bone_lengths: length of each bone, finger x (MCP, PIP, DIP, TIP).
      palm: spreads and folds, radians.
      angles: (flexion, abduction) of each finger's PIP, DIP and TIP bone, radians.

    Returns:
      Joints in the hand frame, in the unit of the lengths.

    Raises:
      ValueError: if an argument has another shape.

    Examples:
      >>> import jax.numpy as jnp
      >>> from bmc_jax import hand, kinematics
      >>> lengths, palm, angles = kinematics.angles_from_pose(jnp.asarray(hand.EXAMPLE))
      >>> flat = kinematics.pose_from_angles(lengths, palm, jnp.zeros_like(angles))
      >>> print((1000 * flat[12]).round())  # tip of the straight middle finger: ahead of the wrist
      [  0.   0. 214.]
    """
    fingers = chain(bone_lengths, palm, angles).ends
    fingers = fingers.reshape(*fingers.shape[:-3], hand.NUM_JOINTS - 1, 3)
    return jnp.concatenate([jnp.zeros_like(fingers[..., :1, :]), fingers], axis=-2)


def chain(bone_lengths: Float[Array, "*batch 5 4"], palm: Palm, angles: Float[Array, "*batch 5 3 2"]) -> Chain:
    """Computes the bones of a hand with their frames, finger by finger.

    The positions are those of `pose_from_angles`.

    Args:
      bone_lengths: length of each bone, finger x (MCP, PIP, DIP, TIP).
      palm: spreads and folds, radians.
      angles: (flexion, abduction) of each finger's PIP, DIP and TIP bone, radians.

    Returns:
      Frames and ends of the bones in the hand frame, in the unit of the lengths.

    Raises:
      ValueError: if an argument has another shape.

    Examples:
      >>> import jax.numpy as jnp
      >>> from bmc_jax import hand, kinematics
      >>> bones = kinematics.chain(*kinematics.angles_from_pose(jnp.asarray(hand.EXAMPLE)))
      >>> print(bones.frames.shape, bones.ends.shape)
      (5, 4, 3, 3) (5, 4, 3)
    """
    require_shape("bone lengths", bone_lengths, *hand.FINGER_JOINTS.shape)
    require_shape("angles", angles, len(hand.FINGERS), len(hand.LEVELS) - 1, 2)
    require_shape("the palm's spread", palm.spread, 4)
    require_shape("the palm's fold", palm.fold, 3)
    frame = _palm_frames(palm)
    end = bone_lengths[..., 0, None] * frame[..., 2, :]
    frames, ends = [frame], [end]
    for level in range(1, len(hand.LEVELS)):
        flexion, abduction = angles[..., level - 1, 0], angles[..., level - 1, 1]
        # Eq. 6: flexion rotates z towards x, then abduction z towards y.
        frame = _rotate(_rotate(frame, Z, X, flexion), Z, Y, abduction)
        end = end + bone_lengths[..., level, None] * frame[..., 2, :]
        frames.append(frame)
        ends.append(end)
    return Chain(jnp.stack(frames, axis=-3), jnp.stack(ends, axis=-2))


def angles_from_pose(joints: Float[Array, "*batch 21 3"]) -> Posture:
    """Computes bone lengths, palm and angles of joints: inverse kinematics in closed form.

    `place(pose_from_angles(*angles_from_pose(joints)), hand_frame(joints), wrist)` returns the joints, unless root
    bones are collinear or a bone has zero length; `anatomy` defines the angles at those points.

    Args:
      joints: right hands, FreiHAND order, any length unit, any right-handed frame.

    Returns:
      Lengths in the unit of the joints, spreads, folds and angles in radians.

    Raises:
      ValueError: for joints of another shape, or of whole numbers.

    Examples:
      >>> import jax.numpy as jnp
      >>> from bmc_jax import hand, kinematics
      >>> posture = kinematics.angles_from_pose(jnp.asarray(hand.EXAMPLE))
      >>> print(jnp.degrees(posture.palm.fold).round())
      [25.  8.  7.]
    """
    directions = numerics.unit(anatomy.bones(joints)[..., 1:4, 0, :])
    normals = anatomy.plane_normals(joints)
    before, after = normals[..., :-1, :], normals[..., 1:, :]
    sine = jnp.sum(jnp.cross(before, after) * directions, axis=-1)
    fold = numerics.atan2(sine, jnp.sum(before * after, axis=-1))
    return Posture(anatomy.bone_lengths(joints), Palm(anatomy.palm_spread(joints), fold), anatomy.joint_angles(joints))


def hand_frame(joints: Float[Array, "*batch 21 3"]) -> Float[Array, "*batch 3 3"]:
    """Returns the axes of the hand frame: those of the middle finger's PIP bone (Eq. 4).

    Args:
      joints: right hands, FreiHAND order, any length unit.

    Returns:
      The axes x (palmar), y (radial) and z (along the middle root bone) in rows, in the frame of the joints.

    Raises:
      ValueError: for joints of another shape, or of whole numbers.

    Examples:
      >>> import jax.numpy as jnp
      >>> from bmc_jax import hand, kinematics
      >>> frame = kinematics.hand_frame(jnp.asarray(hand.EXAMPLE))
      >>> print(frame[2].round() + 0)  # along the fingers, which point up: y is down
      [ 0. -1.  0.]
    """
    return anatomy.bone_frames(joints)[..., MIDDLE, 0, :, :]


def place(
    joints: Float[Array, "*batch 21 3"], frame: Float[Array, "*batch 3 3"], wrist: Float[Array, "*batch 3"]
) -> Float[Array, "*batch 21 3"]:
    """Transforms joints from the hand frame to another frame.

    Args:
      joints: joints in the hand frame, any length unit.
      frame: axes of the hand frame in rows, in the other frame, see `hand_frame`.
      wrist: position of the wrist in the other frame, in the unit of the joints.

    Returns:
      Joints in the other frame.

    Examples:
      >>> import jax.numpy as jnp
      >>> from bmc_jax import hand, kinematics
      >>> joints = jnp.asarray(hand.EXAMPLE)
      >>> posed = kinematics.pose_from_angles(*kinematics.angles_from_pose(joints))
      >>> again = kinematics.place(posed, kinematics.hand_frame(joints), joints[0])
      >>> print(bool(jnp.allclose(again, joints, atol=1e-5)))
      True
    """
    turned = jnp.einsum("...ji,...ik->...jk", joints, frame, precision="highest")
    return turned + wrist[..., None, :]


def half_fold_sines(palm: Palm) -> Float[Array, "*batch 3"]:
    """Returns u = sin(fold / 2) of the index, middle and ring root bones.

    The curvatures of Eq. 1 are linear in u:

        c_i |b_(i+1) - b_i|^2 = sin(phi_i) (|b_i| u_(i+1) + |b_(i+1)| u_i),

    where u is 0 at the thumb and at the little finger, which lie in one plane only.

    Args:
      palm: spreads and folds, radians.

    Returns:
      Sines in [-1, 1], index finger first.

    Examples:
      >>> import jax.numpy as jnp
      >>> from bmc_jax import kinematics
      >>> palm = kinematics.Palm(spread=jnp.full(4, 0.3), fold=jnp.radians(jnp.array([60.0, 60.0, 180.0])))
      >>> print(kinematics.half_fold_sines(palm))
      [0.5 0.5 1. ]
    """
    return jnp.sin(palm.fold / 2)


def curvature_slopes(
    root_lengths: Float[Array, "*batch 5"], spread: Float[Array, "*batch 4"]
) -> tuple[Float[Array, "*batch 4"], Float[Array, "*batch 4"]]:
    """Returns the derivatives of c_i (Eq. 1) by u of root bone i and by u of root bone i+1 (see `half_fold_sines`).

    Args:
      root_lengths: lengths of the five root bones, thumb first.
      spread: angles between neighbouring root bones, radians.

    Returns:
      Both derivatives, thumb side first, in the reciprocal of the unit of the lengths; zero where neighbouring root
      bones end in the same point.

    Examples:
      >>> import jax.numpy as jnp
      >>> from bmc_jax import kinematics
      >>> slopes = kinematics.curvature_slopes(jnp.ones(5), jnp.full(4, jnp.pi / 2))
      >>> print(slopes[0])
      [0.5 0.5 0.5 0.5]
    """
    here, there = root_lengths[..., :-1], root_lengths[..., 1:]
    apart = here**2 + there**2 - 2 * here * there * jnp.cos(spread)
    return numerics.divide(there * jnp.sin(spread), apart), numerics.divide(here * jnp.sin(spread), apart)


def finger_jacobian(bones: Chain, scale: Float[Array, ""]) -> Float[Array, "5 10 4 3"]:
    """Returns the derivatives of each finger's joints by the finger's own parameters.

    Args:
      bones: the chain of one hand, lengths multiplied by `scale`.
      scale: length of a scale unit.

    Returns:
      Finger x parameter x joint x coordinate. The parameters are 4 lengths in scale units (`LENGTHS`), 3 `FLEXIONS` and
      3 `ABDUCTIONS` in radians.
    """
    x, y, z = (bones.frames[..., i, :] for i in range(3))
    levers = bones.ends[:, None] - bones.ends[:, :-1, None]
    # Flexion rotates about the y of the parent's frame, z to x; abduction about the bone's own x, z to y (Eq. 6).
    flexion = jnp.cross(y[:, :-1, None], levers) * _MOVED_BY[:, 1:]
    abduction = -jnp.cross(x[:, 1:, None], levers) * _MOVED_BY[:, 1:]
    return jnp.concatenate([z[:, :, None] * scale * _MOVED_BY, flexion, abduction], axis=1)


def palm_jacobian(bones: Chain, palm: Palm, scale: Float[Array, ""]) -> Float[Array, "5 14 4 3"]:
    """Returns the derivatives of the fingers' joints by the parameters that all fingers share.

    Args:
      bones: the chain of one hand, lengths multiplied by `scale`.
      palm: spreads and folds of the hand.
      scale: length of a scale unit.

    Returns:
      Finger x parameter x joint x coordinate. The parameters are the hand's rotation vector (`TURN`), `SPREADS`,
      `FOLDS`, translation (`MOVE`) and scale (`SIZE`). Of these only `MOVE` moves the wrist, by the identity.
    """
    identity = jnp.broadcast_to(jnp.eye(3, dtype=scale.dtype), (5, 3, 3))
    axes = jnp.concatenate([identity, _palm_axes(bones.frames[:, 0], palm)], axis=1)
    rotation = jnp.cross(axes[:, :, None], bones.ends[:, None])
    translation = jnp.broadcast_to(identity[:, :, None], (5, 3, len(hand.LEVELS), 3))
    return jnp.concatenate([rotation, translation, (bones.ends / scale)[:, None]], axis=1)


def _palm_frames(palm: Palm) -> Float[Array, "*batch 5 3 3"]:
    """Returns the frames of the PIP bones (Eq. 4) in the hand frame, built outwards from the middle root bone."""
    middle = jnp.broadcast_to(jnp.eye(3, dtype=palm.fold.dtype), (*palm.fold.shape[:-1], 3, 3))
    thumb_spread, index_spread, ring_spread, little_spread = (palm.spread[..., i] for i in range(4))
    index_fold, middle_fold, ring_fold = (palm.fold[..., i] for i in range(3))
    # Folds rotate x towards y, spreads y towards z. Middle and ring use the mean normal of two planes, half a fold from
    # either; the other fingers use one plane.
    index = _rotate(_rotate(middle, X, Y, -middle_fold / 2), Y, Z, -index_spread)
    thumb = _rotate(_rotate(index, X, Y, -index_fold), Y, Z, -thumb_spread)
    ring = _rotate(_rotate(_rotate(middle, X, Y, middle_fold / 2), Y, Z, ring_spread), X, Y, ring_fold / 2)
    little = _rotate(_rotate(ring, X, Y, ring_fold / 2), Y, Z, little_spread)
    return jnp.stack([thumb, index, middle, ring, little], axis=-3)


def _rotate(
    frame: Float[Array, "*batch 3 3"], axis: int, towards: int, angle: Float[Array, "*batch"]
) -> Float[Array, "*batch 3 3"]:
    """Rotates a frame in the plane of two of its axes, the first towards the second."""
    axes = [frame[..., i, :] for i in range(3)]
    cosine, sine = jnp.cos(angle)[..., None], jnp.sin(angle)[..., None]
    first, second = axes[axis], axes[towards]
    axes[axis], axes[towards] = cosine * first + sine * second, cosine * second - sine * first
    return jnp.stack(axes, axis=-2)


def _palm_axes(frames: Float[Array, "5 3 3"], palm: Palm) -> Float[Array, "5 7 3"]:
    """Returns the axis about which each spread and each fold rotates each finger; the middle finger stays fixed."""
    x, y, z = (frames[:, i] for i in range(3))
    half = palm.fold[2] / 2
    before_fold = jnp.cos(half) * x[3] - jnp.sin(half) * y[3]
    rest = jnp.zeros_like(half)
    thumb = jnp.stack([-x[0], -x[1], 0 * x[0], 0 * x[0], -z[1], -z[2] / 2, 0 * x[0]])
    index = thumb.at[np.array([0, 4])].set(rest)
    middle = jnp.broadcast_to(rest, thumb.shape)
    ring = jnp.stack([0 * x[0], 0 * x[0], before_fold, 0 * x[0], 0 * x[0], z[2] / 2, z[3] / 2])
    little = ring.at[3].set(x[4]).at[6].set(z[3])
    return jnp.stack([thumb, index, middle, ring, little])
