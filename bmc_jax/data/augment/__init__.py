"""Augmentation of batches on the device, which transforms image, K and 2D joints together and keeps 3D joints.

Batches have a square of `stored` pixels around the hand, and the network takes a crop of `size` pixels. `central` takes
the central crop. `augment` rotates, scales and shifts the crop by one affine map and one resampling, replaces green
screens (`green_screen`), and changes light and camera (`appearance`).

If the stored square has 1.5 times the crop's side, 32.8 % of the crops are not inside it at default strengths (20,000
draws); 0.6 % of all pixels, and at most 8 % of those of a crop, are then outside and black. A crop that is only rotated
is always inside. If the square has twice the crop's side or more, all crops are inside.

The parts are pure functions of one image, with the key first and settings by name. Between the parts, an image is three
planes of float32 grey levels, 0 to 255, which are rounded once, at the end. The channels are the first axis, because a
CPU computes whole rows of one channel fastest. The functions are not meant to be differentiated.
"""

import dataclasses
import functools
import math

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Bool, Float, Key, PRNGKeyArray, UInt8

from bmc_jax.config import Augmentation
from bmc_jax.core import camera
from bmc_jax.core.types import Batch
from bmc_jax.data.augment import appearance
from bmc_jax.data.augment.green_screen import replace_green


def check(options: Augmentation) -> None:
    """Checks the strengths. Raises ValueError, naming field, range and value, for strengths out of range."""
    highest = {"brightness": 1.0, "contrast": 1.0, "saturation": 1.0, "hue": 0.5, "erasing": 1.0}
    for name in (field.name for field in dataclasses.fields(options) if field.name != "erasing_area"):
        value, high = getattr(options, name), highest.get(name, np.inf)
        if not 0 <= value <= high or value == np.inf:
            limit = "" if high == np.inf else f" to {high}"
            raise ValueError(
                f"augmentation.{name}: expected a finite number from 0 (off){limit}, got {value}; change it"
            )
    smallest, largest = options.erasing_area
    if not 0 < smallest <= largest <= 1:
        raise ValueError(
            "augmentation.erasing_area: expected two shares of the image above 0 and up to 1, the smaller first, got "
            f"{options.erasing_area}; change them"
        )


def augment(
    key: PRNGKeyArray,
    batch: Batch,
    options: Augmentation,
    size: int,
    *,
    green_screen: Bool[Array, " b"] | None = None,
) -> Batch:
    """Augments a batch.

    The augmentation of an example depends on the key, its `source` and its `index`, not on its place in the batch or
    the number of devices. With every strength 0 the result is `central(batch, size)`.

    Args:
      key: of the run and step, of JAX's default kind.
      batch: images `[b, stored, stored, 3]`, uint8.
      options: strengths, static under jit.
      size: side of the crops, pixels.
      green_screen: mask of the examples that are photographs in front of a green screen.

    Returns:
      The batch with images `[b, size, size, 3]`, uint8.

    Raises:
      ValueError: as `check` and `central` do, and for a key of another kind.
    """
    check(options)
    # Under vmap, random numbers of keys of other kinds depend on the place in the batch.
    if (kind := str(jax.random.key_impl(key))) != "threefry2x32":
        raise ValueError(f"key: expected a key of kind threefry2x32, got {kind}; make one with jax.random.key(seed)")
    keys = jax.vmap(
        lambda source, index: jax.random.split(jax.random.fold_in(jax.random.fold_in(key, source), index), 6)
    )(jnp.asarray(batch.source), jnp.asarray(batch.index))
    crops, image, affine = central(batch, size), jnp.asarray(batch.image), None
    if options.rotation or options.scale or options.translation:
        draw = functools.partial(
            draw_affine,
            rotation=options.rotation,
            scale=options.scale,
            translation=options.translation,
            stored=image.shape[-2],
            size=size,
        )
        affine = jax.vmap(draw)(keys[:, 0])
        crops = dataclasses.replace(
            crops,
            intrinsics=camera.warp_intrinsics(affine, jnp.asarray(batch.intrinsics)),
            joints_2d=camera.warp_pixels(affine, jnp.asarray(batch.joints_2d)),
        )
    else:
        image = jnp.asarray(crops.image)
    augment_image = functools.partial(_augment_image, options=options, size=size)
    examples = (keys, image, affine, green_screen)
    if jax.default_backend() == "cpu":
        # One image at a time, so that intermediate images stay in the cache and `cond` skips images without a screen.
        planes = jax.lax.map(lambda example: augment_image(*example), examples)
    else:
        planes = jax.vmap(augment_image)(*examples)
    return dataclasses.replace(crops, image=jnp.moveaxis(planes, 1, -1))


