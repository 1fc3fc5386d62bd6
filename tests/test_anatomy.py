"""Bones, palm and angles against the loop transcription of Eq. 1-6, and against hands whose angles are known."""

import pathlib

import jax
import jax.numpy as jnp
import numpy as np
import pytest
import reference

from bmc_jax import anatomy, hand

REAL = pathlib.Path(__file__).parents[2] / "shared/data/rhd_eval_joints.npy"
COUNT = 1000


def real_hands():
    if not REAL.exists():
        pytest.skip("RHD's evaluation joints are not on this machine")
    joints = np.load(REAL).astype(np.float64)
    return joints[np.linspace(0, len(joints) - 1, COUNT).astype(int)]


def synthetic_hands():
    """Half in the range of motion, half over the whole sphere of directions."""
    generator = np.random.default_rng(1)
    natural = [reference.sample_hand(generator)[0] for _ in range(COUNT // 2)]
    anywhere = [reference.sample_hand(generator, (-np.pi, np.pi), (-1.4, 1.4))[0] for _ in range(COUNT // 2)]
    return np.stack(natural + anywhere)


def in_scale_units(joints):
    start, end = hand.SCALE_BONE
    return joints / np.linalg.norm(joints[:, end] - joints[:, start], axis=-1)[:, None, None]


@pytest.fixture(scope="module", params=[real_hands, synthetic_hands], ids=["real", "synthetic"])
def poses(request):
    """Hands in scale units with the root at the origin, float32 values, and what Eq. 1-6 say of them."""
    joints = in_scale_units(request.param())
    joints = (joints - joints[:, :1]).astype(np.float32).astype(np.float64)
    measured = [reference.frames_and_angles(pose) for pose in joints]
    return joints, {
        "lengths": np.stack([reference.bone_lengths(pose) for pose in joints]),
        "edge normals": np.stack([[reference.edge_normal(pose, i) for i in range(1, 6)] for pose in joints]),
        "curvature": np.stack([reference.palm_curvature(pose) for pose in joints]),
        "curvature by length": np.stack([reference.palm_curvature(pose, power=1) for pose in joints]),
        "spread": np.stack([reference.palm_spread(pose) for pose in joints]),
        "frames": np.stack([frames for frames, _ in measured]),
        "angles": np.stack([angles for _, angles in measured]),
    }


@jax.jit
def measure(joints):
    return {
        "lengths": anatomy.bone_lengths(joints),
        "edge normals": anatomy.edge_normals(joints),
        "curvature": anatomy.palm_curvature(joints),
        "curvature by length": anatomy.palm_curvature(joints, squared=False),
        "spread": anatomy.palm_spread(joints),
        "frames": anatomy.bone_frames(joints),
        "angles": anatomy.joint_angles(joints),
    }


def differences(measured, expected):
    found = {name: np.abs(np.asarray(measured[name], np.float64) - expected[name]) for name in expected}
    flexion = found["angles"][..., 0]
    found["angles"][..., 0] = np.minimum(flexion, 2 * np.pi - flexion)
    return {name: value.max() for name, value in found.items()}


def test_every_quantity_agrees_with_the_equations_in_float64(poses):
    joints, expected = poses
    with jax.enable_x64(True):
        found = differences(measure(jnp.asarray(joints)), expected)
    print(found)
    assert max(found.values()) < 1e-9, found


def test_every_quantity_agrees_with_the_equations_in_float32(poses):
    joints, expected = poses
    found = differences(measure(jnp.asarray(joints, jnp.float32)), expected)
    print(found)
    assert max(found.values()) < 1e-5, found
