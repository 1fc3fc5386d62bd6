"""Forward and inverse kinematics by the angles that limits hold: from lengths, palm and angles to 21 joints, and back.

A hand has 63 coordinates, and here they are: where it is (6), 20 bone lengths, the palm's shape (7), and flexion and
abduction of 15 joints (Eq. 5). The palm is described by what stays when the hand is moved: the spread between
neighbouring root bones, and the fold of the two planes that meet in a root bone, which cups it. `pose_from_angles` is
the inverse of Eq. 1 to 6: `anatomy` finds in its joints the lengths, spreads and angles that went in.

The hand frame is the middle finger's own (Eq. 4): origin at the wrist, rows x palmar, y radial (towards the thumb),
z along the middle root bone. Right hands, FreiHAND order, any length unit, radians; pure: jit, vmap and grad pass.
"""

from typing import NamedTuple

import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float

from bmc_jax.core import anatomy, hand, numerics
from bmc_jax.core.types import require_shape

#: Of the five fingers, the one in whose frame the hand is laid out.
MIDDLE = 2


class Palm(NamedTuple):
    """Shape of the fan of root bones, 7 angles in radians, thumb side first."""

    spread: Float[Array, "*batch 4"]
    """phi_i, angle between neighbouring root bones, in [0, pi] (Eq. 3)."""
    fold: Float[Array, "*batch 3"]
    """Turn of the plane's normal about the root bones of index, middle and ring, from n_i to n_(i+1), in [-pi, pi];
    0 for a flat palm, positive for a cupped one. See `half_fold_sines` for how it makes the curvature."""


class Posture(NamedTuple):
    """All of a hand but where it is."""

    bone_lengths: Float[Array, "*batch 5 4"]
    palm: Palm
    angles: Float[Array, "*batch 5 3 2"]
    """(flexion, abduction) of each finger's PIP, DIP and TIP bone, as `anatomy.joint_angles`."""


class Chain(NamedTuple):
    """Bones in the hand frame, finger x level."""

    frames: Float[Array, "*batch 5 4 3 3"]
    """Axes of each bone in rows, z along it. A finger's first is that in which its PIP bone's angles are told (Eq. 4),
    every other the one before turned by the bone's own angles."""
    ends: Float[Array, "*batch 5 4 3"]
    """The joint at which the bone ends."""


def pose_from_angles(
    bone_lengths: Float[Array, "*batch 5 4"], palm: Palm, angles: Float[Array, "*batch 5 3 2"]
) -> Float[Array, "*batch 21 3"]:
    """Joints in the hand frame, in the unit of the lengths: forward kinematics.

    Inverse of `angles_from_pose`, for lengths above 0, spreads in (0, pi), folds in (-pi, pi) and abductions in
    (-pi/2, pi/2); any flexion. Differentiable everywhere. Raises ValueError for another shape.
    """
    fingers = chain(bone_lengths, palm, angles).ends
    fingers = fingers.reshape(*fingers.shape[:-3], hand.NUM_JOINTS - 1, 3)
    return jnp.concatenate([jnp.zeros_like(fingers[..., :1, :]), fingers], axis=-2)


def chain(bone_lengths: Float[Array, "*batch 5 4"], palm: Palm, angles: Float[Array, "*batch 5 3 2"]) -> Chain:
    """The same finger by finger, with the frames that its bones end: what else hangs on a bone is placed by them."""
    require_shape("bone lengths", bone_lengths, *hand.FINGER_JOINTS.shape)
    require_shape("angles", angles, len(hand.FINGERS), len(hand.LEVELS) - 1, 2)
    require_shape("the palm's spread", palm.spread, 4)
    require_shape("the palm's fold", palm.fold, 3)
    frame = _palm_frames(palm)
    end = bone_lengths[..., 0, None] * frame[..., 2, :]
    frames, ends = [frame], [end]
    for level in range(1, len(hand.LEVELS)):
        frame = _bent(frame, angles[..., level - 1, 0], angles[..., level - 1, 1])
        end = end + bone_lengths[..., level, None] * frame[..., 2, :]
        frames.append(frame)
        ends.append(end)
    return Chain(jnp.stack(frames, axis=-3), jnp.stack(ends, axis=-2))


