"""Examples for the training step."""

import jax.numpy as jnp
import numpy as np

from bmc_jax import camera
from bmc_jax.core.types import Batch
from bmc_jax.synthesis import skeleton


def examples(count: int, size: int) -> Batch:
    """Returns images of noise with labels of synthetic hands at a distance of 0.5 m, half of them 2D only."""
    generator = np.random.default_rng(0)
    joints = skeleton.clinical_poses(count, seed=0)
    joints = (joints - joints[:, :1] + np.array([0.0, 0.0, 0.5])).astype(np.float32)
    middle = (size - 1) / 2
    intrinsics = np.array([[2.0 * size, 0, middle], [0, 2.0 * size, middle], [0, 0, 1]], np.float32)
    intrinsics = np.broadcast_to(intrinsics, (count, 3, 3)).copy()
    everywhere = np.ones((count, 21), bool)
    return Batch(
        image=generator.integers(0, 256, (count, size, size, 3), np.uint8),
        intrinsics=intrinsics,
        joints_2d=np.asarray(camera.project(jnp.asarray(joints), jnp.asarray(intrinsics))),
        joints_2d_valid=everywhere,
        joints_3d=joints,
        joints_3d_valid=everywhere & (np.arange(count) < count / 2)[:, None],
        scale=np.linalg.norm(joints[:, 10] - joints[:, 9], axis=-1),
        source=np.zeros(count, np.int32),
        index=np.arange(count, dtype=np.int32),
        present=np.ones(count, bool),
    )
