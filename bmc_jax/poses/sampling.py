"""Sampling of random hands within limits and without self-intersection: data without people, cameras or gestures.

The coordinates that limits constrain are independent: bone lengths and spreads are uniform in their intervals, the
angles of each joint are uniform in its hull, and the palm's folds are uniform where its curvature (Eq. 1), which is
linear in the sines of half the folds, is in its intervals. Hands that intersect themselves are rejected.

All quantities are `numerics.FIT_SLACK` inside their limits, if these are wide enough, so that the losses are exactly
zero in any program. Right hands, FreiHAND order, in the hand frame of `kinematics`.
"""

import dataclasses
from dataclasses import dataclass

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Bool, Float, Int, PRNGKeyArray

from bmc_jax.core import anatomy, hand, kinematics, numerics
from bmc_jax.core.kinematics import Palm
from bmc_jax.core.types import Limits
from bmc_jax.limits import io
from bmc_jax.poses import feasible
from bmc_jax.synthesis import gestures, skeleton, surface
from bmc_jax.synthesis.surface import Capsules

ADULT_SCALE = float(skeleton.BONES[2, 1]) / 1000
"""Mean length of the bone from middle MCP to PIP of adults, metres."""
CHUNK = 4096
"""Number of hands that are drawn at a time; constant, so that the program is compiled once."""
MOST_EMPTY_CHUNKS = 16
"""Number of consecutive chunks without a feasible hand after which limits count as impossible."""
PALM_TRIES = 12
"""Number of palms that are drawn for the lengths and spreads of a hand; the first that fits is used. With `clinical`,
two of three fit."""
CARPUS = 0.3
"""Start of a finger's metacarpal relative to its root bone: the bones of the wrist are before it."""


@dataclass(frozen=True)
class Sample:
    """Feasible poses, and the number of hands that were drawn."""

    poses: np.ndarray
    """`[N, 21, 3]` float32, metres."""
    drawn: int
    """Number of hands that were drawn, in whole chunks."""
    kept: int
    """Number of feasible hands among them: `N`, and the rest of the last chunk."""

    @property
    def acceptance(self) -> float:
        """Share of the drawn hands that are feasible."""
        return self.kept / self.drawn