def angles_from_pose(joints: Float[Array, "*batch 21 3"]) -> Posture:
    """Bone lengths, palm and angles of joints in any right-handed frame: inverse kinematics, in closed form.

    `place(pose_from_angles(*angles_from_pose(joints)), hand_frame(joints), wrist)` are the joints again, unless root
    bones lie on a line or a bone has no length: see `anatomy` for what the angles are there.
    """
    directions = numerics.unit(anatomy.bones(joints)[..., 1:4, 0, :])
    normals = anatomy.plane_normals(joints)
    before, after = normals[..., :-1, :], normals[..., 1:, :]
    sine = jnp.sum(jnp.cross(before, after) * directions, axis=-1)
    fold = numerics.atan2(sine, jnp.sum(before * after, axis=-1))
    return Posture(anatomy.bone_lengths(joints), Palm(anatomy.palm_spread(joints), fold), anatomy.joint_angles(joints))


def hand_frame(joints: Float[Array, "*batch 21 3"]) -> Float[Array, "*batch 3 3"]:
    """The hand frame's axes in its rows, in the frame of the joints."""
    return anatomy.bone_frames(joints)[..., MIDDLE, 0, :, :]


def place(
    joints: Float[Array, "*batch 21 3"], frame: Float[Array, "*batch 3 3"], wrist: Float[Array, "*batch 3"]
) -> Float[Array, "*batch 21 3"]:
    """Joints of the hand frame where that frame has these axes, in its rows, and this origin."""
    turned = jnp.einsum("...ji,...ik->...jk", joints, frame, precision="highest")
    return turned + wrist[..., None, :]


def half_fold_sines(palm: Palm) -> Float[Array, "*batch 3"]:
    """u = sin(fold / 2) of index, middle and ring root bone. The curvatures of Eq. 1 are linear in them:

        c_i |b_(i+1) - b_i|^2 = sin(phi_i) (|b_i| u_(i+1) + |b_(i+1)| u_i),

    where u is 0 at the thumb and at the little finger, which only one plane meets.
    """
    return jnp.sin(palm.fold / 2)


def curvature_slopes(
    root_lengths: Float[Array, "*batch 5"], spread: Float[Array, "*batch 4"]
) -> tuple[Float[Array, "*batch 4"], Float[Array, "*batch 4"]]:
    """By how much c_i (Eq. 1) grows with u of its own root bone i, and with that of bone i+1; see `half_fold_sines`.

    Zero where neighbouring root bones end in one point.
    """
    here, there = root_lengths[..., :-1], root_lengths[..., 1:]
    apart = here**2 + there**2 - 2 * here * there * jnp.cos(spread)
    return numerics.divide(there * jnp.sin(spread), apart), numerics.divide(here * jnp.sin(spread), apart)


def _palm_frames(palm: Palm) -> Float[Array, "*batch 5 3 3"]:
    """Frames of the PIP bones (Eq. 4) in the hand frame, built outwards from the middle root bone."""
    middle = jnp.broadcast_to(jnp.eye(3, dtype=palm.fold.dtype), (*palm.fold.shape[:-1], 3, 3))
    thumb_spread, index_spread, ring_spread, little_spread = (palm.spread[..., i] for i in range(4))
    index_fold, middle_fold, ring_fold = (palm.fold[..., i] for i in range(3))
    # Middle and ring stand on the mean of two planes, half a fold from either; the others on one plane.
    index = _spread(_rolled(middle, -middle_fold / 2), -index_spread)
    thumb = _spread(_rolled(index, -index_fold), -thumb_spread)
    ring = _rolled(_spread(_rolled(middle, middle_fold / 2), ring_spread), ring_fold / 2)
    little = _spread(_rolled(ring, ring_fold / 2), little_spread)
    return jnp.stack([thumb, index, middle, ring, little], axis=-3)


