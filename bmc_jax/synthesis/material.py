"""Texture at points of the surface: palm and back, nails, creases, cloth and fine noise.

Palm and back, nails and creases distinguish a bent finger from one bent backwards, so every domain has them.
"""

from dataclasses import dataclass

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float, Int

from bmc_jax.core import hand
from bmc_jax.synthesis.held_object import HeldObject, object_distance
from bmc_jax.synthesis.rng import RandomStream
from bmc_jax.synthesis.surface import DISTAL_PHALANGES, FOREARM, NUM_CAPSULES, THUMB_METACARPAL, Capsules, Planar

SKIN, CLOTH, OBJECT = range(3)
#: Distance from wrist to middle MCP of the hand on which the lines of the palm are defined, metres.
PALM_LENGTH = 0.0936


@jax.tree_util.register_dataclass
@dataclass(frozen=True)
class Waves:
    """Parameters of a sum of plane waves, a noise that is cheap at any point."""

    vectors: Float[Array, "*batch wave 3"]
    """Periods per metre along each axis."""
    phases: Float[Array, "*batch wave"]


@jax.tree_util.register_dataclass
@dataclass(frozen=True)
class Texture:
    """Input of shading for each pixel; all fields but `kind`, `part` and the noises are in [0, 1]."""

    kind: Int[Array, "*pixel"]
    """SKIN, CLOTH or OBJECT."""
    part: Int[Array, "*pixel"]
    """The nearest capsule, or `NUM_CAPSULES` on the object."""
    blotches: Float[Array, "*pixel"]
    """Noise with wavelengths of centimetres, about unit variance."""
    grain: Float[Array, "*pixel"]
    """Noise with wavelengths of millimetres, about unit variance."""
    palmar: Float[Array, "*pixel"]
    """0 on the back of the hand, 1 on the palm."""
    nail: Float[Array, "*pixel"]
    nail_edge: Float[Array, "*pixel"]
    """The free edge of the nail and the end of the fingertip."""
    crease: Float[Array, "*pixel"]
    knuckle: Float[Array, "*pixel"]
    """The reddish skin on the back of a finger's joint."""


def wave(x: Float[Array, "*pixel"]) -> Float[Array, "*pixel"]:
    """Returns a sine of period 1 approximated by parabolas, four times as fast as the exact one on a CPU."""
    x = x - jnp.round(x)
    return x * (8 - 16 * jnp.abs(x))


def draw_waves(random: RandomStream, count: int, lowest: float, highest: float) -> Waves:
    """Draws waves of random directions, with frequencies from `lowest` to `highest`, 1/metre."""
    frequencies = np.geomspace(lowest, highest, count, dtype=np.float32)
    return Waves(random.directions(count) * frequencies[:, None], random.uniform(shape=(count,)))


def noise(point: Planar, waves: Waves) -> Float[Array, "*pixel"]:
    """Returns the sum of the waves, scaled to about unit variance."""
    count = waves.phases.shape[0]
    total = sum(
        (wave(sum(point[axis] * waves.vectors[i, axis] for axis in range(3)) + waves.phases[i]) for i in range(count)),
        jnp.zeros_like(point[0]),
    )
    return total * (count / 2) ** -0.5


