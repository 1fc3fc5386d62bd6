"""What is at a point of the surface: palm or back, nail, crease, cloth, and the fine texture of each.

Back and palm, nails and creases are what tell a bent finger from one bent backwards: every domain has them.
"""

from dataclasses import dataclass

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float, Int

from bmc_jax.core import hand
from bmc_jax.synthesis.held_object import Thing, thing_distance
from bmc_jax.synthesis.rng import Draws
from bmc_jax.synthesis.surface import DISTAL_PHALANGES, FOREARM, NUM_CAPSULES, THUMB_METACARPAL, Capsules, Planar

SKIN, CLOTH, THING = range(3)
#: Wrist to middle MCP of the hand that the palm's lines are drawn on, metres.
PALM_LENGTH = 0.0936


@jax.tree_util.register_dataclass
@dataclass(frozen=True)
class Waves:
    """A sum of plane waves: noise that is cheap at any point."""

    vectors: Float[Array, "*batch wave 3"]
    """Waves per metre along each axis."""
    phases: Float[Array, "*batch wave"]


@jax.tree_util.register_dataclass
@dataclass(frozen=True)
class Texture:
    """What shading needs to know of the surface, per pixel; all but `kind` and the noises in [0, 1]."""

    kind: Int[Array, "*pixel"]
    """SKIN, CLOTH or THING."""
    part: Int[Array, "*pixel"]
    """The nearest capsule, or `NUM_CAPSULES` on the object."""
    blotches: Float[Array, "*pixel"]
    """Noise of some centimetres, about unit variance."""
    grain: Float[Array, "*pixel"]
    """Noise of some millimetres, about unit variance."""
    palmar: Float[Array, "*pixel"]
    """0 on the back, 1 on the palm."""
    nail: Float[Array, "*pixel"]
    nail_edge: Float[Array, "*pixel"]
    """The free edge of the nail, and the fingertip's end."""
    crease: Float[Array, "*pixel"]
    knuckle: Float[Array, "*pixel"]
    """The reddish back of a finger's joint."""


def wave(x: Float[Array, "*pixel"]) -> Float[Array, "*pixel"]:
    """A sine of period 1 made of parabolas, four times cheaper than the true one on a CPU."""
    x = x - jnp.round(x)
    return x * (8 - 16 * jnp.abs(x))


def draw_waves(draws: Draws, count: int, lowest: float, highest: float) -> Waves:
    """Waves of random directions and of frequencies between two bounds, 1/metre."""
    frequencies = np.geomspace(lowest, highest, count, dtype=np.float32)
    return Waves(draws.directions(count) * frequencies[:, None], draws.uniform(shape=(count,)))


def noise(point: Planar, waves: Waves) -> Float[Array, "*pixel"]:
    """Sum of the waves, scaled to about unit variance."""
    count = waves.phases.shape[0]
    total = sum(
        (wave(sum(point[axis] * waves.vectors[i, axis] for axis in range(3)) + waves.phases[i]) for i in range(count)),
        jnp.zeros_like(point[0]),
    )
    return total * (count / 2) ** -0.5


def locate(
    point: Planar, normal: Planar, capsules: Capsules, thing: Thing | None
) -> tuple[Int[Array, "*pixel"], Float[Array, "*pixel"], Float[Array, "*pixel"]]:
    """(nearest capsule, coordinate along it, cosine between the normal and the hand's back there).

    The capsule is `NUM_CAPSULES` on the object. The coordinate is 0 at the capsule's start and 1 at its end. The
    direction of the back is averaged over near capsules, so that it turns smoothly from one to the next.
    """
    least = jnp.full_like(point[0], 1e9)
    nearest, coordinate = jnp.zeros(point[0].shape, jnp.int32), jnp.zeros_like(least)
    back = [jnp.zeros_like(least) for _ in range(3)]
    for i in range(NUM_CAPSULES):
        axis, length = capsules.axis[i], capsules.length[i]
        offset = [point[j] - capsules.start[i, j] for j in range(3)]
        along = sum(offset[j] * axis[j] for j in range(3))
        held = jnp.clip(along, 0.0, length)
        across = [offset[j] - held * axis[j] for j in range(3)]
        gap = jnp.sqrt(sum(a * a for a in across) + 1e-12) - (capsules.radius[i] + capsules.slope[i] * held)
        # Fourth power of the nearness, in units of 1.5 mm so that float32 holds it.
        near = 1 / (jnp.maximum(gap, 0.0) * (1 / 0.0015) + 1)
        weight = near * near * near * near
        back = [total + weight * capsules.dorsal[i, j] for j, total in enumerate(back)]
        closer = gap < least
        least, nearest = jnp.where(closer, gap, least), jnp.where(closer, i, nearest)
        coordinate = jnp.where(closer, along * (1 / length), coordinate)
    if thing is not None:
        nearest = jnp.where(thing_distance(point, thing) < least, NUM_CAPSULES, nearest)
    shrink = jax.lax.rsqrt(sum(b * b for b in back) + 1e-20)
    return nearest, coordinate, sum(normal[j] * back[j] for j in range(3)) * shrink


