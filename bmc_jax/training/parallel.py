"""Several devices: the one pmap of the repository.

The state has no device axis: the inputs and outputs that all devices share are replicated.
"""

from typing import Any

import jax
import numpy as np
from jax.sharding import Mesh, NamedSharding, PartitionSpec

AXIS = "batch"
"""Name of the device axis."""


def replicate(tree: Any) -> Any:
    """The tree on every local device. Replicated before the first call, a step compiles once and donates its state."""
    mesh = Mesh(np.array(jax.local_devices()), (AXIS,))
    return jax.device_put(tree, NamedSharding(mesh, PartitionSpec()))


def parallelize(function: Any, in_axes: tuple[Any, ...], out_axes: int | None, *, donate: bool = False) -> Any:
    """Run a function on every local device at once: arguments and results of axis 0 are split over the devices, those
    of axis None are the same on all.

    JAX does not check that a result of axis None is: a value that was not averaged under `AXIS` diverges silently.
    Leaving pmap for another mechanism is a change of this function alone.
    """
    return jax.pmap(function, AXIS, in_axes=in_axes, out_axes=out_axes, donate_argnums=(0,) if donate else ())
