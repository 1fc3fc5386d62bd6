"""3D hand pose from RGB images, weakly supervised through biomechanical constraints.

The public modules are attributes, `bmc_jax.losses.bone_length`, and are imported on first use. `bmc_jax.load` loads a
trained network.
"""

import importlib
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from bmc_jax import config as config
    from bmc_jax import limits as limits
    from bmc_jax import metrics as metrics
    from bmc_jax import synthesis as synthesis
    from bmc_jax.core import anatomy as anatomy
    from bmc_jax.core import camera as camera
    from bmc_jax.core import hand as hand
    from bmc_jax.core import hull as hull
    from bmc_jax.core import kinematics as kinematics
    from bmc_jax.core import losses as losses
    from bmc_jax.core import numerics as numerics
    from bmc_jax.core import torch_bridge as torch_bridge
    from bmc_jax.core import types as types
    from bmc_jax.inference import evaluate as evaluate
    from bmc_jax.inference.model import load as load
    from bmc_jax.poses import mano as mano
    from bmc_jax.poses import repair as repair
    from bmc_jax.training import step as step
    from bmc_jax.training import train as train

__version__ = "0.1.0"

_ROOMS = {
    "anatomy": "core",
    "camera": "core",
    "config": "",
    "evaluate": "inference",
    "hand": "core",
    "hull": "core",
    "kinematics": "core",
    "limits": "",
    "losses": "core",
    "mano": "poses",
    "metrics": "",
    "numerics": "core",
    "repair": "poses",
    "step": "training",
    "synthesis": "",
    "torch_bridge": "core",
    "train": "training",
    "types": "core",
}


def __getattr__(name: str) -> Any:
    if name == "load":
        return importlib.import_module("bmc_jax.inference.model").load
    if name not in _ROOMS:
        raise AttributeError(f"module 'bmc_jax' has no attribute {name!r}")
    return importlib.import_module(".".join(filter(None, ["bmc_jax", _ROOMS[name], name])))


def __dir__() -> list[str]:
    return ["__version__", "load", *_ROOMS]
