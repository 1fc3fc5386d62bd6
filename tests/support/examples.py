"""Small runs without rendering: the tiniest configuration, and random images with labels of plausible hands."""

import functools

import numpy as np

from bmc_jax import config, hand, limits
from bmc_jax.core.types import Batch, Limits, LimitsMetadata
from bmc_jax.data import input_pipeline
from bmc_jax.data.cache import Resident
from bmc_jax.training import feed

SIZE = 32
INTRINSICS = np.array([[80.0, 0.0, 15.5], [0.0, 80.0, 15.5], [0.0, 0.0, 1.0]], np.float32)


def tiny_config(**training):
    """A network of a few thousand weights, 16 images a source, batches of 8."""
    return config.Config(
        name="tiny",
        data=config.Data(
            train=(
                config.Source("mannequin", labels="3d", count=16),
                config.Source("real_like", labels="2d", count=16),
            ),
            test_count=8,
            image_size=SIZE,
            batch_size=8,
            augment=False,
        ),
        network=config.Network(depth=10, width=4, patch=8),
        limits=config.Limits(source="clinical"),
        optimizer=config.Optimizer(rate=1e-3),
        training=config.Training(**{"epochs": 2.0, "log_every": 1, "save_every": 100} | training),
    )


def narrow_limits():
    """Limits that every hand here exceeds somewhere, so each biomechanical term and its gradient is at work."""
    square = np.array([[-0.1, -0.1], [0.1, -0.1], [0.1, 0.1], [-0.1, 0.1]], np.float32)
    hull = np.broadcast_to(square, (5, 3, 4, 2)).copy()
    return Limits(
        bone_length=np.broadcast_to(np.array([0.9, 1.1], np.float32), (5, 4, 2)).copy(),
        curvature=np.broadcast_to(np.array([-0.01, 0.01], np.float32), (4, 2)).copy(),
        spread=np.broadcast_to(np.array([0.3, 0.4], np.float32), (4, 2)).copy(),
        hull=hull,
        support=hull,
        meta=LimitsMetadata(source="test", count=0),
    )


@functools.cache
def fitted_limits():
    """Those of three hundred hands of this kind."""
    return limits.fit(examples(300).joints_3d, source="hands of this test", left="keep")


def examples(count, source=0, seed=0):
    """`count` open hands in random places of noise images, all labels set, as host numpy."""
    generator = np.random.default_rng([seed, source])
    spread = np.linspace(-0.5, 0.5, len(hand.FINGERS))
    reach = 0.06 + 0.02 * np.arange(len(hand.LEVELS))
    fingers = np.stack(np.broadcast_arrays(np.sin(spread)[:, None] * reach, -np.cos(spread)[:, None] * reach, 0.0), -1)
    joints = np.concatenate([np.zeros((1, 3)), fingers.reshape(-1, 3)])
    joints = joints + generator.normal(0, 0.004, (count, hand.NUM_JOINTS, 3))
    joints = joints + generator.uniform([-0.05, 0.0, 0.4], [0.05, 0.08, 0.7], (count, 1, 3))
    joints = joints.astype(np.float32)
    intrinsics = np.broadcast_to(INTRINSICS, (count, 3, 3)).copy()
    start, end = hand.SCALE_BONE
    return Batch(
        image=generator.integers(0, 256, (count, SIZE, SIZE, 3), np.uint8),
        intrinsics=intrinsics,
        joints_2d=(joints @ INTRINSICS.T)[..., :2] / joints[..., 2:],
        joints_2d_valid=np.ones((count, hand.NUM_JOINTS), bool),
        joints_3d=joints,
        joints_3d_valid=np.ones((count, hand.NUM_JOINTS), bool),
        scale=np.linalg.norm(joints[:, end] - joints[:, start], axis=-1),
        source=np.full(count, source, np.int32),
        index=np.arange(count, dtype=np.int32),
        present=np.ones(count, bool),
    )


def on_batches(program):
    """The training program `feed.train_program` as a function of state, batch `[b, ...]` on the host, and limits."""

    def run(state, batch, limits):
        return program(state, feed.Inputs(batch=input_pipeline.shard(batch)), limits, Resident(None, None))

    return run
