"""Why are the poses of networks that were trained with the losses beyond some limit, and what brings them within?

    bmc experiment within --seeds 3

On 2D points, see `lifting`: each arm is the weakly supervised one with one field changed, or another supervision. The
measures are the share of poses within every limit to 1 mm and 2 degrees, and the error in depth.
"""

import dataclasses

from bmc_jax.config import Config
from bmc_jax.experiments import settings
from bmc_jax.experiments.claims import Claim
from bmc_jax.experiments.settings import Arm

#: Supervision and fields of each arm.
CHANGES = {
    "2d": ("2d", {}),
    "bmc": ("bl+rb+a", {}),
    "squared": ("bl+rb+a", {"biomechanics.penalty": "squared"}),
    "relative": ("bl+rb+a", {"biomechanics.penalty": "relative"}),
    "margin": ("bl+rb+a", {"biomechanics.margin": 0.2}),
    "growing": (
        "bl+rb+a",
        {"biomechanics.ramp": 0.9, "weights.bone_length": 4.5, "weights.palm": 1.5, "weights.joint_angle": 4.5},
    ),
    "rays": ("bl+rb+a", {"biomechanics.repair": "rays"}),
    "free": ("bl+rb+a", {"biomechanics.repair": "free"}),
    "2d+free": ("2d", {"biomechanics.repair": "free"}),
    "2d+rays": ("2d", {"biomechanics.repair": "rays"}),
}
WORDS = {
    "2d": "2D labels on the target, none of the losses",
    "bmc": "and the losses, as in lifting",
    "squared": "squared excess",
    "relative": "each joint by the size of its hull",
    "margin": "limits narrower by a fifth",
    "growing": "weights that grow to three times",
    "rays": "poses repaired along their rays",
    "free": "poses repaired freely",
    "2d+free": "without the losses, poses repaired freely",
    "2d+rays": "without the losses, poses repaired along their rays",
}
AFTER = {"2d": "", "bmc": "2d", "2d+free": "2d", "2d+rays": "2d"}
ARMS = tuple(Arm(name, words, after=AFTER.get(name, "bmc")) for name, words in WORDS.items())
SHARE = "nearly_within_limits"
CLAIMS = (
    Claim("the losses bring more poses within limits", "bmc", than="2d", measure=SHARE),
    Claim("squared excess brings more", "squared", than="bmc", measure=SHARE),
    Claim("weights by the size of the hulls bring more", "relative", than="bmc", measure=SHARE),
    Claim("narrower limits bring more", "margin", than="bmc", measure=SHARE),
    Claim("growing weights bring more", "growing", than="bmc", measure=SHARE),
    Claim("repair along the rays brings more", "rays", than="bmc", measure=SHARE),
    Claim("free repair brings more", "free", than="bmc", measure=SHARE),
    Claim("and lowers the depth error", "free", than="bmc", measure="depth_mm"),
    Claim("repair alone lowers the depth error", "2d+free", than="2d", measure="depth_mm"),
    Claim("along the rays it lowers it further", "2d+rays", than="2d+free", measure="depth_mm"),
    Claim("after training with the losses it lowers it too", "rays", than="bmc", measure="depth_mm"),
    Claim("the losses and repair are better than repair alone", "rays", than="2d+rays", measure="depth_mm"),
)


def get_config(arm: str = "") -> Config:
    arm = arm or "bmc"
    if arm not in CHANGES:
        raise ValueError(f"expected an arm of {', '.join(CHANGES)}, got {arm!r}")
    supervision, fields = CHANGES[arm]
    config = settings.supervise(settings.points(), settings.SUPERVISIONS[supervision])
    return dataclasses.replace(settings.with_fields(config, fields), name=f"within {arm}")
