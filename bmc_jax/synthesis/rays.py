"""Rays and the surface: where each pixel's ray meets it, and its normal, crevices and shadow there.

The ray is first bracketed in closed form: it enters the capsules inflated by what blending adds, and it enters the
capsules themselves. The blended surface lies between the two, and a few steps of sphere tracing find it.
"""

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float

from bmc_jax.synthesis.held_object import NOWHERE, Thing, thing_distance, thing_entry
from bmc_jax.synthesis.surface import NUM_CAPSULES, Capsules, Planar, hand_distance, moved

#: By how much blending raises the surface above each capsule, metres: little at the fingers' ends, most at the wrist.
BLEND_MARGINS = (*(0.0032,) * 3, *(0.0033, 0.0012, 0.0012) * 4, *(0.0032,) * 8, *(0.0042,) * 2)
NO_MARGINS = (0.0,) * NUM_CAPSULES
#: Metres at which a ray is given up.
FAR = 4.0
STEPS = 9
#: Offsets of the four taps of a normal, metres, and their directions: the corners of a tetrahedron.
NORMAL_REACH = 5e-4
TETRAHEDRON = np.array([[1, -1, -1], [-1, -1, 1], [-1, 1, -1], [1, 1, 1]], np.float32)
#: How far along the normal to look for what closes a crevice, metres, and the weight of each look.
CREVICE_REACHES, CREVICE_WEIGHTS = (0.005, 0.012, 0.026), (0.42, 0.33, 0.25)


def distance(point: Planar, capsules: Capsules, thing: Thing | None, smooth: bool) -> Float[Array, "*pixel"]:
    """Signed distance to hand and object, metres."""
    nearest = hand_distance(point, capsules, smooth)
    return nearest if thing is None else jnp.minimum(nearest, thing_distance(point, thing))


def pixel_rays(intrinsics: Float[Array, "3 3"], size: int) -> Planar:
    """Unit directions of all pixels' rays, row by row."""
    u, v = (jnp.asarray(grid.reshape(-1), jnp.float32) for grid in np.meshgrid(np.arange(size), np.arange(size)))
    x, y = (u - intrinsics[0, 2]) / intrinsics[0, 0], (v - intrinsics[1, 2]) / intrinsics[1, 1]
    shrink = jax.lax.rsqrt(x * x + y * y + 1)
    return x * shrink, y * shrink, shrink


def feet(capsules: Capsules) -> tuple[Float[Array, " capsule"], Float[Array, " capsule"]]:
    """The origin's coordinate along each capsule's axis, and the squared distance of each capsule's start from it.

    A stage of its own: computed beside the rays, they would be computed for each pixel.
    """
    along = -jnp.sum(capsules.start * capsules.axis, axis=-1)
    return along, jnp.sum(capsules.start * capsules.start, axis=-1)


def entry(
    ray: Planar,
    capsules: Capsules,
    feet: Float[Array, " capsule"],
    squares: Float[Array, " capsule"],
    thing: Thing | None,
    margins: tuple[float, ...],
) -> Float[Array, "*pixel"]:
    """Where rays from the origin first enter the capsules, inflated by `margins`, or the object's ball, metres.

    `NOWHERE` where they miss all.
    """
    first = jnp.full_like(ray[0], NOWHERE) if thing is None else thing_entry(ray, thing)
    for i in range(NUM_CAPSULES):
        start, axis = capsules.start[i], capsules.axis[i]
        slope, radius = capsules.slope[i], capsules.radius[i] + margins[i]
        foot, square = feet[i], squares[i]
        to_start = ray[0] * start[0] + ray[1] * start[1] + ray[2] * start[2]
        climb = ray[0] * axis[0] + ray[1] * axis[1] + ray[2] * axis[2]
        # The infinite cone: a t^2 + 2 b t + c = 0.
        at_foot = radius + slope * foot
        a = 1 - climb * climb * (1 + slope * slope)
        b = -to_start - foot * climb - slope * climb * at_foot
        c = square - foot * foot - at_foot * at_foot
        on_cone = b * b - a * c
        # Times the reciprocal: with a quotient here XLA for CPU makes a loop fifty times slower.
        t_cone = (-b - jnp.sqrt(jnp.maximum(on_cone, 0.0))) * (1 / jnp.maximum(a, 1e-6))
        along = foot + t_cone * climb
        held = jnp.clip(along, 0.0, capsules.length[i])
        # Beyond an end, the ball that closes it.
        to_centre = to_start + held * climb
        end_radius = radius + slope * held
        on_ball = to_centre * to_centre - (square + held * (held - 2 * foot)) + end_radius * end_radius
        t_ball = to_centre - jnp.sqrt(jnp.maximum(on_ball, 0.0))
        between = along == held
        hit = jnp.where(between, on_cone, on_ball) > 0
        first = jnp.minimum(first, jnp.where(hit, jnp.where(between, t_cone, t_ball), NOWHERE))
    return first


def march(
    ray: Planar,
    start: Float[Array, "*pixel"],
    solid: Float[Array, "*pixel"],
    capsules: Capsules,
    thing: Thing | None,
    intrinsics: Float[Array, "3 3"],
    smooth: bool,
) -> tuple[Float[Array, "*pixel"], ...]:
    """Sphere tracing from `start`, never past `solid`.

    Returns (t, miss, nearest miss so far, t there): misses are distances to the surface in half pixels. The distance is
    carried from step to step so that it has one consumer in each, without which XLA for CPU computes it once for each.
    """
    focal = intrinsics[0, 0]

    def step(i, carry):
        t, gap, least, t_least = carry
        miss = jnp.where(i == 0, NOWHERE, gap * 2 * focal / t)
        t_least, least = jnp.where(miss < least, t, t_least), jnp.minimum(least, miss)
        t = jnp.minimum(t + 0.98 * gap, jnp.maximum(solid, t))
        return t, distance(points(ray, t), capsules, thing, smooth), least, t_least

    start = jnp.minimum(start, FAR)
    begin = (start, jnp.zeros_like(start), jnp.full_like(start, NOWHERE), start)
    t, gap, least, t_least = jax.lax.fori_loop(0, STEPS, step, begin)
    return t, gap * 2 * focal / t, least, t_least


