import jax
import jax.numpy as jnp
import numpy as np
import pytest
import scipy.spatial.transform
from support import hands

from bmc_jax import camera, metrics, synthesis
from bmc_jax.models import lifter
from bmc_jax.synthesis import landmarks

WEIGHTS = lifter.load()
lift = jax.jit(lifter.relative_depth)


def rays_of(joints):
    return jnp.asarray(joints / joints[..., 2:], jnp.float32)


def joints_of(rays):
    """Lifted joints, the wrist at depth 1."""
    return np.asarray(rays * (1 + lift(WEIGHTS, rays).mean)[..., None])


def test_any_batch_shape_equals_single_hands():
    rays = rays_of(hands.adults(6))
    alone = [lift(WEIGHTS, one) for one in rays]
    for shape in ((6,), (3, 1, 2)):
        found = lift(WEIGHTS, rays.reshape(*shape, 21, 3))
        for name in ("mean", "deviation"):
            value = getattr(found, name)
            assert value.shape == (*shape, 21)
            np.testing.assert_allclose(value.reshape(6, 21), [getattr(one, name) for one in alone], atol=1e-5)
    assert lift(WEIGHTS, jnp.zeros((0, 21, 3))).mean.shape == (0, 21)


def test_the_wrist_is_the_reference():
    found = lift(WEIGHTS, rays_of(hands.adults(50)))
    assert np.abs(found.mean[:, 0]).max() < 1e-6
    assert np.all(np.asarray(found.deviation[:, 0]) == 0)
    assert np.all(np.asarray(found.deviation[:, 1:]) > 0)


@pytest.mark.parametrize("degrees", [(0, 0, 170), (0, 0, -90), (25, -20, 0), (-10, 30, 45)])
def test_a_rotated_camera_gives_the_rotated_hand(degrees):
    turn = scipy.spatial.transform.Rotation.from_euler("xyz", degrees, degrees=True).as_matrix()
    joints = hands.adults(50) + np.array([0, 0, 0.2])
    expected, found = joints_of(rays_of(joints)) @ turn.T, joints_of(rays_of(joints @ turn.T))
    np.testing.assert_allclose(found, expected / expected[:, :1, 2:], atol=2e-4)


def test_image_size_with_its_intrinsics_does_not_change_the_result():
    intrinsics = jnp.array([[500.0, 0, 310], [0, 500, 250], [0, 0, 1]])
    joints = jnp.asarray(hands.adults(20), jnp.float32)
    pixels = camera.project(joints, intrinsics)
    scaling = jnp.diag(jnp.array([3.0, 3, 1]))
    larger = camera.warp_pixels(scaling, pixels), camera.warp_intrinsics(scaling, intrinsics)
    first, second = (lift(WEIGHTS, camera.rays(*given)) for given in ((pixels, intrinsics), larger))
    np.testing.assert_allclose(first.mean, second.mean, atol=1e-4)
    np.testing.assert_allclose(first.deviation, second.deviation, rtol=1e-2)


def test_nan_in_one_ray_gives_nan_for_that_hand_alone():
    rays = np.array(rays_of(hands.adults(3)))
    rays[1, 8, 0] = np.nan
    for value in lift(WEIGHTS, jnp.asarray(rays)):
        np.testing.assert_array_equal(np.isnan(value).all(axis=-1), [False, True, False])
        np.testing.assert_array_equal(np.isnan(value).any(axis=-1), [False, True, False])


def degenerate():
    ahead = np.tile([0.0, 0.0, 1.0], (21, 1))
    line = ahead.copy()
    line[:, 0] = np.linspace(-0.1, 0.1, 21)
    knuckles_on_wrist = np.array(rays_of(hands.adults(1)[0]))
    knuckles_on_wrist[1:] += knuckles_on_wrist[0] - knuckles_on_wrist[[5, 9, 13, 17]].mean(axis=0)
    nearly, wide = ahead.copy(), ahead.copy()
    nearly[3, 0] += 1e-7
    wide[:, :2] = np.random.default_rng(0).normal(0, 30, (21, 2))
    return {"one point": ahead, "a line": line, "end on": knuckles_on_wrist, "nearly one point": nearly, "wide": wide}


@pytest.mark.parametrize("name", degenerate())
def test_degenerate_rays_give_finite_values_and_gradients(name):
    rays = jnp.asarray(degenerate()[name], jnp.float32)
    found = lift(WEIGHTS, rays)
    gradient = jax.jacobian(lambda rays: lift(WEIGHTS, rays))(rays)
    for value in (*found, *gradient):
        assert np.isfinite(value).all()
    assert max(np.abs(part).max() for part in gradient) < 1e3


def test_weights_are_small_and_finite():
    assert lifter.FILE.stat().st_size <= 5e6
    assert all(np.isfinite(value).all() for value in WEIGHTS.values())


def test_lifted_test_people_are_nearer_to_the_truth_than_flat_depth_and_the_mean_pose():
    poses = synthesis.poses(0, "any_view", "test", np.arange(256))
    keys = jax.random.split(jax.random.key(3, impl="threefry2x32"), len(poses))
    seen = jax.jit(jax.vmap(landmarks.observe))(keys, jnp.asarray(poses))
    truth = np.asarray(seen.joints)

    def error(joints):
        return np.mean(metrics.joint_errors(metrics.procrustes(joints, truth), truth))

    mean = metrics.procrustes(poses, np.broadcast_to(poses[:1], poses.shape)).mean(axis=0)
    found = error(joints_of(seen.rays))
    assert found < 0.33 * error(np.asarray(seen.rays))
    assert found < 0.5 * error(np.broadcast_to(mean, poses.shape))
