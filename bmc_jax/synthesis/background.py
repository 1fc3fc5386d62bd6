"""Random backgrounds: a wall and a table top of random materials, furniture, uneven light and defocus.

Colours vary as in natural scenes: mostly in brightness, less along warm-cool, and little along green-magenta.
"""

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float, PRNGKeyArray

from bmc_jax.synthesis.domains import Domain
from bmc_jax.synthesis.material import wave
from bmc_jax.synthesis.rng import RandomStream

#: Cells per side of each octave of noise.
OCTAVES = (3, 6, 12, 24, 48)
#: Pieces of furniture; each is present in half of the pictures.
FURNITURE = 5
PLAIN, BOARDS, TILES, WEAVE, PRINT = range(5)
#: Kinds of pattern, repeated in proportion to their probability.
KINDS = (PLAIN, PLAIN, PLAIN, BOARDS, BOARDS, TILES, WEAVE, WEAVE, PRINT)
Plane = Float[Array, "height width"]


def interpolation(cells: int, size: int) -> np.ndarray:
    """Returns weights `[size, cells]` that interpolate cells to pixels (Catmull-Rom), constant beyond the edges."""
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


def noise_fields(key: PRNGKeyArray, domain: Domain, size: int) -> Float[Array, "2 height width"]:
    """Draws two fields of noise of about unit variance, for brightness and warmth."""
    roughness_key, cell_key = jax.random.split(key)
    roughness = RandomStream(roughness_key, 1).uniform(*domain.background_roughness)
    cells = jax.random.uniform(cell_key, (2 * sum(n * n for n in OCTAVES),), minval=-1.7, maxval=1.7)
    total, amplitude, square, first = 0.0, 1.0, 0.0, 0
    for n in OCTAVES:
        octave = cells[first : first + 2 * n * n].reshape(2, n, n)
        spread = jnp.asarray(interpolation(n, size))
        total = total + amplitude * jnp.einsum("ri,cij,sj->crs", spread, octave, spread)
        square, amplitude, first = square + amplitude**2, amplitude * roughness, first + 2 * n * n
    return total * jax.lax.rsqrt(square)


def _draw_colour(random: RandomStream, domain: Domain) -> Float[Array, "3"]:
    warm, green = domain.background_chroma
    # Warm colours, such as those of wood, are more frequent indoors.
    warmth = random.normal(warm) + 0.3 * min(warm, 0.25)
    tint = warmth * np.array([0.8, 0.0, -0.9], np.float32) + random.normal(green) * np.array(
        [-0.6, 0.6, -0.6], np.float32
    )
    return jnp.clip(random.uniform(0.15, 0.85) * (1 + tint), 0.02, 1.0)


def _scatter(cell: Plane, amount: float) -> Plane:
    """Returns a pseudorandom number in [0, 1) for each integer."""
    x = cell * 0.61803399 + wave(cell * 0.589) * amount
    return x - jnp.floor(x)


def _pattern(random: RandomStream, u: Plane, v: Plane, cloud: Plane, strength: float) -> Plane:
    """Returns the factor of a random pattern on brightness at coordinates on the material, in picture widths."""
    kind = jnp.asarray(KINDS)[random.integer(len(KINDS))]
    frequency, contrast = random.uniform(2.0, 7.0), strength * random.uniform(0.4, 1.0)

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
    for other, pattern in ((TILES, tiles), (WEAVE, weave), (PRINT, printed)):
        value = jnp.where(kind == other, pattern, value)
    return 1 + contrast * value


def _grid(size: int) -> tuple[Plane, Plane]:
    x, y = np.meshgrid((np.arange(size) + 0.5) / size, (np.arange(size) + 0.5) / size)
    return jnp.asarray(x, jnp.float32), jnp.asarray(y, jnp.float32)


def wall_and_table(
    key: PRNGKeyArray, cloud: Float[Array, "2 height width"], domain: Domain
) -> tuple[Plane, Plane, Plane, Plane, Plane, Float[Array, "2 3"]]:
    """Draws a wall, and in 3 of 4 pictures a table that begins in the picture or above it.

    Returns:
      Brightness and warmth of the wall, those of the table, share of each pixel that is table, and both colours.
    """
    random = RandomStream(key)
    x, y = _grid(cloud.shape[-1])
    edge = jnp.where(random.bernoulli(0.75), random.uniform(-0.6, 0.8), 2.0) + random.normal(0.12) * (x - 0.5)
    nearness = jnp.maximum(y - edge, 0.0) + random.uniform(0.3, 1.0)
    turn = random.uniform(0.0, 2 * np.pi)
    cosine, sine = jnp.cos(turn), jnp.sin(turn)
    # In this perspective, lines on the table meet at a point above its edge.
    u, v = (x - 0.5) / nearness, 1 / nearness
    on_table = jnp.clip((y - edge) * (0.7 * cloud.shape[-1]) + 0.5, 0.0, 1.0)

    def material(u, v):
        mottled = 1 + random.uniform(0.05, 0.22) * cloud[0]
        warmth = 1 + random.uniform(0.0, 0.4) * domain.background_chroma[0] * cloud[1]
        return mottled * _pattern(random, u, v, cloud[0], domain.background_pattern), warmth

    wall, table = material(x, y), material(u * cosine - v * sine, u * sine + v * cosine)
    return *wall, *table, on_table, jnp.stack([_draw_colour(random, domain), _draw_colour(random, domain)])


