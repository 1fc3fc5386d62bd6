"""The pinhole camera: there and back, the root-depth quadratic and its singular cases, crops, turns and flips."""

import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from support import hands, reference

from bmc_jax import camera, hand, numerics

SIZE = 128


def photographed(joints, seed=0):
    """Hands in any unit, turned at random and filling at least half of the picture of a camera of 220 to 520 pixels
    focal length: joints in scale units `[N, 21, 3]` and K `[N, 3, 3]`, both of values that float32 holds."""
    generator = np.random.default_rng(seed)
    seen, matrices = [], []
    for pose in hands.in_scale_units(joints):
        turn = reference.rotation_about(reference.norm(generator.normal(size=3)), generator.uniform(0, np.pi))
        pose = (pose - pose.mean(axis=0)) @ turn.T
        focal = np.exp(generator.uniform(np.log(220), np.log(520)))
        extent = max(np.ptp(pose[:, :2], axis=0).max(), 0.10 / 0.033)
        depth = max(focal * extent / (generator.uniform(0.5, 0.8) * SIZE), 0.25 / 0.033)
        seen.append(pose + np.array([*generator.normal(scale=0.05 * extent, size=2), depth]))
        centre = generator.normal(63.5, 5, 2)
        matrices.append([[focal, 0, centre[0]], [0, focal, centre[1]], [0, 0, 1]])
    return np.array(seen, np.float32), np.array(matrices, np.float32)


@pytest.fixture(scope="module", params=[hands.real, lambda: hands.sampled()[0]], ids=["real", "sampled"])
def views(request):
    joints, intrinsics = photographed(request.param())
    pixels = camera.project(jnp.asarray(joints), jnp.asarray(intrinsics))
    relative_depth = jnp.asarray(joints[..., 2] - joints[:, :1, 2])
    return joints, jnp.asarray(intrinsics), pixels, relative_depth


def bone_and_ray(joints):
    """Sine of the angle between the scale bone and the ray that it is seen along."""
    start, end = hand.SCALE_BONE
    bone, ray = joints[:, end] - joints[:, start], joints[:, start]
    return np.linalg.norm(np.cross(bone, ray), axis=-1) / np.linalg.norm(bone, axis=-1) / np.linalg.norm(ray, axis=-1)


def test_projection_is_the_pinhole_equation_in_float64(views):
    joints, intrinsics, pixels, _ = views
    for pose, matrix, found in zip(
        joints.astype(float), np.asarray(intrinsics, float), np.asarray(pixels), strict=True
    ):
        homogeneous = pose @ matrix.T
        np.testing.assert_allclose(found, homogeneous[:, :2] / homogeneous[:, 2:], atol=5e-5)


def test_lifting_the_projection_returns_the_joints(views):
    joints, intrinsics, pixels, relative_depth = views
    lifted = camera.lift(pixels, relative_depth, jnp.asarray(joints[:, 0, 2]), intrinsics)
    error = np.linalg.norm(lifted - joints, axis=-1) / np.linalg.norm(joints, axis=-1)
    assert error.max() < 1e-6


def test_one_of_both_roots_is_the_depth(views):
    """To the accuracy that the problem has: rounded pixels move the root by 1 / sine squared of bone and ray."""
    joints, intrinsics, pixels, relative_depth = views
    depth = joints[:, 0, 2]
    far, near = (np.asarray(root) for root in camera.root_depths(pixels, relative_depth, intrinsics))
    error = np.minimum(np.abs(far - depth), np.abs(near - depth)) / depth
    sine = bone_and_ray(joints)
    seen = sine > np.sin(np.radians(5))
    assert seen.mean() > 0.9
    assert (error[seen] * (sine**2 / depth)[seen]).max() < 1e-6
    assert np.quantile(error, 0.99) < 1e-4
    assert (near <= far).all()


def test_the_far_root_is_the_depth_unless_the_bone_is_seen_end_on(views):
    joints, intrinsics, pixels, relative_depth = views
    depth = joints[:, 0, 2]
    error = np.abs(np.asarray(camera.root_depth(pixels, relative_depth, intrinsics)) - depth) / depth
    assert error[bone_and_ray(joints) > np.sin(np.radians(20))].max() < 1e-4
    assert (error > 1e-3).mean() < 0.01


