"""Several steps in one call, so that Python is not the limit where a step takes a millisecond.

What a step is told must then be small: row numbers of images that are on the devices. A call always holds the same
number of steps, of which the first so many are taken: nothing is compiled again for the last, shorter one.
"""

from collections.abc import Callable
from typing import Any

import grain
import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Int


def grouped(told: grain.MapDataset, first: int, size: int) -> grain.MapDataset:
    """(row numbers `[step, b]`, (number of steps, rows `[device, size, device, b]`)) for each call, of the (row
    numbers `[b]`, rows `[device, device, b]`) of each step, the first of which is step `first`.

    Calls end at multiples of `size`: one that would not, as the run goes on from a step between two of them or ends
    there, takes fewer steps, and its last rows are repeated and ignored.
    """
    last = first + len(told)
    starts = [first, *range(first - first % size + size, last, size)]

    def of_call(number: int) -> tuple[np.ndarray, tuple[np.ndarray, np.ndarray]]:
        start = starts[number]
        end = min(start - start % size + size, last)
        numbers, rows = zip(*(told[step - first] for step in range(start, end)), strict=True)
        padded = np.stack([*rows, *[rows[-1]] * (size - len(rows))], axis=1)
        return np.stack(numbers), (np.array(len(rows), np.int32), padded)

    return grain.MapDataset.range(len(starts)).map(of_call)


def repeat(take: Callable[[Any, Any], tuple[Any, Any]], state: Any, count: Int[Array, ""], rows: Any) -> Any:
    """`state, metrics = take(state, rows[i])` for each i below `count`, at least 1: the last state and metrics."""

    def again(i: Int[Array, ""], before: tuple[Any, Any]) -> tuple[Any, Any]:
        return take(before[0], rows[i])

    shapes = jax.eval_shape(take, state, rows[0])[1]
    nothing = jax.tree.map(lambda shape: jnp.zeros(shape.shape, shape.dtype), shapes)
    return jax.lax.fori_loop(0, count, again, (state, nothing))