def settle(
    start: Float[Array, "*pixel"],
    solid: Float[Array, "*pixel"],
    t: Float[Array, "*pixel"],
    miss: Float[Array, "*pixel"],
    least: Float[Array, "*pixel"],
    t_least: Float[Array, "*pixel"],
) -> tuple[Float[Array, "*pixel"], Float[Array, "*pixel"]]:
    """(t, coverage): the surface's distance along each ray, and how much of the pixel it covers.

    A ray still on its way grazes the surface. With a capsule behind, it stops where it is, or at the capsule if it is
    still far; with none, it covers its pixel by as much as it passed nearby, which smooths the outline.
    """
    met, backed = miss < 1, solid < NOWHERE
    coverage = jnp.where(met | backed, 1.0, jnp.clip(1.3 - 0.65 * least, 0.0, 1.0))
    grazed = jnp.where(miss < 4, t, solid)
    return jnp.where(met, t, jnp.where(backed, grazed, t_least)), jnp.where(start < FAR, coverage, 0.0)


def settle_hard(solid: Float[Array, "*pixel"]) -> tuple[Float[Array, "*pixel"], Float[Array, "*pixel"]]:
    """The same for plain capsules, whose entry is exact."""
    return jnp.minimum(solid, FAR), jnp.where(solid < NOWHERE, 1.0, 0.0)


def points(ray: Planar, t: Float[Array, "*pixel"]) -> Planar:
    """The points at t along the rays."""
    return ray[0] * t, ray[1] * t, ray[2] * t


def normal_taps(point: Planar, capsules: Capsules, thing: Thing | None, smooth: bool) -> Float[Array, "4 pixel"]:
    """Distances at the four taps of the normal. Alone, for they have three consumers in `normal`."""
    x, y, z = (jnp.asarray(NORMAL_REACH * TETRAHEDRON[:, axis, None]) for axis in range(3))
    taps = point[0][None] + x, point[1][None] + y, point[2][None] + z
    return distance(taps, capsules, thing, smooth)


def normal(taps: Float[Array, "4 pixel"]) -> Planar:
    """Unit normal from the four taps."""
    gradient = [sum(float(TETRAHEDRON[tap, i]) * taps[tap] for tap in range(4)) for i in range(3)]
    shrink = jax.lax.rsqrt(sum(axis * axis for axis in gradient) + 1e-20)
    return gradient[0] * shrink, gradient[1] * shrink, gradient[2] * shrink


def openness(
    point: Planar, normal: Planar, capsules: Capsules, thing: Thing | None, smooth: bool
) -> Float[Array, "*pixel"]:
    """Ambient light that reaches a point: 1 in the open, 0 in a crevice."""

    def look(i, total):
        reach, weight = jnp.float32(CREVICE_REACHES)[i], jnp.float32(CREVICE_WEIGHTS)[i]
        gap = distance(moved(point, normal, reach), capsules, thing, smooth)
        return total - weight * jnp.clip(1 - gap / reach, 0.0, 1.0)

    return jnp.clip(jax.lax.fori_loop(0, len(CREVICE_REACHES), look, jnp.ones_like(point[0])), 0.0, 1.0)


def lit(
    point: Planar,
    normal: Planar,
    light: Float[Array, "3"],
    penumbra: Float[Array, ""],
    capsules: Capsules,
    thing: Thing | None,
) -> Float[Array, "*pixel"]:
    """Share of the key light, in the direction `light`, that no capsule keeps off: 0 in the shadow's core, 1 outside.

    A shadow's edge is `penumbra` wide per metre between the point and what casts the shadow, by how near the ray
    to the light comes to each capsule's axis, in closed form.
    """
    share = jnp.ones_like(point[0])
    origin = moved(point, normal, 0.002)

    def cast(share, gap, t):
        return jnp.minimum(share, jnp.where(t > 0.004, 0.5 + gap / (penumbra * t + 0.002), 1.0))

    for i in range(NUM_CAPSULES):
        axis, length = capsules.axis[i], capsules.length[i]
        x, y, z = (origin[j] - capsules.start[i, j] for j in range(3))
        parallel = light[0] * axis[0] + light[1] * axis[1] + light[2] * axis[2]
        towards = x * light[0] + y * light[1] + z * light[2]
        along = x * axis[0] + y * axis[1] + z * axis[2]
        sine_square = jnp.maximum(1 - parallel * parallel, 1e-4)
        nearest = jnp.clip((along - parallel * towards) / sine_square, 0.0, length)
        t = jnp.maximum(nearest * parallel - towards, 0.0)
        nearest = jnp.clip(along + t * parallel, 0.0, length)
        x, y, z = (p + t * light[j] - nearest * axis[j] for j, p in enumerate((x, y, z)))
        gap = jnp.sqrt(x * x + y * y + z * z + 1e-12) - (capsules.radius[i] + capsules.slope[i] * nearest)
        share = cast(share, gap, t)
    if thing is not None:
        t = jnp.maximum(sum((thing.centre[j] - origin[j]) * light[j] for j in range(3)), 0.0)
        gap = thing_distance(moved(origin, light, t), thing)
        share = cast(share, gap, t)
    share = jnp.clip(share, 0.0, 1.0)
    return share * share * (3 - 2 * share)
