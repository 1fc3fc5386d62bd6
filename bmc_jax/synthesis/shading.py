"""Shading in linear RGB: colours of skin, glove, cloth and object, lights, and the light that reaches the camera."""

from dataclasses import dataclass

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Bool, Float

from bmc_jax.synthesis.domains import Domain
from bmc_jax.synthesis.held_object import HeldObject
from bmc_jax.synthesis.material import CLOTH, OBJECT, SKIN, Texture
from bmc_jax.synthesis.rng import RandomStream
from bmc_jax.synthesis.surface import FOREARM, Planar

#: Linear RGB of skin from light to dark.
SKIN_RAMP = np.array(
    [
        [0.82, 0.56, 0.44],
        [0.74, 0.47, 0.34],
        [0.60, 0.35, 0.23],
        [0.42, 0.225, 0.135],
        [0.25, 0.125, 0.075],
        [0.13, 0.07, 0.045],
    ],
    np.float32,
)
PALM_COLOUR, NAIL_COLOUR = (0.80, 0.50, 0.42), (0.90, 0.66, 0.60)
NAIL_EDGE_COLOUR, FLUSH_COLOUR = (0.95, 0.92, 0.85), (0.70, 0.26, 0.20)


def _hue(degrees: float) -> np.ndarray:
    """Returns the saturated colour at an angle of the colour circle, 0 red, 120 green."""
    return np.clip(np.abs((degrees / 60 + np.array([0, 4, 2])) % 6 - 3) - 1, 0, 1)


#: Linear RGB of a glove's finger segments, thumb to little, root to tip: one hue per finger; dark, saturated and pale.
GLOVE = np.array(
    [
        [0.01 + 0.12 * _hue(degrees), 0.02 + 0.9 * _hue(degrees), 0.5 + 0.5 * _hue(degrees)]
        for degrees in (0.0, 60.0, 130.0, 205.0, 285.0)
    ],
    np.float32,
).reshape(15, 3)
GLOVE_PALM, GLOVE_FOREARM = (0.75, 0.45, 0.25), (0.05, 0.05, 0.05)
#: Brightness of the glove on the back of the hand relative to the palm.
GLOVE_BACK = 0.55


@jax.tree_util.register_dataclass
@dataclass(frozen=True)
class Appearance:
    """Colours and lights of a picture."""

    skin: Float[Array, "*batch 3"]
    cloth: Float[Array, "*batch 3"]
    polish: Float[Array, "*batch 3"]
    polished: Bool[Array, "*batch"]
    sleeve: Float[Array, "*batch"]
    """Position on the forearm where cloth begins, 0 wrist to 1 end; above 1 for a bare arm."""
    key_direction: Float[Array, "*batch 3"]
    """Unit vector to the key light, camera frame."""
    fill_direction: Float[Array, "*batch 3"]
    key: Float[Array, "*batch"]
    ambient: Float[Array, "*batch"]
    fill: Float[Array, "*batch"]
    key_tint: Float[Array, "*batch 3"]
    ambient_tint: Float[Array, "*batch 3"]
    penumbra: Float[Array, "*batch"]
    highlight: Float[Array, "*batch"]
    gloss: Float[Array, "*batch"]


def draw_skin(random: RandomStream, domain: Domain) -> Float[Array, "3"]:
    """Draws the skin colour of a person."""
    place = random.uniform(*domain.skin) * (len(SKIN_RAMP) - 1)
    lighter = jnp.minimum(place.astype(jnp.int32), len(SKIN_RAMP) - 2)
    ramp = jnp.asarray(SKIN_RAMP)
    skin = ramp[lighter] + (ramp[lighter + 1] - ramp[lighter]) * (place - lighter)
    return jnp.clip(skin * (1 + random.normal(0.05, (3,))), 0.02, 0.95)


def draw_appearance(random: RandomStream, skin: Float[Array, "3"], domain: Domain) -> Appearance:
    """Draws lights and clothes of a picture. The key light mostly comes from above and from the camera's side."""
    x, y, z = random.normal(shape=(3,))
    key_direction = jnp.stack([x, y - 0.8, -jnp.abs(z) - 0.3])
    warm, green = random.normal(domain.light_tint), random.normal(0.15 * domain.light_tint)
    tint = 1 + jnp.stack([warm, green, -warm])
    cloth = random.uniform(0.03, 0.7) * (
        1
        + random.normal(0.3) * np.array([1, 0, -1], np.float32)
        + random.normal(0.1) * np.array([-1, 1, -1], np.float32)
    )
    return Appearance(
        skin=skin,
        cloth=jnp.clip(cloth, 0.02, 0.9),
        polish=random.uniform(0.05, 0.9, (3,)),
        polished=random.bernoulli(domain.polish),
        sleeve=jnp.where(random.bernoulli(domain.sleeve), random.uniform(0.06, 0.38), 2.0),
        key_direction=key_direction * jax.lax.rsqrt(jnp.sum(key_direction * key_direction)),
        fill_direction=random.directions(1)[0],
        key=random.uniform(*domain.key_light),
        ambient=random.uniform(*domain.ambient_light),
        fill=random.uniform(*domain.fill_light),
        key_tint=tint,
        ambient_tint=1 - 0.6 * (tint - 1),
        penumbra=random.uniform(*domain.penumbra),
        highlight=random.uniform(*domain.highlight),
        gloss=random.uniform(29.0, 116.0),
    )


