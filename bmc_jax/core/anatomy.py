"""From 21 joints to what the biomechanical losses constrain: bones, the palm's shape, and the angles of the fingers.

Equations 1 to 6 of the paper, in closed form and vectorised over fingers. Every function takes joints `[..., 21, 3]` of
a right hand in FreiHAND order, in any length unit and any right-handed frame, and is pure: jit, vmap and grad pass
through. Lengths come out in the unit of the joints, curvature in its reciprocal, angles in radians.

A root bone (wrist to MCP, which for the thumb is the CMC) is `b_i`, i = 1..5 from thumb to little finger; `n_i` is the
normal of the plane that bones i and i+1 span. For a right hand n_i points out of the *back* of the hand.

Degenerate hands have finite values and gradients. A bone of no length is taken as straight: its angles are zero, and
the frame is handed on unturned. Root bones on a line span no plane: the finger's frame loses its palmar and radial
axes, its angles are zero or pi. At every such point the gradient of the quantity concerned is zero.
"""

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float

from bmc_jax.core import hand, numerics
from bmc_jax.core.types import require_shape


def bones(joints: Float[Array, "*batch 21 3"]) -> Float[Array, "*batch 5 4 3"]:
    """Bone vectors from parent to child, finger x (MCP, PIP, DIP, TIP), each named by its child joint.

    Raises ValueError for another shape, as everything here does that takes joints.
    """
    require_shape("joints in FreiHAND order", joints, hand.NUM_JOINTS, 3)
    # Slices, as FreiHAND's order allows: the gradient of a gather is a scatter, many times slower on a CPU.
    fingers = joints[..., 1:, :].reshape(*joints.shape[:-2], *hand.FINGER_JOINTS.shape, 3)
    wrist = jnp.broadcast_to(joints[..., None, :1, :], fingers[..., :1, :].shape)
    return fingers - jnp.concatenate([wrist, fingers[..., :-1, :]], axis=-2)


def bone_lengths(joints: Float[Array, "*batch 21 3"]) -> Float[Array, "*batch 5 4"]:
    """Length of every bone, finger x (MCP, PIP, DIP, TIP). Gradient zero at a bone of no length."""
    return numerics.norm(bones(joints))


def scale(joints: Float[Array, "*batch 21 3"]) -> Float[Array, "*batch"]:
    """Length of the scale bone (middle MCP to PIP): `joints / scale(joints)` are in scale units."""
    require_shape("joints in FreiHAND order", joints, hand.NUM_JOINTS, 3)
    start, end = hand.SCALE_BONE
    return numerics.norm(joints[..., end, :] - joints[..., start, :])


def plane_normals(joints: Float[Array, "*batch 21 3"]) -> Float[Array, "*batch 4 3"]:
    """n_i, unit normal of the plane of root bones i and i+1 (Eq. 2); zero where they lie on a line."""
    root_bones = bones(joints)[..., :, 0, :]
    return numerics.unit(jnp.cross(root_bones[..., 1:, :], root_bones[..., :-1, :]))


def edge_normals(joints: Float[Array, "*batch 21 3"]) -> Float[Array, "*batch 5 3"]:
    """e_i, unit normal at root bone i: the mean direction of the planes that meet in it (Eq. 2)."""
    normals = plane_normals(joints)
    between = numerics.unit(normals[..., 1:, :] + normals[..., :-1, :])
    return jnp.concatenate([normals[..., :1, :], between, normals[..., -1:, :]], axis=-2)


def palm_curvature(joints: Float[Array, "*batch 21 3"], *, squared: bool = True) -> Float[Array, "*batch 4"]:
    """c_i, curvature of the palm between root bones i and i+1 (Eq. 1); positive for a cupped hand, zero for a flat one.

    The printed denominator can be read as the distance of the bones' ends or as its square. The square is the discrete
    curvature that the paper cites, of unit 1/length; with `squared=False` the value has no unit.
    """
    root_bones = bones(joints)[..., :, 0, :]
    across = root_bones[..., 1:, :] - root_bones[..., :-1, :]
    normals = edge_normals(joints)
    # Divided by the length twice: its fourth power, which the square's derivative holds, underflows in float32.
    turn = jnp.sum((normals[..., 1:, :] - normals[..., :-1, :]) * numerics.unit(across), axis=-1)
    return numerics.divide(turn, numerics.norm(across)) if squared else turn


