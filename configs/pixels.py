"""Table 2 on images of gloved hands at 128 pixels, and with depth from a lifter of the source's poses from all sides.

    bmc train --config=configs/pixels.py:points --workdir=runs/lifters/lifter
    bmc train --config=configs/pixels.py:points+bmc --workdir=runs/lifters/lifter+bmc
    bmc experiment pixels --seeds 2

The network and the images are those of `table2 --data synthetic` at twice the resolution, half as many for as many
steps, because one core renders 50 of them a second. The source's images show hands within 50 degrees of the palm or the
back, but its 3D poses can be turned to any side. The first two commands train second stages alone, on 2D joints: of
these poses, and also of the target's 2D labels, with the losses and the joint density. The arms `lifter` and
`lifter+bmc` keep these stages, and learn 2D joints only.
"""

import dataclasses

from bmc_jax.config import Config, Network
from bmc_jax.experiments import settings
from bmc_jax.experiments.claims import Claim
from bmc_jax.experiments.settings import Arm, Supervision

WORDS = {
    "source": "3D on the source only",
    "2d": "and 2D on the target",
    "bl+rb+a": "and the biomechanical losses",
    "lifter": "2D on the target, and depth by a lifter",
    "lifter+bmc": "the same, a lifter with losses and density, and repair",
    "full": "3D on both",
}
AFTER = {"2d": "source", "bl+rb+a": "2d", "lifter": "2d", "lifter+bmc": "lifter", "full": "lifter+bmc"}
ARMS = tuple(Arm(name, words, after=AFTER.get(name, "")) for name, words in WORDS.items())
GAP = ("source", "full")
Z = "depth_mm"
CLAIMS = (
    Claim("the losses lower the depth error", "bl+rb+a", than="2d", measure=Z),
    Claim("they remove half of that of 3D on the source", "bl+rb+a", "source", Z, by=50.0),
    Claim("a lifter of the source's poses lowers it", "lifter", than="2d", measure=Z),
    Claim("with losses, density and repair it lowers it further", "lifter+bmc", than="lifter", measure=Z),
    Claim("and removes half of that of 3D on the source", "lifter+bmc", "source", Z, by=50.0),
)
#: Supervision and fields of the second stages alone.
POINTS = {
    "points": (settings.SUPERVISIONS["source"], {}),
    "points+bmc": (Supervision(terms=settings.ALL), {"weights.density": 0.3}),
}
LIFTERS = ("lifter", "lifter+bmc")
"""Arms that begin with the run of their name in `FOLDER`."""
FOLDER = "runs/lifters"


def get_config(argument: str = "points") -> Config:
    if argument not in {**POINTS, **WORDS}:
        raise ValueError(f"expected one of {', '.join([*POINTS, *WORDS])}, got {argument!r}; choose one")
    config = points(argument) if argument in POINTS else arm(argument)
    return dataclasses.replace(config, name=f"pixels {argument}")


def points(name: str) -> Config:
    """Returns the configuration of a second stage alone, with points as noisy as those of the first stage."""
    supervision, fields = POINTS[name]
    config = settings.supervise(settings.points(source="mannequin_any_view"), supervision)
    config = dataclasses.replace(config, network=Network(input="points", noise=2.5))
    return settings.with_fields(config, fields)


def arm(name: str) -> Config:
    """Returns the configuration of an arm."""
    config = settings.synthetic()
    train = tuple(dataclasses.replace(source, count=source.count // 2) for source in config.data.train)
    fields = {"data.train": train, "data.image_size": 128, "network.patch": 8, "training.epochs": 5.0}
    config = settings.with_fields(config, fields)
    config = settings.supervise(config, settings.SUPERVISIONS.get(name, Supervision()))
    if name in LIFTERS:
        fields = {"network.pretrained": f"{FOLDER}/{name}", "optimizer.frozen": "lifting"}
        config = settings.with_fields(config, fields)
    return settings.with_fields(config, {"biomechanics.repair": "rays"}) if name == "lifter+bmc" else config
