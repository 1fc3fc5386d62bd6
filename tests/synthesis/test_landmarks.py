import functools

import jax
import jax.numpy as jnp
import numpy as np
from support import hands

from bmc_jax.synthesis import landmarks

POSES = jnp.asarray(hands.adults(200), jnp.float32)


@functools.cache
def observed(**options):
    keys = jax.random.split(jax.random.key(0, impl="threefry2x32"), len(POSES))
    seen = jax.jit(jax.vmap(functools.partial(landmarks.observe, **options)))(keys, POSES)
    return jax.tree.map(np.asarray, seen)


def box(rays):
    """Returns the longer side of each hand's box."""
    return np.ptp(rays[..., :2], axis=1).max(axis=-1)


def test_landmarks_without_noise_are_projections_of_the_transformed_hand():
    seen = observed(noise=(0.0, 0.0))
    np.testing.assert_allclose(seen.rays, seen.joints / seen.joints[..., 2:], atol=1e-6)
    for joints, pose in zip(seen.joints, np.asarray(POSES), strict=True):
        distances = [np.linalg.norm(x[:, None] - x[None], axis=-1) for x in (joints, pose)]
        np.testing.assert_allclose(*distances, atol=1e-5)
        assert np.linalg.det(joints[[1, 5, 17]] - joints[0]) * np.linalg.det(pose[[1, 5, 17]] - pose[0]) > 0


def test_noise_has_the_given_deviation_and_is_shared_along_fingers():
    error = observed(noise=(0.03, 0.03)).rays - observed(noise=(0.0, 0.0)).rays
    relative = error[..., :2] / box(observed(noise=(0.0, 0.0)).rays)[:, None, None]
    np.testing.assert_allclose(relative.std(axis=(0, 2)), 0.03, rtol=0.2)
    correlation = np.corrcoef(relative.transpose(1, 0, 2).reshape(21, -1))
    assert np.mean([correlation[5, 6], correlation[9, 12], correlation[17, 18]]) > 0.35
    assert np.abs([correlation[0, 5], correlation[5, 9], correlation[4, 20]]).max() < 0.2


def test_hands_fill_the_given_share_of_the_image_in_front_of_the_camera():
    seen = observed(noise=(0.0, 0.0))
    assert seen.focal.min() > 0.7
    assert seen.focal.max() < 4
    share = box(seen.rays) * seen.focal
    assert np.quantile(share, 0.05) < 0.25
    assert 0.75 < np.quantile(share, 0.95) < 1.2
    assert seen.joints[..., 2].min() > 0.99 * landmarks.NEAREST
    pixels = seen.rays[..., :2] * seen.focal[:, None, None]
    middles = (pixels.max(axis=1) + pixels.min(axis=1)) / 2
    assert np.ptp(middles, axis=0).min() > 0.5
