"""A box, cylinder or ball that is held in the hand or floats in front of it, and intersects no finger."""

from dataclasses import dataclass

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float, Int

from bmc_jax.core import hand
from bmc_jax.synthesis.domains import Domain
from bmc_jax.synthesis.rng import RandomStream
from bmc_jax.synthesis.surface import Capsules, Planar

BOX, CYLINDER, BALL, NONE = range(4)
#: Smallest radius of an object, and depth by which a held object presses into the flesh, metres.
MIN_CLEARANCE, PRESS_DEPTH = 0.008, 0.002
#: Radius of rounded edges, metres.
ROUNDING = 0.003
#: Distance that stands for no surface, metres.
NO_HIT = 1e3


@jax.tree_util.register_dataclass
@dataclass(frozen=True)
class HeldObject:
    """Pose, size and colour of an object; camera frame, metres."""

    kind: Int[Array, "*batch"]
    centre: Float[Array, "*batch 3"]
    half: Float[Array, "*batch 3"]
    """Half the extent along its axes, without the rounding of edges; the first is the radius of a ball."""
    turn: Float[Array, "*batch 3 3"]
    """Axes in columns; the last is the axis of a cylinder."""
    colour: Float[Array, "*batch 3"]
    """Linear RGB."""


def draw_object(
    random: RandomStream,
    joints: Float[Array, "21 3"],
    palmar: Float[Array, "3"],
    across: Float[Array, "3"],
    capsules: Capsules,
    domain: Domain,
) -> HeldObject:
    """Draws an object.

    In 4 of 5 cases it is held: it fills the space between palm and fingers, and its long axis is across the palm and
    ends before the first finger in its way. Otherwise it floats in front of the hand; if it would touch the hand, there
    is no object. `palmar` and `across` are directions of the hand. All vectors are in the camera frame, metres.
    """
    kind = jnp.where(random.bernoulli(domain.held_object), random.integer(3), NONE)
    knuckles, tips = joints[np.array([5, 9, 13])].mean(axis=0), joints[np.array([4, 8, 12, 16])].mean(axis=0)
    grip = 0.5 * (knuckles + tips) + 0.012 * palmar + random.normal(0.006, (3,))
    clearance = _clearance(grip[None], capsules)[0]
    held = (clearance > MIN_CLEARANCE) & random.bernoulli(0.8)
    floating = random.uniform(0.72, 0.86) * joints[hand.MIDDLE_MCP]
    floating += jnp.append(random.normal(0.045, (2,)), 0.0)
    floating_radius = jnp.minimum(random.uniform(0.012, 0.026), 0.6 * _clearance(floating[None], capsules)[0])

    axis = jnp.where(held, across + random.normal(0.25, (3,)), random.directions(1)[0])
    axis = axis * jax.lax.rsqrt(jnp.sum(axis * axis))
    side = jnp.cross(axis, random.directions(1)[0])
    side = side * jax.lax.rsqrt(jnp.sum(side * side))

    radius = jnp.where(held, jnp.clip(clearance + PRESS_DEPTH, MIN_CLEARANCE, 0.038), floating_radius)
    long = jnp.maximum(radius, random.uniform(0.02, 0.07))
    # Length of a rod of that radius to either side until a finger obstructs it.
    stride, strides = 0.007, 10
    steps = stride * np.arange(1, strides + 1, dtype=np.float32)

    def reach(direction):
        blocked = _clearance(grip[None] + direction * steps[:, None] * axis[None], capsules) < radius - 2 * PRESS_DEPTH
        return jnp.minimum(jnp.where(jnp.any(blocked), stride * jnp.argmax(blocked), long), long)

    forth, back = reach(1.0), reach(-1.0)
    centre = jnp.where(held, grip + 0.5 * (forth - back) * axis, floating)
    long = jnp.where(held, jnp.maximum(0.5 * (forth + back), 0.6 * radius), jnp.minimum(long, 1.4 * radius))
    thick = jnp.where(kind == BOX, 0.75, 0.92) * radius
    half = jnp.stack([thick, thick * random.uniform(0.7, 1.0), long])
    exists = held | (floating_radius > MIN_CLEARANCE)
    brightness = random.uniform(0.05, 0.8)
    colour = brightness * (
        1
        + random.normal(0.3) * np.array([0.8, 0, -0.8], np.float32)
        + random.normal(0.12) * np.array([-1, 1, -1], np.float32)
    )
    return HeldObject(
        jnp.where(exists, kind, NONE),
        centre,
        half - ROUNDING,
        jnp.stack([side, jnp.cross(axis, side), axis], axis=1),
        jnp.clip(colour, 0.02, 0.9),
    )


def object_distance(point: Planar, held_object: HeldObject) -> Float[Array, "*pixel"]:
    """Returns the signed distance to the object's surface, metres; `NO_HIT` for no object."""
    offset = [point[i] - held_object.centre[i] for i in range(3)]
    x, y, z = (sum(held_object.turn[i, axis] * offset[i] for i in range(3)) for axis in range(3))
    radial = jnp.sqrt(x * x + y * y + 1e-12)
    # A cylinder is a box in (distance from the axis, height).
    is_cylinder, half = held_object.kind == CYLINDER, held_object.half
    sides = (
        jnp.where(is_cylinder, radial, jnp.abs(x)) - half[0],
        jnp.where(is_cylinder, -1.0, jnp.abs(y) - half[1]),
        jnp.abs(z) - half[2],
    )
    outside = jnp.sqrt(sum(jnp.maximum(side, 0.0) ** 2 for side in sides) + 1e-14)
    inside = jnp.minimum(jnp.maximum(sides[0], jnp.maximum(sides[1], sides[2])), 0.0)
    ball = jnp.sqrt(x * x + y * y + z * z) - half[0]
    distance = jnp.where(held_object.kind == BALL, ball, outside + inside) - ROUNDING
    return jnp.where(held_object.kind == NONE, NO_HIT, distance)


def object_entry(ray: Planar, held_object: HeldObject) -> Float[Array, "*pixel"]:
    """Returns where rays from the origin enter the bounding ball, metres; `NO_HIT` where they miss it."""
    corner = jnp.sqrt(jnp.sum(held_object.half * held_object.half))
    reach = jnp.where(held_object.kind == BALL, held_object.half[0], corner) + ROUNDING
    along = sum(ray[i] * held_object.centre[i] for i in range(3))
    inside = along * along - jnp.sum(held_object.centre * held_object.centre) + reach * reach
    hit = (inside > 0) & (held_object.kind != NONE)
    return jnp.where(hit, along - jnp.sqrt(jnp.maximum(inside, 0.0)), NO_HIT)


def _clearance(points: Float[Array, "point 3"], capsules: Capsules) -> Float[Array, " point"]:
    """Returns the distance from points to the nearest capsule, metres."""
    offset = points[:, None] - capsules.start[None]
    along = jnp.clip(jnp.sum(offset * capsules.axis[None], axis=-1), 0, capsules.length[None])
    across = offset - along[..., None] * capsules.axis[None]
    gaps = jnp.sqrt(jnp.sum(across * across, axis=-1)) - (capsules.radius[None] + capsules.slope[None] * along)
    return gaps.min(axis=1)
