"""Ray tracing of the surface: hit point and coverage of each pixel, normal, ambient occlusion and shadow.

The hit is first bracketed in closed form by the entry into the capsules, inflated by the height of the blending, and
the entry into the capsules themselves. The blended surface lies between both, and a few steps of sphere tracing find
it.
"""

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float

from bmc_jax.synthesis.held_object import NO_HIT, HeldObject, object_distance, object_entry
from bmc_jax.synthesis.surface import NUM_CAPSULES, Capsules, Planar, hand_distance, translate

#: Largest height of the blended surface above each capsule, metres: smallest at the fingertips, largest at the wrist.
BLEND_MARGINS = (*(0.0032,) * 3, *(0.0033, 0.0012, 0.0012) * 4, *(0.0032,) * 8, *(0.0042,) * 2)
NO_MARGINS = (0.0,) * NUM_CAPSULES
#: Length of rays, metres.
FAR = 4.0
STEPS = 9
#: Distance of the four taps of a normal from the point, metres, and their directions: the corners of a tetrahedron.
NORMAL_REACH = 5e-4
TETRAHEDRON = np.array([[1, -1, -1], [-1, -1, 1], [-1, 1, -1], [1, 1, 1]], np.float32)
#: Distances along the normal at which occluders are searched, metres, and their weights.
OCCLUSION_REACH, OCCLUSION_WEIGHTS = (0.005, 0.012, 0.026), (0.42, 0.33, 0.25)


def distance(point: Planar, capsules: Capsules, held_object: HeldObject | None, smooth: bool) -> Float[Array, "*pixel"]:
    """Returns the signed distance to hand and object, metres."""
    nearest = hand_distance(point, capsules, smooth)
    return nearest if held_object is None else jnp.minimum(nearest, object_distance(point, held_object))


def pixel_rays(intrinsics: Float[Array, "3 3"], size: int) -> Planar:
    """Returns the unit directions of the rays of all pixels, row by row."""
    u, v = (jnp.asarray(grid.reshape(-1), jnp.float32) for grid in np.meshgrid(np.arange(size), np.arange(size)))
    x, y = (u - intrinsics[0, 2]) / intrinsics[0, 0], (v - intrinsics[1, 2]) / intrinsics[1, 1]
    shrink = jax.lax.rsqrt(x * x + y * y + 1)
    return x * shrink, y * shrink, shrink


def project_origin(capsules: Capsules) -> tuple[Float[Array, " capsule"], Float[Array, " capsule"]]:
    """Returns the origin's coordinate along each capsule's axis, and the squared distance from origin to its start.

    This is a separate stage, because in the stage of the rays XLA would compute it for each pixel.
    """
    along = -jnp.sum(capsules.start * capsules.axis, axis=-1)
    return along, jnp.sum(capsules.start * capsules.start, axis=-1)


def first_entry(
    ray: Planar,
    capsules: Capsules,
    feet: Float[Array, " capsule"],
    squares: Float[Array, " capsule"],
    held_object: HeldObject | None,
    margins: tuple[float, ...],
) -> Float[Array, "*pixel"]:
    """Returns the distance at which rays from the origin first enter a capsule or the object's bounding ball, metres.

    Capsules are inflated by `margins`; `feet` and `squares` are those of `project_origin`. The distance is `NO_HIT`
    where a ray misses all.
    """
    first = jnp.full_like(ray[0], NO_HIT) if held_object is None else object_entry(ray, held_object)
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
        # A product with the reciprocal: with a quotient XLA compiles a loop that is fifty times slower on a CPU.
        t_cone = (-b - jnp.sqrt(jnp.maximum(on_cone, 0.0))) * (1 / jnp.maximum(a, 1e-6))
        along = foot + t_cone * climb
        clamped = jnp.clip(along, 0.0, capsules.length[i])
        # Beyond an end the surface is a ball.
        to_centre = to_start + clamped * climb
        end_radius = radius + slope * clamped
        on_ball = to_centre * to_centre - (square + clamped * (clamped - 2 * foot)) + end_radius * end_radius
        t_ball = to_centre - jnp.sqrt(jnp.maximum(on_ball, 0.0))
        between = along == clamped
        hit = jnp.where(between, on_cone, on_ball) > 0
        first = jnp.minimum(first, jnp.where(hit, jnp.where(between, t_cone, t_ball), NO_HIT))
    return first


