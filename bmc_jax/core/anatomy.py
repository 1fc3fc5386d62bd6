"""Bones, palm shape and joint angles of 21 joints (Eq. 1 to Eq. 6).

Every function takes joints `[..., 21, 3]` of a right hand in FreiHAND order, in any length unit and any right-handed
frame; another shape raises ValueError. Lengths are in the unit of the joints, curvatures in its reciprocal, angles in
radians. All functions are pure and vectorised over fingers, and work under jit, vmap and grad.

A root bone (wrist to MCP, for the thumb wrist to CMC) is `b_i`, i = 1..5 from thumb to little finger; `n_i` is the unit
normal of the plane of bones i and i+1. For a right hand n_i points out of the back of the hand.

Values and gradients are finite for degenerate hands, the same compiled or not, and NaN where a joint that they depend
on is NaN. A bone of zero length counts as straight: its angles are zero and the frame is passed on unrotated. Collinear
root bones have no plane: the finger's frame has no palmar and radial axes, and its angles are zero or pi. At each such
point the gradient of the quantity concerned is zero. "Zero" and "collinear" are up to `numerics.COLLAPSED_LENGTH` and
`COLLAPSED_SINE`, which are relative to the hand's longest bone, so that they hold in every unit.
"""

import functools
from collections.abc import Callable

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float

from bmc_jax.core import fast_anatomy, hand, numerics, poses_last
from bmc_jax.core.types import require_shape

_SCALE_BONE = tuple(int(i) for i in np.argwhere(hand.SCALE_BONE[1] == hand.FINGER_JOINTS)[0])


def bones(joints: Float[Array, "*batch 21 3"]) -> Float[Array, "*batch 5 4 3"]:
    """Returns the vectors from parent to child joint.

    Args:
      joints: right hands, FreiHAND order, any length unit.

    Returns:
      Finger x (MCP, PIP, DIP, TIP) x coordinate: a bone has the name of its child joint. In the unit of the joints.

    Raises:
      ValueError: for joints of another shape.

    Examples:
      >>> import jax.numpy as jnp
      >>> from bmc_jax import anatomy, hand
      >>> bones = anatomy.bones(jnp.asarray(hand.EXAMPLE))
      >>> print(bones.shape, (1000 * bones[1, 1]).round())  # millimetres
      (5, 4, 3) [-15. -43.  18.]
    """
    require_shape("joints in FreiHAND order", joints, hand.NUM_JOINTS, 3)
    # Slices instead of a gather, whose gradient is a scatter and many times slower on a CPU.
    fingers = joints[..., 1:, :].reshape(*joints.shape[:-2], *hand.FINGER_JOINTS.shape, 3)
    wrist = jnp.broadcast_to(joints[..., None, :1, :], fingers[..., :1, :].shape)
    return fingers - jnp.concatenate([wrist, fingers[..., :-1, :]], axis=-2)


def _scaled_bones(joints: Float[Array, "*batch 21 3"]) -> tuple[Float[Array, "*batch 5 4 3"], Float[Array, "*batch"]]:
    """Returns the bones times a power of two that brings their largest coordinate to [1, 2), and the power.

    A power of two rounds nothing, and thresholds and derivatives of every order become independent of the unit.

    Raises:
      ValueError: for joints of whole numbers, which have no gradient.
    """
    chain = bones(joints)
    if not jnp.issubdtype(chain.dtype, jnp.floating):
        raise ValueError(f"joints: expected floating-point numbers, got {chain.dtype}; convert them to float32")
    fixed = jax.lax.stop_gradient(chain)
    largest = jnp.max(jnp.where(jnp.isfinite(fixed), jnp.abs(fixed), 0.0), axis=(-3, -2, -1))
    _, exponent = jnp.frexp(largest)
    limit = jnp.finfo(chain.dtype).maxexp - 2
    factor = jnp.ldexp(jnp.ones_like(largest), jnp.clip(1 - exponent, -limit, limit))
    return chain * factor[..., None, None, None], factor


def bone_lengths(joints: Float[Array, "*batch 21 3"]) -> Float[Array, "*batch 5 4"]:
    """Returns the length of each bone.

    The gradient is zero at zero length.

    Args:
      joints: right hands, FreiHAND order, any length unit.

    Returns:
      Finger x (MCP, PIP, DIP, TIP), in the unit of the joints.

    Raises:
      ValueError: for joints of another shape, or of whole numbers.

    Examples:
      >>> import jax.numpy as jnp
      >>> from bmc_jax import anatomy, hand
      >>> joints = jnp.asarray(hand.EXAMPLE)
      >>> print((1000 * anatomy.bone_lengths(joints)[1]).round())  # index finger, millimetres
      [115.  49.  27.  24.]
    """
    chain, factor = _scaled_bones(joints)
    return numerics.norm(chain, numerics.COLLAPSED_LENGTH) / factor[..., None, None]


