"""Functions of any batch of poses that are computed with the poses as the last axis.

A `Kernel` is fast and has no derivatives; the reference that it stands for is readable and differentiable.
`with_values` and `with_gradients` join both to one function for any batch, under any of JAX's transformations.
"""

import functools
from collections.abc import Callable
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
from jax import export
from jax.custom_batching import custom_vmap
from jax.custom_derivatives import SymbolicZero
from jaxtyping import Array

from bmc_jax.core import hand
from bmc_jax.core.types import require_shape

#: Poses that a CPU transposes at a time.
BLOCK = 256


class Kernel(NamedTuple):
    """How something is computed with the poses as the last axis."""

    rows: Callable[..., Any]
    """Of joints `[3, 21, poses]`, bounds and how far `lax.scan` is unrolled: a tree of arrays that end in the poses."""
    finish: Callable[..., Any]
    """Of that tree, with the axes of each array reversed, and bounds: the results. It joins arrays and adds rows, which
    XLA for CPUs would compute in full for each part or row that is read."""


def _reversed(array: Array) -> Array:
    return array.transpose(*reversed(range(array.ndim)))


def _transposed(arrays: Any, *, last: bool) -> Any:
    """Reverses the axes of arrays that have the poses at one end, after it at the `last`, in a loop over blocks.

    What a loop reads and writes is in memory: XLA for CPUs would compute what is transposed within the transposition,
    many times slower.
    """
    leaves, structure = jax.tree.flatten(arrays)
    count = leaves[0].shape[0 if last else -1]
    blocks = max(-(-count // BLOCK), min(count, 2))
    size = -(-count // blocks)

    def move(block: Array, found: list[Array]) -> list[Array]:
        start = block * size
        parts = [
            _reversed(jax.lax.dynamic_slice_in_dim(leaf, start, size, axis=0 if last else leaf.ndim - 1))
            for leaf in leaves
        ]
        return [
            jax.lax.dynamic_update_slice_in_dim(whole, part, start, axis=whole.ndim - 1 if last else 0)
            for whole, part in zip(found, parts, strict=True)
        ]

    empty = [jnp.zeros_like(_reversed(leaf)) for leaf in leaves]
    return jax.tree.unflatten(structure, jax.lax.fori_loop(0, blocks, move, empty))


def _apply(rows: Callable[..., Any], joints: Array, bounds: Any) -> Any:
    """Applies the `rows` of a kernel to joints `[poses, 21, 3]`."""

    def on_cpu(joints: Array, bounds: Any) -> Any:
        # Loops are compiled sooner, and no slower.
        return _transposed(rows(_transposed(joints, last=True), bounds, 2), last=False)

    def elsewhere(joints: Array, bounds: Any) -> Any:
        # One elementwise program.
        return jax.tree.map(_reversed, rows(_reversed(joints), bounds, True))

    return jax.lax.platform_dependent(joints, bounds, cpu=on_cpu, default=elsewhere)


def _of_any_batch(kernel: Kernel, reference: Callable[..., Any]) -> Callable[..., Any]:
    """Returns a compiled function of joints `[*batch, 21, 3]` and bounds; an axis of vmap is one more of the batch."""

    @jax.jit
    def compiled(joints: Array, bounds: Any) -> Any:
        batch = joints.shape[:-2]
        # Blocks have a number of poses, which an exported program of any batch does not know.
        if any(export.is_symbolic_dim(size) or size == 0 for size in batch):
            return reference(joints, bounds)
        found = kernel.finish(_apply(kernel.rows, joints.reshape(-1, *joints.shape[-2:]), bounds), bounds)
        return jax.tree.map(lambda leaf: leaf.reshape(*batch, *leaf.shape[1:]), found)

    function = custom_vmap(compiled)

    @function.def_vmap
    def _(size: int, mapped: Any, joints: Array, bounds: Any) -> Any:
        if any(jax.tree.leaves(mapped[1])):
            axes = jax.tree.map(lambda is_mapped: 0 if is_mapped else None, mapped)
            found = jax.vmap(reference, axes, axis_size=size)(joints, bounds)
        else:
            found = function(joints, bounds)
        return found, jax.tree.map(lambda _: True, found)

    return function


def floating(joints: Array, bounds: Any = None) -> tuple[Array, Any]:
    """Returns joints `[..., 21, 3]` and bounds in one floating-point type, float32 or wider.

    Raises:
      ValueError: for joints of another shape, or of whole numbers, which have no gradient.
    """
    require_shape("joints in FreiHAND order", joints, hand.NUM_JOINTS, 3)
    if not jnp.issubdtype(joints.dtype, jnp.floating):
        raise ValueError(f"joints: expected floating-point numbers, got {joints.dtype}; convert them to float32")
    given = (leaf for leaf in jax.tree.leaves((joints, bounds)) if not isinstance(leaf, int | float))
    dtype = jnp.result_type(jnp.float32, *given)
    return jax.tree.map(lambda leaf: jnp.asarray(leaf, dtype), (joints, bounds))


def with_values(reference: Callable[..., Any], kernel: Kernel) -> Callable[..., Any]:
    """Returns a function of joints `[*batch, 21, 3]` and bounds with the values of a kernel and the derivatives of the
    reference."""
    function = jax.custom_jvp(_of_any_batch(kernel, reference))
    function.defjvp(functools.partial(_derivative, reference), symbolic_zeros=True)
    return function


def _derivative(function: Callable[..., Any], primals: Any, tangents: Any) -> tuple[Any, Any]:
    """`jax.jvp` by those inputs that have a tangent."""
    leaves, structure = jax.tree.flatten(primals)
    moving = {i: leaf for i, leaf in enumerate(jax.tree.leaves(tangents)) if not isinstance(leaf, SymbolicZero)}

    def of_moving(moved: dict[int, Array]) -> Any:
        return function(*jax.tree.unflatten(structure, [moved.get(i, leaf) for i, leaf in enumerate(leaves)]))

    return jax.jvp(of_moving, ({i: leaves[i] for i in moving},), (moving,))


def with_gradients(reference: Callable[..., Any], values: Kernel, gradients: Kernel) -> Callable[..., Any]:
    """Returns a function of joints `[*batch, 21, 3]` and bounds with the values and gradients by joints of kernels.

    Derivatives by the bounds, of higher order, and of bounds that are mapped are those of the reference.

    Args:
      reference: returns a list of values `[*batch]`.
      values: of that list alone.
      gradients: of the pair of that list and of the gradient `[poses, 21, 3]` of each.
    """

    def reference_gradients(joints: Array, bounds: Any) -> Any:
        found, pull_back = jax.vjp(lambda joints: reference(joints, bounds), joints)
        ones = [[jnp.full_like(value, i == k) for i, value in enumerate(found)] for k in range(len(found))]
        return found, [pull_back(one)[0] for one in ones]

    function = jax.custom_jvp(_of_any_batch(values, reference))
    both = with_values(reference_gradients, gradients)

    @functools.partial(function.defjvp, symbolic_zeros=True)
    def _(primals: Any, tangents: Any) -> Any:
        still = [isinstance(leaf, SymbolicZero) for leaf in jax.tree.leaves(tangents)]
        if still[0] or not all(still[1:]):
            return _derivative(reference, primals, tangents)
        found, by_joints = both(*primals)
        return found, [jnp.sum(gradient * tangents[0], axis=(-2, -1)) for gradient in by_joints]

    return function
