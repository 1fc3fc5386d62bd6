"""The camera: from light to 8-bit RGB, with what a small sensor adds to it where the domain has one."""

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float, PRNGKeyArray, UInt8

from bmc_jax.synthesis.background import blur_matrix
from bmc_jax.synthesis.domains import Domain
from bmc_jax.synthesis.randomness import Draws
from bmc_jax.synthesis.surface import Planar


def composite(
    hand: Planar, coverage: Float[Array, " pixel"], background: Float[Array, "3 height width"]
) -> Float[Array, "3 height width"]:
    """The hand before the background."""
    shape = background.shape[1:]
    cover = coverage.reshape(shape)
    return jnp.stack([hand[i].reshape(shape) * cover + background[i] * (1 - cover) for i in range(3)])


def expose(key: PRNGKeyArray, light: Float[Array, "3 height width"], domain: Domain) -> UInt8[Array, "height width 3"]:
    """The picture that the camera takes of linear RGB."""
    draw_key, noise_key = jax.random.split(key)
    draws = Draws(draw_key, 8)
    size = light.shape[-1]
    light = light * jnp.exp(draws.normal(domain.exposure))
    if domain.sensor:
        # In pixels of a picture of 128, so that smaller pictures are as sharp for their size.
        blur = draws.uniform(0.15, 0.95, (2,)) * (size / 128)
        down, across = blur_matrix(size, blur[0]), blur_matrix(size, blur[1])
        light = jnp.einsum("ry,cyx,sx->crs", down, light, across)
        strength = draws.uniform(0.004, 0.04)
        light = light + strength * jnp.sqrt(jnp.clip(light, 0, 1) + 0.01) * _noise(noise_key, size)
        position = np.linspace(-1, 1, size, dtype=np.float32) ** 2
        vignette = 0.15 * draws.uniform() * np.add.outer(position, position)
        light = light * (1 - vignette)[None]
        light = light / (1 + 0.25 * jnp.maximum(light - 0.6, 0.0))
    shown = jnp.clip(light, 1e-4, 1.0) ** (1 / 2.2 + draws.normal(domain.gamma))
    return jnp.round(255 * jnp.moveaxis(shown, 0, -1)).astype(jnp.uint8)


def _noise(key: PRNGKeyArray, size: int) -> Float[Array, "3 size size"]:
    """Noise of unit variance, half of it shared by the channels; uniforms from the halves of random words, added."""
    words = jax.random.bits(key, (2, size, size), jnp.uint32)
    low, high = ((half.astype(jnp.float32) * (2 / 65535) - 1) for half in (words & 0xFFFF, words >> 16))
    return (jnp.stack([low[0], low[1], high[0]]) + high[1][None]) * np.float32(1.5**0.5)