def scale(joints: Float[Array, "*batch 21 3"]) -> Float[Array, "*batch"]:
    """Returns the length of the scale bone (middle MCP to PIP), the scale unit.

    The gradient is zero at zero length.

    Args:
      joints: right hands, FreiHAND order, any length unit.

    Returns:
      The length, in the unit of the joints.

    Raises:
      ValueError: for joints of another shape, or of whole numbers.

    Examples:
      >>> import jax.numpy as jnp
      >>> from bmc_jax import anatomy, hand
      >>> print(f"{1000 * anatomy.scale(jnp.asarray(hand.EXAMPLE)):.1f} mm")
      46.5 mm
    """
    return bone_lengths(joints)[..., *_SCALE_BONE]


def normalize(joints: Float[Array, "*batch 21 3"]) -> tuple[Float[Array, "*batch 21 3"], Float[Array, "*batch"]]:
    """Divides joints by their scale. Limits and losses are in these scale units.

    Args:
      joints: right hands, FreiHAND order, any length unit.

    Returns:
      The joints in scale units, and the scale in the unit of the joints. Where the scale bone is shorter than
      `numerics.SMALLEST_DIVISOR` times the hand's longest, as in a frame without a hand, both are zero with zero
      gradient; `scale > 0` is the mask of the other poses.

    Raises:
      ValueError: for joints of another shape, or of whole numbers.

    Examples:
      >>> import jax.numpy as jnp
      >>> from bmc_jax import anatomy, hand
      >>> joints, scale = anatomy.normalize(jnp.asarray(hand.EXAMPLE))
      >>> print(f"{scale:.4f} {anatomy.scale(joints):.4f}")
      0.0465 1.0000
    """
    chain, factor = _scaled_bones(joints)
    unit = numerics.norm(chain[..., *_SCALE_BONE, :], numerics.SMALLEST_DIVISOR) / factor
    return numerics.divide(joints, unit[..., None, None]), unit


def plane_normals(joints: Float[Array, "*batch 21 3"]) -> Float[Array, "*batch 4 3"]:
    """Returns n_i, the unit normal of root bones i and i+1 (Eq. 2).

    Args:
      joints: right hands, FreiHAND order, any length unit.

    Returns:
      Normals from the thumb's side to the little finger's, out of the back of the hand; zero where the bones are
      collinear.

    Raises:
      ValueError: for joints of another shape, or of whole numbers.

    Examples:
      >>> import jax.numpy as jnp
      >>> from bmc_jax import anatomy, hand
      >>> normals = anatomy.plane_normals(jnp.asarray(hand.EXAMPLE))
      >>> print(normals[:, 2].round())  # towards the camera, which sees the back of the hand
      [-1. -1. -1. -1.]
    """
    chain, _ = _scaled_bones(joints)
    root_bones = chain[..., :, 0, :]
    return numerics.unit(jnp.cross(root_bones[..., 1:, :], root_bones[..., :-1, :]), least=numerics.COLLAPSED_SINE)


def edge_normals(joints: Float[Array, "*batch 21 3"]) -> Float[Array, "*batch 5 3"]:
    """Returns e_i, the unit normal at root bone i: the mean direction of the normals on both of its sides (Eq. 2).

    Args:
      joints: right hands, FreiHAND order, any length unit.

    Returns:
      Normals at the five root bones, thumb first.

    Raises:
      ValueError: for joints of another shape, or of whole numbers.

    Examples:
      >>> import jax.numpy as jnp
      >>> from bmc_jax import anatomy, hand
      >>> normals = anatomy.edge_normals(jnp.asarray(hand.EXAMPLE))
      >>> print(normals[:, 2].round())  # towards the camera, which sees the back of the hand
      [-1. -1. -1. -1. -1.]
    """
    normals = plane_normals(joints)
    between = numerics.unit(normals[..., 1:, :] + normals[..., :-1, :], least=numerics.COLLAPSED_SINE)
    return jnp.concatenate([normals[..., :1, :], between, normals[..., -1:, :]], axis=-2)


