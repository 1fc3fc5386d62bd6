"""Where a crop's pixels come from: a random affine map, and the one resampling.

The square that is stored of each image was cut around its box by `crops`; here the crop moves about in it. Where the
stored side is 1.5 times the crop's, a third of the crops at default strengths reach beyond it somewhere (32.8 % of
20,000 draws), with 0.6 % of all pixels and 8 % of a crop's at the worst. Rotation alone reaches nowhere beyond, and
from twice the crop's side on nothing does.
"""

import math

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float, PRNGKeyArray, UInt8

from bmc_jax.core import camera


def draw_affine(
    key: PRNGKeyArray, *, rotation: float, scale: float, translation: float, stored: int, size: int
) -> Float[Array, "3 3"]:
    """Map from the pixels of a stored square to those of a random crop of it.

    The crop's middle is moved by up to `translation * size` pixels along each axis, its side is `size` pixels times or
    divided by up to `1 + scale` (log-uniform), and the picture is turned by up to `rotation` degrees about its middle.
    """
    turn, zoom, *shift = jax.random.uniform(key, (4,), minval=-1.0, maxval=1.0)
    centre = (stored - 1) / 2 + translation * size * jnp.stack(shift)
    side = size * jnp.exp(math.log1p(scale) * zoom)
    turned = camera.rotation_affine(math.radians(rotation) * turn, centre)
    return camera.warp_intrinsics(camera.crop_affine(centre, side, size), turned)


def warp(
    image: UInt8[Array, "height width 3"], affine: Float[Array, "3 3"], *, size: int
) -> Float[Array, "{size} {size} 3"]:
    """The image through a map from its pixels to those of the crop: bilinear, black beyond its edge.

    Black, as the pipeline's crops, those of tests too, are beyond their photograph's edge. Bilinear sampling skips
    pixels only where the crop shrinks the image by 2 or more: up to 1.5 it needs no blur beforehand.
    """
    height, width = image.shape[:2]
    determinant = affine[0, 0] * affine[1, 1] - affine[0, 1] * affine[1, 0]
    x = jnp.arange(size, dtype=jnp.float32)[None, :] - affine[0, 2]
    y = jnp.arange(size, dtype=jnp.float32)[:, None] - affine[1, 2]
    # One ring of black pixels around the image, onto which everything beyond falls.
    u = jnp.clip((affine[1, 1] * x - affine[0, 1] * y) / determinant + 1, 0.0, width + 1.0)
    v = jnp.clip((affine[0, 0] * y - affine[1, 0] * x) / determinant + 1, 0.0, height + 1.0)
    ringed = jnp.pad(image, ((1, 1), (1, 1), (0, 0)))
    left = jnp.minimum(u.astype(jnp.int32), width)
    top = jnp.minimum(v.astype(jnp.int32), height)
    # Neighbours are fetched as one window of 2x2 pixels: on a CPU 13 times as fast as jax.scipy's map_coordinates.
    windows = jax.lax.gather(
        ringed,
        jnp.stack([top, left], axis=-1),
        jax.lax.GatherDimensionNumbers(offset_dims=(2, 3, 4), collapsed_slice_dims=(), start_index_map=(0, 1)),
        slice_sizes=(2, 2, 3),
        mode=jax.lax.GatherScatterMode.PROMISE_IN_BOUNDS,
    ).astype(jnp.float32)
    right_share, bottom_share = (u - left)[..., None], (v - top)[..., None]
    upper, lower = (windows[:, :, row, 0] * (1 - right_share) + windows[:, :, row, 1] * right_share for row in (0, 1))
    return upper * (1 - bottom_share) + lower * bottom_share