def test_root_depth_agrees_with_a_solver_of_quadratics_in_float64(views):
    """a Z^2 + b Z + c = 0 from |Z d + w|^2 = 1, coefficients as published."""
    joints, intrinsics, _, _ = views
    joints = joints[:100].astype(np.float64)
    start, end = hand.SCALE_BONE
    with jax.enable_x64(True):
        k, points = jnp.asarray(np.asarray(intrinsics[:100], np.float64)), jnp.asarray(joints)
        pixels = camera.project(points, k)
        relative_depth = points[..., 2] - points[:, :1, 2]
        far, near = (np.asarray(root) for root in camera.root_depths(pixels, relative_depth, k))
        for i in range(len(joints)):
            (xn, yn), (xm, ym) = (joints[i, j, :2] / joints[i, j, 2] for j in (start, end))
            zn, zm = (joints[i, j, 2] - joints[i, 0, 2] for j in (start, end))
            a = (xn - xm) ** 2 + (yn - ym) ** 2
            b = 2 * (zn * (xn**2 + yn**2 - xn * xm - yn * ym) + zm * (xm**2 + ym**2 - xn * xm - yn * ym))
            c = (xn * zn - xm * zm) ** 2 + (yn * zn - ym * zm) ** 2 + (zn - zm) ** 2 - 1
            np.testing.assert_allclose([far[i], near[i]], np.sort(np.roots([a, b, c]).real)[::-1], rtol=1e-5)


def end_on(offset=0.0):
    """Pixels, relative depths and K of a hand whose scale bone points along its ray, its ends `offset` pixels apart."""
    pixels = jnp.full((21, 2), 63.5).at[hand.SCALE_BONE[1], 0].add(offset)
    depth = jnp.zeros(21).at[hand.SCALE_BONE[1]].set(1.0)
    return pixels, depth, jnp.array([[300.0, 0, 63.5], [0, 300, 63.5], [0, 0, 1]])


@jax.jit
@jax.value_and_grad
def every_root(arguments):
    pixels, depth, intrinsics = arguments
    far, near = camera.root_depths(pixels, depth, intrinsics)
    return far + near + camera.root_depth(pixels, depth, intrinsics)


@pytest.mark.parametrize("offset", [0.0, 1e-30, 1e-12, 1e-6, 1e-3, 200.0])
@pytest.mark.parametrize("stretch", [0.5, 1.0, 3.0])
def test_root_depth_of_a_bone_along_its_ray_is_finite_and_so_is_its_gradient(offset, stretch):
    """Shorter, as long as, and longer along the ray than the bone: two, one and no real root."""
    pixels, depth, intrinsics = end_on(offset)
    value, gradient = every_root((pixels, depth * stretch, intrinsics))
    assert np.isfinite(value)
    assert all(np.isfinite(leaf).all() for leaf in jax.tree.leaves(gradient))
    nearest, farthest = numerics.ROOT_DEPTH_RANGE
    assert nearest <= camera.root_depth(pixels, depth * stretch, intrinsics) <= farthest


def test_without_a_real_root_both_are_the_depth_of_closest_fit():
    pixels, depth, intrinsics = end_on(offset=30.0)
    far, near = camera.root_depths(pixels, depth * 3, intrinsics)
    depths = np.linspace(-40, 40, 8001)
    rays = np.asarray(camera.rays(pixels, intrinsics), np.float64)
    start, end = hand.SCALE_BONE
    lengths = np.linalg.norm((depths[:, None] + 3) * rays[end] - depths[:, None] * rays[start], axis=-1)
    assert lengths.min() > 1
    assert far == near == pytest.approx(depths[lengths.argmin()], abs=0.01)


def test_points_behind_the_camera_project_to_finite_pixels_with_finite_gradients():
    _, _, intrinsics = end_on()
    points = jnp.array([[0.1, 0.2, -1.0], [0.0, 0.0, 0.0], [0.1, 0.0, 1e-30]])
    value, gradient = jax.value_and_grad(lambda p: jnp.sum(camera.project(p, intrinsics)))(points)
    assert np.isfinite(value)
    assert np.isfinite(gradient).all()


