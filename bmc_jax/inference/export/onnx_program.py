"""The network as one ONNX file with its weights: from an image to a hand in metres, for any number of hands.

It computes in float32 for every `network.dtype`.
"""

import dataclasses
import functools
import importlib.util
from pathlib import Path
from typing import Any

import flax.traverse_util
import jax
import numpy as np
from jaxtyping import Array, Float

from bmc_jax.config import Config
from bmc_jax.core import hand
from bmc_jax.inference.export import onnx_graph, program
from bmc_jax.training import step

FILE = "hand.onnx"
TOLERANCES = {"joints_3d": 1e-5}
"""Largest difference between runtime and checkpoint in metres, relative above one; `TOLERANCE` for other outputs."""
TOLERANCE = 1e-4
"""Largest difference in pixels and scale units, relative above one: runtimes differ in the order of summation."""
COUNTS = (1, 5)
"""Numbers of hands for which runtime and checkpoint are compared."""


def require_installed() -> None:
    """Raises ValueError if onnx or onnxruntime is not installed. The message names the extra."""
    missing = [name for name in ("onnx", "onnxruntime") if importlib.util.find_spec(name) is None]
    if missing:
        raise ValueError(f"--onnx needs {' and '.join(missing)}; pip install 'bmc-jax[onnx]'")


def answer(weights: dict[str, Any], given: dict[str, Any], *, config: Config) -> dict[str, Float[Array, "batch ..."]]:
    """Returns the fields of a `Prediction` by their names, `joints_3d` in metres; see `program.answer`."""
    exact = dataclasses.replace(config, network=dataclasses.replace(config.network, dtype="float32"))
    variables = flax.traverse_util.unflatten_dict(weights, sep="/")
    found: Any = step.network(exact).apply(variables, given["image"], given["K"], train=False)
    names = ("joints_2d", "relative_depth", "root_depth", "refined_root_depth")
    metres = found.joints_3d * given["scale"][:, None, None]
    return {"joints_3d": metres, **{name: getattr(found, name) for name in names}}


def write(folder: Path, weights: dict[str, Any], *, config: Config) -> None:
    """Writes the model into a folder."""
    import onnx

    size = config.data.image_size
    inputs = {
        "image": ((size, size, 3), np.uint8),
        "K": ((3, 3), np.float32),
        "scale": ((), np.float32),
    }
    model = onnx_graph.translate(functools.partial(answer, weights, config=config), inputs)
    about = {
        "image": "RGB, square crops of right hands",
        "K": "pinhole matrix of the crop, pixels, the centre of the first pixel at (0, 0)",
        "scale": "metres of the bone from middle MCP to middle PIP",
        "joints_3d": "metres, camera frame: x right, y down, z forward",
        "joint_order": hand.JOINT_ORDER,
        "joints": ", ".join(hand.JOINTS),
    }
    onnx.helper.set_model_props(model, about)
    onnx.save(model, folder / FILE)


def check(folder: Path, weights: dict[str, Any], *, config: Config) -> float:
    """Returns the largest difference between the outputs of the file in onnxruntime and of JAX, both on the CPU.

    Args:
      folder: the exported folder.
      weights: weights of the checkpoint, see `program.flatten`.
      config: configuration of the network.

    Raises:
      ValueError: if a difference is above its tolerance. The message names the output.
    """
    import onnxruntime

    session = onnxruntime.InferenceSession(str(folder / FILE), providers=["CPUExecutionProvider"])
    names = [output.name for output in session.get_outputs()]
    given = program.probes(config.data.image_size, max(COUNTS))
    with jax.default_device(jax.local_devices(backend="cpu")[0]):
        wanted = jax.device_get(jax.jit(functools.partial(answer, config=config))(weights, given))
    largest = 0.0
    for count in COUNTS:
        found = session.run(None, {name: rows[:count] for name, rows in given.items()})
        for name, rows in zip(names, found, strict=True):
            apart = program.difference(name, np.asarray(rows), wanted[name][:count])
            tolerance = TOLERANCES.get(name, TOLERANCE)
            if not apart <= tolerance:
                raise ValueError(
                    f"{FILE}: expected the checkpoint's {name} within {tolerance:g} for {count} hands, got "
                    f"{apart:.2g}; omit --onnx and report it"
                )
            largest = max(largest, apart)
    return largest