def _ramp(x: Float[Array, "*pixel"], start: float, steepness: float) -> Float[Array, "*pixel"]:
    """0 before `start`, then rising to 1."""
    return jnp.clip((x - start) * steepness, 0.0, 1.0)


def _ridge(x: Float[Array, "*pixel"], steepness: float) -> Float[Array, "*pixel"]:
    """1 where x is 0, falling to 0 beside it."""
    return jnp.clip(1 - jnp.abs(x) * steepness, 0.0, 1.0)


def _palm_lines(x: Float[Array, "*pixel"], y: Float[Array, "*pixel"]) -> Float[Array, "*pixel"]:
    """The palm's three lines at hand coordinates, metres on a hand of `PALM_LENGTH`."""
    thenar = jnp.sqrt((x + 0.032) ** 2 + (y - 0.030) ** 2) - 0.041
    proximal = y - (0.062 - 0.22 * (x + 0.01) - 6 * x * x)
    distal = y - (0.076 + 0.12 * x - 5 * (x - 0.02) ** 2)
    return jnp.where(
        y > 0.012, _ridge(jnp.minimum(jnp.abs(thenar), jnp.minimum(jnp.abs(proximal), jnp.abs(distal))), 700.0), 0.0
    )


def texture(
    point: Planar,
    nearest: Int[Array, "*pixel"],
    coordinate: Float[Array, "*pixel"],
    dorsal: Float[Array, "*pixel"],
    turn: Float[Array, "3 3"],
    joints: Float[Array, "21 3"],
    capsules: Capsules,
    sleeve: Float[Array, ""],
    blotches: Waves,
    grain: Waves,
) -> Texture:
    """The texture at points located by `locate`. It is tied to the hand by `turn`, the rotation from hand to camera.

    `sleeve` is where on the forearm cloth begins, as a coordinate of its capsules.
    """
    offset = [point[i] - joints[hand.WRIST, i] for i in range(3)]
    x, y, z = (turn[0, axis] * offset[0] + turn[1, axis] * offset[1] + turn[2, axis] * offset[2] for axis in range(3))
    coarse = noise((x, y, z), blotches)
    fine = noise((x + 0.0035 * coarse, y + 0.0035 * coarse, z + 0.0035 * coarse), grain)

    thing, forearm = nearest == NUM_CAPSULES, (nearest == FOREARM[0]) | (nearest == FOREARM[1])
    cloth = forearm & (coordinate > sleeve)
    phalanx, distal = (nearest < 15) & (nearest != THUMB_METACARPAL), jnp.zeros(nearest.shape, bool)
    tip = jnp.full_like(coordinate, 0.35)  # the tip's radius per length of the segment
    for i in DISTAL_PHALANGES:
        distal |= nearest == i
        tip = jnp.where(
            nearest == i, (capsules.radius[i] + capsules.slope[i] * capsules.length[i]) / capsules.length[i], tip
        )
    palmar = jnp.clip(0.5 - 1.1 * dorsal, 0.0, 1.0)

    # Along the nail: 0 at its root, 1 at the free edge.
    nailward = (coordinate - (0.58 - 0.15 * tip)) / (0.42 + 0.75 * tip)
    nail = _ramp(dorsal, 0.58, 9.0) * _ramp(nailward, 0.0, 8.0) * _ramp(-nailward, -1.02, 10.0)
    at_start, at_end = _ridge(coordinate - 0.02, 22.0), jnp.where(distal, 0.0, _ridge(coordinate - 1, 22.0))
    over_joint = jnp.where(phalanx & ~distal, _ridge(coordinate - 1, 4.0), 0.0) * (1 - palmar)
    wrinkles = 0.7 * over_joint * jnp.clip(wave(coordinate * 17), 0.0, 1.0)
    flexion = jnp.where(phalanx, jnp.maximum(jnp.maximum(at_start, at_end) * (0.35 + 0.65 * palmar), wrinkles), 0.0)
    palm_bone = joints[hand.MIDDLE_MCP] - joints[hand.WRIST]
    grown = PALM_LENGTH * jax.lax.rsqrt(jnp.sum(palm_bone * palm_bone))
    x, y = x * grown, y * grown
    palm = ~phalanx & ~thing
    lines = jnp.where(palm & ~forearm, _palm_lines(x, y), 0.0)
    wrist_line = jnp.where(palm, 0.5 * _ridge(y + 0.004, 300.0), 0.0)
    return Texture(
        kind=jnp.where(thing, THING, jnp.where(cloth, CLOTH, SKIN)),
        part=nearest,
        blotches=coarse,
        grain=fine,
        palmar=palmar,
        nail=jnp.where(distal, nail, 0.0),
        nail_edge=jnp.where(distal, _ramp(nailward, 0.82, 12.0), 0.0),
        crease=jnp.maximum(flexion, palmar * jnp.maximum(lines, wrist_line)),
        knuckle=over_joint,
    )