def wall_and_table_image(
    wall: Plane, wall_warmth: Plane, table: Plane, table_warmth: Plane, on_table: Plane, colours: Float[Array, "2 3"]
) -> Float[Array, "3 height width"]:
    """Returns the picture of a wall and a table; a separate stage, as each channel would recompute `wall_and_table`."""

    def channel(i):
        tints = ((wall_warmth, table_warmth), (1.0, 1.0), (2 - wall_warmth, 2 - table_warmth))[i]
        behind, front = colours[0, i] * wall * tints[0], colours[1, i] * table * tints[1]
        return behind + (front - behind) * on_table

    return jnp.stack([channel(i) for i in range(3)])


def draw_furniture(key: PRNGKeyArray, domain: Domain, size: int):
    """Draws `FURNITURE` pieces; returns the outputs of `_draw_piece`, stacked."""
    return jax.vmap(lambda key: _draw_piece(key, domain, size))(jax.random.split(key, FURNITURE))


def _draw_piece(key: PRNGKeyArray, domain: Domain, size: int) -> tuple[Plane, Plane, Plane, Float[Array, "3"]]:
    """Draws a disc or box, or in half of the cases nothing: its shadow, cover, brightness and colour."""
    random = RandomStream(key, 32)
    x, y = _grid(size)
    turn = random.uniform(0.0, 2 * np.pi)
    cosine, sine = jnp.cos(turn), jnp.sin(turn)
    centre, half = random.uniform(-0.1, 1.1, (2,)), random.uniform(0.03, 0.33, (2,))
    is_disc, exists = random.bernoulli(0.35), random.bernoulli(0.5)

    def depth(x, y):
        """Returns the depth inside the outline and the coordinates in the piece's frame, picture widths."""
        u, v = x * cosine + y * sine, y * cosine - x * sine
        disc = half[0] - jnp.sqrt(u * u + v * v)
        return jnp.where(is_disc, disc, jnp.minimum(half[0] - jnp.abs(u), half[1] - jnp.abs(v))), u, v

    inside, u, v = depth(x - centre[0], y - centre[1])
    beneath, _, _ = depth(x - centre[0] - 0.02, y - centre[1] - 0.035)
    cover = jnp.where(exists, jnp.clip(inside * (0.7 * size) + 0.5, 0.0, 1.0), 0.0)
    shadow = jnp.where(exists, 0.4 * jnp.clip(beneath * 20 + 0.6, 0.0, 1.0), 0.0)
    shine = 1 + random.normal(0.5) * u + random.normal(0.5) * v
    brightness = shine * _pattern(random, u, v, jnp.zeros_like(u), domain.background_pattern)
    return shadow, cover, brightness, _draw_colour(random, domain)


def add_furniture(
    picture: Float[Array, "3 height width"],
    shadow: Float[Array, "piece height width"],
    cover: Float[Array, "piece height width"],
    brightness: Float[Array, "piece height width"],
    colour: Float[Array, "piece 3"],
) -> Float[Array, "3 height width"]:
    """Adds furniture to a picture, one piece in front of the other."""
    for i in range(colour.shape[0]):
        behind = picture * ((1 - shadow[i]) * (1 - cover[i]))[None]
        picture = behind + colour[i][:, None, None] * (cover[i] * brightness[i])[None]
    return picture


def blur_matrix(size: int, deviation: Float[Array, ""]) -> Float[Array, "size size"]:
    """Returns a Gaussian blur along one axis as a matrix whose rows sum to 1; `deviation` in pixels."""
    offset = np.subtract.outer(np.arange(size), np.arange(size)).astype(np.float32)
    weights = jnp.exp(-0.5 * (offset / jnp.maximum(deviation, 0.1)) ** 2)
    return weights / weights.sum(axis=1, keepdims=True)


def defocus(
    key: PRNGKeyArray, picture: Float[Array, "3 height width"], domain: Domain
) -> Float[Array, "3 height width"]:
    """Blurs a picture and multiplies it by a light falloff; returns linear RGB."""
    random = RandomStream(key, 8)
    size = picture.shape[-1]
    x, y = _grid(size)
    picture = jnp.clip(picture, 0.0, 1.0)
    picture = picture * picture * (0.8 + 0.2 * picture)
    blur = blur_matrix(size, domain.background_blur * size * random.uniform())
    picture = jnp.einsum("ry,cyx,sx->crs", blur, picture, blur)
    falloff = 1 + random.normal(0.4) * (x - 0.5) + random.normal(0.4) * (y - 0.5)
    return picture * falloff[None]