def palm_curvature(joints: Float[Array, "*batch 21 3"], *, squared: bool = True) -> Float[Array, "*batch 4"]:
    """Returns c_i, the curvature of the palm between root bones i and i+1 (Eq. 1).

    It is positive for a cupped hand and zero for a flat one. Where the bones end in one point, nearer than
    `numerics.SMALLEST_DIVISOR`, it is zero with zero gradient.

    Args:
      joints: right hands, FreiHAND order, any length unit.
      squared: whether the denominator is the squared distance of the bones' ends. Eq. 1 as printed can be read both
        ways; the square is the discrete curvature that the paper cites, and has the unit 1/length. Without it the
        value has no unit.

    Returns:
      Curvature of the four pairs, thumb side first.

    Raises:
      ValueError: for joints of another shape, or of whole numbers.

    Examples:
      >>> import jax.numpy as jnp
      >>> from bmc_jax import anatomy, hand
      >>> joints, _ = anatomy.normalize(jnp.asarray(hand.EXAMPLE))
      >>> print((100 * anatomy.palm_curvature(joints)).round())  # 1 / scale unit, times 100
      [ 4. 41. 18.  9.]
    """
    chain, factor = _scaled_bones(joints)
    across = chain[..., 1:, 0, :] - chain[..., :-1, 0, :]
    normals = edge_normals(joints)
    # Two divisions by the length: the derivative of one by its square holds its fourth power, which underflows.
    along = numerics.unit(across, least=numerics.SMALLEST_DIVISOR)
    turn = jnp.sum((normals[..., 1:, :] - normals[..., :-1, :]) * along, axis=-1)
    if not squared:
        return turn
    return numerics.divide(turn, numerics.norm(across, numerics.SMALLEST_DIVISOR)) * factor[..., None]


def palm_spread(joints: Float[Array, "*batch 21 3"]) -> Float[Array, "*batch 4"]:
    """Returns phi_i, the angle between root bones i and i+1 (Eq. 3).

    The gradient is zero at 0 and pi.

    Args:
      joints: right hands, FreiHAND order, any length unit.

    Returns:
      Angles of the four pairs, thumb side first, radians in [0, pi].

    Raises:
      ValueError: for joints of another shape, or of whole numbers.

    Examples:
      >>> import jax.numpy as jnp
      >>> from bmc_jax import anatomy, hand
      >>> print(jnp.degrees(anatomy.palm_spread(jnp.asarray(hand.EXAMPLE))).round())
      [34. 16. 16. 17.]
    """
    chain, _ = _scaled_bones(joints)
    return numerics.angle(chain[..., :-1, 0, :], chain[..., 1:, 0, :], numerics.COLLAPSED_LENGTH)


def bone_frames(joints: Float[Array, "*batch 21 3"], *, detach: bool = False) -> Float[Array, "*batch 5 3 3 3"]:
    """Returns the frames in which the angles of PIP, DIP and TIP bones are measured.

    The first frame of a finger is attached to the palm (Eq. 4). Each later one is the previous frame, rotated by the
    angles of the bone between them (Eq. 6).

    Args:
      joints: right hands, FreiHAND order, any length unit.
      detach: whether to stop gradients through the frames, so that a bone's angles depend on that bone only.

    Returns:
      Finger x (PIP, DIP, TIP) x axis x coordinate; the axes are x (palmar), y (radial), z (along the parent bone).

    Raises:
      ValueError: for joints of another shape, or of whole numbers.

    Examples:
      >>> import jax
      >>> import jax.numpy as jnp
      >>> from bmc_jax import anatomy, hand
      >>> frames = jax.jit(anatomy.bone_frames)(jnp.asarray(hand.EXAMPLE))
      >>> print(frames.shape, frames[:, 0, 0, 2].round())  # palmar axes, away from the camera
      (5, 3, 3, 3) [1. 1. 1. 1. 1.]
    """
    frames, _ = _local_bones(joints, detach)
    return frames


def joint_angles(joints: Float[Array, "*batch 21 3"], *, detach_frames: bool = False) -> Float[Array, "*batch 5 3 2"]:
    """Returns (flexion, abduction) of each finger's PIP, DIP and TIP bone (Eq. 5), with octants resolved by atan2.

    Flexion is in [-pi, pi], positive towards the palm. Abduction is in [-pi/2, pi/2], positive towards the thumb's
    side. The flexion of a bone along the frame's y axis is undefined: it is 0 there, with zero gradient.

    Args:
      joints: right hands, FreiHAND order, any length unit.
      detach_frames: see `detach` of `bone_frames`.

    Returns:
      Finger x (PIP, DIP, TIP) x (flexion, abduction), radians.

    Raises:
      ValueError: for joints of another shape, or of whole numbers.

    Examples:
      >>> import jax.numpy as jnp
      >>> from bmc_jax import anatomy, hand
      >>> angles = anatomy.joint_angles(jnp.asarray(hand.EXAMPLE))
      >>> print(jnp.degrees(angles[1, :, 0]).round())  # flexion of the index finger's joints, from its base
      [20. 26.  9.]
    """
    angles = _fast_angles(detach_frames)(*poses_last.floating(joints))
    return angles.astype(jnp.result_type(joints))


