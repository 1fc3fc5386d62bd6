"""Photographs taken before a green screen, put before something else."""

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float, PRNGKeyArray

Image = Float[Array, "height width 3"]


def replace_green(key: PRNGKeyArray, image: Image) -> Image:
    """The image with a random background where it is green."""
    share = coverage(image)[..., None]
    return share * despill(image) + (1 - share) * background(key, size=image.shape[0])


def coverage(image: Image) -> Float[Array, "height width"]:
    """How much of each pixel is not the screen, 0 to 1."""
    strongest = jnp.maximum(image[..., 0], image[..., 2])
    greenness = (image[..., 1] - strongest) / (jnp.maximum(image[..., 1], strongest) + 16)
    screen = jnp.maximum(greenness, 0.0)
    level = jnp.sum(screen**2) / jnp.maximum(jnp.sum(screen), 1e-3)
    share = (greenness / jnp.maximum(level, 0.08) - 0.2) / (0.6 - 0.2)
    return 1 - jnp.clip(share, 0.0, 1.0)


def despill(image: Image) -> Image:
    red, green, blue = image[..., 0], image[..., 1], image[..., 2]
    return jnp.stack([red, jnp.minimum(green, jnp.maximum(red, blue)), blue], axis=-1)


def background(key: PRNGKeyArray, *, size: int) -> Image:
    cells = jax.random.uniform(key, (4, 4, 3), maxval=255.0)
    return jnp.clip(jax.image.resize(cells, (size, size, 3), "cubic"), 0.0, 255.0)
