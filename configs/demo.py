"""The paper's claim in minutes, for `make demo`: the effect of the biomechanical losses in addition to 2D labels.

    bmc experiment demo --seeds 1
    bmc report runs/demo

The experiment has three arms of `lifting`: a network predicts the depth of 2D joints, which replace images. The source,
with 3D labels, is hands seen from the palm or the back; the target is hands of other people from any side. Results are
in `benchmarks/RESULTS.md`. `bmc experiment table2 --data synthetic` is the same with images, and takes longer.
"""

import dataclasses

from bmc_jax.config import Config
from bmc_jax.experiments import settings
from bmc_jax.experiments.settings import Arm

ARMS = (
    Arm("2d", "2D labels on the target"),
    Arm("bl+rb+a", "and the biomechanical losses", after="2d"),
    Arm("full", "3D labels on the target", after="bl+rb+a"),
)
GAP = ("2d", "full")


def get_config(argument: str = "") -> Config:
    config = settings.supervise(settings.points(), settings.arm_supervision(argument or "bl+rb+a", ARMS))
    return dataclasses.replace(config, name=f"demo {argument}".strip())
