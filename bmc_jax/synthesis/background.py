"""What is behind the hand: a wall and a table top of some material, things on them, light falling across, out of focus.

Colours vary as natural scenes do, mostly in brightness, then along warm-cool, and little along green-magenta.
"""

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float, PRNGKeyArray

from bmc_jax.synthesis.domains import Domain
from bmc_jax.synthesis.material import wave
from bmc_jax.synthesis.rng import Draws

#: Cells a side of each octave of noise.
OCTAVES = (3, 6, 12, 24, 48)
#: Pieces of furniture, each there in half of the pictures.
FURNITURE = 5
PLAIN, BOARDS, TILES, WEAVE, PRINT = range(5)
#: How often each is met.
KINDS = (PLAIN, PLAIN, PLAIN, BOARDS, BOARDS, TILES, WEAVE, WEAVE, PRINT)
Plane = Float[Array, "height width"]


def interpolation(cells: int, size: int) -> np.ndarray:
    """`[size, cells]` weights that interpolate cells to pixels (Catmull-Rom), held at the edges."""
    x = (np.arange(size) + 0.5) * cells / size - 0.5
    cell = np.floor(x).astype(int)
    t = x - cell
    weights = [
        -0.5 * t + t**2 - 0.5 * t**3,
        1 - 2.5 * t**2 + 1.5 * t**3,
        0.5 * t + 2 * t**2 - 1.5 * t**3,
        -0.5 * t**2 + 0.5 * t**3,
    ]
    matrix = np.zeros((size, cells), np.float32)
    for offset, weight in enumerate(weights):
        np.add.at(matrix, (np.arange(size), np.clip(cell + offset - 1, 0, cells - 1)), weight)
    return matrix


def clouds(key: PRNGKeyArray, domain: Domain, size: int) -> Float[Array, "2 height width"]:
    """Two fields of noise, smooth to rough by the domain: brightness and warmth; about unit variance in all."""
    roughness_key, cell_key = jax.random.split(key)
    roughness = Draws(roughness_key, 1).uniform(*domain.background_roughness)
    cells = jax.random.uniform(cell_key, (2 * sum(n * n for n in OCTAVES),), minval=-1.7, maxval=1.7)
    total, amplitude, square, first = 0.0, 1.0, 0.0, 0
    for n in OCTAVES:
        octave = cells[first : first + 2 * n * n].reshape(2, n, n)
        spread = jnp.asarray(interpolation(n, size))
        total = total + amplitude * jnp.einsum("ri,cij,sj->crs", spread, octave, spread)
        square, amplitude, first = square + amplitude**2, amplitude * roughness, first + 2 * n * n
    return total * jax.lax.rsqrt(square)


def _colour(draws: Draws, domain: Domain) -> Float[Array, "3"]:
    warm, green = domain.background_chroma
    # Indoors more is wooden than blue.
    warmth = draws.normal(warm) + 0.3 * min(warm, 0.25)
    tint = warmth * np.array([0.8, 0.0, -0.9], np.float32) + draws.normal(green) * np.array(
        [-0.6, 0.6, -0.6], np.float32
    )
    return jnp.clip(draws.uniform(0.15, 0.85) * (1 + tint), 0.02, 1.0)


def _scatter(cell: Plane, amount: float) -> Plane:
    """A number in [0, 1) for each whole number, different for neighbours."""
    x = cell * 0.61803399 + wave(cell * 0.589) * amount
    return x - jnp.floor(x)


