"""Hands that many tests start from: real ones, sampled ones, and limits that about half of them break."""

import dataclasses
import functools
import types

import jax.numpy as jnp
import numpy as np
import pytest
import scipy.spatial.transform

from bmc_jax import hand, hull, limits
from bmc_jax.core.types import Limits, LimitsMetadata
from support import paths, reference

REAL = paths.SHARED / "rhd_eval_joints.npy"


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


@functools.cache
def adults(count=200):
    """Right hands `[count, 21, 3]` in metres of adults' bones, fingers bent by up to 80 degrees a joint, before a
    camera that each of them is turned to in its own way."""
    random = np.random.default_rng(5)
    roots = [(-22, 25, -20), (-26, 94, 0), (-4, 94, 0), (15, 86, 0), (33, 75, -3)]
    bones = [(46, 32, 27), (40, 22, 20), (45, 26, 21), (41, 26, 21), (33, 18, 20)]
    hands = np.zeros((count, 21, 3))
    for finger, (root, lengths) in enumerate(zip(roots, bones, strict=True)):
        sideways = np.array([-0.6, 0.75, -0.3]) if finger == 0 else np.array([0.02 * (finger - 2), 1.0, 0.0])
        ahead = sideways / np.linalg.norm(sideways)
        joint = np.array(root) * random.normal(1, 0.03, (count, 1))
        hands[:, 1 + 4 * finger] = joint
        bend = np.zeros(count)
        for level, length in enumerate(lengths):
            bend = bend + random.uniform(0, 0.4 if finger == 0 else 1.4, count) * (0.6 if level == 2 else 1)
            along = np.cos(bend)[:, None] * ahead + np.sin(bend)[:, None] * [0, 0, -1]
            joint = joint + length * random.normal(1, 0.03, (count, 1)) * along
            hands[:, 2 + level + 4 * finger] = joint
    turns = scipy.spatial.transform.Rotation.random(count, random_state=5).as_matrix()
    return np.einsum("nij,nkj->nki", turns, hands) / 1000 + random.uniform(
        [-0.1, -0.1, 0.4], [0.1, 0.1, 0.9], (count, 1, 3)
    )


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


def box_limits(low, high):
    """The preset `clinical` with every hull a box between two points, (flexion, abduction) in degrees."""
    (a, b), (c, d) = low, high
    box = hull.simplify(np.radians([[a, b], [c, b], [c, d], [a, d]]), 16)
    clinical = limits.load("clinical")
    return dataclasses.replace(clinical, hull=np.broadcast_to(box, clinical.hull.shape).astype(np.float32))


def bending_sequence():
    """90 frames of one hand whose index finger bends as a sine, without a hand in frames 30 to 39 and 70."""
    pose = adults()[0]
    frames = np.repeat(pose[None], 90, axis=0)
    axis = np.cross(pose[6] - pose[5], pose[7] - pose[6])
    axis /= np.linalg.norm(axis)
    for frame, turn in enumerate(0.3 * np.sin(np.arange(90) / 10)):
        for joint in (7, 8):
            arm = pose[joint] - pose[6]
            turned = arm * np.cos(turn) + np.cross(axis, arm) * np.sin(turn) + axis * (axis @ arm) * (1 - np.cos(turn))
            frames[frame, joint] = pose[6] + turned
    frames[30:40], frames[70] = np.nan, np.nan
    return frames


def assert_same_limits(first, second):
    for name in ("bone_length", "curvature", "spread", "hull", "support"):
        np.testing.assert_allclose(getattr(first, name), getattr(second, name), atol=1e-6)


def rotate(vectors, axis, angle):
    """Rodrigues."""
    axis = axis / np.linalg.norm(axis)
    cosine, sine = np.cos(angle), np.sin(angle)
    return vectors * cosine + np.cross(axis, vectors) * sine + np.outer(vectors @ axis, axis).squeeze() * (1 - cosine)
