"""Computation on some pixels of pictures: the wanted pixels are packed into tiles, and a loop runs over the tiles.

Shapes are static. The number of iterations depends on the number of wanted pixels, which may be any, up to all.
"""

import functools
from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
from jaxtyping import Array, Bool

#: Pixels of a tile, all from one picture, and tiles per iteration: few enough for a CPU's cache, enough to fill an
#: accelerator.
CPU_TILE, CPU_GROUP = 1024, 1
ACCELERATOR_TILE, ACCELERATOR_GROUP = 256, 4096


def inline(stage: Callable, *arrays, **settings):
    """Runs a stage for one picture as part of the current trace."""
    return stage(*arrays, **settings)


def staged(stage: Callable, *arrays, **settings):
    """Runs a stage for a batch of pictures as a separate program."""
    return _compiled(stage, **settings)(*arrays)


@functools.cache
def _compiled(stage: Callable, **settings) -> Callable:
    return jax.jit(jax.vmap(functools.partial(stage, **settings)))


def on_pixels(function: Callable, wanted: Bool[Array, " pixel"], pixels: Any, picture: Any) -> Any:
    """Applies a function to the wanted pixels of a picture.

    Under vmap, the tiles of all pictures are in one loop, so the time depends on the total number of wanted pixels.

    Args:
      function: called as `function(run, pixels, picture)` with the values of some pixels. It calls its stages as
        `run(stage, *arrays, **settings)`, which on a CPU are separate computations: see `staged`.
      wanted: mask of the wanted pixels.
      pixels: arrays `[pixel]`.
      picture: arrays of any shape, which are passed to the function unchanged.

    Returns:
      The arrays that the function returns, `[pixel]`, 0 where a pixel is not wanted.
    """
    leaves, tree = jax.tree.flatten((wanted, pixels, picture))

    def batch(*leaves):
        return _all_tiles(function, *jax.tree.unflatten(tree, leaves))

    @jax.custom_batching.custom_vmap
    def one(*leaves):
        return jax.tree.map(lambda leaf: leaf[0], batch(*(leaf[None] for leaf in leaves)))

    @one.def_vmap
    def _(count, is_batched, *leaves):
        pairs = zip(leaves, is_batched, strict=True)
        made = batch(*(leaf if has else jnp.broadcast_to(leaf[None], (count, *leaf.shape)) for leaf, has in pairs))
        return made, jax.tree.map(lambda _: True, made)

    return one(*leaves)


def _all_tiles(function: Callable, wanted: Bool[Array, "picture pixel"], pixels: Any, picture: Any) -> Any:
    """Applies the function to the wanted pixels of several pictures, a group of tiles at a time."""
    on_cpu = jax.default_backend() == "cpu"
    pictures, count = wanted.shape
    tile = min(CPU_TILE if on_cpu else ACCELERATOR_TILE, count)
    most = pictures * -(-count // tile)
    group = min(CPU_GROUP if on_cpu else ACCELERATOR_GROUP, most)
    places = -(-most // group) * group * tile

    # Each wanted pixel has a place in the tiles of its picture, which follow those of the previous picture.
    rank = jnp.cumsum(wanted, axis=1, dtype=jnp.int32)
    tiles = -(-rank[:, -1] // tile)
    last = jnp.cumsum(tiles)
    place = jnp.where(wanted, (last - tiles)[:, None] * tile + rank - 1, places)
    numbers = jnp.arange(pictures * count, dtype=jnp.int32).reshape(pictures, count)
    pixel_at = jnp.zeros(places, jnp.int32).at[place].set(numbers, mode="drop")
    flat = jax.tree.map(lambda leaf: leaf.reshape(-1), pixels)

    def make(step):
        numbers = jax.lax.dynamic_slice(pixel_at, (step * group * tile,), (group * tile,)).reshape(group, tile)
        of_tile = numbers[:, 0] // count
        # The condition always holds. It separates computations, since XLA recomputes a value per consumer on a CPU.
        run = _separate(step * group < last[-1]) if on_cpu else staged
        return function(
            run, jax.tree.map(lambda leaf: leaf[numbers], flat), jax.tree.map(lambda leaf: leaf[of_tile], picture)
        )

    def put(step, made):
        return jax.tree.map(
            lambda whole, part: jax.lax.dynamic_update_slice(whole, part.reshape(-1), (step * group * tile,)),
            made,
            make(step),
        )

    shapes = jax.eval_shape(make, jnp.int32(0))
    empty = jax.tree.map(lambda leaf: jnp.zeros(places, leaf.dtype), shapes)
    made = jax.lax.fori_loop(0, -(-last[-1] // group), put, empty)
    return jax.tree.map(lambda leaf: jnp.where(wanted, leaf[jnp.where(wanted, place, 0)], 0), made)


def _separate(holds: Bool[Array, ""]) -> Callable:
    """Returns `run`, which runs a stage for a group of tiles in a branch."""

    def run(stage: Callable, *arrays, **settings):
        make = functools.partial(staged, stage, **settings)
        # XLA drops the stage from the other branch, where only its shapes are used.
        return jax.lax.cond(holds, make, lambda *arrays: jax.tree.map(jnp.zeros_like, make(*arrays)), *arrays)

    return run