def _pattern(draws: Draws, u: Plane, v: Plane, cloud: Plane, strength: float) -> Plane:
    """Factor on brightness by a material's pattern at its coordinates, in picture widths."""
    kind = jnp.asarray(KINDS)[draws.index(len(KINDS))]
    frequency, contrast = draws.uniform(2.0, 7.0), strength * draws.uniform(0.4, 1.0)

    def groove(x, width):
        return jnp.clip(1.2 - jnp.abs(x - jnp.round(x)) * (1 / (width * frequency)), 0.0, 1.0)

    board = jnp.floor(u * frequency)
    tone = _scatter(board, 0.37) - 0.5
    rings = wave(u * frequency * 5 + 0.5 * cloud + 3 * tone) + 0.6 * wave(u * frequency * 13 + v * 0.7 + 0.8 * cloud)
    boards = 0.25 * tone + 0.07 * rings - 0.45 * groove(u * frequency, 0.006)
    tiles = 0.2 * (_scatter(board + 7 * jnp.floor(v * frequency), 0.37) - 0.5) - 0.35 * jnp.maximum(
        groove(u * frequency, 0.008), groove(v * frequency, 0.008)
    )
    weave = 0.16 * wave(u * frequency * 5) * wave(v * frequency * 5) + 0.08 * wave((u + v) * frequency)
    row = jnp.floor(v * frequency * 3)
    across, letter = u * frequency * 6 + 17 * _scatter(row, 0.71), v * frequency * 3 - row
    ink = (jnp.abs(letter - 0.5) < 0.22) & (wave(across) + wave(across * 2.3) + 0.5 * wave(across * 0.31) > 0.0)
    printed = jnp.where(ink, -0.55, 0.0)
    value = jnp.where(kind == BOARDS, boards, 0.0)
    for this, one in ((TILES, tiles), (WEAVE, weave), (PRINT, printed)):
        value = jnp.where(kind == this, one, value)
    return 1 + contrast * value


def _grid(size: int) -> tuple[Plane, Plane]:
    x, y = np.meshgrid((np.arange(size) + 0.5) / size, (np.arange(size) + 0.5) / size)
    return jnp.asarray(x, jnp.float32), jnp.asarray(y, jnp.float32)


def wall_and_table(
    key: PRNGKeyArray, cloud: Float[Array, "2 height width"], domain: Domain
) -> tuple[Plane, Plane, Plane, Plane, Plane, Float[Array, "2 3"]]:
    """Brightness and warmth of a wall, those of a table, how much of each pixel is table, and both colours.

    In three pictures of four the table begins somewhere in the picture or above, else there is none.
    """
    draws = Draws(key)
    x, y = _grid(cloud.shape[-1])
    edge = jnp.where(draws.happens(0.75), draws.uniform(-0.6, 0.8), 2.0) + draws.normal(0.12) * (x - 0.5)
    nearness = jnp.maximum(y - edge, 0.0) + draws.uniform(0.3, 1.0)
    turn = draws.uniform(0.0, 2 * np.pi)
    cosine, sine = jnp.cos(turn), jnp.sin(turn)
    # Lines on the table meet at a point above its edge.
    u, v = (x - 0.5) / nearness, 1 / nearness
    on_table = jnp.clip((y - edge) * (0.7 * cloud.shape[-1]) + 0.5, 0.0, 1.0)

    def material(u, v):
        mottled = 1 + draws.uniform(0.05, 0.22) * cloud[0]
        warmth = 1 + draws.uniform(0.0, 0.4) * domain.background_chroma[0] * cloud[1]
        return mottled * _pattern(draws, u, v, cloud[0], domain.background_pattern), warmth

    wall, table = material(x, y), material(u * cosine - v * sine, u * sine + v * cosine)
    return *wall, *table, on_table, jnp.stack([_colour(draws, domain), _colour(draws, domain)])


def room(
    wall: Plane, wall_warmth: Plane, table: Plane, table_warmth: Plane, on_table: Plane, colours: Float[Array, "2 3"]
) -> Float[Array, "3 height width"]:
    """The picture of them. A stage of its own, or each channel would draw wall and table anew."""

    def channel(i):
        tints = ((wall_warmth, table_warmth), (1.0, 1.0), (2 - wall_warmth, 2 - table_warmth))[i]
        behind, before = colours[0, i] * wall * tints[0], colours[1, i] * table * tints[1]
        return behind + (before - behind) * on_table

    return jnp.stack([channel(i) for i in range(3)])


