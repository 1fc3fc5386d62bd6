"""What do the losses teach beside the source's poses seen from all sides, and how strong is everything together?

    bmc experiment views --seeds 3
    bmc experiment views --data rhd_eval_joints.npy --seeds 3

The source's images show hands within 50 degrees of the palm or the back, the target's from any side. The source's 3D
poses can be turned to any side, though: `views` trains on them alone, as `mannequin_any_view` has them. The target is
`any_view`, or with `ARM@FILE` a file of 3D joints. On 2D points, see `lifting`; for images, see `pixels`.
"""

import dataclasses

from bmc_jax.config import Config
from bmc_jax.experiments import settings
from bmc_jax.experiments.claims import Claim
from bmc_jax.experiments.settings import Arm, Supervision

SOURCE, BMC, COMPUTED, FULL = (settings.SUPERVISIONS[name] for name in ("source", "bl+rb+a", "computed", "full"))
RAYS = {"biomechanics.repair": "rays"}
WHOLE = RAYS | {"weights.density": 0.3}
#: Domain with 3D labels, supervision and fields of each arm.
CHANGES = {
    "source": ("mannequin", SOURCE, {}),
    "2d": ("mannequin", Supervision(), {}),
    "bmc": ("mannequin", BMC, {}),
    "computed": ("mannequin", COMPUTED, {}),
    "views": ("mannequin_any_view", SOURCE, {}),
    "views+bmc": ("mannequin_any_view", BMC, {}),
    "views+whole": ("mannequin_any_view", BMC, WHOLE),
    "full": ("mannequin", FULL, {}),
    "full+rays": ("mannequin", FULL, RAYS),
}
ARMS = (
    Arm("source", "3D on the source only"),
    Arm("2d", "and 2D on the target", after="source"),
    Arm("bmc", "and the losses", after="2d"),
    Arm("computed", "the same, limits of the target", after="bmc"),
    Arm("views", "3D on the source's poses from all sides", after="source"),
    Arm("views+bmc", "and 2D on the target, and the losses", after="views"),
    Arm("views+whole", "and the joint density, and repair along the rays", after="views+bmc"),
    Arm("full", "3D on the source and the target", after="views+whole"),
    Arm("full+rays", "the same, poses repaired along their rays", after="full"),
)
GAP = ("source", "full")
Z = "depth_mm"
CLAIMS = (
    Claim("the losses lower the depth error", "bmc", than="2d", measure=Z),
    Claim("they remove half of the source's depth error", "bmc", "source", Z, by=50.0),
    Claim("limits of the target lower it further", "computed", than="bmc", measure=Z),
    Claim("the source's poses from all sides remove half of it", "views", "source", Z, by=50.0),
    Claim("beside them, the losses lower it further", "views+bmc", than="views", measure=Z),
    Claim("the joint density and repair lower it further", "views+whole", than="views+bmc", measure=Z),
    Claim("the whole removes half of the source's depth error", "views+whole", "source", Z, by=50.0),
    Claim("with 3D labels of the target, repair still lowers it", "full+rays", than="full", measure=Z),
)


def get_config(argument: str = "views+whole") -> Config:
    arm, _, file = argument.partition("@")
    if arm not in CHANGES:
        raise ValueError(f"expected an arm of {', '.join(CHANGES)}, got {arm!r}")
    source, supervision, fields = CHANGES[arm]
    target = file or settings.ANY_VIEW
    config = settings.with_fields(settings.supervise(settings.points(source, target), supervision), fields)
    data = dataclasses.replace(config.data, test=(target,))
    return dataclasses.replace(config, name=f"views {argument}", data=data)
