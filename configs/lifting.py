"""The paper's Tables 2 to 6 without images: depth from 2D joints, about two minutes per run on a CPU.

    bmc experiment lifting --seeds 5
    bmc experiment lifting --arms 2d,bl+rb+a,full --data rhd.npy --out runs/lifting_rhd
    bmc train --config=configs/lifting.py:bl+rb --workdir=runs/one

The source is `mannequin`, hands seen from the palm or the back. The target is `any_view`, hands of other people from
any side, with 2D labels. With `ARM@FILE`, the target is a file of 3D joints and the source is `any_view`, because real
hands are seen from any side. All arms have the same input points, with noise of one pixel, and the same number of steps
and of hands of the source.

Limits are fitted to the 3D-labelled training hands, those of the source: the paper's *approximated* limits. The arm
`computed` has the paper's *computed* limits, fitted to the 3D joints of the target's training split, which have no
other use there.
"""

import dataclasses

from bmc_jax.config import Config
from bmc_jax.experiments import settings
from bmc_jax.experiments.claims import Claim
from bmc_jax.experiments.settings import Arm

ARMS = (
    Arm("source", "3D on the source only", paper="Table 2, 3D RHD"),
    Arm("2d", "and 2D on the target", after="source", paper="Table 2, 3D RHD + 2D FH"),
    Arm("bl", "and bone lengths", after="2d", paper="Table 4, + BL"),
    Arm("bl+rb", "and the palm", after="bl", paper="Table 4, + RB"),
    Arm("bl+rb+a", "and joint angles", after="bl+rb", paper="Table 2, 3D RHD + 2D FH + BMC"),
    Arm("independent", "the same, angles limited each by itself", after="bl+rb+a", paper="Table 5, independent"),
    Arm("computed", "the same, limits of the target", after="bl+rb+a", paper="Table 6, computed"),
    Arm("full", "3D on both", after="bl+rb+a", paper="Table 2, 3D RHD + 3D FH"),
    Arm("full+bmc", "the same, with all three losses", after="full", paper="Table 2, 3D RHD + 3D FH + BMC"),
    Arm("norefine", "3D on both, without the refiner", after="full", paper="Table 3, without refinement"),
)
GAP = ("source", "full")
CLAIMS = (
    Claim("2D labels of the target lower its depth error", "2d", than="source", measure="depth_mm"),
    Claim("all three losses lower it further", "bl+rb+a", than="2d", measure="depth_mm"),
    Claim("they close 60 % of the gap to 3D labels", "bl+rb+a", "source", measure="depth_mm", by=60.0, gap_to="full"),
    Claim("bone lengths lower the 3D error (Table 4)", "bl", than="2d"),
    Claim("the palm lowers it further (Table 4)", "bl+rb", than="bl"),
    Claim("joint angles lower it further (Table 4)", "bl+rb+a", than="bl+rb"),
    Claim("dependent angles are better than independent ones (Table 5)", "bl+rb+a", than="independent"),
    Claim("computed limits are better than approximated ones (Table 6)", "computed", than="bl+rb+a"),
    Claim("approximated limits are better than none (Table 6)", "bl+rb+a", than="2d"),
    Claim("with all 3D labels, the losses still lower the 3D error (Table 2)", "full+bmc", than="full"),
    Claim("the refiner lowers it (Table 3)", "full", than="norefine"),
)


def get_config(argument: str = "") -> Config:
    arm, _, file = argument.partition("@")
    config = settings.points(settings.ANY_VIEW, file) if file else settings.points()
    config = settings.supervise(config, settings.arm_supervision(arm or "bl+rb+a", ARMS))
    return dataclasses.replace(config, name=f"lifting {argument}".strip())