def march(
    ray: Planar,
    start: Float[Array, "*pixel"],
    solid: Float[Array, "*pixel"],
    capsules: Capsules,
    held_object: HeldObject | None,
    intrinsics: Float[Array, "3 3"],
    smooth: bool,
) -> tuple[Float[Array, "*pixel"], ...]:
    """Traces spheres from `start`, not beyond `solid`.

    Distances to the surface are carried between steps, so that each has one consumer: XLA computes a value once for
    each consumer on a CPU.

    Returns:
      (t, miss, smallest earlier miss, its t): distances along the ray, metres, and distances to the surface there, half
      pixels.
    """
    focal = intrinsics[0, 0]

    def step(i, carry):
        t, gap, least, t_least = carry
        miss = jnp.where(i == 0, NO_HIT, gap * 2 * focal / t)
        t_least, least = jnp.where(miss < least, t, t_least), jnp.minimum(least, miss)
        t = jnp.minimum(t + 0.98 * gap, jnp.maximum(solid, t))
        return t, distance(points_at(ray, t), capsules, held_object, smooth), least, t_least

    start = jnp.minimum(start, FAR)
    begin = (start, jnp.zeros_like(start), jnp.full_like(start, NO_HIT), start)
    t, gap, least, t_least = jax.lax.fori_loop(0, STEPS, step, begin)
    return t, gap * 2 * focal / t, least, t_least


def resolve(
    start: Float[Array, "*pixel"],
    solid: Float[Array, "*pixel"],
    t: Float[Array, "*pixel"],
    miss: Float[Array, "*pixel"],
    least: Float[Array, "*pixel"],
    t_least: Float[Array, "*pixel"],
) -> tuple[Float[Array, "*pixel"], Float[Array, "*pixel"]]:
    """Returns (t, coverage): distance of the surface along each ray, metres, and share of the pixel that it covers.

    A ray that has not converged grazes the surface. If a capsule is behind, the hit is the current point, or the
    capsule if the surface is still far. Otherwise the coverage decreases with the smallest miss, which smooths the
    outline.
    """
    converged, backed = miss < 1, solid < NO_HIT
    coverage = jnp.where(converged | backed, 1.0, jnp.clip(1.3 - 0.65 * least, 0.0, 1.0))
    grazed = jnp.where(miss < 4, t, solid)
    return jnp.where(converged, t, jnp.where(backed, grazed, t_least)), jnp.where(start < FAR, coverage, 0.0)


def resolve_exact(solid: Float[Array, "*pixel"]) -> tuple[Float[Array, "*pixel"], Float[Array, "*pixel"]]:
    """Returns (t, coverage) of separate capsules, whose entry is exact."""
    return jnp.minimum(solid, FAR), jnp.where(solid < NO_HIT, 1.0, 0.0)


def points_at(ray: Planar, t: Float[Array, "*pixel"]) -> Planar:
    """Returns the points at distance t along the rays."""
    return ray[0] * t, ray[1] * t, ray[2] * t


def normal_taps(
    point: Planar, capsules: Capsules, held_object: HeldObject | None, smooth: bool
) -> Float[Array, "4 pixel"]:
    """Returns the distances at the four taps of the normal, a separate stage because `normal` uses each three times."""
    x, y, z = (jnp.asarray(NORMAL_REACH * TETRAHEDRON[:, axis, None]) for axis in range(3))
    taps = point[0][None] + x, point[1][None] + y, point[2][None] + z
    return distance(taps, capsules, held_object, smooth)


def normal(taps: Float[Array, "4 pixel"]) -> Planar:
    """Returns the unit normal from the four taps."""
    gradient = [sum(float(TETRAHEDRON[tap, i]) * taps[tap] for tap in range(4)) for i in range(3)]
    shrink = jax.lax.rsqrt(sum(axis * axis for axis in gradient) + 1e-20)
    return gradient[0] * shrink, gradient[1] * shrink, gradient[2] * shrink


def ambient_visibility(
    point: Planar, normal: Planar, capsules: Capsules, held_object: HeldObject | None, smooth: bool
) -> Float[Array, "*pixel"]:
    """Returns the share of ambient light that reaches a point: 1 in the open, 0 in a crevice."""

    def occlude(i, total):
        reach, weight = jnp.float32(OCCLUSION_REACH)[i], jnp.float32(OCCLUSION_WEIGHTS)[i]
        gap = distance(translate(point, normal, reach), capsules, held_object, smooth)
        return total - weight * jnp.clip(1 - gap / reach, 0.0, 1.0)

    return jnp.clip(jax.lax.fori_loop(0, len(OCCLUSION_REACH), occlude, jnp.ones_like(point[0])), 0.0, 1.0)


def light_visibility(
    point: Planar,
    normal: Planar,
    light: Float[Array, "3"],
    penumbra: Float[Array, ""],
    capsules: Capsules,
    held_object: HeldObject | None,
) -> Float[Array, "*pixel"]:
    """Returns the share of the key light, from the direction `light`, that reaches a point: 0 in the core of a shadow.

    The distance between the ray to the light and each capsule's axis is in closed form. The edge of a shadow is
    `penumbra` wide per metre between the point and the caster.
    """
    share = jnp.ones_like(point[0])
    origin = translate(point, normal, 0.002)

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
    if held_object is not None:
        t = jnp.maximum(sum((held_object.centre[j] - origin[j]) * light[j] for j in range(3)), 0.0)
        gap = object_distance(translate(origin, light, t), held_object)
        share = cast(share, gap, t)
    share = jnp.clip(share, 0.0, 1.0)
    return share * share * (3 - 2 * share)
