"""How far does the claim depend on the cameras? A target seen by the source's cameras, and one seen by wide lenses.

    bmc experiment cameras --seeds 3

On 2D points, see `lifting`. The hands of both targets are the same; `any_view` has focal lengths of 1.9 to 4.1 image
widths, as the source has about, and `any_view_wide` of 0.75 to 1.5.
"""

import dataclasses

from bmc_jax.config import Config
from bmc_jax.experiments import settings
from bmc_jax.experiments.claims import Claim
from bmc_jax.experiments.settings import Arm

WORDS = {
    "source": "3D on the source only",
    "bl+rb+a": "2D on the target, and the losses",
    "full": "3D on both",
    "wide-source": "3D on the source only",
    "wide-bl+rb+a": "2D on the wide target, and the losses",
    "wide-full": "3D on the source and the wide target",
}
AFTER = {"bl+rb+a": "source", "full": "bl+rb+a", "wide-bl+rb+a": "wide-source", "wide-full": "wide-bl+rb+a"}
ARMS = tuple(Arm(name, words, after=AFTER.get(name, "")) for name, words in WORDS.items())
WIDE, NEAR = "any_view_wide", settings.ANY_VIEW
CLAIMS = (
    Claim("the losses lower the depth error", "bl+rb+a", "source", "depth_mm", on=NEAR),
    Claim("they close 60 % of the gap", "bl+rb+a", "source", "depth_mm", by=60.0, gap_to="full", on=NEAR),
    Claim("with wide lenses they lower it too", "wide-bl+rb+a", "wide-source", "depth_mm", on=WIDE),
    Claim("and close 60 % of the gap", "wide-bl+rb+a", "wide-source", "depth_mm", by=60.0, gap_to="wide-full", on=WIDE),
)


def get_config(arm: str = "") -> Config:
    arm = arm or "wide-bl+rb+a"
    if arm not in WORDS:
        raise ValueError(f"expected an arm of {', '.join(WORDS)}, got {arm!r}")
    wide = arm.startswith("wide-")
    config = settings.points(target=WIDE if wide else NEAR)
    config = settings.supervise(config, settings.SUPERVISIONS[arm.removeprefix("wide-")])
    data = dataclasses.replace(config.data, test=(NEAR, WIDE))
    return dataclasses.replace(config, name=f"cameras {arm}", data=data)
