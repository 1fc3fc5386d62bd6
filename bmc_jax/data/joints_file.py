"""A file of 3D joints as a source of hands without images, for the network that lifts points.

The file is an .npy `[N, 21, 3]` in metres, FreiHAND order, in the frame of the camera that saw the hands, as RHD's
labels are. No K is needed: a crop around a hand has its own, and where it lies follows from the rays alone. Every fifth
row is of the split "test", the others are "train"; left hands are left out.
"""

import functools
import hashlib
from pathlib import Path

import numpy as np

from bmc_jax.core import hand, numerics, validation
from bmc_jax.core.types import Batch

SUFFIX = ".npy"
SPLITS = ("train", "test")
#: One row in so many is a test's.
EVERY = 5


def is_one(name: str) -> bool:
    """Whether that is the name of such a file, not of a domain or a dataset."""
    return name.endswith(SUFFIX)


@functools.cache
def poses(path: str, split: str) -> np.ndarray:
    """The right hands of a split, `[N, 21, 3]` float32 metres.

    Raises ValueError, naming file and remedy, if there is no such file or split, or what it holds are not such poses.
    """
    if split not in SPLITS:
        raise ValueError(f"{path} has no split {split!r}; a file of joints has {', '.join(SPLITS)}")
    if not Path(path).is_file():
        raise ValueError(f"there is no file of joints {path}")
    try:
        found = validation.screen(np.load(path, allow_pickle=False), left="drop").poses
    except ValueError as error:
        raise ValueError(f"{path}: {error}") from error
    if found[..., 2].min(initial=np.inf) < numerics.NEAREST_DEPTH:
        raise ValueError(f"{path} has joints behind the camera; give them in its frame, x right, y down, z forward")
    is_test = np.arange(len(found)) % EVERY == EVERY - 1
    found = found[is_test if split == "test" else ~is_test]
    if not len(found):
        raise ValueError(f"{path} has no right hand in its split {split!r}")
    return found


def examples(path: str, split: str, count: int, number: int, *, size: int, margin: float) -> Batch:
    """The first `count` hands, host numpy, each in a crop of `size` pixels without channels: the square of `margin`
    times the longer side of the joints' box, around its middle. Marked as of the source of that `number`."""
    joints = poses(path, split)[:count]
    rays = joints[..., :2].astype(np.float64) / joints[..., 2:]
    low, high = rays.min(axis=1), rays.max(axis=1)
    focal = size / (margin * (high - low).max(axis=-1))
    intrinsics = np.broadcast_to(np.eye(3), (len(joints), 3, 3)).copy()
    intrinsics[:, 0, 0] = intrinsics[:, 1, 1] = focal
    intrinsics[:, :2, 2] = (size - 1) / 2 - focal[:, None] * (low + high) / 2
    start, end = hand.SCALE_BONE
    return Batch(
        image=np.zeros((len(joints), size, size, 0), np.uint8),
        intrinsics=intrinsics.astype(np.float32),
        joints_2d=(focal[:, None, None] * rays + intrinsics[:, None, :2, 2]).astype(np.float32),
        joints_2d_valid=np.ones(joints.shape[:2], bool),
        joints_3d=joints,
        joints_3d_valid=np.ones(joints.shape[:2], bool),
        scale=np.linalg.norm(joints[:, end] - joints[:, start], axis=-1),
        source=np.full(len(joints), number, np.int32),
        index=np.arange(len(joints), dtype=np.int32),
        present=np.ones(len(joints), bool),
    )


def digest(path: str) -> str:
    """Of the file, sha256."""
    return hashlib.sha256(Path(path).read_bytes()).hexdigest()
