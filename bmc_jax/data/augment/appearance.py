"""Augmentation of light, lens, sensor and occlusion, without motion.

Images are planes of float32 grey levels, 0 to 255; intermediate images may exceed that range. dm-pix has most of these
functions for channels in the last axis, which take at least five times as long on a CPU.
"""

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float, PRNGKeyArray

Image = Float[Array, "3 height width"]

#: Weights of red, green and blue in grey (ITU-R BT.601).
GREY = np.array([0.299, 0.587, 0.114], np.float32)


def colour(
    key: PRNGKeyArray, image: Image, *, brightness: float, contrast: float, saturation: float, hue: float
) -> Image:
    """Changes the colours of an image by one random affine map.

    The factors of brightness, contrast (relative to the mean grey of the image) and saturation differ from 1 by up to
    the given strength. `hue` is the largest rotation of colours about grey, turns; it preserves the grey of each pixel.
    """
    if not (brightness or contrast or saturation or hue):
        return image
    drawn = jax.random.uniform(key, (4,), minval=-1.0, maxval=1.0)
    gain, spread, chroma = 1 + brightness * drawn[0], 1 + contrast * drawn[1], 1 + saturation * drawn[2]
    angle = 2 * np.pi * hue * drawn[3]
    # Projections on the grey axis and on its complement, which Rodrigues' formula rotates about that axis.
    grey = np.broadcast_to(GREY, (3, 3))
    rest = np.eye(3, dtype=np.float32) - grey
    across = rest @ np.array([[0, -1, 1], [1, 0, -1], [-1, 1, 0]], np.float32) / np.float32(np.sqrt(3))
    matrix = gain * spread * (grey + chroma * (jnp.cos(angle) * rest + jnp.sin(angle) * across))
    mean = jnp.sum(jnp.mean(image, axis=(1, 2)) * GREY)
    offset = gain * (1 - spread) * mean
    return sum(matrix[:, i, None, None] * image[i : i + 1] for i in range(3)) + offset


def blur(key: PRNGKeyArray, image: Image, *, deviation: float) -> Image:
    """Blurs an image by a Gaussian of up to `deviation` pixels, truncated at three times that."""
    if not deviation:
        return image
    reach = int(np.ceil(3 * deviation))
    taps = np.arange(-reach, reach + 1, dtype=np.float32)
    drawn = deviation * jax.random.uniform(key)
    # Below a tenth of a pixel, all weights of a Gaussian but the central one vanish.
    weights = jnp.exp(-0.5 * (taps / jnp.maximum(drawn, 0.1)) ** 2)
    weights = weights / jnp.sum(weights)
    _, height, width = image.shape
    tall = jnp.pad(image, ((0, 0), (reach, reach), (0, 0)), mode="edge")
    planes = sum(weights[i] * tall[:, i : i + height] for i in range(len(taps)))
    wide = jnp.pad(planes, ((0, 0), (0, 0), (reach, reach)), mode="edge")
    return jnp.asarray(sum(weights[i] * wide[:, :, i : i + width] for i in range(len(taps))))


def noise(key: PRNGKeyArray, image: Image, *, deviation: float) -> Image:
    """Adds noise of up to `deviation` grey levels, independent for each pixel and channel.

    The noise is the sum of two uniform numbers of 5 bits, so that a pixel needs one random word. On a CPU this is 20
    times as fast as normal numbers, whose tails make no difference to a network.
    """
    if not deviation:
        return image
    strength_key, word_key = jax.random.split(key)
    words = jax.random.bits(word_key, image.shape[1:], jnp.uint32)[None]
    first = np.arange(0, 30, 10, dtype=np.uint32)[:, None, None]
    sums = (words >> first & 31) + (words >> first + 5 & 31)
    unit = (sums.astype(jnp.float32) - 31) * np.float32(np.sqrt(6 / (32**2 - 1)))
    return image + deviation * jax.random.uniform(strength_key) * unit


def erase(key: PRNGKeyArray, image: Image, *, probability: float, area: tuple[float, float]) -> Image:
    """Covers a rectangle of an image by one colour, with the given probability.

    The share of the image that the rectangle covers is between the two values of `area`. The rectangle is up to twice
    as long as wide, at a random position and of a random colour.
    """
    if not probability:
        return image
    drawn = jax.random.uniform(key, (8,))
    _, height, width = image.shape
    share, aspect = area[0] + (area[1] - area[0]) * drawn[1], 2.0 ** (2 * drawn[2] - 1)
    wide = jnp.minimum(jnp.sqrt(share * aspect), 1.0) * width
    tall = jnp.minimum(jnp.sqrt(share / aspect), 1.0) * height
    left, top = drawn[3] * (width - wide), drawn[4] * (height - tall)
    x, y = jnp.arange(width) + 0.5, jnp.arange(height) + 0.5
    across, down = (x >= left) & (x < left + wide), (y >= top) & (y < top + tall)
    covered = down[None, :, None] & across[None, None, :] & (drawn[0] < probability)
    return jnp.where(covered, 255 * drawn[5:, None, None], image)
