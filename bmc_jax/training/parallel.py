"""Several devices: the one place that names how a program is mapped over them.

The state has no device axis: the inputs and outputs that all devices share are replicated. There are two mappings with
the same results. "pmap" takes and returns arrays of this process's devices; with several processes JAX converts each of
them at every call. "shard_map" takes arrays of all processes' devices, as `place` makes them, and returns such arrays;
`local` turns these into arrays of this process's devices.
"""

from typing import Any

import jax
import numpy as np
from jax.experimental import multihost_utils
from jax.sharding import Mesh, NamedSharding, PartitionSpec

AXIS = "batch"
"""Name of the device axis."""


def replicate(tree: Any, mapping: str = "pmap") -> Any:
    """The tree on every device. Replicated before the first call, a step compiles once and donates its state."""
    return place(tree, None, mapping)


def place(tree: Any, axis: int | None, mapping: str = "pmap") -> Any:
    """The tree on this process's devices, for arguments of that axis of `parallelize`.

    Args:
      tree: what this process has: numpy or arrays of its devices.
      axis: 0 to split `[local device, ...]` over the devices, None to replicate.
      mapping: of the program that takes it.
    """
    spec = _spec(axis)
    if mapping == "shard_map" and jax.process_count() > 1:
        return multihost_utils.host_local_array_to_global_array(tree, _mesh(), spec)
    return jax.device_put(tree, NamedSharding(_mesh(jax.local_devices()), spec))


def local(tree: Any) -> Any:
    """Arrays that are replicated over all devices, as arrays of this process's devices; nothing is copied."""
    if jax.process_count() == 1:
        return tree
    here = NamedSharding(_mesh(jax.local_devices()), PartitionSpec())

    def one(leaf: Any) -> Any:
        if not isinstance(leaf, jax.Array) or leaf.is_fully_addressable:
            return leaf
        parts = [shard.data for shard in leaf.addressable_shards]
        return jax.make_array_from_single_device_arrays(leaf.shape, here, parts)

    return jax.tree.map(one, tree)


def parallelize(
    function: Any, in_axes: tuple[Any, ...], out_axes: int | None, *, donate: bool = False, mapping: str = "pmap"
) -> Any:
    """Run a function on every device at once: arguments and results of axis 0 are split over the devices, those of axis
    None are the same on all.

    JAX does not check that a result of axis None is: a value that was not averaged under `AXIS` diverges silently.
    Leaving pmap for another mechanism is a change of this function alone.
    """
    donated = (0,) if donate else ()
    if mapping == "pmap":
        return jax.pmap(function, AXIS, in_axes=in_axes, out_axes=out_axes, donate_argnums=donated)

    def on_device(*arguments: Any) -> Any:
        # Each device has one row of what is split.
        rows = [
            jax.tree.map(_without_axis, axes, argument, is_leaf=_is_none)
            for axes, argument in zip(in_axes, arguments, strict=True)
        ]
        results = function(*rows)
        return results if out_axes is None else jax.tree.map(lambda leaf: leaf[None], results)

    specs = tuple(jax.tree.map(_spec, axes, is_leaf=_is_none) for axes in in_axes)
    mapped = jax.shard_map(on_device, mesh=_mesh(), in_specs=specs, out_specs=_spec(out_axes), check_vma=False)
    return jax.jit(mapped, donate_argnums=donated)


def _without_axis(axis: int | None, argument: Any) -> Any:
    return argument if axis is None else jax.tree.map(lambda leaf: leaf[0], argument)


def _is_none(value: Any) -> bool:
    return value is None


def _spec(axis: int | None) -> PartitionSpec:
    return PartitionSpec() if axis is None else PartitionSpec(AXIS)


def _mesh(devices: list[Any] | None = None) -> Mesh:
    return Mesh(np.array(jax.devices() if devices is None else devices), (AXIS,))
