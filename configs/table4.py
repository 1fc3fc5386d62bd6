"""Table 4: effect of each biomechanical loss. The paper's rows:

    arm        3D mean, mm   median   AUC
    2d               20.92    16.93  0.81
    bl               17.58    14.81  0.88
    bl+rb            15.48    13.49  0.91
    bl+rb+a          13.78    11.61  0.92
    full              8.78     7.25  0.98

    bmc experiment table4 --seeds 3                    # RHD and FreiHAND, as built: a GPU
    bmc experiment table4 --seeds 3 --data synthetic   # rendered hands: two CPU cores
    bmc train --config=configs/table4.py:bl+rb --workdir=runs/one

With the paper's data, a run has 86,665 steps of ResNet-50, whose time was not measured. The times of the other runs
are in docs/reproduction.md.
"""

from bmc_jax.config import Config
from bmc_jax.experiments import settings
from bmc_jax.experiments.claims import Claim
from bmc_jax.experiments.settings import Arm

ARMS = (
    Arm("2d", "2D on the target, none of the losses", paper="Table 4, 3D RHD + 2D FH"),
    Arm("bl", "and bone lengths", after="2d", paper="Table 4, + BL"),
    Arm("bl+rb", "and the palm", after="bl", paper="Table 4, + RB"),
    Arm("bl+rb+a", "and joint angles", after="bl+rb", paper="Table 4, + A"),
    Arm("full", "3D on both, none of the losses", after="bl+rb+a", paper="Table 4, 3D RHD + 3D FH"),
)
GAP = ("2d", "full")
CLAIMS = (
    Claim("bone lengths lower the mean 3D error", "bl", than="2d"),
    Claim("the palm lowers it further", "bl+rb", than="bl"),
    Claim("joint angles lower it further", "bl+rb+a", than="bl+rb"),
    Claim("all three close 59 % of the gap to 3D labels, as the paper's do", "bl+rb+a", "2d", by=59.0, gap_to="full"),
)


def get_config(argument: str = "bl+rb+a") -> Config:
    return settings.get_config("table4", argument, ARMS)
