"""An object: a box, cylinder or ball, held in the hand or standing before it, and cutting through no finger."""

from dataclasses import dataclass

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float, Int

from bmc_jax.core import hand
from bmc_jax.synthesis.domains import Domain
from bmc_jax.synthesis.rng import Draws
from bmc_jax.synthesis.surface import Capsules, Planar

BOX, CYLINDER, BALL, NONE = range(4)
#: Metres. Thinner room than this is left empty; what is held presses into the flesh by so much.
LEAST_ROOM, PRESS = 0.008, 0.002
ROUNDING = 0.003
#: Farther than any surface, metres.
NOWHERE = 1e3


@jax.tree_util.register_dataclass
@dataclass(frozen=True)
class Thing:
    """Camera frame, metres."""

    kind: Int[Array, "*batch"]
    centre: Float[Array, "*batch 3"]
    half: Float[Array, "*batch 3"]
    """Half its extent along its axes, without the rounding of its edges; a ball's radius is the first."""
    turn: Float[Array, "*batch 3 3"]
    """Its axes in the columns; a cylinder's is the last."""
    colour: Float[Array, "*batch 3"]
    """Linear RGB."""


def _room(points: Float[Array, "point 3"], capsules: Capsules) -> Float[Array, " point"]:
    """Free distance around points."""
    offset = points[:, None] - capsules.start[None]
    along = jnp.clip(jnp.sum(offset * capsules.axis[None], axis=-1), 0, capsules.length[None])
    across = offset - along[..., None] * capsules.axis[None]
    gaps = jnp.sqrt(jnp.sum(across * across, axis=-1)) - (capsules.radius[None] + capsules.slope[None] * along)
    return gaps.min(axis=1)


def draw_thing(
    draws: Draws,
    joints: Float[Array, "21 3"],
    palmar: Float[Array, "3"],
    across: Float[Array, "3"],
    capsules: Capsules,
    domain: Domain,
) -> Thing:
    """In four cases of five held: as thick as fits between palm and fingers, its long axis across the palm and as long
    as no finger is in its way. Else it floats before the hand or, where that would touch the hand, is not there.

    `palmar` and `across` are directions of the hand; everything is in the camera frame.
    """
    kind = jnp.where(draws.happens(domain.thing), draws.index(3), NONE)
    knuckles, tips = joints[np.array([5, 9, 13])].mean(axis=0), joints[np.array([4, 8, 12, 16])].mean(axis=0)
    grip = 0.5 * (knuckles + tips) + 0.012 * palmar + draws.normal(0.006, (3,))
    room = _room(grip[None], capsules)[0]
    held = (room > LEAST_ROOM) & draws.happens(0.8)
    loose = draws.uniform(0.72, 0.86) * joints[hand.MIDDLE_MCP]
    loose += jnp.append(draws.normal(0.045, (2,)), 0.0)
    loose_radius = jnp.minimum(draws.uniform(0.012, 0.026), 0.6 * _room(loose[None], capsules)[0])

    axis = jnp.where(held, across + draws.normal(0.25, (3,)), draws.directions(1)[0])
    axis = axis * jax.lax.rsqrt(jnp.sum(axis * axis))
    side = jnp.cross(axis, draws.directions(1)[0])
    side = side * jax.lax.rsqrt(jnp.sum(side * side))

    radius = jnp.where(held, jnp.clip(room + PRESS, LEAST_ROOM, 0.038), loose_radius)
    long = jnp.maximum(radius, draws.uniform(0.02, 0.07))
    # Along the axis to either side, how far a rod of that radius gets before a finger is in its way.
    stride, strides = 0.007, 10
    steps = stride * np.arange(1, strides + 1, dtype=np.float32)

    def free(direction):
        blocked = _room(grip[None] + direction * steps[:, None] * axis[None], capsules) < radius - 2 * PRESS
        return jnp.minimum(jnp.where(jnp.any(blocked), stride * jnp.argmax(blocked), long), long)

    forth, back = free(1.0), free(-1.0)
    centre = jnp.where(held, grip + 0.5 * (forth - back) * axis, loose)
    long = jnp.where(held, jnp.maximum(0.5 * (forth + back), 0.6 * radius), jnp.minimum(long, 1.4 * radius))
    thick = jnp.where(kind == BOX, 0.75, 0.92) * radius
    half = jnp.stack([thick, thick * draws.uniform(0.7, 1.0), long])
    there = held | (loose_radius > LEAST_ROOM)
    brightness = draws.uniform(0.05, 0.8)
    colour = brightness * (
        1
        + draws.normal(0.3) * np.array([0.8, 0, -0.8], np.float32)
        + draws.normal(0.12) * np.array([-1, 1, -1], np.float32)
    )
    return Thing(
        jnp.where(there, kind, NONE),
        centre,
        half - ROUNDING,
        jnp.stack([side, jnp.cross(axis, side), axis], axis=1),
        jnp.clip(colour, 0.02, 0.9),
    )


def thing_distance(point: Planar, thing: Thing) -> Float[Array, "*pixel"]:
    """Signed distance to its surface; `NOWHERE` for none."""
    offset = [point[i] - thing.centre[i] for i in range(3)]
    x, y, z = (sum(thing.turn[i, axis] * offset[i] for i in range(3)) for axis in range(3))
    radial = jnp.sqrt(x * x + y * y + 1e-12)
    # A cylinder is a box in (distance from the axis, height).
    round_, half = thing.kind == CYLINDER, thing.half
    sides = (
        jnp.where(round_, radial, jnp.abs(x)) - half[0],
        jnp.where(round_, -1.0, jnp.abs(y) - half[1]),
        jnp.abs(z) - half[2],
    )
    outside = jnp.sqrt(sum(jnp.maximum(side, 0.0) ** 2 for side in sides) + 1e-14)
    inside = jnp.minimum(jnp.maximum(sides[0], jnp.maximum(sides[1], sides[2])), 0.0)
    ball = jnp.sqrt(x * x + y * y + z * z) - half[0]
    distance = jnp.where(thing.kind == BALL, ball, outside + inside) - ROUNDING
    return jnp.where(thing.kind == NONE, NOWHERE, distance)


def thing_entry(ray: Planar, thing: Thing) -> Float[Array, "*pixel"]:
    """Where rays from the origin enter its bounding ball, metres; `NOWHERE` where they miss it."""
    corner = jnp.sqrt(jnp.sum(thing.half * thing.half))
    reach = jnp.where(thing.kind == BALL, thing.half[0], corner) + ROUNDING
    along = sum(ray[i] * thing.centre[i] for i in range(3))
    inside = along * along - jnp.sum(thing.centre * thing.centre) + reach * reach
    hit = (inside > 0) & (thing.kind != NONE)
    return jnp.where(hit, along - jnp.sqrt(jnp.maximum(inside, 0.0)), NOWHERE)