@functools.cache
def _fast_angles(detach: bool) -> Callable[..., Array]:
    return poses_last.with_values(lambda joints, _: _readable_angles(joints, detach), fast_anatomy.JOINT_ANGLES)


def _readable_angles(joints: Float[Array, "*batch 21 3"], detach: bool) -> Float[Array, "*batch 5 3 2"]:
    _, local = _local_bones(joints, detach)
    x, y, z = local[..., 0], local[..., 1], local[..., 2]
    flexion = numerics.atan2(x, z, numerics.COLLAPSED_SINE)
    abduction = numerics.atan2(y, numerics.norm(jnp.stack([x, z], axis=-1), numerics.COLLAPSED_SINE))
    return jnp.stack([flexion, abduction], axis=-1)


def _local_bones(
    joints: Float[Array, "*batch 21 3"], detach: bool
) -> tuple[Float[Array, "*batch 5 3 3 3"], Float[Array, "*batch 5 3 3"]]:
    """Returns the frames and the unit bones in their frames, level by level for all fingers at once."""
    chain, _ = _scaled_bones(joints)
    frame = _palm_frames(joints)
    frames, local_bones = [], []
    for level in range(1, len(hand.LEVELS)):
        if detach:
            frame = jax.lax.stop_gradient(frame)
        local = jnp.einsum("...ij,...j->...i", frame, chain[..., level, :], precision="highest")
        straight = jnp.array([0.0, 0.0, 1.0], dtype=local.dtype)
        local = numerics.unit(local, fallback=straight, least=numerics.COLLAPSED_LENGTH)
        frames.append(frame)
        local_bones.append(local)
        frame = _rotate(frame, local)
    return jnp.stack(frames, axis=-3), jnp.stack(local_bones, axis=-2)


def _palm_frames(joints: Float[Array, "*batch 21 3"]) -> Float[Array, "*batch 5 3 3"]:
    """Returns the frames of the PIP bones (Eq. 4): z along the root bone, x = -n palmar, y = z cross x radial.

    The normals are `edge_normals`, except at the index, which uses its plane with the middle finger: a moving thumb
    must not rotate its frame. x is orthogonal to z up to rounding, which the last cross product removes.
    """
    normals = jnp.concatenate([plane_normals(joints)[..., :2, :], edge_normals(joints)[..., 2:, :]], axis=-2)
    chain, _ = _scaled_bones(joints)
    z = numerics.unit(chain[..., :, 0, :], least=numerics.COLLAPSED_LENGTH)
    y = numerics.unit(jnp.cross(normals, z), least=numerics.COLLAPSED_SINE)
    return jnp.stack([jnp.cross(y, z), y, z], axis=-2)


def _rotate(frame: Float[Array, "*batch 3 3"], local: Float[Array, "*batch 3"]) -> Float[Array, "*batch 3 3"]:
    """Rotates a frame by a unit bone's flexion about y, then by its abduction about the rotated x (Eq. 6).

    Flexion takes x to (cos, 0, -sin), where sine and cosine are the bone's components over their norm, and both
    rotations take z to the bone. So no angle is computed and no inverse function is differentiated. A bone along y, of
    no flexion, has no gradient.
    """
    sideways = numerics.square(local[..., ::2])[..., None] <= numerics.COLLAPSED_SINE**2
    local = jnp.where(sideways, jax.lax.stop_gradient(local), local)
    flat = jnp.stack([local[..., 2], -local[..., 0]], axis=-1)
    flat = numerics.unit(flat, jnp.array([1.0, 0.0], dtype=local.dtype), numerics.COLLAPSED_SINE)
    x_local = jnp.stack([flat[..., 0], jnp.zeros_like(flat[..., 0]), flat[..., 1]], axis=-1)
    turned = jnp.stack([x_local, jnp.cross(local, x_local), local], axis=-2)
    return jnp.einsum("...ij,...jk->...ik", turned, frame, precision="highest")
