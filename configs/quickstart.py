"""The paper's setting in miniature, for `make demo`: 3D labels on mannequin hands, 2D labels on real-like ones, and the
biomechanical losses, with limits fitted to the 3D-labelled training poses only.

    bmc train --config=configs/quickstart.py --workdir=runs/quickstart
"""

from bmc_jax.config import Biomechanics, Config, Data, Limits, Network, Optimizer, Source, Training, Weights


def get_config() -> Config:
    return Config(
        name="quickstart",
        data=Data(
            train=(Source("mannequin", "3d", count=6_144), Source("real_like", "2d", count=6_144)),
            test_count=512,
            batch_size=64,
        ),
        network=Network(depth=18, width=16, patch=8),
        limits=Limits(angle_margin=5.0, length_margin=0.02),
        weights=Weights(bone_length=1.0, palm=0.3, joint_angle=0.3),
        biomechanics=Biomechanics(start=0.3, ramp=0.3),
        # The paper's SGD would need many more steps than a few minutes hold.
        optimizer=Optimizer(name="adamw", rate=3e-3, weight_decay=0.05, schedule="cosine", warmup=0.05, clip=10.0),
        training=Training(epochs=6.0, log_every=10, save_every=300),
    )
