"""Photographs taken before a green screen, put before something else.

The screen is found by colour, so what is green in the foreground goes with it, and the room beside the screen stays.
Made for FreiHAND's `gs` images, whose screens range from bright green to dull olive, and whose hands from pale pink to
dark brown: skin is always redder than green.
"""

import jax
import jax.numpy as jnp
import numpy as np
import scipy.ndimage
from jaxtyping import Array, Float, PRNGKeyArray

Image = Float[Array, "height width 3"]

#: Cells a side of each octave of the background's noise.
OCTAVES = (2, 4, 8, 16, 32)
#: Grey levels added to a pixel's strongest channel before its greenness is divided by it: black things look green by a
#: few levels of reflection, and JPEG's errors make up the rest.
DARK = 40.0
#: Greenness of the dullest screen. Nine FreiHAND images in ten have more; those that show no screen have less than
#: 0.03, and their tints and noise would else be taken for one.
DULLEST = 0.08
#: Shares of the screen's greenness up to which a pixel is all foreground, and from which on it is all screen.
FOREGROUND, SCREEN = 0.2, 0.6


def replace_green(key: PRNGKeyArray, image: Image) -> Image:
    """The image with a random background where it is green, and without the green light on what is before it."""
    share = foreground(image)[..., None]
    return share * despill(image) + (1 - share) * background(key, size=image.shape[0])


def foreground(image: Image) -> Float[Array, "height width"]:
    """How much of each pixel is not screen, 0 to 1.

    Greenness is by how much green exceeds both other channels, relative to brightness. What counts as screen is
    measured by the image's own: the mean greenness of green pixels, each weighted by its greenness.
    """
    other = jnp.maximum(image[..., 0], image[..., 2])
    greenness = jnp.maximum(image[..., 1] - other, 0.0) / (jnp.maximum(image[..., 1], other) + DARK)
    level = jnp.sum(greenness**2) / jnp.maximum(jnp.sum(greenness), 1e-6)
    share = greenness / jnp.maximum(level, DULLEST)
    share = jnp.clip((SCREEN - share) / (SCREEN - FOREGROUND), 0.0, 1.0)
    # On the outline, skin and screen mixed look like neither. There some neighbours are screen: what is less than half
    # foreground together with them goes.
    wide = jnp.pad(share, 1, mode="edge")
    tall = wide[:, :-2] + wide[:, 1:-1] + wide[:, 2:]
    around = (tall[:-2] + tall[1:-1] + tall[2:]) / 9
    return jnp.clip(2 * around - 1, 0.0, 1.0)


def despill(image: Image) -> Image:
    """The image with no pixel greener than grey: green is held down to the stronger of red and blue."""
    red, green, blue = image[..., 0], image[..., 1], image[..., 2]
    return jnp.stack([red, jnp.minimum(green, jnp.maximum(red, blue)), blue], axis=-1)


def background(key: PRNGKeyArray, *, size: int) -> Image:
    """Two random colours that run or break into one another, in clouds or stripes, under uneven light; grey levels.

    Noise of several scales, from smooth to rough at random. Drawn and not taken from a photograph, so that an example
    does not depend on its neighbours in the batch, and no folder of pictures is needed.
    """
    drawn = jax.random.uniform(key, (14 + 3 * sum(n * n for n in OCTAVES),))
    roughness, edge, stripes, frequency = 0.3 + 0.4 * drawn[0], 0.5 * 40.0 ** drawn[1], drawn[2] ** 2, 6 * drawn[3]
    mix, light, tint = clouds(4 * drawn[14:].reshape(3, -1) - 2, roughness, size=size)
    place = jnp.arange(size) / size
    turn = 2 * np.pi * drawn[4]
    along = jnp.cos(turn) * place[None, :] + jnp.sin(turn) * place[:, None]
    wave = jnp.sin(2 * np.pi * (frequency * along + drawn[5]))
    share = jax.nn.sigmoid(edge * (mix + stripes * (2 * wave - mix)))[..., None]
    first, second = _colour(drawn[6:10]), _colour(drawn[10:14])
    colour = first + (second - first) * share
    warm = jnp.stack([tint, jnp.zeros_like(tint), -tint], axis=-1)
    return 255 * jnp.clip(colour * (1 + 0.25 * light[..., None] + 0.06 * warm), 0.0, 1.0)


def _colour(drawn: Float[Array, "4"]) -> Float[Array, "1 1 3"]:
    """Of any brightness, and seldom strong: no channel has more than three times another's light."""
    return (0.05 + 0.7 * drawn[0] * (0.5 + drawn[1:]))[None, None]


def clouds(
    cells: Float[Array, "field cell"], roughness: Float[Array, ""], *, size: int
) -> Float[Array, "field {size} {size}"]:
    """Fields of noise from the random numbers of all octaves' cells, each octave `roughness` times as strong as the one
    before, in all of about the variance of the cells."""
    ends = np.cumsum([n * n for n in OCTAVES])
    octaves = [
        roughness**i * octave.reshape(-1, n, n)
        for i, (n, octave) in enumerate(zip(OCTAVES, jnp.split(cells, ends[:-1], axis=1), strict=True))
    ]
    # All octaves are brought to full size by one pair of matrix products.
    spread = np.concatenate([_interpolation(n, size) for n in OCTAVES], axis=1)
    field = jnp.einsum("ri,fij,sj->frs", spread, jax.vmap(jax.scipy.linalg.block_diag)(*octaves), spread)
    return field * jax.lax.rsqrt(sum(roughness ** (2 * i) for i in range(len(OCTAVES))))


def _interpolation(cells: int, size: int) -> np.ndarray:
    """Weights `[size, cells]` of cubic splines from cells to pixels, held at the edges."""
    zoomed = scipy.ndimage.zoom(np.eye(cells), (size / cells, 1), order=3, mode="nearest", grid_mode=True)
    return np.asarray(zoomed, np.float32)