def _augment_image(
    keys: Key[Array, "6"],
    image: UInt8[Array, "height width 3"],
    affine: Float[Array, "3 3"] | None,
    green: Bool[Array, ""] | None,
    *,
    options: Augmentation,
    size: int,
) -> UInt8[Array, "3 {size} {size}"]:
    """Augments one image and returns planes; `affine` is None if the image is a crop."""
    crop = jnp.moveaxis(image, -1, 0).astype(jnp.float32) if affine is None else warp(image, affine, size=size)
    if green is not None:
        crop = jax.lax.cond(green, functools.partial(replace_green, keys[1]), lambda crop: crop, crop)
    crop = appearance.colour(
        keys[2],
        crop,
        brightness=options.brightness,
        contrast=options.contrast,
        saturation=options.saturation,
        hue=options.hue,
    )
    crop = appearance.blur(keys[3], crop, deviation=options.blur)
    crop = appearance.noise(keys[4], crop, deviation=options.noise)
    crop = appearance.erase(keys[5], crop, probability=options.erasing, area=options.erasing_area)
    return jnp.round(jnp.clip(crop, 0.0, 255.0)).astype(jnp.uint8)


def central(batch: Batch, size: int) -> Batch:
    """Crops the middle `size` x `size` pixels of a batch `[*batch, stored, stored, 3]`, and shifts K and 2D joints.

    Raises:
      ValueError: if the images are not squares of `size` pixels plus an even number, which may be 0.
    """
    height, width = batch.image.shape[-3:-1]
    if height != width or width < size or (width - size) % 2:
        raise ValueError(
            f"images: expected squares, larger than the crop's {size} pixels by 0 or an even number, got "
            f"{width}x{height} pixels; change the size of the images or of the crop"
        )
    margin = (width - size) // 2
    return dataclasses.replace(
        batch,
        image=batch.image[..., margin : margin + size, margin : margin + size, :],
        intrinsics=jnp.asarray(batch.intrinsics).at[..., :2, 2].add(-margin),
        joints_2d=batch.joints_2d - margin,
    )


def draw_affine(
    key: PRNGKeyArray, *, rotation: float, scale: float, translation: float, stored: int, size: int
) -> Float[Array, "3 3"]:
    """Draws the affine map from the pixels of a stored square to those of a random crop.

    Args:
      key: of the draw.
      rotation: largest rotation about the crop's centre in either direction, degrees.
      scale: the crop's side is multiplied or divided by up to 1 + this, log-uniform.
      translation: largest shift along each axis, share of the crop's side.
      stored: side of the stored square, pixels.
      size: side of the crop, pixels.
    """
    turn, zoom, *shift = jax.random.uniform(key, (4,), minval=-1.0, maxval=1.0)
    centre = (stored - 1) / 2 + translation * size * jnp.stack(shift)
    side = size * jnp.exp(math.log1p(scale) * zoom)
    turned = camera.rotation_affine(math.radians(rotation) * turn, centre)
    return camera.warp_intrinsics(camera.crop_affine(centre, side, size), turned)


def warp(
    image: UInt8[Array, "height width 3"], affine: Float[Array, "3 3"], *, size: int
) -> Float[Array, "3 {size} {size}"]:
    """Resamples an image by an affine map from its pixels to those of the crop, bilinearly, and black beyond its edge.

    All crops of the pipeline are black beyond the photograph. A reduction by up to 1.5 needs no blur, since bilinear
    sampling skips pixels only in reductions by more than 2.
    """
    height, width = image.shape[:2]
    determinant = affine[0, 0] * affine[1, 1] - affine[0, 1] * affine[1, 0]
    x = jnp.arange(size, dtype=jnp.float32)[None, None, :] - affine[0, 2]
    y = jnp.arange(size, dtype=jnp.float32)[None, :, None] - affine[1, 2]
    u = (affine[1, 1] * x - affine[0, 1] * y) / determinant
    v = (affine[0, 0] * y - affine[1, 0] * x) / determinant
    left, top = jnp.clip(jnp.floor(u), 0.0, width - 2.0), jnp.clip(jnp.floor(v), 0.0, height - 2.0)
    # Each pixel is packed into one word, so that four gathers fetch all channels of the four adjacent pixels.
    words = jax.lax.bitcast_convert_type(jnp.pad(image, ((0, 0), (0, 0), (0, 1))), jnp.uint32).reshape(-1)
    place = top.astype(jnp.int32) * width + left.astype(jnp.int32)
    shifts = np.arange(0, 24, 8, dtype=np.uint32)[:, None, None]
    upper_left, upper_right, lower_left, lower_right = (
        (words.at[place + step].get(mode="promise_in_bounds") >> shifts & 255).astype(jnp.float32)
        for step in (0, 1, width, width + 1)
    )
    # Weights fall to 0 at a distance of one pixel, so that positions beyond the image are black.
    at_left, at_right, at_top, at_bottom = (
        jnp.maximum(1 - jnp.abs(distance), 0.0) for distance in (u - left, u - left - 1, v - top, v - top - 1)
    )
    upper = upper_left * at_left + upper_right * at_right
    return upper * at_top + (lower_left * at_left + lower_right * at_right) * at_bottom
