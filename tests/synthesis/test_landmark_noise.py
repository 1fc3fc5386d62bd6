"""Noisy landmarks: errors of MediaPipe's size, correlated along fingers, in proportion to the hand."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from support import hands

from bmc_jax import camera, metrics
from bmc_jax.synthesis.landmark_noise import mediapipe_like

K = jnp.array([[500.0, 0, 112], [0, 500, 110], [0, 0, 1]])


@pytest.fixture(scope="module")
def truth():
    return hands.adults().astype(np.float32)


@pytest.fixture(scope="module")
def landmarks(truth):
    return jax.device_get(jax.jit(mediapipe_like)(jax.random.key(0), jnp.asarray(truth), K))


def aligned_error(joints, truth):
    return 1000 * np.linalg.norm(metrics.align("procrustes", joints, truth) - truth, axis=-1).mean()


def test_both_depths_have_the_errors_measured_on_photographs(truth, landmarks):
    pixels, z, world = landmarks
    rays = np.asarray(camera.rays(jnp.asarray(pixels), K), np.float64)
    assert 9 < aligned_error(rays * (1 + z / 500)[..., None], truth) < 11.5
    assert 10 < aligned_error(world.astype(np.float64), truth) < 12
    assert aligned_error(rays, truth) > 14


def test_pixel_errors_are_proportional_to_the_hand_and_not_to_the_picture(truth, landmarks):
    off = np.linalg.norm(landmarks[0] - np.asarray(camera.project(jnp.asarray(truth), K)), axis=-1)
    side = np.ptp(landmarks[0], axis=1).max(axis=-1)
    assert 0.01 < np.median(off / side[:, None]) < 0.03
    near, far = (off[rows].mean() for rows in (truth[:, 0, 2] < 0.6, truth[:, 0, 2] > 0.7))
    assert near > 1.3 * far


def test_errors_are_more_correlated_along_fingers_than_across_them(truth, landmarks):
    off = landmarks[0] - np.asarray(camera.project(jnp.asarray(truth), K))
    together = np.corrcoef(off[..., 0].T)
    along = [together[1 + 4 * finger + level, 2 + 4 * finger + level] for finger in range(5) for level in range(3)]
    across = [together[4 * finger, 4 * finger + 4] for finger in range(1, 5)]
    assert min(along) > 0.5
    assert max(across) < 0.5


def test_z_is_relative_to_the_wrist_and_world_joints_to_their_mean(landmarks):
    _, z, world = landmarks
    assert not z[:, 0].any()
    np.testing.assert_allclose(world.mean(axis=1), 0, atol=1e-7)


def test_world_landmarks_have_the_unit_of_the_joints(truth, landmarks):
    in_mm = jax.jit(mediapipe_like)(jax.random.key(0), jnp.asarray(1000 * truth), K)
    for found, expected in zip(in_mm, (*landmarks[:2], 1000 * landmarks[2]), strict=True):
        np.testing.assert_allclose(found, expected, rtol=1e-4, atol=2e-2)
