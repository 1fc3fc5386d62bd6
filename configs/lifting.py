"""The paper's tables without pixels: depth from 2D joints, a minute an arm on two CPU cores.

    bmc experiment configs/lifting.py --seeds 5
    bmc train --config=configs/lifting.py:bl+rb+a --workdir=runs/lifting

Hands with 3D labels are `mannequin`'s, seen palm or back on; the target is `any_view`, other people's hands from any
side, of which only 2D joints are labelled. `:ARM` names the arm, and `:ARM,rhd.npy` takes the hands of a file of 3D
joints for the target. Every arm is told the same points, with the same errors, and takes the same steps.
"""

import dataclasses

from bmc_jax.config import Biomechanics, Config, Data, Limits, Network, Optimizer, Source, Training, Weights

#: Of each domain.
COUNT = 20_480
SOURCE, TARGET = "mannequin", "any_view"


def get_config(argument: str = "") -> Config:
    arm, _, file = argument.partition(",")
    arm = arm or "bl+rb+a"
    target = file or TARGET
    whole = arm.startswith("full") or arm == "norefine"
    sources = (
        Source(SOURCE, labels="3d", count=COUNT),
        Source(target, labels="3d" if whole else "2d", count=0 if file else COUNT),
    )
    batch_size = 512
    if arm == "source":
        sources, batch_size = (dataclasses.replace(sources[0], share=1.0),), batch_size // 2
    return Config(
        name=f"lifting {argument}".strip(),
        data=Data(
            train=sources,
            test=(SOURCE, target),
            test_count=2_048,
            batch_size=batch_size,
            augment=False,
            cache="device",
        ),
        network=Network(input="points", noise=1.0),
        weights=Weights(bone_length=5.0, palm=1.5, joint_angle=1.5),
        biomechanics=Biomechanics(detach_frames=False, ramp=0.1),
        limits=Limits(),
        optimizer=Optimizer(name="adamw", rate=1e-3, weight_decay=1e-2, schedule="cosine", warmup=0.05, clip=10.0),
        training=Training(epochs=37.5, log_every=100, save_every=1500, steps_per_dispatch=20),
    )
