"""Replacement of green screens by random backgrounds.

The screen is detected by colour, so green objects in the foreground disappear too, and the room beside the screen
remains. The method is made for FreiHAND's `gs` images, whose screens range from bright green to dull olive and whose
hands range from pale pink to dark brown: skin is always redder than green.
"""

import jax
import jax.numpy as jnp
import numpy as np
import scipy.ndimage
from jaxtyping import Array, Float, PRNGKeyArray

Image = Float[Array, "3 height width"]

#: Cells per side of each octave of the background's noise.
OCTAVES = (2, 4, 8, 16, 32)
#: Grey levels added to a pixel's strongest channel in the denominator of its greenness. Without them, a few levels of
#: reflection and JPEG errors would make black objects green.
DARK = 40.0
#: Minimum greenness of a screen. Nine of ten FreiHAND images have more. Images without a screen have less than 0.03;
#: without the minimum, their tints and noise would count as a screen.
DULLEST = 0.08
#: Shares of the screen's greenness up to which a pixel is foreground, and above which it is screen.
FOREGROUND, SCREEN = 0.2, 0.6


def replace_green(key: PRNGKeyArray, image: Image) -> Image:
    """Replaces the green of an image by a random background, and removes green light from the foreground."""
    share = foreground(image)[None]
    return share * despill(image) + (1 - share) * background(key, size=image.shape[-1])


def foreground(image: Image) -> Float[Array, "height width"]:
    """Returns the share of each pixel that is not screen, 0 to 1.

    Greenness is the excess of green over both other channels, relative to brightness. Its level on the screen is the
    mean greenness of the image's pixels, weighted by their greenness.
    """
    red, green, blue = image
    other = jnp.maximum(red, blue)
    greenness = jnp.maximum(green - other, 0.0) / (jnp.maximum(green, other) + DARK)
    level = jnp.sum(greenness**2) / jnp.maximum(jnp.sum(greenness), 1e-6)
    share = greenness / jnp.maximum(level, DULLEST)
    share = jnp.clip((SCREEN - share) / (SCREEN - FOREGROUND), 0.0, 1.0)
    # At outlines, mixtures of skin and screen look like neither of them, and some adjacent pixels are screen. Pixels
    # whose mean with the adjacent pixels is less than half foreground are removed.
    wide = jnp.pad(share, 1, mode="edge")
    tall = wide[:, :-2] + wide[:, 1:-1] + wide[:, 2:]
    around = (tall[:-2] + tall[1:-1] + tall[2:]) / 9
    return jnp.clip(2 * around - 1, 0.0, 1.0)


def despill(image: Image) -> Image:
    """Clamps the green of each pixel to the stronger of red and blue."""
    red, _, blue = image
    is_green = np.array([False, True, False])[:, None, None]
    return jnp.where(is_green, jnp.minimum(image, jnp.maximum(red, blue)[None]), image)


def background(key: PRNGKeyArray, *, size: int) -> Image:
    """Draws a background, grey levels: two colours in clouds or stripes with soft or hard edges, under uneven light.

    Backgrounds are drawn, not taken from photographs, so that an example does not depend on the other examples of the
    batch and no folder of pictures is needed.
    """
    drawn = jax.random.uniform(key, (14 + 3 * sum(n * n for n in OCTAVES),))
    roughness, edge, stripes, frequency = 0.3 + 0.4 * drawn[0], 0.5 * 40.0 ** drawn[1], drawn[2] ** 2, 6 * drawn[3]
    mix, light, tint = clouds(4 * drawn[14:].reshape(3, -1) - 2, roughness, size=size)
    place = jnp.arange(size) / size
    turn = 2 * np.pi * drawn[4]
    along = jnp.cos(turn) * place[None, :] + jnp.sin(turn) * place[:, None]
    wave = jnp.sin(2 * np.pi * (frequency * along + drawn[5]))
    share = jax.nn.sigmoid(edge * (mix + stripes * (2 * wave - mix)))[None]
    first, second = _colour(drawn[6:10]), _colour(drawn[10:14])
    colour = first + (second - first) * share
    warm = np.array([0.06, 0.0, -0.06], np.float32)[:, None, None]
    return 255 * jnp.clip(colour * (1 + 0.25 * light[None] + warm * tint[None]), 0.0, 1.0)


def _colour(drawn: Float[Array, "4"]) -> Float[Array, "3 1 1"]:
    """Returns a random colour in which no channel is more than three times as bright as another."""
    return (0.05 + 0.7 * drawn[0] * (0.5 + drawn[1:]))[:, None, None]


def clouds(
    cells: Float[Array, "field cell"], roughness: Float[Array, ""], *, size: int
) -> list[Float[Array, "{size} {size}"]]:
    """Returns fields of noise from the random cells of all octaves.

    Each octave is `roughness` times as strong as the previous one; the variance is about that of the cells.
    """
    octaves = jnp.split(cells, np.cumsum([n * n for n in OCTAVES])[:-1], axis=1)
    spread = [_interpolation(n, size) for n in OCTAVES]
    rows = [
        roughness**i * octave.reshape(-1, n, n) @ weights.T
        for i, (n, octave, weights) in enumerate(zip(OCTAVES, octaves, spread, strict=True))
    ]
    strength = jax.lax.rsqrt(sum(roughness ** (2 * i) for i in range(len(OCTAVES))))
    # One product for each field interpolates the columns of all octaves.
    columns = np.concatenate(spread, axis=1)
    return [columns @ field for field in strength * jnp.concatenate(rows, axis=1)]


def _interpolation(cells: int, size: int) -> np.ndarray:
    """Returns weights `[size, cells]` of cubic splines from cells to pixels, constant beyond the edges."""
    zoomed = scipy.ndimage.zoom(np.eye(cells), (size / cells, 1), order=3, mode="nearest", grid_mode=True)
    return np.asarray(zoomed, np.float32)
