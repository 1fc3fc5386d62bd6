"""How far a pose is beyond limits, and the posture moved into them: what repair and sampling of poses stand on.

Right hands, FreiHAND order, any length unit. Limits hold lengths in units of the pose's own scale bone; where a
person's bone lengths are known, those are held instead. Functions take one pose: `jax.vmap` makes them take many.
"""

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float

from bmc_jax.core import anatomy, hand, hull, kinematics, numerics
from bmc_jax.core.kinematics import Palm, Posture
from bmc_jax.core.types import Limits

SCALE_FINGER, SCALE_LEVEL = np.argwhere(hand.SCALE_BONE[1] == hand.FINGER_JOINTS)[0].tolist()

#: Radians. Two planes folded onto each other leave the finger between them no frame (Eq. 4).
MOST_FOLD = np.pi - 10 * numerics.NEAREST_SINGULARITY


def violation(
    joints: Float[Array, "21 3"], limits: Limits, bone_lengths: Float[Array, "5 4"] | None = None
) -> Float[Array, ""]:
    """The worst excess of a pose beyond limits, 0 within: radians, a share of the length, curvature x scale bone.

    A pose whose bones have no length, and so no scale, is beyond every limit of lengths.
    """
    scale = anatomy.scale(joints)
    lengths = anatomy.bone_lengths(joints)
    nearest = jnp.clip(lengths, *_ends(scale * length_bounds(limits)))
    allowed = nearest if bone_lengths is None else bone_lengths
    longer = jnp.maximum(lengths, allowed)
    palm = [
        (anatomy.palm_spread(joints), limits.spread),
        (anatomy.palm_curvature(joints) * scale, limits.curvature),
    ]
    rows = [
        jnp.where(longer > 0, numerics.divide(jnp.abs(lengths - allowed), longer), 1.0),
        hull.distance(anatomy.joint_angles(joints), limits.hull),
        *(jnp.abs(value - jnp.clip(value, *_ends(bounds))) for value, bounds in palm),
    ]
    return jnp.max(jnp.concatenate([row.ravel() for row in rows]))


def clip(posture: Posture, limits: Limits, lengths: bool = True) -> Posture:
    """A posture in scale units with every length, spread, fold and angle moved to its nearest allowed value, one by
    one: within limits, though not the nearest pose that is. Without `lengths` those are taken as they are.

    What is moved ends `numerics.FIT_SLACK` inside its limit, so that it is within it by other programs too. Palms for
    which no fold meets all four curvatures keep the least of that violation.
    """
    nearest = jnp.clip(posture.bone_lengths, *inner(length_bounds(limits)))
    bone_lengths = nearest if lengths else posture.bone_lengths
    least, most = inner(limits.spread)
    # Two root bones on one line span no plane, whatever limits say.
    spread = jnp.clip(posture.palm.spread, jnp.minimum(jnp.maximum(least, numerics.NEAREST_SINGULARITY), most), most)
    fold = _allowed_folds(Palm(spread, posture.palm.fold), bone_lengths[..., 0], limits)
    distance, pull_back = jax.vjp(lambda angles: hull.distance(angles, limits.hull), posture.angles)
    (outwards,) = pull_back(jnp.ones_like(distance))
    inwards = jnp.where(distance > 0, distance + numerics.FIT_SLACK, 0.0)[..., None] * outwards
    flexion, abduction = _ends(posture.angles - inwards)
    most = np.pi / 2 - numerics.NEAREST_SINGULARITY
    angles = jnp.stack([flexion, jnp.clip(abduction, -most, most)], axis=-1)
    return Posture(bone_lengths, Palm(spread, fold), angles)


def length_bounds(limits: Limits) -> Float[Array, "5 4 2"]:
    """Intervals of bone lengths in scale units. The scale bone is one, whatever margin the limits leave to it."""
    return limits.bone_length.at[SCALE_FINGER, SCALE_LEVEL].set(1.0)


def _allowed_folds(palm: Palm, root_lengths: Float[Array, "5"], limits: Limits) -> Float[Array, "3"]:
    """Folds whose curvatures are within limits: each c_i bounds a sum of two u (see `kinematics.half_fold_sines`)."""
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
    """The interval's ends moved inwards by `numerics.FIT_SLACK`; of a narrow one both are its middle."""
    low, high = _ends(interval)
    slack = jnp.minimum((high - low) / 2, numerics.FIT_SLACK)
    return low + slack, high - slack


def _ends(intervals: Float[Array, "*batch 2"]) -> tuple[Float[Array, "*batch"], Float[Array, "*batch"]]:
    return intervals[..., 0], intervals[..., 1]