def _albedo(
    surface: Texture, appearance: Appearance, held_object: HeldObject | None, detail: float, glove: bool, channel: int
) -> Float[Array, "*pixel"]:
    """Returns the share of a colour channel that the surface reflects."""
    skin = appearance.skin[channel]
    palm = 0.7 * skin + 0.3 * PALM_COLOUR[channel]
    flush = skin * (0.75 + 0.35 * FLUSH_COLOUR[channel])

    colour = skin + (palm - skin) * surface.palmar
    colour = colour * (1 + detail * (0.10 * (1.0, 0.8, 0.7)[channel] * surface.blotches + 0.06 * surface.grain))
    colour = colour + 0.5 * detail * surface.knuckle * (flush - colour)
    colour = colour + 0.08 * detail * surface.nail_edge * (FLUSH_COLOUR[channel] - colour)
    colour = colour * (1 - (0.16 + 0.22 * detail) * (1.0, 1.12, 1.15)[channel] * surface.crease)

    nail = 0.5 * skin + 0.5 * NAIL_COLOUR[channel]
    nail = nail + 0.25 * surface.nail_edge * (NAIL_EDGE_COLOUR[channel] - nail)
    nail = jnp.where(appearance.polished, appearance.polish[channel], nail)
    colour = colour + 0.85 * surface.nail * (nail - colour)

    if glove:
        fabric = jnp.full(surface.part.shape, GLOVE_PALM[channel])
        for part, segment in [*enumerate(GLOVE), *((part, GLOVE_FOREARM) for part in FOREARM)]:
            fabric = jnp.where(surface.part == part, segment[channel], fabric)
        colour = fabric * (GLOVE_BACK + (1 - GLOVE_BACK) * surface.palmar)

    colour = jnp.where(surface.kind == CLOTH, appearance.cloth[channel] * (1 + 0.12 * surface.grain), colour)
    if held_object is not None:
        colour = jnp.where(surface.kind == OBJECT, held_object.colour[channel] * (1 + 0.12 * surface.blotches), colour)
    return colour


def shade(
    ray: Planar,
    normal: Planar,
    surface: Texture,
    ambient_visibility: Float[Array, "*pixel"],
    light_visibility: Float[Array, "*pixel"],
    appearance: Appearance,
    held_object: HeldObject | None,
    detail: float,
    glove: bool,
) -> Planar:
    """Returns red, green and blue of each pixel's surface in key light with shadow, ambient and fill light."""

    def facing(direction):
        return sum(normal[i] * direction[i] for i in range(3))

    # Skin scatters light past the terminator, red light farthest.
    wrapped = jnp.clip((facing(appearance.key_direction) + 0.2) / 1.2, 0.0, 1.0)
    wrapped = wrapped * (0.3 + 0.7 * wrapped)
    skin = jnp.where(surface.kind == SKIN, 1.0, 0.0)
    bleed = 0.25 * skin * (1 - wrapped)
    fill = appearance.fill * jnp.clip(facing(appearance.fill_direction), 0.0, 1.0)
    ambient = appearance.ambient * (0.65 - 0.35 * normal[1]) + fill

    half = [appearance.key_direction[i] - ray[i] for i in range(3)]
    shrink = jax.lax.rsqrt(sum(axis * axis for axis in half))
    mirrored = jnp.clip(facing(half) * shrink, 0.0, 1.0)
    grazing = 1 - jnp.clip(-facing(ray), 0.0, 1.0)
    gloss = jnp.exp2(appearance.gloss * (mirrored - 1))
    highlight = appearance.highlight * (1 + 2.5 * surface.nail) * gloss * light_visibility
    highlight = highlight * jnp.where(surface.kind == CLOTH, 0.2, 1.0) * (1 + 1.5 * grazing * grazing * grazing)

    channels = []
    for channel in range(3):
        colour = _albedo(surface, appearance, held_object, detail, glove, channel)
        bled = 1 + bleed * (1.0, -0.15, -0.3)[channel]
        direct = appearance.key * appearance.key_tint[channel] * wrapped * bled * light_visibility
        # Skin lights the skin next to it: crevices are red instead of black.
        indirect = ambient_visibility + (1 - ambient_visibility) * 0.35 * colour * skin
        indirect = appearance.ambient_tint[channel] * ambient * indirect
        channels.append(colour * (direct + indirect) + highlight * appearance.key_tint[channel])
    return channels[0], channels[1], channels[2]
