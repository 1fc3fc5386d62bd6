"""Table 5: flexion and abduction limited jointly, by a hull, or independently. The paper's rows:

    arm            3D mean, mm   median   AUC
    independent          15.57    13.45  0.91
    bl+rb+a              13.78    11.61  0.92

    bmc experiment table5 --seeds 3                    # RHD and FreiHAND, as built: a GPU
    bmc experiment table5 --seeds 3 --data synthetic   # rendered hands: two CPU cores
    bmc experiment table5 --seeds 3 --data photos      # photographs, with 2D labels: two CPU cores

With the paper's data, a run has 86,665 steps of ResNet-50, whose time was not measured. The times of the other runs
are in docs/reproduction.md.
"""

from bmc_jax.config import Config
from bmc_jax.experiments import settings
from bmc_jax.experiments.claims import Claim
from bmc_jax.experiments.settings import Arm

ARMS = (
    Arm("independent", "angles limited independently", paper="Table 5, independent"),
    Arm("bl+rb+a", "dependent, by the hull", after="independent", paper="Table 5, dependent"),
)
CLAIMS = (Claim("dependent limits are better than independent ones", "bl+rb+a", than="independent"),)


def get_config(argument: str = "bl+rb+a") -> Config:
    return settings.get_config("table5", argument, ARMS)
