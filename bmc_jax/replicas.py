"""Whether all devices hold the same state. JAX does not look: a value that was not averaged over them, or a device that
computes wrongly, makes replicas drift apart while only the first one's numbers are ever logged and saved."""

import functools
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Bool, UInt32

from bmc_jax import step


def require_equal(state: Any) -> None:
    """Raise ArithmeticError, naming the leaves, unless a replicated state is the same to the bit on the devices of all
    processes, all of which must call this."""
    # pmap wants something that is split over the devices.
    differs = jax.device_get(_run()(state, np.arange(jax.local_device_count())))
    found = [
        jax.tree_util.keystr(path).lstrip(".")
        for path, value in jax.tree_util.tree_flatten_with_path(differs)[0]
        if value
    ]
    if found:
        named = ", ".join(found[:5]) + (f" and {len(found) - 5} more" if len(found) > 5 else "")
        raise ArithmeticError(
            f"step {int(state.step)}: the devices' copies of {named} differ. A result of the step was not averaged "
            f"over the devices (jax.lax.pmean under {step.AXIS!r}), or a device computes wrongly. Nothing that was "
            "saved since the last check is to be trusted"
        )


@functools.cache
def _run() -> Any:
    return step.parallelize(lambda state, _: jax.tree.map(_differs, state), (None, 0), None)


def _differs(leaf: Array) -> Bool[Array, ""]:
    found = checksum(leaf)
    return jax.lax.pmax(found, step.AXIS) != jax.lax.pmin(found, step.AXIS)


def checksum(leaf: Array) -> UInt32[Array, ""]:
    """Of the bits of an array of numbers, and of their places: a change of any one number changes it."""
    bits = jax.lax.bitcast_convert_type(leaf, f"uint{8 * leaf.dtype.itemsize}").astype(jnp.uint32).reshape(-1)
    # Odd, so that no change of one number is lost modulo 2^32.
    weights = 2 * jnp.arange(bits.size, dtype=jnp.uint32) + 1
    return jnp.sum(bits * weights, dtype=jnp.uint32)
