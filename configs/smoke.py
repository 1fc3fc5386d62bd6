"""A run through all parts in about a minute on a laptop, to check that they run. The result has no meaning.

bmc train --config=smoke --workdir=runs/smoke
"""

from bmc_jax.config import Config, Data, Limits, Network, Optimizer, Source, Training


def get_config() -> Config:
    return Config(
        name="smoke",
        data=Data(
            train=(Source("mannequin", labels="3d", count=64), Source("real_like", labels="2d", count=64)),
            test_count=16,
            image_size=64,
            batch_size=16,
            augment=False,
        ),
        network=Network(depth=10, width=8, patch=8),
        # 64 poses do not span the poses of a hand: without a wide margin the losses would penalize valid poses.
        limits=Limits(angle_margin=20.0, length_margin=0.2),
        optimizer=Optimizer(name="adamw", rate=1e-3, schedule="cosine", warmup=0.1),
        training=Training(epochs=3.0, log_every=5, save_every=10),
    )
