"""Clipping of postures, in scale units, to limits, for the repair and the sampling of poses."""

import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float

from bmc_jax.core import hand, hull, kinematics, numerics
from bmc_jax.core.kinematics import Palm, Posture
from bmc_jax.core.types import Limits

SCALE_FINGER, SCALE_LEVEL = np.argwhere(hand.SCALE_BONE[1] == hand.FINGER_JOINTS)[0].tolist()

MOST_FOLD = np.pi - 10 * numerics.NEAREST_SINGULARITY
"""Largest fold, radians. With two planes folded onto each other, the finger between them has no frame (Eq. 4)."""


def clip(posture: Posture, limits: Limits, lengths: bool = True) -> Posture:
    """Moves each length, spread, fold and angle of a posture to its nearest allowed value, one by one.

    The result is within the limits, but it is not the nearest such pose. Moved values are `numerics.FIT_SLACK` inside
    their limits, so that they are also within them in other programs. If no folds satisfy all four curvatures of a
    palm, the smallest excess remains.

    Args:
      posture: posture in scale units, with any number of leading axes.
      limits: limits of the hand.
      lengths: whether to clip bone lengths too.
    """
    bone_lengths = posture.bone_lengths
    if lengths:
        bone_lengths = jnp.clip(bone_lengths, *_each(bone_lengths, inner(length_bounds(limits))))
    least, most = _each(posture.palm.spread, inner(limits.spread))
    # Two collinear root bones span no plane, even if limits allow them.
    spread = jnp.clip(posture.palm.spread, jnp.minimum(jnp.maximum(least, numerics.NEAREST_SINGULARITY), most), most)
    fold = _allowed_folds(Palm(spread, posture.palm.fold), bone_lengths[..., 0], limits)
    flexion, abduction = _ends(hull.project(posture.angles, limits.hull, numerics.FIT_SLACK)[0])
    most = np.pi / 2 - numerics.NEAREST_SINGULARITY
    angles = jnp.stack([flexion, jnp.clip(abduction, -most, most)], axis=-1)
    return Posture(bone_lengths, Palm(spread, fold), angles)


def length_bounds(limits: Limits) -> Float[Array, "5 4 2"]:
    """Returns the intervals of bone lengths. That of the scale bone is exactly 1, for any margin in the limits."""
    return limits.bone_length.at[SCALE_FINGER, SCALE_LEVEL].set(1.0)


def _allowed_folds(palm: Palm, root_lengths: Float[Array, "*batch 5"], limits: Limits) -> Float[Array, "*batch 3"]:
    """Clips folds so that curvatures are within limits: each c_i limits a sum of two u, see
    `kinematics.half_fold_sines`."""
    here, there = kinematics.curvature_slopes(root_lengths, palm.spread)
    bounds = inner(limits.curvature)
    index, middle, ring = (kinematics.half_fold_sines(palm)[..., i] for i in range(3))

    def within(value, i, slope, rest):
        low, high = (numerics.divide(end[i] - rest, slope) for end in bounds)
        return jnp.where(slope > 0, jnp.clip(value, low, high), value)

    def held(value, i):
        return within(value, i, there[..., i] if i == 0 else here[..., i], jnp.zeros_like(value))

    index, ring = held(index, 0), held(ring, 3)
    for _ in range(2):
        middle = within(middle, 1, there[..., 1], here[..., 1] * index)
        middle = within(middle, 2, here[..., 2], there[..., 2] * ring)
        index = held(within(index, 1, here[..., 1], there[..., 1] * middle), 0)
        ring = held(within(ring, 2, there[..., 2], here[..., 2] * middle), 3)
    most = np.sin(MOST_FOLD / 2)
    return 2 * jnp.arcsin(jnp.clip(jnp.stack([index, middle, ring], axis=-1), -most, most))


def inner(interval: Float[Array, "*shape 2"]) -> tuple[Float[Array, "*shape"], Float[Array, "*shape"]]:
    """Moves the ends of intervals inwards by `numerics.FIT_SLACK`, at most to the middle of the interval."""
    low, high = _ends(interval)
    slack = jnp.minimum((high - low) / 2, numerics.FIT_SLACK)
    return low + slack, high - slack


def _each(value: Float[Array, "..."], ends: tuple[Array, Array]) -> tuple[Array, Array]:
    """Returns the ends of intervals, broadcast to the values."""
    return jnp.broadcast_to(ends[0], value.shape), jnp.broadcast_to(ends[1], value.shape)


def _ends(intervals: Float[Array, "*batch 2"]) -> tuple[Float[Array, "*batch"], Float[Array, "*batch"]]:
    return intervals[..., 0], intervals[..., 1]
