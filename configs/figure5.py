"""Figure 5: number of 3D labels that the biomechanical losses save. Arms train on the target alone, a percentage of its
images with 3D labels and the others with 2D labels. The paper shows bars without numbers: with the losses, about half
as many 3D labels give the same aligned AUC on FreiHAND's test split.

    bmc experiment figure5 --seeds 3                   # freihand_gs, as built: a GPU
    bmc experiment figure5 --seeds 3 --data synthetic  # rendered hands: two CPU cores
    bmc experiment figure5 --seeds 3 --data points     # 2D joints of rendered hands: minutes
    bmc experiment figure5 --seeds 3 --data rhd.npy    # those of a file of 3D joints

Limits are fitted to the images with 3D labels, so they are tighter with fewer of these. Only the green-screen version
of each FreiHAND image is used: otherwise only some of the four versions of an image would have 3D labels.

With the paper's data, a run has 40,369 steps of ResNet-50, whose time was not measured. The times of the other runs are
in docs/reproduction.md.
"""

import dataclasses
import functools

from bmc_jax.config import Config
from bmc_jax.data import sources
from bmc_jax.experiments import settings
from bmc_jax.experiments.claims import Claim
from bmc_jax.experiments.settings import Arm

ARMS = (
    *(Arm(f"{part}", f"3D on {part} %, 2D on the rest", fraction=part / 100) for part in settings.PERCENTAGES),
    Arm("alone", "3D on all", fraction=1.0),
    *(
        Arm(f"{part}+bmc", f"{part} %, and the losses", after=f"{part}", fraction=part / 100)
        for part in settings.PERCENTAGES
    ),
    Arm("alone+bmc", "3D on all, and the losses", after="alone", fraction=1.0),
)
GAP = (f"{settings.PERCENTAGES[0]}", "alone")
CLAIMS = (
    *(
        Claim(f"at {part} %, the losses raise the aligned AUC", f"{part}+bmc", f"{part}", "aligned_auc")
        for part in settings.PERCENTAGES
    ),
    *(
        Claim(f"with them half of {twice} % do, up to 1 %", f"{part}+bmc", f"{twice}", "aligned_auc", by=-1.0)
        for part, twice in ((5, 10), (10, 20), (20, 40))
    ),
)


def get_config(argument: str = "10+bmc") -> Config:
    bases = {"paper": settings.paper_fractions, "synthetic": settings.synthetic, "points": settings.points}
    if argument.endswith(".npy"):
        file = argument.partition("@")[2]
        bases[file] = functools.partial(_file, file)
    return settings.get_config("figure5", argument, ARMS, bases)


def _file(file: str) -> Config:
    config = settings.points(target=file)
    source, target = config.data.train
    target = dataclasses.replace(target, count=len(sources.kind(file).poses(config, "train")))
    return dataclasses.replace(config, data=dataclasses.replace(config.data, train=(source, target)))
