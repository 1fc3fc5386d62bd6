"""Cache of training images: decoded for each batch, in RAM, or in the memory of the accelerators, with equal batches.

In device memory, each device holds a part of all images, and a step receives only row numbers. Each device takes its
images of the process's batch, and one exchange moves every image to the device that trains on it. No example is left
out or repeated on any number of devices, and a resumed run may use another cache.
"""

import dataclasses
import os
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jax.sharding import Mesh, NamedSharding, PartitionSpec
from jaxtyping import Array, Int

from bmc_jax.core.types import Batch
from bmc_jax.data import input_pipeline
from bmc_jax.data.example_sets import CHUNK, ExampleSet
from bmc_jax.runtime.progress import Progress

#: Share of the free memory that images may take by default; the rest is for training.
FREE_SHARE = 0.5


@jax.tree_util.register_dataclass
@dataclasses.dataclass(frozen=True)
class Resident:
    """All training examples on this process's devices."""

    images: Any
    """uint8 `[device, row, stored, stored, 3]`; the last device's part is padded with black, which no row uses."""
    labels: Any
    """The other fields of a `Batch`, `[row, ...]` of all rows, on every device: half a kilobyte per row."""


@dataclasses.dataclass(frozen=True)
class Placement:
    """Place of the training images."""

    mode: str
    """One of `CACHES`."""
    reason: str


def choose(requested: str, size: int, in_memory: int, host: int, devices: Sequence[int]) -> Placement:
    """Chooses the place of the training images.

    Args:
      requested: `data.cache`.
      size: bytes of all images.
      in_memory: bytes of the images that are in RAM in any case.
      host: free bytes of RAM.
      devices: free bytes of each local accelerator; empty on a CPU.

    Raises:
      ValueError: if the images do not fit into the requested place.
    """
    a_device, on_devices = (-(-size // len(devices)), min(devices)) if devices else (size, 0)
    room_on_devices = f"{len(devices)} x {gigabytes(on_devices)} of free device memory"
    room_on_host = f"{gigabytes(host)} of free memory"
    need = f"{gigabytes(size)} of images"
    if requested == "device":
        if devices and a_device > on_devices:
            raise ValueError(
                f"data.cache: expected room for {need} with 'device', got {room_on_devices}; set it to 'host' or 'none'"
            )
        return Placement("device", f"{need}{f' in {room_on_devices}' if devices else ''}, as configured")
    if requested == "host":
        if size - in_memory > host:
            raise ValueError(f"data.cache: expected room for {need} with 'host', got {room_on_host}; set it to 'none'")
        return Placement("host", f"{need} in {room_on_host}, as configured")
    if requested == "none":
        return Placement("none", f"{need} are decoded for each batch, as configured")
    if devices and a_device <= FREE_SHARE * on_devices:
        return Placement("device", f"{need} in {room_on_devices}")
    if size - in_memory <= FREE_SHARE * host:
        return Placement("host", f"{need} in {room_on_host}")
    return Placement("none", f"{need} would take more than half of {room_on_host}; they are decoded for each batch")


def gigabytes(size: int) -> str:
    """Returns a number of bytes in words, in GB or MB."""
    return f"{size / 1e9:.1f} GB" if size >= 1e8 else f"{size / 1e6:.1f} MB"


def free_on_devices() -> list[int]:
    """Returns the free bytes of each local accelerator; empty on a CPU, and if the accelerator does not report them."""
    if jax.default_backend() == "cpu":
        return []
    found = [device.memory_stats() for device in jax.local_devices()]
    return [stats["bytes_limit"] - stats["bytes_in_use"] for stats in found] if all(found) else []


def free_on_host() -> int:
    """Returns the free bytes of RAM for this process, by the system and by its control group, which containers and
    clusters' jobs have."""
    free = [int(line.split()[1]) * 1024 for line in _lines("/proc/meminfo") if line.startswith("MemAvailable")]
    for line in _lines("/proc/self/cgroup"):
        group = Path("/sys/fs/cgroup") / line.split(":", 2)[2].lstrip("/")
        for folder in (group, *group.parents):
            limit, used = (_lines(folder / name) for name in ("memory.max", "memory.current"))
            if limit and used and limit[0] != "max":
                free.append(int(limit[0]) - int(used[0]))
    if not free:  # not Linux
        free.append(os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE") // 2)
    return max(min(free), 0)


def _lines(file: str | Path) -> list[str]:
    try:
        return Path(file).read_text(encoding="utf-8").splitlines()
    except OSError:
        return []


def on_devices(opened: Sequence[ExampleSet], axis_name: str) -> Resident:
    """Loads the examples of all sources, concatenated and split into equal parts, one for each local device. Without
    sources, the result is empty."""
    if not opened:
        return Resident(None, None)
    devices, total = jax.local_devices(), sum(len(source) for source in opened)
    a_device = -(-total // len(devices))
    parts, labels = [], []
    with Progress(total=total, desc="fill device memory", unit=" images") as bar:
        for number, device in enumerate(devices):
            end = min((number + 1) * a_device, total)
            images: Any = None
            for first in range(number * a_device, end, CHUNK):
                batch = input_pipeline.fetch(opened, np.arange(first, min(first + CHUNK, end)))
                if images is None:
                    images = np.zeros((1, a_device, *batch.image.shape[1:]), np.uint8)
                place = first - number * a_device
                images[0, place : place + len(batch.image)] = batch.image
                labels.append(dataclasses.replace(batch, image=None))
                bar.update(len(batch.present))
            parts.append(jax.device_put(images if images is not None else np.zeros_like(parts[0]), device))
    mesh = Mesh(np.array(devices), (axis_name,))
    everything = jax.make_array_from_single_device_arrays(
        (len(devices), *parts[0].shape[1:]), NamedSharding(mesh, PartitionSpec(axis_name)), parts
    )
    everywhere = NamedSharding(mesh, PartitionSpec())
    return Resident(everything, jax.device_put(jax.tree.map(lambda *part: np.concatenate(part), *labels), everywhere))


def gather(rows: Int[Array, "device b"], resident: Resident, axis_name: str) -> Batch:
    """Returns one device's part `[b, ...]` of the process's batch.

    Args:
      rows: rows of all local devices, the same on every device.
      resident: this device's part: images `[row, stored, stored, 3]` and all labels.
      axis_name: name of the mapped axis of devices.
    """
    devices, images = len(rows), resident.images
    number = jax.lax.axis_index(axis_name) % devices
    place = rows - number * len(images)
    here = (place >= 0) & (place < len(images))
    found = jnp.where(here[..., None, None, None], images[jnp.clip(place, 0, len(images) - 1)], jnp.uint8(0))
    # Each image is on one device and black on the others, so the sum is the image. Devices are numbered process by
    # process, and an exchange is within a process.
    total = jax.lax.axis_size(axis_name)
    groups = [list(range(first, first + devices)) for first in range(0, total, devices)]
    image = jax.lax.psum_scatter(found, axis_name, scatter_dimension=0, axis_index_groups=groups)
    labels = jax.tree.map(lambda leaf: leaf[rows[number]], resident.labels)
    return dataclasses.replace(labels, image=image)
