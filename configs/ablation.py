"""Ablation, on 2D points, of choices that the paper does not state: each arm is the weakly supervised arm with one
field or schedule changed.

    bmc experiment ablation --seeds 2

The evaluation is on people of `any_view` that are in neither the training nor the test split, because the results are
used for choices. A run takes about a minute on a CPU. The arm `chosen` has the settings of `lifting`.
"""

import dataclasses

from bmc_jax.config import Config
from bmc_jax.experiments import settings
from bmc_jax.experiments.settings import Arm

#: Fields that each arm changes.
CHANGES = {
    "chosen": {},
    "lighter": {"weights.bone_length": 0.5, "weights.palm": 0.17, "weights.joint_angle": 0.5},
    "heavier": {"weights.bone_length": 4.5, "weights.palm": 1.5, "weights.joint_angle": 4.5},
    "l1": {"biomechanics.angle_mode": "circle_l1"},
    "frames": {"biomechanics.detach_frames": True},
    "late": {"biomechanics.start": 0.3, "biomechanics.ramp": 0.3},
    "percentiles": {"limits.percentiles": (1.0, 99.0)},
    "margins": {"limits.angle_margin": 5.0, "limits.length_margin": 0.02},
    "pixels": {"network.detach_pixels": True},
    "root": {"network.detach_root_depth": False},
}
WORDS = {
    "chosen": "as in lifting",
    "lighter": "a third of the weights",
    "heavier": "three times the weights",
    "l1": "L1 distance to the hulls",
    "frames": "an angle moves its own bone only",
    "late": "the losses start after 30 % of training",
    "percentiles": "limits from the 1st to the 99th percentile",
    "margins": "limits wider by 5 degrees and 2 %",
    "pixels": "the losses move depths only",
    "root": "gradient through the root's depth",
}
ARMS = tuple(Arm(name, words, after="" if name == "chosen" else "chosen") for name, words in WORDS.items())


def get_config(arm: str = "") -> Config:
    change = arm or "chosen"
    if change not in CHANGES:
        raise ValueError(f"expected an arm of {', '.join(CHANGES)}, got {arm!r}; choose one")
    config = settings.supervise(settings.points(), settings.SUPERVISIONS["bl+rb+a"])
    config = settings.with_fields(config, CHANGES[change])
    data = dataclasses.replace(config.data, test=(f"{settings.ANY_VIEW}:validation",))
    return dataclasses.replace(config, name=f"ablation {arm}".strip(), data=data)