def sample(key: PRNGKeyArray, limits: Limits, count: int, *, scale: float = ADULT_SCALE) -> Sample:
    """Draws feasible poses.

    Args:
      key: random key. The same key gives the same poses; a smaller count gives the first of them.
      limits: the limits.
      count: number of poses.
      scale: length of the bone from middle MCP to PIP, metres.

    Raises:
      ValueError: if no hand, or none of the drawn hands, is within the limits, or `io.check_arrays` refuses them.
    """
    if count < 1 or not scale > 0:
        raise ValueError(f"expected a positive count and scale, got {count} poses and a scale bone of {scale} metres")
    limits = _possible(limits)
    kept, drawn, found, empty = [], 0, 0, 0
    palms = apart = 0
    while found < count:
        joints, palm_fits, is_apart = map(np.asarray, draw_chunk(key, drawn // CHUNK, limits))
        whole = palm_fits & is_apart
        palms, apart, drawn = palms + palm_fits.sum(), apart + is_apart.sum(), drawn + CHUNK
        kept.append(joints[whole])
        found, empty = found + len(kept[-1]), 0 if whole.any() else empty + 1
        if empty == MOST_EMPTY_CHUNKS:
            raise ValueError(
                f"expected limits with feasible hands, got those of '{limits.meta.source}': of {drawn} hands with bone "
                f"lengths, spreads and angles within them, {palms} have a palm with a curvature within them, {apart} "
                f"do not intersect themselves, and {found} satisfy both; widen the curvature if few palms fit, else "
                "spreads, bones or hulls"
            )
    poses = np.concatenate(kept)[:count] * np.float32(scale)
    return Sample(poses, drawn, found)


def propose(key: PRNGKeyArray, limits: Limits) -> tuple[Float[Array, "21 3"], Bool[Array, ""], Bool[Array, ""]]:
    """Draws one hand, which is feasible if both flags are true. The function is pure, for jit and vmap.

    Returns:
      Joints in scale units, whether the palm is within the limits, and whether the hand does not intersect itself.
    """
    of_lengths, of_spread, of_palm, of_angles = jax.random.split(key, 4)
    lengths = _between(of_lengths, limits.bone_length)
    lengths = lengths.at[feasible.SCALE_FINGER, feasible.SCALE_LEVEL].set(1.0)
    spread = _between(of_spread, limits.spread)
    palm, curvature, fits = _palm(of_palm, lengths[:, 0], spread, limits.curvature)
    angles, inside = jax.vmap(jax.vmap(_in_hull))(jax.random.split(of_angles, (5, 3)), limits.hull)
    joints = kinematics.pose_from_angles(lengths, palm, angles)
    # Near a pole of the angles, or with nearly collinear root bones, float32 joints do not represent the drawn values.
    turned = anatomy.joint_angles(joints) - angles
    errors = [
        jnp.stack([2 * jnp.sin(turned[..., 0] / 2), turned[..., 1]]),
        anatomy.palm_spread(joints) - spread,
        anatomy.palm_curvature(joints) - curvature,
    ]
    exact = jnp.array([jnp.max(jnp.abs(error)) < numerics.FIT_SLACK / 4 for error in errors])
    return joints, fits & jnp.all(inside) & jnp.all(exact), ~self_intersects(joints)


@jax.jit
def draw_chunk(
    key: PRNGKeyArray, number: Int[Array, ""] | int, limits: Limits
) -> tuple[Float[Array, "hand 21 3"], Bool[Array, " hand"], Bool[Array, " hand"]]:
    """Draws the chunk of `CHUNK` hands with this number by `propose`."""
    keys = jax.random.split(jax.random.fold_in(key, number), CHUNK)
    return jax.vmap(propose, in_axes=(0, None))(keys, limits)


def uniform_in(key: PRNGKeyArray, polygon: Float[Array, "vertex 2"]) -> Float[Array, "2"]:
    """Draws a point uniformly from a convex polygon, which is divided into triangles at its first vertex."""
    which, where = jax.random.split(key)
    spokes = polygon[1:] - polygon[:1]
    areas = jnp.cumsum(spokes[:-1, 0] * spokes[1:, 1] - spokes[:-1, 1] * spokes[1:, 0])
    at = jax.random.uniform(which, dtype=polygon.dtype) * areas[-1]
    triangle = jnp.sum(at >= areas[:-1])
    far, share = jax.random.uniform(where, (2,), dtype=polygon.dtype)
    # The width of a triangle grows with the distance from its corner.
    across = (1 - share) * spokes[triangle] + share * spokes[triangle + 1]
    return polygon[0] + jnp.sqrt(far) * across


def self_intersects(joints: Float[Array, "21 3"]) -> Bool[Array, ""]:
    """Returns whether a hand, in any unit and frame, intersects itself.

    The hand is scaled to an adult's. Fingers are the capsules of `surface`, and metacarpals begin at `CARPUS`. Joined
    segments are not compared; others may overlap by the tolerance of `gestures`, 1.5 mm on an adult's hand.
    """
    adult = joints * numerics.divide(jnp.asarray(ADULT_SCALE, joints.dtype), anatomy.scale(joints))
    return ~(gestures.penetration(_capsules(adult)) < gestures.ALLOWED_OVERLAP)


def _capsules(joints: Float[Array, "21 3"]) -> Capsules:
    """Returns the first 19 of `surface.hand_capsules` for joints in metres: three per finger, then four metacarpals."""
    fingers = joints[1:].reshape(*hand.FINGER_JOINTS.shape, 3)
    bones, millimetre = anatomy.bones(joints), 1e-3
    radii = jnp.asarray(surface.RADII * millimetre, joints.dtype)
    # The last capsule ends inside the tip.
    ends = fingers[:, 1:].at[:, -1].add(-numerics.unit(bones[:, -1]) * radii[:, -1:])
    palmar = anatomy.bone_frames(joints)[1:, 0, 0] * millimetre
    start = jnp.concatenate([fingers[:, :-1].reshape(15, 3), joints[:1] + CARPUS * bones[1:, 0] + 3 * palmar])
    end = jnp.concatenate([ends.reshape(15, 3), fingers[1:, 0] + 2 * palmar])
    radius = jnp.concatenate([radii[:, :-1].reshape(15), jnp.asarray(surface.METACARPAL_RADII * millimetre)])
    end_radius = jnp.concatenate([radii[:, 1:].reshape(15), radii[1:, 0]])
    length = numerics.norm(end - start)
    slope = numerics.divide(end_radius - radius, length)
    return Capsules(start, numerics.unit(end - start), length, radius, slope, jnp.zeros_like(start))


def _palm(
    key: PRNGKeyArray, root_lengths: Float[Array, "5"], spread: Float[Array, "4"], curvature: Float[Array, "4 2"]
) -> tuple[Palm, Float[Array, "4"], Bool[Array, ""]]:
    """Draws a palm with these lengths and spreads uniformly over the allowed curvatures.

    The four curvatures are linear in three sines u (`kinematics.half_fold_sines`). The u of index and ring finger are
    drawn from the intervals that the outer curvatures allow, then the u of the middle finger from the interval that the
    inner two curvatures allow. Draws are accepted with a probability proportional to the length of this interval, so
    that u is uniform over the allowed set.

    Returns:
      The palm, its curvature, and whether the curvature is allowed.
    """
    own, following = kinematics.curvature_slopes(root_lengths, spread)
    low, high = feasible.inner(curvature)

    def reach(slope, rest, pair):
        least, most = (numerics.divide(end[pair] - rest, slope) for end in (low, high))
        return jnp.maximum(least, -1.0), jnp.minimum(most, 1.0)

    def attempt(key):
        draws = jax.random.uniform(key, (4,), dtype=curvature.dtype)
        index, ring = (
            least + draw * (most - least)
            for draw, (least, most) in zip(draws[:2], [reach(following[0], 0.0, 0), reach(own[3], 0.0, 3)], strict=True)
        )
        ends = reach(following[1], own[1] * index, 1), reach(own[2], following[2] * ring, 2)
        least, most = jnp.maximum(ends[0][0], ends[1][0]), jnp.minimum(ends[0][1], ends[1][1])
        widest = jnp.minimum(numerics.divide(high[1] - low[1], following[1]), numerics.divide(high[2] - low[2], own[2]))
        middle = least + draws[2] * (most - least)
        sines = jnp.stack([index, middle, ring])
        outer = jnp.pad(sines, 1)
        made = own * outer[:-1] + following * outer[1:]
        allowed = (made >= curvature[:, 0]) & (made <= curvature[:, 1])
        taken = draws[3] * jnp.minimum(widest, 2.0) <= most - least
        return sines, made, taken & jnp.all(allowed) & jnp.all(jnp.abs(sines) <= 1)

    sines, made, fits = jax.vmap(attempt)(jax.random.split(key, PALM_TRIES))
    first = jnp.argmax(fits)
    sine = jnp.clip(sines[first], -1.0, 1.0)
    return Palm(spread, 2 * numerics.atan2(sine, numerics.square_root(1 - sine * sine))), made[first], fits[first]


def _in_hull(key: PRNGKeyArray, polygon: Float[Array, "vertex 2"]) -> tuple[Float[Array, "2"], Bool[Array, ""]]:
    """Returns a random point in a hull, and whether it is at least `numerics.FIT_SLACK` from the hull's edge."""
    point = uniform_in(key, polygon)
    edge, offset = jnp.roll(polygon, -1, axis=0) - polygon, point[None] - polygon
    height = numerics.divide(edge[:, 0] * offset[:, 1] - edge[:, 1] * offset[:, 0], numerics.norm(edge))
    return point, jnp.min(height) >= numerics.FIT_SLACK


def _between(key: PRNGKeyArray, interval: Float[Array, "*shape 2"]) -> Float[Array, "*shape"]:
    low, high = feasible.inner(interval)
    return low + jax.random.uniform(key, low.shape, dtype=interval.dtype) * (high - low)


def _possible(limits: Limits) -> Limits:
    """Returns the limits with counter-clockwise hulls. Raises ValueError if no hand can be within them."""
    arrays = {name: np.asarray(getattr(limits, name)) for name in ("bone_length", "curvature", "spread", "hull")}
    hulls = io.check_arrays(arrays)
    finger, level = feasible.SCALE_FINGER, feasible.SCALE_LEVEL
    low, high = arrays["bone_length"][finger, level].tolist()
    if not low <= 1 <= high:
        raise ValueError(
            f"bone_length {hand.FINGERS[finger]} {hand.LEVELS[level]}: expected an interval with 1, the length of the "
            f"scale bone in scale units, got {low} to {high}; change it to include 1"
        )
    return dataclasses.replace(limits, hull=jnp.asarray(hulls, jnp.float32))
