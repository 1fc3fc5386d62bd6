"""Table 8: fingertips of Dexter+Object, which is not in the training data. The paper's rows, AUC from 20 to 50 mm:

    bl+rb+a  0.82  ·  Zhang 0.82  ·  Boukhayma 0.76  ·  Zimmermann 0.57  ·  Spurr 0.51
    unaligned: Iqbal 0.67  ·  Baek 0.61  ·  Mueller 0.48

The paper does not state its alignment. The table compares its numbers with our Procrustes-aligned results, and
unaligned numbers with our unaligned results. Crops are made from the true fingertips. The networks are trained as in
Table 7.

    bmc experiment table8 --seeds 3                    # RHD, FreiHAND and Dexter+Object, as built: a GPU

With the paper's data, a run has 93,788 steps of ResNet-50, whose time was not measured.
"""

import dataclasses

from bmc_jax.config import Config
from bmc_jax.experiments import settings
from bmc_jax.experiments.settings import Arm
from bmc_jax.metrics import published

ARMS = (
    Arm("source", "3D on RHD only"),
    Arm("2d", "and 2D on FreiHAND", after="source"),
    Arm("bl+rb+a", "and the biomechanical losses", after="2d", paper="Table 8, ours"),
    Arm("full", "3D on both", after="bl+rb+a"),
)
OTHERS = tuple(row for row in published.ROWS if row.startswith("Table 8, ") and row != "Table 8, ours")


def get_config(argument: str = "bl+rb+a") -> Config:
    config = settings.get_config("table8", argument, ARMS, {"paper": settings.paper_test})
    return dataclasses.replace(config, data=dataclasses.replace(config.data, test=("dexter_object",)))