def test_a_batch_may_share_one_camera(views):
    joints, intrinsics, _, _ = views
    shared = camera.project(jnp.asarray(joints[:4]), intrinsics[0])
    for i in range(4):
        np.testing.assert_allclose(shared[i], camera.project(jnp.asarray(joints[i]), intrinsics[0]), rtol=1e-6)


@functools.cache
def warps():
    centre, side = jnp.array([70.0, 50.0]), jnp.array(90.0)
    crop = camera.crop_affine(centre, side, 64)
    turn = camera.rotation_affine(jnp.array(0.7), centre)
    return {"crop": crop, "turn": turn, "turn, then crop": camera.warp_intrinsics(crop, turn)}


@pytest.mark.parametrize("name", ["crop", "turn", "turn, then crop"])
def test_warped_camera_sees_the_warped_pixels_and_lifts_back(name, views):
    joints, intrinsics, pixels, relative_depth = views
    affine = warps()[name]
    matrices = camera.warp_intrinsics(affine, intrinsics)
    moved = camera.warp_pixels(affine, pixels)
    np.testing.assert_allclose(camera.project(jnp.asarray(joints), matrices), moved, atol=2e-4)
    lifted = camera.lift(moved, relative_depth, jnp.asarray(joints[:, 0, 2]), matrices)
    assert (np.linalg.norm(lifted - joints, axis=-1) / np.linalg.norm(joints, axis=-1)).max() < 1e-5


def test_crop_shows_its_square():
    """The centre becomes the crop's middle, and the outer borders of the square become the crop's borders."""
    affine = camera.crop_affine(jnp.array([70.0, 50.0]), jnp.array(90.0), 64)
    found = camera.warp_pixels(affine, jnp.array([[70.0, 50.0], [25.0, 5.0], [115.0, 95.0]]))
    np.testing.assert_allclose(found, [[31.5, 31.5], [-0.5, -0.5], [63.5, 63.5]], atol=1e-5)


def test_rotation_is_clockwise_as_seen_about_its_centre():
    affine = camera.rotation_affine(jnp.array(np.pi / 2), jnp.array([10.0, 20.0]))
    found = camera.warp_pixels(affine, jnp.array([[10.0, 20.0], [15.0, 20.0]]))
    np.testing.assert_allclose(found, [[10, 20], [10, 25]], atol=1e-5)


def test_mirrored_hand_is_seen_in_the_mirrored_column(views):
    joints, intrinsics, _, _ = views
    turned = camera.warp_intrinsics(warps()["turn"], intrinsics)
    for matrices in (intrinsics, turned):
        columns = camera.project(jnp.asarray(joints), matrices)
        seen = camera.project(camera.mirror(jnp.asarray(joints)), camera.mirror_intrinsics(matrices, SIZE))
        np.testing.assert_allclose(seen[..., 0], SIZE - 1 - columns[..., 0], atol=2e-4)
        np.testing.assert_allclose(seen[..., 1], columns[..., 1], atol=2e-4)
    twice = camera.mirror_intrinsics(camera.mirror_intrinsics(intrinsics, SIZE), SIZE)
    np.testing.assert_allclose(twice, intrinsics, atol=1e-5)


@pytest.mark.parametrize("library", [np, jnp])
@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_only_left_hands_are_mirrored(library, dtype):
    with jax.enable_x64(True):
        joints = library.asarray(np.random.default_rng(0).normal(size=(2, 3, 21, 3)), dtype)
        left = library.asarray([[True, False, False], [False, True, True]])
        found = camera.mirror(joints, left)
        assert type(found) is type(joints)
        assert found.dtype == dtype
        sides = np.where(np.asarray(left)[..., None, None], np.array([-1, 1, 1], dtype), np.array(1, dtype))
        np.testing.assert_array_equal(found, np.asarray(joints) * sides)
        np.testing.assert_array_equal(camera.mirror(joints), np.asarray(joints) * np.array([-1, 1, 1], dtype))
        np.testing.assert_array_equal(camera.mirror(found, left), joints)
        np.testing.assert_array_equal(jax.jit(camera.mirror)(jnp.asarray(joints), jnp.asarray(left)), found)