def locate(
    point: Planar, normal: Planar, capsules: Capsules, held_object: HeldObject | None
) -> tuple[Int[Array, "*pixel"], Float[Array, "*pixel"], Float[Array, "*pixel"]]:
    """Locates points of the surface on the capsules.

    Returns the nearest capsule (`NUM_CAPSULES` on the object), the coordinate along it (0 at its start, 1 at its end),
    and the cosine between the normal and the direction of the hand's back. That direction is averaged over near
    capsules, so that it varies smoothly.
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
    if held_object is not None:
        nearest = jnp.where(object_distance(point, held_object) < least, NUM_CAPSULES, nearest)
    shrink = jax.lax.rsqrt(sum(b * b for b in back) + 1e-20)
    return nearest, coordinate, sum(normal[j] * back[j] for j in range(3)) * shrink


def _ramp(x: Float[Array, "*pixel"], start: float, steepness: float) -> Float[Array, "*pixel"]:
    """Returns 0 up to `start`, then a rise to 1."""
    return jnp.clip((x - start) * steepness, 0.0, 1.0)


def _ridge(x: Float[Array, "*pixel"], steepness: float) -> Float[Array, "*pixel"]:
    """Returns 1 where x is 0, with a fall to 0 on both sides."""
    return jnp.clip(1 - jnp.abs(x) * steepness, 0.0, 1.0)


def _palm_lines(x: Float[Array, "*pixel"], y: Float[Array, "*pixel"]) -> Float[Array, "*pixel"]:
    """Returns the strength of the palm's three lines at coordinates on a hand of `PALM_LENGTH`, metres."""
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
    """Returns the texture at points, `nearest`, `coordinate` and `dorsal` as returned by `locate`.

    The noise is fixed to the hand by `turn`, the rotation from hand to camera frame. Cloth begins at the coordinate
    `sleeve` of the forearm's capsules.
    """
    offset = [point[i] - joints[hand.WRIST, i] for i in range(3)]
    x, y, z = (turn[0, axis] * offset[0] + turn[1, axis] * offset[1] + turn[2, axis] * offset[2] for axis in range(3))
    coarse = noise((x, y, z), blotches)
    fine = noise((x + 0.0035 * coarse, y + 0.0035 * coarse, z + 0.0035 * coarse), grain)

    on_object, forearm = nearest == NUM_CAPSULES, (nearest == FOREARM[0]) | (nearest == FOREARM[1])
    cloth = forearm & (coordinate > sleeve)
    phalanx, distal = (nearest < 15) & (nearest != THUMB_METACARPAL), jnp.zeros(nearest.shape, bool)
    tip = jnp.full_like(coordinate, 0.35)  # radius of the tip relative to the length of the segment
    for i in DISTAL_PHALANGES:
        distal |= nearest == i
        tip = jnp.where(
            nearest == i, (capsules.radius[i] + capsules.slope[i] * capsules.length[i]) / capsules.length[i], tip
        )
    palmar = jnp.clip(0.5 - 1.1 * dorsal, 0.0, 1.0)

    # Coordinate along the nail: 0 at its root, 1 at the free edge.
    nailward = (coordinate - (0.58 - 0.15 * tip)) / (0.42 + 0.75 * tip)
    nail = _ramp(dorsal, 0.58, 9.0) * _ramp(nailward, 0.0, 8.0) * _ramp(-nailward, -1.02, 10.0)
    at_start, at_end = _ridge(coordinate - 0.02, 22.0), jnp.where(distal, 0.0, _ridge(coordinate - 1, 22.0))
    over_joint = jnp.where(phalanx & ~distal, _ridge(coordinate - 1, 4.0), 0.0) * (1 - palmar)
    wrinkles = 0.7 * over_joint * jnp.clip(wave(coordinate * 17), 0.0, 1.0)
    flexion = jnp.where(phalanx, jnp.maximum(jnp.maximum(at_start, at_end) * (0.35 + 0.65 * palmar), wrinkles), 0.0)
    palm_bone = joints[hand.MIDDLE_MCP] - joints[hand.WRIST]
    grown = PALM_LENGTH * jax.lax.rsqrt(jnp.sum(palm_bone * palm_bone))
    x, y = x * grown, y * grown
    palm = ~phalanx & ~on_object
    lines = jnp.where(palm & ~forearm, _palm_lines(x, y), 0.0)
    wrist_line = jnp.where(palm, 0.5 * _ridge(y + 0.004, 300.0), 0.0)
    return Texture(
        kind=jnp.where(on_object, OBJECT, jnp.where(cloth, CLOTH, SKIN)),
        part=nearest,
        blotches=coarse,
        grain=fine,
        palmar=palmar,
        nail=jnp.where(distal, nail, 0.0),
        nail_edge=jnp.where(distal, _ramp(nailward, 0.82, 12.0), 0.0),
        crease=jnp.maximum(flexion, palmar * jnp.maximum(lines, wrist_line)),
        knuckle=over_joint,
    )
