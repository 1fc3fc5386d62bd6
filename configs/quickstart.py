"""A small version of the paper's setting: 3D labels on one rendered domain, 2D labels on another that looks like
photographs, and the biomechanical losses, with limits fitted to the 3D-labelled training poses only.

    bmc train --config=quickstart --workdir=runs/quickstart
    bmc train --config=quickstart:mine --workdir=runs/mine

The second command uses the built dataset `data/mine` for the 2D labels. Each takes about five minutes on two CPU cores,
including rendering. Results are in `benchmarks/RESULTS.md`.
"""

from bmc_jax.config import Biomechanics, Config, Data, Limits, Network, Optimizer, Source, Training, Weights


def get_config(dataset: str = "") -> Config:
    target = Source(dataset, labels="2d") if dataset else Source("real_like", labels="2d", count=6_144)
    return Config(
        name=f"quickstart {dataset}".strip(),
        data=Data(
            # A network trained for minutes does not generalize in depth from `mannequin`, which looks too different.
            train=(Source("synthetic", labels="3d", count=6_144), target),
            test=("synthetic", "real_like"),
            test_count=512,
            batch_size=32,
            # Six epochs are too few for augmented images, which also take twice as long to render.
            augment=False,
        ),
        network=Network(depth=10, width=16, patch=4, pool="flatten"),
        limits=Limits(angle_margin=5.0, length_margin=0.02),
        weights=Weights(bone_length=0.2, palm=0.06, joint_angle=0.06),
        biomechanics=Biomechanics(start=0.3, ramp=0.3),
        # The paper's SGD needs many more steps than are possible in a few minutes.
        optimizer=Optimizer(name="adamw", rate=2e-3, weight_decay=0.05, schedule="cosine", warmup=0.05, clip=10.0),
        training=Training(epochs=6.0, log_every=20, save_every=500),
    )
