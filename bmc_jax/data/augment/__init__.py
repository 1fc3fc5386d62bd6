"""Augmentation of a batch on the device: picture, K and 2D joints move together, colours change, the 3D joints stay.

Batches come with more of the surroundings than the network sees: a square of `stored` pixels, of which `size` are
shown. `central` shows the middle; `augment` turns, zooms and shifts what is shown, by one affine map and one
resampling (`geometry`), puts green-screen photographs before something else (`green_screen`), and changes light and
camera (`appearance`).

The parts are pure functions of one image, the key first and all but the data by name. Images are float32 grey levels
0 to 255 between them, and rounded once, at the end. Nothing here is meant to be differentiated.
"""

import dataclasses
import functools

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Bool, Float, Key, PRNGKeyArray, UInt8

from bmc_jax.config import Augmentation
from bmc_jax.core import camera
from bmc_jax.core.types import Batch
from bmc_jax.data.augment import appearance, geometry
from bmc_jax.data.augment.green_screen import replace_green

#: Images that a CPU changes at a time.
CPU_CHUNK = 16


def check(options: Augmentation) -> None:
    """Raise ValueError, naming field, value and range, for strengths that make no sense."""
    highest = {"brightness": 1.0, "contrast": 1.0, "saturation": 1.0, "hue": 0.5, "erasing": 1.0}
    for name in (field.name for field in dataclasses.fields(options) if field.name != "erasing_area"):
        value, high = getattr(options, name), highest.get(name, np.inf)
        if not 0 <= value <= high or value == np.inf:
            raise ValueError(f"augmentation.{name} is {value}; it must be from 0 (off) to {high}")
    smallest, largest = options.erasing_area
    if not 0 < smallest <= largest <= 1:
        raise ValueError(
            f"augmentation.erasing_area is {options.erasing_area}; it must be two shares of the image, the smaller "
            "first, above 0 and up to 1"
        )


def augment(
    key: PRNGKeyArray,
    batch: Batch,
    options: Augmentation,
    size: int,
    *,
    green_screen: Bool[Array, " b"] | None = None,
) -> Batch:
    """The batch `[b, stored, stored, 3]` as crops `[b, size, size, 3]`, changed at random; uint8 as before.

    An example's changes are a function of the key (of the run and step), its `source` and its `index`: neither its
    place in the batch nor the number of devices matters. With every strength 0 the result is `central(batch, size)`.

    Args:
      key: of JAX's default kind.
      options: static under jit.
      green_screen: which examples are photographs before a green screen, to be put before something else.

    Raises:
      ValueError: as `check` and `central` do, and for a key of another kind.
    """
    check(options)
    # Others' numbers depend, under vmap, on the place in the batch.
    if (kind := str(jax.random.key_impl(key))) != "threefry2x32":
        raise ValueError(f"augmentation needs a key of kind threefry2x32, not {kind}: jax.random.key(seed) makes one")
    keys = jax.vmap(
        lambda source, index: jax.random.split(jax.random.fold_in(jax.random.fold_in(key, source), index), 6)
    )(jnp.asarray(batch.source), jnp.asarray(batch.index))
    crops, image, affine = central(batch, size), jnp.asarray(batch.image), None
    if options.rotation or options.scale or options.translation:
        draw = functools.partial(
            geometry.draw_affine,
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
    change = functools.partial(_change, options=options, size=size)
    if jax.default_backend() == "cpu":
        # Twice as fast there: what the parts hand to one another stays in the cache.
        chunk = min(CPU_CHUNK, len(image))
        image = jax.lax.map(lambda example: change(*example), (keys, image, affine, green_screen), batch_size=chunk)
    else:
        image = jax.vmap(change)(keys, image, affine, green_screen)
    return dataclasses.replace(crops, image=image)


def _change(
    keys: Key[Array, "6"],
    image: UInt8[Array, "height width 3"],
    affine: Float[Array, "3 3"] | None,
    green: Bool[Array, ""] | None,
    *,
    options: Augmentation,
    size: int,
) -> UInt8[Array, "{size} {size} 3"]:
    """One picture through all parts; `affine` None if it is a crop already."""
    shown = image.astype(jnp.float32) if affine is None else geometry.warp(image, affine, size=size)
    if green is not None:
        shown = jnp.where(green, replace_green(keys[1], shown), shown)
    shown = appearance.colour(
        keys[2],
        shown,
        brightness=options.brightness,
        contrast=options.contrast,
        saturation=options.saturation,
        hue=options.hue,
    )
    shown = appearance.blur(keys[3], shown, deviation=options.blur)
    shown = appearance.noise(keys[4], shown, deviation=options.noise)
    shown = appearance.erase(keys[5], shown, probability=options.erasing, area=options.erasing_area)
    return jnp.round(jnp.clip(shown, 0.0, 255.0)).astype(jnp.uint8)


def central(batch: Batch, size: int) -> Batch:
    """The middle `size` x `size` pixels of a batch `[*batch, stored, stored, 3]`, a slice; K and 2D joints shifted.

    Raises:
      ValueError: unless the images are squares of an even number of pixels more than `size`, or of none.
    """
    margin = _margin(batch, size)
    return dataclasses.replace(
        batch,
        image=batch.image[..., margin : margin + size, margin : margin + size, :],
        intrinsics=jnp.asarray(batch.intrinsics).at[..., :2, 2].add(-margin),
        joints_2d=batch.joints_2d - margin,
    )


def _margin(batch: Batch, size: int) -> int:
    height, width = batch.image.shape[-3:-1]
    if height != width or width < size or (width - size) % 2:
        raise ValueError(
            f"crops of {size} pixels have no middle place in images of {width}x{height}; these must be squares, and as "
            "large or larger by an even number"
        )
    return (width - size) // 2
