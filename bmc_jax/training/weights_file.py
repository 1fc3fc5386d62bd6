"""The weights of an exported network in one safetensors file, which is read without Orbax.

The names of the tensors are their paths in Flax's trees, such as `params/backbone/conv1/kernel`. The file's metadata
has the step and, as JSON, the checkpoint's metadata.
"""

import json
from pathlib import Path
from typing import Any

import flax.traverse_util
import numpy as np
import safetensors
import safetensors.numpy

FILE = "model.safetensors"


def write(folder: Path, weights: dict[str, np.ndarray], *, step: int, about: dict[str, Any]) -> None:
    """Writes the file into a folder.

    Args:
      folder: the exported folder.
      weights: parameters and BatchNorm statistics by their paths.
      step: number of training steps.
      about: metadata of the checkpoint.
    """
    contiguous = {name: np.ascontiguousarray(array) for name, array in weights.items()}
    metadata = {"step": str(step), "about": json.dumps(about)}
    safetensors.numpy.save_file(contiguous, folder / FILE, metadata)


def read(folder: Path) -> tuple[dict[str, Any], dict[str, Any]]:
    """Returns the state (`step`, `params` and `batch_stats` as nested dicts of numpy) and the checkpoint's metadata.

    Raises:
      ValueError: if the file is damaged or was not written by `write`. The message names it.
    """
    file = folder / FILE
    try:
        with safetensors.safe_open(file, "numpy") as content:
            metadata = content.metadata() or {}
            weights = {name: content.get_tensor(name) for name in content.keys()}  # noqa: SIM118, it is not a dict
        step, about = np.asarray(int(metadata["step"]), np.int32), json.loads(metadata["about"])
    except (safetensors.SafetensorError, KeyError, ValueError) as error:
        raise ValueError(
            f"{file}: expected weights written by bmc export, got a damaged or different file ({error}); copy it here "
            "again"
        ) from error
    trees: dict[str, Any] = {"batch_stats": {}} | flax.traverse_util.unflatten_dict(weights, sep="/")
    return {"step": step, **trees}, about
