"""Mapping of programs over devices.

Inputs and outputs that all devices share, such as the state, have no device axis and are replicated. There are two
mappings, which have the same results. "pmap" takes and returns arrays on the devices of this process; with several
processes, JAX converts each of them at every call. "shard_map" takes arrays on the devices of all processes, which
`place` creates, and returns such arrays; `local` converts these to arrays on the devices of this process.
"""

from typing import Any

import jax
import numpy as np
from jax.experimental import multihost_utils
from jax.sharding import Mesh, NamedSharding, PartitionSpec

AXIS = "batch"
"""Name of the device axis."""


def replicate(tree: Any, mapping: str = "pmap") -> Any:
    """Replicates a tree over the devices. A step whose state is replicated compiles once and donates the state."""
    return place(tree, None, mapping)


def place(tree: Any, axis: int | None, mapping: str = "pmap") -> Any:
    """Places a tree on the devices, as an argument of a program of `parallelize`.

    Args:
      tree: numpy arrays, or arrays on the devices of this process.
      axis: 0 to split `[local device, ...]` over the devices, None to replicate.
      mapping: mapping of the program.
    """
    spec = _spec(axis)
    if mapping == "shard_map" and jax.process_count() > 1:
        return multihost_utils.host_local_array_to_global_array(tree, _mesh(), spec)
    return jax.device_put(tree, NamedSharding(_mesh(jax.local_devices()), spec))


def local(tree: Any) -> Any:
    """Converts arrays that are replicated over all devices to arrays on the devices of this process, without a copy."""
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
    """Maps a function over all devices.

    Args:
      function: function of one device's arguments; collectives use the axis `AXIS`.
      in_axes: axis of each argument, or a tree of axes: 0 if it is split over the devices, None if it is replicated.
      out_axes: axis of the results. JAX does not check that results of axis None are equal on all devices: a value that
        is not averaged over `AXIS` diverges silently.
      donate: whether to donate the buffers of the first argument.
      mapping: "pmap" or "shard_map".

    Returns:
      The mapped function. Split arguments have a leading axis of the number of devices.

    Examples:
      >>> import jax
      >>> from bmc_jax import step
      >>> from bmc_jax.training.parallel import AXIS
      >>> mean = step.parallelize(lambda x: jax.lax.pmean(x, AXIS), (0,), None)
      >>> print(mean(jax.numpy.arange(jax.device_count())) == (jax.device_count() - 1) / 2)
      True
    """
    donated = (0,) if donate else ()
    if mapping == "pmap":
        return jax.pmap(function, AXIS, in_axes=in_axes, out_axes=out_axes, donate_argnums=donated)

    def on_device(*arguments: Any) -> Any:
        # Each device has one row of the split arguments.
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