def palm_spread(joints: Float[Array, "*batch 21 3"]) -> Float[Array, "*batch 4"]:
    """phi_i, angle between root bones i and i+1 in [0, pi] (Eq. 3). Gradient zero at 0 and at pi."""
    root_bones = bones(joints)[..., :, 0, :]
    return numerics.angle(root_bones[..., :-1, :], root_bones[..., 1:, :])


def bone_frames(joints: Float[Array, "*batch 21 3"], *, detach: bool = False) -> Float[Array, "*batch 5 3 3 3"]:
    """Frame in which each PIP, DIP and TIP bone is measured: rows x (palmar), y (radial), z (along the parent bone).

    The first frame of a finger stands on the palm (Eq. 4); each next one is the last, turned by the angles of the bone
    between (Eq. 6). With `detach` no gradient flows through the frames, so that a bone's angle moves that bone only.
    """
    frames, _ = _walk_the_chain(joints, detach)
    return frames


def joint_angles(joints: Float[Array, "*batch 21 3"], *, detach_frames: bool = False) -> Float[Array, "*batch 5 3 2"]:
    """(flexion, abduction) of each finger's PIP, DIP and TIP bone (Eq. 5), their octants resolved by atan2.

    Flexion is in [-pi, pi], positive towards the palm; abduction in [-pi/2, pi/2], positive towards the thumb's side.
    A bone along the frame's y axis has no flexion: it is 0 there, with gradient zero.
    """
    _, local = _walk_the_chain(joints, detach_frames)
    x, y, z = local[..., 0], local[..., 1], local[..., 2]
    flexion = numerics.atan2(x, z)
    abduction = numerics.atan2(y, numerics.norm(jnp.stack([x, z], axis=-1)))
    return jnp.stack([flexion, abduction], axis=-1)


def _walk_the_chain(
    joints: Float[Array, "*batch 21 3"], detach: bool
) -> tuple[Float[Array, "*batch 5 3 3 3"], Float[Array, "*batch 5 3 3"]]:
    """Frames, and the unit bones in their frames, level by level for all fingers at once."""
    chain = bones(joints)
    frame = _palm_frames(joints)
    frames, local_bones = [], []
    for level in range(1, len(hand.LEVELS)):
        if detach:
            frame = jax.lax.stop_gradient(frame)
        local = jnp.einsum("...ij,...j->...i", frame, chain[..., level, :], precision="highest")
        local = numerics.unit(local, fallback=jnp.array([0.0, 0.0, 1.0], dtype=local.dtype))
        frames.append(frame)
        local_bones.append(local)
        frame = _turn(frame, local)
    return jnp.stack(frames, axis=-3), jnp.stack(local_bones, axis=-2)


def _palm_frames(joints: Float[Array, "*batch 21 3"]) -> Float[Array, "*batch 5 3 3"]:
    """Frames of the PIP bones (Eq. 4): z along the root bone, x = -n into the palm, y = z x x towards the thumb.

    The normals are those of the edges, but for the index: its frame stands on the plane to the middle finger alone, so
    that a moving thumb does not turn it. All contain their root bone's own plane, so x is orthogonal to z but for
    rounding, which the last cross product removes.
    """
    normals = jnp.concatenate([plane_normals(joints)[..., :2, :], edge_normals(joints)[..., 2:, :]], axis=-2)
    z = numerics.unit(bones(joints)[..., :, 0, :])
    y = numerics.unit(jnp.cross(normals, z))
    return jnp.stack([jnp.cross(y, z), y, z], axis=-2)


def _turn(frame: Float[Array, "*batch 3 3"], local: Float[Array, "*batch 3"]) -> Float[Array, "*batch 3 3"]:
    """The frame turned by a unit bone's flexion about y and then by its abduction about the turned x (Eq. 6).

    Flexion takes x to (cos, 0, -sin), whose sine and cosine are the bone's own components over their length, and the
    two rotations together take z to the bone: no angle is formed and no arc function differentiated.
    """
    flat = jnp.stack([local[..., 2], -local[..., 0]], axis=-1)
    flat = numerics.unit(flat, fallback=jnp.array([1.0, 0.0], dtype=local.dtype))
    x_local = jnp.stack([flat[..., 0], jnp.zeros_like(flat[..., 0]), flat[..., 1]], axis=-1)
    turned = jnp.stack([x_local, jnp.cross(local, x_local), local], axis=-2)
    return jnp.einsum("...ij,...jk->...ik", turned, frame, precision="highest")


#: Level names of the angles' middle axis: the bones whose angles are measured.
ANGLE_LEVELS = np.array(hand.LEVELS[1:])
