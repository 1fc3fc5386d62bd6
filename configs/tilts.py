"""Why do bone lengths alone raise the error in depth? Each loss alone and together, and schedules of the bone lengths.

    bmc experiment tilts --seeds 3

A bone's length in the image determines how far it is tilted from the image, but not whether towards the camera or away
from it. Beside the error in depth, the measure is the share of tilted bones that a network tilts the right way. On 2D
points, see `lifting`.
"""

import dataclasses

from bmc_jax.config import Config
from bmc_jax.experiments import settings
from bmc_jax.experiments.claims import Claim
from bmc_jax.experiments.settings import Arm, Supervision

#: Biomechanical losses and fields of each arm.
CHANGES = {
    "2d": ((), {}),
    "bl": (("bl",), {}),
    "rb": (("rb",), {}),
    "a": (("a",), {}),
    "rb+a": (("rb", "a"), {}),
    "bl+rb+a": (("bl", "rb", "a"), {}),
    "bl-late": (("bl",), {"biomechanics.start": 0.5, "biomechanics.ramp": 0.3}),
    "bl-growing": (("bl",), {"biomechanics.ramp": 0.9}),
}
WORDS = {
    "2d": "2D labels on the target, none of the losses",
    "bl": "and bone lengths",
    "rb": "and the palm",
    "a": "and joint angles",
    "rb+a": "and the palm and joint angles",
    "bl+rb+a": "the same, and bone lengths",
    "bl-late": "bone lengths from half of training on",
    "bl-growing": "bone lengths, growing through nine tenths of training",
}
AFTER = {"2d": "", "bl+rb+a": "rb+a", "bl-late": "bl", "bl-growing": "bl"}
ARMS = tuple(Arm(name, words, after=AFTER.get(name, "2d")) for name, words in WORDS.items())
CLAIMS = (
    Claim("bone lengths tilt fewer bones the right way", "2d", than="bl", measure="tilts_percent"),
    Claim("the palm tilts more of them the right way", "rb", than="2d", measure="tilts_percent"),
    Claim("joint angles tilt more of them the right way", "a", than="2d", measure="tilts_percent"),
    Claim("beside the palm and the angles, bone lengths lower the depth error", "bl+rb+a", "rb+a", "depth_mm"),
    Claim("late bone lengths are better than early ones", "bl-late", than="bl", measure="depth_mm"),
    Claim("growing bone lengths are better than early ones", "bl-growing", than="bl", measure="depth_mm"),
)


def get_config(arm: str = "") -> Config:
    arm = arm or "bl"
    if arm not in CHANGES:
        raise ValueError(f"expected an arm of {', '.join(CHANGES)}, got {arm!r}")
    terms, fields = CHANGES[arm]
    config = settings.supervise(settings.points(), Supervision(terms=terms))
    return dataclasses.replace(settings.with_fields(config, fields), name=f"tilts {arm}")