def _rolled(frame: Float[Array, "*batch 3 3"], angle: Float[Array, "*batch"]) -> Float[Array, "*batch 3 3"]:
    """Turned about its z, so that the back of the hand turns to the little finger."""
    x, y, z = _axes(frame)
    cosine, sine = jnp.cos(angle)[..., None], jnp.sin(angle)[..., None]
    return jnp.stack([cosine * x + sine * y, cosine * y - sine * x, z], axis=-2)


def _spread(frame: Float[Array, "*batch 3 3"], angle: Float[Array, "*batch"]) -> Float[Array, "*batch 3 3"]:
    """Turned about its x, so that its z turns to the little finger."""
    x, y, z = _axes(frame)
    cosine, sine = jnp.cos(angle)[..., None], jnp.sin(angle)[..., None]
    return jnp.stack([x, cosine * y + sine * z, cosine * z - sine * y], axis=-2)


def _bent(
    frame: Float[Array, "*batch 3 3"], flexion: Float[Array, "*batch"], abduction: Float[Array, "*batch"]
) -> Float[Array, "*batch 3 3"]:
    """Turned by the flexion about its y, z to x, and then by the abduction about its new x, z to y (Eq. 6)."""
    x, y, z = _axes(frame)
    cosine, sine = jnp.cos(flexion)[..., None], jnp.sin(flexion)[..., None]
    palmar, along = cosine * x - sine * z, cosine * z + sine * x
    cosine, sine = jnp.cos(abduction)[..., None], jnp.sin(abduction)[..., None]
    return jnp.stack([palmar, cosine * y - sine * along, cosine * along + sine * y], axis=-2)


def _axes(frame: Float[Array, "*batch 3 3"]) -> tuple[Float[Array, "*batch 3"], ...]:
    return frame[..., 0, :], frame[..., 1, :], frame[..., 2, :]


LEVELS = len(hand.LEVELS)
LENGTHS, FLEXIONS, ABDUCTIONS = np.split(np.arange(10), [4, 7])
TURN, SPREADS, FOLDS, MOVE, SIZE = np.split(np.arange(14), [3, 7, 10, 13])
#: [:, l, k]: joint k lies beyond the start of bone l.
BEYOND = np.triu(np.ones((LEVELS, LEVELS), np.float32))[None, ..., None]


def of_finger(bones: Chain, scale: Float[Array, ""]) -> Float[Array, "5 10 4 3"]:
    """Velocity of each finger's joints by its own columns: lengths in scale units, and angles."""
    x, y, z = (bones.frames[..., i, :] for i in range(3))
    levers = bones.ends[:, None] - bones.ends[:, :-1, None]
    # Flexion turns about the y of the frame before, z to x; abduction about its own x, z to y (Eq. 6).
    flexion = jnp.cross(y[:, :-1, None], levers) * BEYOND[:, 1:]
    abduction = -jnp.cross(x[:, 1:, None], levers) * BEYOND[:, 1:]
    return jnp.concatenate([z[:, :, None] * scale * BEYOND, flexion, abduction], axis=1)


def of_palm(bones: Chain, palm: Palm, scale: Float[Array, ""]) -> Float[Array, "5 14 4 3"]:
    """Velocity of the fingers' joints by the columns of the palm. Of these only `MOVE` moves the wrist, which goes
    where it says."""
    every = jnp.broadcast_to(jnp.eye(3, dtype=scale.dtype), (5, 3, 3))
    axes = jnp.concatenate([every, _axes_of_palm(bones.frames[:, 0], palm)], axis=1)
    turned = jnp.cross(axes[:, :, None], bones.ends[:, None])
    moved = jnp.broadcast_to(every[:, :, None], (5, 3, LEVELS, 3))
    return jnp.concatenate([turned, moved, (bones.ends / scale)[:, None]], axis=1)


def _axes_of_palm(frames: Float[Array, "5 3 3"], palm: Palm) -> Float[Array, "5 7 3"]:
    """Axis about which each spread and fold turns each finger: outwards from the middle one, which stays."""
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
