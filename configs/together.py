"""Do limits of the whole hand teach more than limits of each length and angle by itself?

    bmc experiment together --seeds 3

The joint density of bone lengths, palm and joint angles (see `bmc_jax.core.density`), fitted to the source's hands as
the limits are, in place of the three losses and beside them; the last arm also repairs its poses along their rays. On
2D points, see `lifting`. The weight 0.3 was chosen with one seed, from 0.3 and 1.
"""

import dataclasses

from bmc_jax.config import Config
from bmc_jax.experiments import settings
from bmc_jax.experiments.claims import Claim
from bmc_jax.experiments.settings import Arm, Supervision

DENSITY = {"weights.density": 0.3}
#: Supervision and fields of each arm.
CHANGES = {
    "source": (settings.SUPERVISIONS["source"], {}),
    "2d": (Supervision(), {}),
    "density": (Supervision(), DENSITY),
    "bmc": (Supervision(terms=settings.ALL), {}),
    "bmc+density": (Supervision(terms=settings.ALL), DENSITY),
    "bmc+density+rays": (Supervision(terms=settings.ALL), DENSITY | {"biomechanics.repair": "rays"}),
    "full": (settings.SUPERVISIONS["full"], {}),
}
ARMS = (
    Arm("source", "3D on the source only"),
    Arm("2d", "and 2D on the target", after="source"),
    Arm("density", "and the joint density", after="2d"),
    Arm("bmc", "and the three losses", after="2d"),
    Arm("bmc+density", "and the three losses and the joint density", after="bmc"),
    Arm("bmc+density+rays", "the same, poses repaired along their rays", after="bmc+density"),
    Arm("full", "3D on both", after="bmc+density+rays"),
)
GAP = ("source", "full")
Z = "depth_mm"
CLAIMS = (
    Claim("the joint density alone lowers the depth error", "density", than="2d", measure=Z),
    Claim("beside the three losses it lowers it further", "bmc+density", than="bmc", measure=Z),
    Claim("repair along the rays lowers it further", "bmc+density+rays", than="bmc+density", measure=Z),
    Claim("the whole removes half of the source's depth error", "bmc+density+rays", "source", Z, by=50.0),
    Claim("and closes 70 % of the gap to 3D labels", "bmc+density+rays", "source", Z, by=70.0, gap_to="full"),
)


def get_config(arm: str = "") -> Config:
    arm = arm or "bmc+density"
    if arm not in CHANGES:
        raise ValueError(f"expected an arm of {', '.join(CHANGES)}, got {arm!r}")
    supervision, fields = CHANGES[arm]
    config = settings.with_fields(settings.supervise(settings.points(), supervision), fields)
    return dataclasses.replace(config, name=f"together {arm}")
