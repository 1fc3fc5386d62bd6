"""A device without enough memory for a step, told with the settings that need less of it."""

import contextlib
from collections.abc import Iterator

import jax

from bmc_jax.config import Config


@contextlib.contextmanager
def enough(config: Config, cached: bool) -> Iterator[None]:
    """JAX's error for a full device as a MemoryError that says what to change; `cached` is whether the training images
    are on the devices too."""
    try:
        yield
    except jax.errors.JaxRuntimeError as error:
        if "RESOURCE_EXHAUSTED" not in str(error):
            raise
        said = str(error).splitlines()[0][:200]
        raise MemoryError(
            f"the device's memory is full ({said}). Any of these needs less: {remedies(config, cached)}"
        ) from error


def remedies(config: Config, cached: bool) -> str:
    """Settings that need less memory than these, those first that change the result least."""
    share = config.data.batch_size // jax.device_count()
    finer = [parts for parts in range(config.optimizer.accumulate + 1, share + 1) if share % parts == 0]
    found = ["data.cache=host, with the same result"] if cached else []
    if finer:
        found.append(
            f"optimizer.accumulate={finer[0]}, which takes each device's {share} images in {finer[0]} parts, with the "
            "same gradient but for BatchNorm"
        )
    if config.network.dtype == "float32":
        found.append("network.dtype=bfloat16, about half")
    if share > 1:
        found.append(f"data.batch_size={config.data.batch_size // 2}")
    found.append("more devices")
    return "; ".join(found)
