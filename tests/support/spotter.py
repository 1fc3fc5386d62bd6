"""A stand-in for a network: it finds the bright spot of each image, so that pixels can be followed through everything
that is around the network. And a run's folder, and pictures with a spot."""

from pathlib import Path

import numpy as np
from PIL import Image

from bmc_jax import limits, step
from bmc_jax.core.types import Prediction
from bmc_jax.training import checkpoint, config_io, forward
from support import examples

#: Where its hand's joints lie about the spot, over the side of the crop; joint 8 is the spot.
HAND = np.random.default_rng(5).uniform(-0.33, 0.33, (21, 2))
HAND[:3] = [[-0.33, -0.33], [0.33, 0.33], [0.0, 0.2]]
HAND[8] = 0
LIMITS = limits.load("clinical")


def answer(batch):
    """A hand around each spot, in pixels of the central crop; without a spot, all joints in one place."""
    size, stored = examples.SIZE, batch.image.shape[1]
    bright = np.clip(batch.image[..., 0].astype(float) - 60, 0, None)
    total = bright.sum(axis=(1, 2))
    v, u = np.mgrid[:stored, :stored]
    spot = np.stack([(bright * u).sum(axis=(1, 2)), (bright * v).sum(axis=(1, 2))], -1) / np.maximum(total, 1)[:, None]
    seen = (total > 0)[:, None, None]
    joints = spot[:, None] - (stored - size) / 2 + np.where(seen, HAND * size, 0)
    depth = np.linspace(10, 11, 21)
    space = np.concatenate([HAND * 4, depth[:, None]], axis=-1)
    count = len(joints)
    return Prediction(
        joints_2d=joints.astype(np.float32),
        relative_depth=np.tile(depth - depth[0], (count, 1)),
        root_depth=np.full(count, depth[0]),
        refined_root_depth=np.full(count, depth[0]),
        joints_3d=np.tile(space, (count, 1, 1)).astype(np.float32),
    )


def trained(folder="runs/spotter", step=None):
    """What `inference.load` is asked for, without a checkpoint."""
    return forward.Trained(
        Path(folder), examples.tiny_config(), LIMITS, {"step": step or 7, "params": {}, "batch_stats": {}}
    )


def run(folder):
    """A run of the tiniest network, saved untrained."""
    folder.mkdir()
    options = examples.tiny_config()
    config_io.write(options, folder)
    limits.save(LIMITS, folder / limits.FILE)
    checkpoint.save(folder, step.create(options), keep=1)
    return folder


def picture(size, spot, radius=None):
    """A grey picture of (width, height) with a soft white spot there."""
    v, u = np.mgrid[: size[1], : size[0]]
    radius = radius or min(size) / 25
    bright = 40 + 215 * np.exp(-((u - spot[0]) ** 2 + (v - spot[1]) ** 2) / (2 * radius**2))
    return Image.fromarray(bright.astype(np.uint8)).convert("RGB")
