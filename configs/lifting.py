"""The paper's Tables 2 to 6 without pixels: depth from 2D joints, about two minutes a run on a CPU.

    bmc experiment configs/lifting.py --seeds 5 --out runs/lifting
    bmc experiment configs/lifting.py --arms 2d,bl+rb+a,full --on rhd.npy --out runs/lifting_rhd
    bmc train --config=configs/lifting.py:bl+rb --workdir=runs/one

Hands with 3D labels are `mannequin`'s, seen palm or back on. The target is `any_view`: other people's hands from any
side, of which only 2D joints are labelled; or, given as `ARM@FILE`, a file of 3D joints. All arms are told the same
points, which are off by a pixel, take the same number of steps and see as many hands of the source.

Limits are those of the 3D-labelled training hands, the source's: the paper's *approximated* ones. Its *computed* ones
are the target's, which the arm `computed` fits to the 3D joints of the target's training split and uses for nothing
else.
"""

import dataclasses

from bmc_jax.config import Biomechanics, Config, Data, Limits, Network, Optimizer, Source, Training, Weights
from bmc_jax.experiment import Arm

#: Hands of each domain.
COUNT = 20_480
SOURCE, TARGET = "mannequin", "any_view"
EPOCHS = 12.0

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
#: The arms between whose errors the gap is that is to be closed.
GAP = ("2d", "full")

#: The biomechanical losses of each arm.
TERMS = {
    "source": (),
    "2d": (),
    "bl": ("bl",),
    "bl+rb": ("bl", "rb"),
    "full": (),
    "norefine": (),
}


def get_config(argument: str = "") -> Config:
    arm, _, file = argument.partition("@")
    arm = arm or "bl+rb+a"
    if arm not in {known.name for known in ARMS}:
        raise ValueError(f"there is no arm {arm!r}; there are {', '.join(known.name for known in ARMS)}")
    target = file or TARGET
    terms = TERMS.get(arm, ("bl", "rb", "a"))
    labels = "3d" if arm.startswith("full") or arm == "norefine" else "2d"
    train = (Source(SOURCE, labels="3d", count=COUNT), Source(target, labels=labels, count=0 if file else COUNT))
    batch_size = 512
    if arm == "source":
        train, batch_size = (dataclasses.replace(train[0], share=1.0),), batch_size // 2
    return Config(
        name=f"lifting {argument}".strip(),
        data=Data(
            train=train,
            test=(SOURCE, target),
            test_count=2_048,
            batch_size=batch_size,
            augment=False,
            cache="device",
        ),
        network=Network(input="points", noise=1.0, refine=arm != "norefine"),
        weights=Weights(
            bone_length=5.0 if "bl" in terms else 0.0,
            palm=1.5 if "rb" in terms else 0.0,
            joint_angle=1.5 if "a" in terms else 0.0,
        ),
        biomechanics=Biomechanics(independent=arm == "independent", ramp=0.1),
        limits=Limits(source=f"fit:{target}" if arm == "computed" else "fit"),
        optimizer=Optimizer(name="adamw", rate=1e-3, weight_decay=1e-2, schedule="cosine", warmup=0.05, clip=10.0),
        training=Training(epochs=EPOCHS, log_every=100, save_every=500, steps_per_dispatch=20),
    )
