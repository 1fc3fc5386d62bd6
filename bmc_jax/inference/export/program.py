"""The network as one StableHLO program, which runs without this package on CPU, CUDA and TPU.

It maps any number of images to hands in metres, their angles, and their violations of the limits. The weights are an
argument, stored in a separate file: the program is small, compiling it for another number of hands does not copy the
weights, and loading takes as long as reading them. The limits are constants of the program.
"""

import functools
import os
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

import flax.traverse_util
import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Bool, Float, UInt8

from bmc_jax.config import Config
from bmc_jax.core import anatomy, losses
from bmc_jax.core.types import Limits
from bmc_jax.training import step

# `load.py` repeats these file names and those of `export.json` and the weights.
FILE, LOADER = "hand.stablehlo", "load.py"
PLATFORMS = ("cpu", "cuda", "tpu")
TOLERANCE = 1e-5
"""Largest difference between program and checkpoint, relative above one: metres, pixels, scale units, radians."""
HANDS = 3
"""Number of hands that are compared."""

#: Program that runs a file while imports of the packages that an exported folder must not need fail.
ALONE = """
import runpy, sys
class Refuse:
    def find_spec(self, name, path=None, target=None):
        if name.split(".")[0] in ("bmc_jax", "flax", "optax", "orbax", "jaxtyping", "grain"):
            raise ImportError(f"the exported folder must not need {name}")
sys.meta_path.insert(0, Refuse())
sys.argv = sys.argv[1:]
runpy.run_path(sys.argv[0], run_name="__main__")
"""


def answer(
    weights: dict[str, Any],
    image: UInt8[Array, "batch height width 3"],
    intrinsics: Float[Array, "batch 3 3"],
    scale: Float[Array, " batch"],
    *,
    config: Config,
    limits: Limits,
) -> dict[str, Float[Array, "batch ..."] | Bool[Array, " batch"]]:
    """Returns the predicted hands and their assessment.

    Args:
      weights: result of `flatten`.
      image: crops of right hands, RGB.
      intrinsics: K of each crop, pixels.
      scale: length of each hand's scale bone, metres.
      config: configuration of the network.
      limits: limits of the assessment.

    Returns:
      The fields of a `Prediction` by their names, with `joints_3d` in metres; `angles`, see `anatomy.joint_angles`; the
      mean violation of each biomechanical term, `..._violation`; and `within_limits`, whether every quantity is within
      its limit.
    """
    variables = flax.traverse_util.unflatten_dict(weights, sep="/")
    found: Any = step.network(config).apply(variables, image, intrinsics, train=False)
    excess = losses.excess(found.joints_3d, limits)
    return {
        "joints_3d": found.joints_3d * scale[:, None, None],
        "joints_2d": found.joints_2d,
        "relative_depth": found.relative_depth,
        "root_depth": found.root_depth,
        "refined_root_depth": found.refined_root_depth,
        "angles": anatomy.joint_angles(found.joints_3d),
        **{f"{name}_violation": value for name, value in excess.terms.items()},
        "within_limits": excess.within(),
    }


def flatten(state: step.TrainState) -> dict[str, Any]:
    """Returns the weights and BatchNorm statistics of a state by their paths."""
    variables = {"params": state.params, "batch_stats": state.batch_stats}
    return flax.traverse_util.flatten_dict(jax.tree.map(np.asarray, variables), sep="/")


def write(folder: Path, weights: dict[str, Any], *, config: Config, limits: Limits) -> None:
    """Writes the program of a network, whose weights have these shapes, and its loader into a folder."""
    (batch,) = jax.export.symbolic_shape("b")
    size = config.data.image_size
    shapes = (
        jax.tree.map(lambda leaf: jax.ShapeDtypeStruct(leaf.shape, leaf.dtype), weights),
        jax.ShapeDtypeStruct((batch, size, size, 3), jnp.uint8),
        jax.ShapeDtypeStruct((batch, 3, 3), jnp.float32),
        jax.ShapeDtypeStruct((batch,), jnp.float32),
    )
    run = jax.jit(functools.partial(answer, config=config, limits=limits))
    program = jax.export.export(run, platforms=PLATFORMS)(*shapes)
    (folder / FILE).write_bytes(program.serialize())
    shutil.copyfile(Path(__file__).with_name(LOADER), folder / LOADER)


def check(folder: Path, weights: dict[str, Any], *, config: Config, limits: Limits) -> float:
    """Returns the largest difference between the outputs of the folder's loader and of these weights in this process.

    The loader runs in a separate process that has JAX but not this package. Both run on the CPU, which does not reduce
    the precision of float32.

    Args:
      folder: the exported folder.
      weights: weights of the checkpoint, see `flatten`.
      config: configuration of the network.
      limits: limits of the program.

    Raises:
      ChildProcessError: if the process fails. The message has the last line of its output.
      ValueError: if the difference is above `TOLERANCE`. The message names the output.
    """
    given, file = probes(config.data.image_size), folder / "answer.npz"
    np.savez(folder / "probes.npz", **given)
    command = [sys.executable, "-I", "-c", ALONE, *map(os.fspath, (folder / LOADER, folder / "probes.npz", file))]
    environment = os.environ | {"JAX_PLATFORMS": "cpu"}
    ran = subprocess.run(command, env=environment, capture_output=True, encoding="utf-8", errors="replace")
    if ran.returncode:
        output = ran.stderr.strip().splitlines() or [f"exit status {ran.returncode}"]
        raise ChildProcessError(f"the exported {LOADER} fails in a separate process: {output[-1]}")
    with np.load(file) as content:
        found = dict(content)
    for used in (folder / "probes.npz", file):
        used.unlink()
    with jax.default_device(jax.local_devices(backend="cpu")[0]):
        run = jax.jit(functools.partial(answer, config=config, limits=limits))
        wanted = jax.device_get(run(weights, given["image"], given["K"], given["scale"]))
    apart = {name: difference(name, found[name], value) for name, value in wanted.items()}
    for name, value in apart.items():
        if not value <= TOLERANCE:
            raise ValueError(
                f"{FILE}: expected the checkpoint's {name} within {TOLERANCE:g}, got {value:.2g}; report it"
            )
    return max(apart.values())


def difference(name: str, found: np.ndarray, wanted: np.ndarray) -> float:
    """Returns the largest difference, relative above one; differences of angles are modulo a full turn."""
    found, wanted = found.astype(np.float64), wanted.astype(np.float64)
    apart = found - wanted
    if name == "angles":
        apart = np.arctan2(np.sin(apart), np.cos(apart))
    return float(np.max(np.abs(apart) / np.maximum(np.abs(wanted), 1.0)))


def probes(size: int, count: int = HANDS) -> dict[str, Any]:
    """Returns `count` images of coarse and fine noise with three focal lengths, as test inputs."""
    generator = np.random.default_rng(0)
    coarse = generator.integers(0, 256, (count, 4, 4, 3), np.uint8)
    rows = np.arange(size) * 4 // size
    noise = generator.integers(-20, 21, (count, size, size, 3))
    image = np.clip(coarse[:, rows][:, :, rows] + noise, 0, 255).astype(np.uint8)
    each = np.arange(count) % 3
    focal, middle = size * 2.0**each, (size - 1) / 2
    intrinsics = np.zeros((count, 3, 3), np.float32)
    intrinsics[:, 0, 0] = intrinsics[:, 1, 1] = focal
    intrinsics[:, :2, 2], intrinsics[:, 2, 2] = middle, 1.0
    return {"image": image, "K": intrinsics, "scale": (0.03 + 0.01 * each).astype(np.float32)}
