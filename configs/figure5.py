"""Figure 5: how many 3D labels the biomechanical losses save. The target alone, some percent of its images with 3D
labels and the others with 2D. The paper shows it as bars, without numbers: with few labels, about half as many reach a
given aligned AUC on FreiHAND's test.

    bmc experiment figure5 --seeds 3                   # freihand_gs, as built: a GPU
    bmc experiment figure5 --seeds 3 --data synthetic  # rendered hands: two CPU cores
    bmc experiment figure5 --seeds 3 --data points     # 2D joints of rendered hands: minutes

Limits are of the images with 3D labels, so fewer of them are tighter. FreiHAND is taken before the green screen alone:
of its four versions of an image, some would else have labels and some not.

With the paper's data a run is 40,369 steps of ResNet-50; how long they take is unmeasured. What the others take is
in docs/reproduction.md.
"""

from bmc_jax.config import Config
from bmc_jax.experiments import settings as setting
from bmc_jax.experiments.claims import Claim
from bmc_jax.experiments.runner import Arm

ARMS = (
    *(Arm(f"{part}", f"3D on {part} %, 2D on the rest", fraction=part / 100) for part in setting.PERCENTAGES),
    Arm("alone", "3D on all", fraction=1.0),
    *(
        Arm(f"{part}+bmc", f"{part} %, and the losses", after=f"{part}", fraction=part / 100)
        for part in setting.PERCENTAGES
    ),
    Arm("alone+bmc", "3D on all, and the losses", after="alone", fraction=1.0),
)
GAP = (f"{setting.PERCENTAGES[0]}", "alone")
CLAIMS = (
    *(
        Claim(f"at {part} %, the losses raise the aligned AUC", f"{part}+bmc", f"{part}", "aligned_auc")
        for part in setting.PERCENTAGES
    ),
    *(
        Claim(f"with them half of {twice} % do, up to 1 %", f"{part}+bmc", f"{twice}", "aligned_auc", by=-1.0)
        for part, twice in ((5, 10), (10, 20), (20, 40))
    ),
)


def get_config(argument: str = "10+bmc") -> Config:
    settings = {"paper": setting.paper_fractions, "synthetic": setting.synthetic, "points": setting.points}
    return setting.get_config("figure5", argument, (arm.name for arm in ARMS), settings)
