"""Table 3: effect of the refinement of the root depth, with 3D labels of the target alone. The paper's rows:

    arm               3D mean, mm   median   AUC
    alone-norefine          11.20     8.62  0.95
    alone                    9.76     8.14  0.97

    bmc experiment table3 --seeds 3                    # RHD and FreiHAND, as built: a GPU
    bmc experiment table3 --seeds 3 --data synthetic   # rendered hands: two CPU cores

With the paper's data, a run has 86,665 steps of ResNet-50, whose time was not measured. The times of the other runs
are in docs/reproduction.md.
"""

from bmc_jax.config import Config
from bmc_jax.experiments import settings
from bmc_jax.experiments.claims import Claim
from bmc_jax.experiments.settings import Arm

ARMS = (
    Arm("alone-norefine", "3D on the target alone, no refiner", paper="Table 3, without refinement"),
    Arm("alone", "and the refiner", after="alone-norefine", paper="Table 3, with refinement"),
)
CLAIMS = (
    Claim("refinement lowers the mean 3D error", "alone", than="alone-norefine"),
    Claim("and the median", "alone", "alone-norefine", "joints_3d_median_mm"),
)


def get_config(argument: str = "alone") -> Config:
    return settings.get_config("table3", argument, ARMS)