def furniture(key: PRNGKeyArray, domain: Domain, size: int) -> tuple[Plane, Plane, Plane, Float[Array, "3"]]:
    """One disc or box, in half of the cases: its shadow, its cover, its brightness, and its colour."""
    draws = Draws(key, 32)
    x, y = _grid(size)
    turn = draws.uniform(0.0, 2 * np.pi)
    cosine, sine = jnp.cos(turn), jnp.sin(turn)
    centre, half = draws.uniform(-0.1, 1.1, (2,)), draws.uniform(0.03, 0.33, (2,))
    round_, there = draws.happens(0.35), draws.happens(0.5)

    def depth(x, y):
        """How far inside the outline, picture widths, and where in its own frame."""
        u, v = x * cosine + y * sine, y * cosine - x * sine
        disc = half[0] - jnp.sqrt(u * u + v * v)
        return jnp.where(round_, disc, jnp.minimum(half[0] - jnp.abs(u), half[1] - jnp.abs(v))), u, v

    inside, u, v = depth(x - centre[0], y - centre[1])
    beneath, _, _ = depth(x - centre[0] - 0.02, y - centre[1] - 0.035)
    cover = jnp.where(there, jnp.clip(inside * (0.7 * size) + 0.5, 0.0, 1.0), 0.0)
    shadow = jnp.where(there, 0.4 * jnp.clip(beneath * 20 + 0.6, 0.0, 1.0), 0.0)
    shine = 1 + draws.normal(0.5) * u + draws.normal(0.5) * v
    brightness = shine * _pattern(draws, u, v, jnp.zeros_like(u), domain.background_pattern)
    return shadow, cover, brightness, _colour(draws, domain)


def all_furniture(key: PRNGKeyArray, domain: Domain, size: int):
    """`furniture`, `FURNITURE` times."""
    return jax.vmap(lambda key: furniture(key, domain, size))(jax.random.split(key, FURNITURE))


def furnish(
    picture: Float[Array, "3 height width"],
    shadow: Float[Array, "thing height width"],
    cover: Float[Array, "thing height width"],
    brightness: Float[Array, "thing height width"],
    colour: Float[Array, "thing 3"],
) -> Float[Array, "3 height width"]:
    """The picture with the furniture in it, one before the other."""
    for i in range(colour.shape[0]):
        behind = picture * ((1 - shadow[i]) * (1 - cover[i]))[None]
        picture = behind + colour[i][:, None, None] * (cover[i] * brightness[i])[None]
    return picture


def blur_matrix(size: int, deviation: Float[Array, ""]) -> Float[Array, "size size"]:
    """Gaussian blur along one axis as a matrix, each row summing to one; `deviation` in pixels."""
    offset = np.subtract.outer(np.arange(size), np.arange(size)).astype(np.float32)
    weights = jnp.exp(-0.5 * (offset / jnp.maximum(deviation, 0.1)) ** 2)
    return weights / weights.sum(axis=1, keepdims=True)


def focus(key: PRNGKeyArray, picture: Float[Array, "3 height width"], domain: Domain) -> Float[Array, "3 height width"]:
    """The picture out of focus, with light falling off across it; linear RGB."""
    draws = Draws(key, 8)
    size = picture.shape[-1]
    x, y = _grid(size)
    picture = jnp.clip(picture, 0.0, 1.0)
    picture = picture * picture * (0.8 + 0.2 * picture)
    blur = blur_matrix(size, domain.background_blur * size * draws.uniform())
    picture = jnp.einsum("ry,cyx,sx->crs", blur, picture, blur)
    falloff = 1 + draws.normal(0.4) * (x - 0.5) + draws.normal(0.4) * (y - 0.5)
    return picture * falloff[None]
