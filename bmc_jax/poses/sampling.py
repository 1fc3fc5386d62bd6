"""Random hands within limits that do not intersect themselves: data without people, cameras or gestures.

A hand is drawn in the coordinates that limits constrain, all independent: bone lengths and spreads uniform in their
intervals, the angles of each joint uniform in its hull, and the palm's folds uniform among those by which its curvature
(Eq. 1), linear in the sines of half the folds, is in its intervals. Hands that intersect themselves are drawn again.

Everything stays `numerics.FIT_SLACK` inside its limit, where there is room, so that the losses are exactly zero in
whatever program they are computed. Right hands, FreiHAND order, in `kinematics`' hand frame.
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

#: The mean adult's bone from middle MCP to PIP, metres.
ADULT_SCALE = float(skeleton.BONES[2, 1]) / 1000
#: Hands drawn at a time. One shape, so that drawing is compiled once.
CHUNK = 4096
#: Chunks in a row without any hand to keep, after which limits are taken for impossible.
MOST_EMPTY_CHUNKS = 16
#: Palms drawn for the lengths and spreads of a hand; the first that fits is taken. Of `clinical` two in three fit.
PALM_TRIES = 12
#: Where on its root bone a finger's metacarpal begins, as a share of it: before that are the wrist's bones.
CARPUS = 0.3


@dataclass(frozen=True)
class Sample:
    """Feasible poses, and the number of hands drawn to find them."""

    poses: np.ndarray
    """`[N, 21, 3]` float32, metres."""
    drawn: int
    """Hands drawn, in whole chunks."""
    kept: int
    """Of these, the feasible ones: `N`, and the rest of the last chunk."""

    @property
    def acceptance(self) -> float:
        return self.kept / self.drawn


def sample(key: PRNGKeyArray, limits: Limits, count: int, *, scale: float = ADULT_SCALE) -> Sample:
    """Draws `count` feasible poses in metres, for hands whose bone from middle MCP to PIP measures `scale` metres.

    The same key gives the same poses, and a smaller count the first of them.

    Raises:
      ValueError: for limits that no hand or no drawn hand is within, and those that `io.check_arrays` refuses.
    """
    if count < 1 or not scale > 0:
        raise ValueError(f"{count} poses of a scale bone of {scale} metres: both must be positive")
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
                f"the limits of '{limits.meta.source}' leave no hand, or hardly any: of {drawn} drawn by bone lengths, "
                f"spreads and angles, {palms} have a palm of a curvature within the limits, {apart} do not cut through "
                f"themselves, and {found} both; widen the curvature if few palms fit, else spreads, bones or hulls"
            )
    poses = np.concatenate(kept)[:count] * np.float32(scale)
    return Sample(poses, drawn, found)


def propose(key: PRNGKeyArray, limits: Limits) -> tuple[Float[Array, "21 3"], Bool[Array, ""], Bool[Array, ""]]:
    """Draws one hand. It is feasible where both flags are true. Pure: jit and vmap pass.

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
    # Near a pole of the angles, or where root bones are nearly collinear, float32 joints lose what was drawn.
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
    """Draws the chunk of `CHUNK` hands of that number: `propose` for each."""
    keys = jax.random.split(jax.random.fold_in(key, number), CHUNK)
    return jax.vmap(propose, in_axes=(0, None))(keys, limits)


def uniform_in(key: PRNGKeyArray, polygon: Float[Array, "vertex 2"]) -> Float[Array, "2"]:
    """Draws a point uniformly from a convex polygon: from one of the triangles at its first vertex, by their areas."""
    which, where = jax.random.split(key)
    spokes = polygon[1:] - polygon[:1]
    areas = jnp.cumsum(spokes[:-1, 0] * spokes[1:, 1] - spokes[:-1, 1] * spokes[1:, 0])
    at = jax.random.uniform(which, dtype=polygon.dtype) * areas[-1]
    triangle = jnp.sum(at >= areas[:-1])
    far, share = jax.random.uniform(where, (2,), dtype=polygon.dtype)
    # A triangle's width grows with the distance from its corner.
    across = (1 - share) * spokes[triangle] + share * spokes[triangle + 1]
    return polygon[0] + jnp.sqrt(far) * across


def self_intersects(joints: Float[Array, "21 3"]) -> Bool[Array, ""]:
    """Returns whether a hand, in any unit and frame, intersects itself.

    Fingers are `surface`'s capsules of an adult of the hand's scale, metacarpals begin at `CARPUS`. Segments that are
    joined are not compared; others may overlap by the tolerance of `gestures`, 1.5 mm on an adult's hand.
    """
    adult = joints * numerics.divide(jnp.asarray(ADULT_SCALE, joints.dtype), anatomy.scale(joints))
    return ~(gestures.penetration(_capsules(adult)) < gestures.ALLOWED_OVERLAP)


def _capsules(joints: Float[Array, "21 3"]) -> Capsules:
    """The first 19 of `surface.hand_capsules`, for joints in metres: three a finger, then four metacarpals."""
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
    """Draws a palm of these lengths and spreads uniformly over the allowed curvatures. Returns also the curvature that
    it has, and whether that is allowed.

    The four curvatures are linear in three sines u (`kinematics.half_fold_sines`). Of index and ring finger u is drawn
    from what the outer curvatures leave, of the middle finger from what the inner two leave then; the shorter that is,
    the fewer are taken, which makes u uniform over all that is allowed.
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
    """A random point of a hull, and whether it is at least `numerics.FIT_SLACK` from the hull's edge."""
    point = uniform_in(key, polygon)
    edge, offset = jnp.roll(polygon, -1, axis=0) - polygon, point[None] - polygon
    height = numerics.divide(edge[:, 0] * offset[:, 1] - edge[:, 1] * offset[:, 0], numerics.norm(edge))
    return point, jnp.min(height) >= numerics.FIT_SLACK


def _between(key: PRNGKeyArray, interval: Float[Array, "*shape 2"]) -> Float[Array, "*shape"]:
    low, high = feasible.inner(interval)
    return low + jax.random.uniform(key, low.shape, dtype=interval.dtype) * (high - low)


def _possible(limits: Limits) -> Limits:
    """The limits with every hull counter-clockwise. Raises ValueError for those that no hand is within."""
    arrays = {name: np.asarray(getattr(limits, name)) for name in ("bone_length", "curvature", "spread", "hull")}
    hulls = io.check_arrays(arrays)
    finger, level = feasible.SCALE_FINGER, feasible.SCALE_LEVEL
    low, high = arrays["bone_length"][finger, level].tolist()
    if not low <= 1 <= high:
        raise ValueError(
            f"the scale bone, {hand.FINGERS[finger]} {hand.LEVELS[level]}, is limited to {low} to {high} "
            "scale units, which excludes 1, its length in these units; change its limits to include 1"
        )
    return dataclasses.replace(limits, hull=jnp.asarray(hulls, jnp.float32))
