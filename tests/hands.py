"""Hands that many tests start from: real ones, sampled ones, and limits that about half of them break."""

import functools
import pathlib
import types

import jax.numpy as jnp
import numpy as np
import pytest
import reference

from bmc_jax import hand
from bmc_jax.types import Limits, LimitsMetadata

REAL = pathlib.Path(__file__).parents[2] / "shared/data/rhd_eval_joints.npy"


@functools.cache
def real(count=1000):
    """RHD's evaluation hands `[count, 21, 3]` in metres, evenly taken; skips the test where they are absent."""
    if not REAL.exists():
        pytest.skip("RHD's evaluation joints are not on this machine")
    joints = np.load(REAL).astype(np.float64)
    return joints[np.linspace(0, len(joints) - 1, count).astype(int)]


@functools.cache
def sampled(count=1000, flexion=(-0.6, 1.9), abduction=(-0.6, 0.6)):
    """Joints `[count, 21, 3]` in scale units and the angles `[count, 5, 3, 2]` that they were made with."""
    generator = np.random.default_rng(1)
    joints, angles = zip(*[reference.sample_hand(generator, flexion, abduction) for _ in range(count)], strict=True)
    return np.stack(joints), np.stack(angles)


def in_scale_units(joints):
    """Joints divided by the length of their scale bone, the wrist at the origin."""
    start, end = hand.SCALE_BONE
    joints = joints / np.linalg.norm(joints[:, end] - joints[:, start], axis=-1)[:, None, None]
    return joints - joints[:, :1]


@functools.cache
def narrow_limits(dtype=np.float32):
    """Intervals from the lower to the upper quartile of sampled hands, and octagons as wide: every term is at work."""
    poses = in_scale_units(sampled(200)[0])
    lengths = np.stack([reference.bone_lengths(pose) for pose in poses])
    curvature = np.stack([reference.palm_curvature(pose) for pose in poses])
    spread = np.stack([reference.palm_spread(pose) for pose in poses])
    angles = np.stack([reference.frames_and_angles(pose)[1] for pose in poses])
    around = np.arange(8) * np.pi / 4 + 0.3
    octagon = np.stack([np.cos(around), np.sin(around)], axis=-1)
    hull = np.mean(angles, axis=0)[:, :, None] + np.std(angles, axis=0)[:, :, None] * octagon

    def quartiles(values):
        return jnp.asarray(np.stack(np.quantile(values, [0.25, 0.75], axis=0), axis=-1).astype(dtype))

    return Limits(
        bone_length=quartiles(lengths),
        curvature=quartiles(curvature),
        spread=quartiles(spread),
        hull=jnp.asarray(hull.astype(dtype)),
        support=jnp.asarray(hull.astype(dtype)),
        meta=LimitsMetadata(source="the middle half of sampled hands", count=200),
    )


def for_reference(limits):
    """Limits as float64 arrays of numpy, for the loops of `reference`."""
    names = ("bone_length", "curvature", "spread", "hull")
    return types.SimpleNamespace(**{name: np.asarray(getattr(limits, name), np.float64) for name in names})
